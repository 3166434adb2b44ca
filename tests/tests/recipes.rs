//! docs/recipes.md: every body is registered as it stands there, and followed to the authorization URL, or through the
//! form to the credential. Nobody beyond loopback is asked: a form's credential is tried at the scripted provider, which
//! stands in for the host, and so does it for the issuer whose discovery document is read.
//!
//! - `POST /v1/providers`
//! - `POST /v1/request-connection`
//! - `POST /v1/capture-credential`
//! - `GET /v1/token/{id}`

use std::collections::{BTreeMap, BTreeSet};

use nexus_tests::{
    AccountCall, Database, Reply, Requested, ScriptedProvider, TestNexus, on_both_databases,
    programs, root,
};
use serde_json::{Value, json};

on_both_databases! {
    a_body_with_a_consent_page_leads_there_with_its_parameters,
    a_body_with_discovery_leads_where_its_issuer_says,
    a_body_with_a_form_takes_a_credential_and_says_how_it_is_sent,
    a_users_token_of_slack_is_found_where_slack_puts_it,
    agents_of_salesforce_are_told_the_instance,
    a_spent_refresh_token_of_github_needs_the_user,
}

/// Host and path of the consent page, the scopes as they are sent, and what else is.
type Consent<'a> = (&'a str, &'a str, Option<&'a str>, &'a [(&'a str, &'a str)]);

const CONSENTS: &[Consent<'_>] = &[
    (
        "google",
        "https://accounts.google.com/o/oauth2/v2/auth",
        Some(
            "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/gmail.readonly",
        ),
        &[("access_type", "offline"), ("prompt", "consent")],
    ),
    (
        "github",
        "https://github.com/login/oauth/authorize",
        Some("repo,read:user"),
        &[],
    ),
    (
        "github-app",
        "https://github.com/login/oauth/authorize",
        None,
        &[],
    ),
    (
        "slack",
        "https://slack.com/oauth/v2/authorize",
        Some("chat:write,channels:read"),
        &[],
    ),
    (
        "slack-user",
        "https://slack.com/oauth/v2/authorize",
        None,
        &[("user_scope", "search:read,users:read")],
    ),
    (
        "salesforce",
        "https://login.salesforce.com/services/oauth2/authorize",
        Some("api refresh_token"),
        &[("prompt", "login consent")],
    ),
    (
        "notion",
        "https://api.notion.com/v1/oauth/authorize",
        None,
        &[("owner", "user")],
    ),
    (
        "microsoft",
        "https://login.microsoftonline.com/YOUR_TENANT_ID/oauth2/v2.0/authorize",
        Some("openid email offline_access https://graph.microsoft.com/Mail.Read"),
        &[],
    ),
    (
        "microsoft-any",
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        Some(
            "offline_access https://graph.microsoft.com/User.Read https://graph.microsoft.com/Mail.Read",
        ),
        &[("prompt", "select_account")],
    ),
];

const DISCOVERED: [&str; 1] = ["okta"];

/// What is typed into a form, the strategy that agents are told, and what the provider was sent to try it.
struct Form {
    name: &'static str,
    typed: Value,
    strategy: Value,
    asked: &'static str,
    header: (&'static str, &'static str),
}

fn forms() -> Vec<Form> {
    let bearer = json!({"credential_field": "api_key", "header_name": "Authorization", "value_prefix": "Bearer "});
    let mut notion = bearer.clone();
    notion["notion_version"] = json!("2022-06-28");
    vec![
        Form {
            name: "notion-internal",
            typed: json!({"api_key": "ntn_1"}),
            strategy: json!({"type": "header", "config": notion}),
            asked: "/users/me",
            header: ("notion-version", "2022-06-28"),
        },
        Form {
            name: "stripe",
            typed: json!({"api_key": "rk_test_1"}),
            strategy: json!({"type": "header", "config": bearer}),
            asked: "/v1/account",
            header: ("authorization", "Bearer rk_test_1"),
        },
        Form {
            name: "stripe-basic",
            typed: json!({"api_key": "rk_test_1"}),
            strategy: json!({"type": "basic_auth", "config": {"username_field": "api_key", "password_field": "password"}}),
            asked: "/v1/account",
            // `rk_test_1:` in Base64.
            header: ("authorization", "Basic cmtfdGVzdF8xOg=="),
        },
        Form {
            name: "aws",
            typed: json!({"access_key": "AKID", "secret_key": "s"}),
            strategy: json!({"type": "aws_sigv4", "config": {"service": "sts", "region": "us-east-1"}}),
            asked: "/?Action=GetCallerIdentity&Version=2011-06-15",
            header: ("authorization", "AWS4-HMAC-SHA256 Credential=AKID/"),
        },
        Form {
            name: "acme",
            typed: json!({"token": "t-1"}),
            strategy: json!({"type": "header", "config": {"header_name": "X-Acme-Token", "value_prefix": "Token ", "credential_field": "token"}}),
            asked: "/v1/me",
            header: ("x-acme-token", "Token t-1"),
        },
    ]
}

/// The bodies of the document, by name.
fn recipes() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(root().join("docs/recipes.md")).expect("the recipes");
    let bodies = programs(&text, "json").into_iter();
    let bodies = bodies.map(|body| serde_json::from_str::<Value>(&body).expect("JSON"));
    let named: Vec<(String, Value)> = bodies
        .map(|body| (body["name"].as_str().expect("a name").to_owned(), body))
        .collect();
    let count = named.len();
    let named: BTreeMap<String, Value> = named.into_iter().collect();
    assert_eq!(named.len(), count, "a name is there twice");
    named
}

#[test]
fn every_body_of_the_document_is_followed() {
    let consents = CONSENTS.iter().map(|(name, ..)| *name);
    let forms = forms();
    let followed: BTreeSet<String> = consents
        .chain(DISCOVERED)
        .chain(forms.iter().map(|form| form.name))
        .map(str::to_owned)
        .collect();
    let there: BTreeSet<String> = recipes().into_keys().collect();
    assert_eq!(followed, there);
}

/// The authorization URL is this page with these parameters and no others.
fn leads_to(nexus: &TestNexus, requested: &Requested, page: &str, expected: &[(&str, &str)]) {
    let mut address = requested.auth_url.clone();
    address.set_query(None);
    assert_eq!(address.as_str(), page);
    let pairs: Vec<(String, String)> = requested.auth_url.query_pairs().into_owned().collect();
    let mut query: BTreeMap<&str, &str> = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(query.len(), pairs.len(), "a parameter is there twice");
    let challenge = query.remove("code_challenge").expect("PKCE");
    assert_eq!(challenge.len(), 43);
    let with_nonce = expected
        .iter()
        .any(|(name, value)| *name == "scope" && value.split(' ').any(|scope| scope == "openid"));
    assert_eq!(query.remove("nonce").is_some(), with_nonce);
    let callback = nexus.callback().to_string();
    let usual = [
        ("response_type", "code"),
        ("state", requested.state.as_str()),
        ("redirect_uri", callback.as_str()),
        ("code_challenge_method", "S256"),
    ];
    assert_eq!(
        query,
        usual.into_iter().chain(expected.iter().copied()).collect()
    );
}

async fn a_body_with_a_consent_page_leads_there_with_its_parameters(database: Database) {
    let nexus = TestNexus::start(database).await;
    let recipes = recipes();
    for (name, page, scope, others) in CONSENTS {
        let body = &recipes[*name];
        nexus.register(body.clone()).await;
        let requested = nexus.request(name).await;
        let client = body["client_id"].as_str().expect("a client");
        let mut expected = vec![("client_id", client)];
        expected.extend(scope.map(|scope| ("scope", scope)));
        expected.extend_from_slice(others);
        leads_to(&nexus, &requested, page, &expected);
    }
}

async fn a_body_with_discovery_leads_where_its_issuer_says(database: Database) {
    let nexus = TestNexus::start(database).await;
    let provider = ScriptedProvider::start().await;
    for name in DISCOVERED {
        let mut body = recipes()[name].clone();
        assert_eq!(body["issuer"], "https://YOUR_DOMAIN/oauth2/default");
        body["issuer"] = json!(provider.issuer());
        nexus.register(body).await;
        assert_eq!(provider.discoveries(), 0, "registering asks nobody");
        let requested = nexus.request(name).await;
        let page = format!("{}/authorize", provider.issuer());
        let expected = [
            ("client_id", "YOUR_CLIENT_ID"),
            ("scope", "openid profile email offline_access"),
        ];
        leads_to(&nexus, &requested, &page, &expected);
        // The rest of the way: its client proves itself as the body says.
        let connected = nexus.connect(&provider, name).await;
        let call = provider.calls().pop().expect("a call");
        let basic = ("YOUR_CLIENT_ID".to_owned(), "YOUR_CLIENT_SECRET".to_owned());
        assert_eq!(call.basic, Some(basic));
        assert_eq!(nexus.status(&connected.id).await["status"], "active");
    }
}

/// The body, whose credential is tried at the scripted provider instead.
fn tried_at(provider: &ScriptedProvider, body: &Value) -> Value {
    let mut body = body.clone();
    let endpoint = body["user_info_endpoint"].as_str().expect("an endpoint");
    if endpoint.starts_with('/') {
        body["api_base_url"] = json!(provider.account_url());
    } else {
        let url: url::Url = endpoint.parse().expect("a URL");
        let rest = &url[url::Position::BeforePath..];
        body["user_info_endpoint"] = json!(format!("{}{rest}", provider.account_url()));
    }
    body
}

fn was_asked(call: &AccountCall, form: &Form) {
    assert_eq!(call.url, format!("/account{}", form.asked));
    let (name, value) = form.header;
    let sent = call.header(name).unwrap_or_default();
    let fits = if form.name == "aws" {
        sent.starts_with(value) && sent.contains("/us-east-1/sts/aws4_request")
    } else {
        sent == value
    };
    assert!(fits, "{}: {name} is {sent}", form.name);
}

async fn a_body_with_a_form_takes_a_credential_and_says_how_it_is_sent(database: Database) {
    let nexus = TestNexus::start(database).await;
    let recipes = recipes();
    for form in forms() {
        let provider = ScriptedProvider::start().await;
        let body = tried_at(&provider, &recipes[form.name]);
        nexus.register(body).await;
        let requested = nexus.request(form.name).await;
        assert_eq!(requested.auth_url.path(), "/auth/capture-schema");
        let answer =
            |credentials: &Value| json!({"state": requested.state, "credentials": credentials});
        let gateway = nexus.gateway();
        let empty = gateway
            .post("/v1/capture-credential", answer(&json!({})))
            .await;
        empty.refused(400, "invalid_credentials");
        // The status that the document says refuses a key.
        let refusal = if form.name == "aws" { 403 } else { 401 };
        provider.next_account(Reply::error(refusal, "no"));
        let refused = gateway
            .post("/v1/capture-credential", answer(&form.typed))
            .await;
        refused.refused(400, "credentials_rejected");
        let accepted = gateway
            .post("/v1/capture-credential", answer(&form.typed))
            .await;
        accepted.expect(200);
        was_asked(provider.accounts().last().expect("it is asked"), &form);
        let token = nexus.token(&requested.id).await.expect(200);
        assert_eq!(token["strategy"], form.strategy);
        assert_eq!(token["credentials"], form.typed);
    }
}

/// The body of a plain OAuth 2.0 provider, whose endpoints are the scripted provider's instead.
fn answered_by(provider: &ScriptedProvider, name: &str) -> Value {
    let mut body = recipes()[name].clone();
    body["auth_url"] = json!(format!("{}/authorize", provider.issuer()));
    body["token_url"] = json!(format!("{}/token", provider.issuer()));
    body
}

fn answers(body: &Value) -> Reply {
    Reply::raw(200, "application/json", &body.to_string())
}

async fn a_users_token_of_slack_is_found_where_slack_puts_it(database: Database) {
    let nexus = TestNexus::start(database).await;
    let provider = ScriptedProvider::start().await;
    nexus.register(answered_by(&provider, "slack-user")).await;
    let user = json!({"id": "U1", "scope": "search:read,users:read", "access_token": "xoxe.xoxp-1", "token_type": "user",
        "refresh_token": "xoxe-1", "expires_in": 43200});
    let team = json!({"id": "T1", "name": "Team"});
    provider.next(answers(
        &json!({"ok": true, "app_id": "A1", "authed_user": user, "team": team}),
    ));
    let connected = nexus.connect(&provider, "slack-user").await;
    let token = nexus.token(&connected.id).await.expect(200);
    assert_eq!(token["access_token"], "xoxe.xoxp-1");
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(token["scope"], "search:read users:read");
    assert_eq!(token["credentials"]["team_id"], "T1");
    assert_eq!(token["credentials"]["user_id"], "U1");
    // A refresh is answered without the nesting; what it does not repeat stays.
    let refreshed = json!({"ok": true, "access_token": "xoxe.xoxp-2", "token_type": "user", "refresh_token": "xoxe-2",
        "expires_in": 43200, "team": {"id": "T1"}});
    provider.next(answers(&refreshed));
    let token = nexus.refresh(&connected.id).await.expect(200);
    assert_eq!(token["access_token"], "xoxe.xoxp-2");
    assert_eq!(token["credentials"]["user_id"], "U1");
    assert_eq!(
        provider.refreshes()[0].form("refresh_token"),
        Some("xoxe-1")
    );
    provider.next(answers(
        &json!({"ok": false, "error": "invalid_refresh_token"}),
    ));
    let gone = nexus.refresh(&connected.id).await;
    assert_eq!(
        gone.refused(409, "attention_required")["reason"],
        "refresh_token_invalid"
    );
    assert_eq!(
        provider.refreshes()[1].form("refresh_token"),
        Some("xoxe-2")
    );
}

async fn agents_of_salesforce_are_told_the_instance(database: Database) {
    let nexus = TestNexus::start(database).await;
    let provider = ScriptedProvider::start().await;
    nexus.register(answered_by(&provider, "salesforce")).await;
    let answer = |token: &str, instance: &str| {
        answers(
            &json!({"access_token": token, "refresh_token": "5Aep", "signature": "s", "scope": "api refresh_token",
            "instance_url": instance, "id": "https://login.salesforce.com/id/00D/005", "token_type": "Bearer", "issued_at": "1795763568000"}),
        )
    };
    provider.next(answer("00D!1", "https://one.my.salesforce.com"));
    let connected = nexus.connect(&provider, "salesforce").await;
    let token = nexus.token(&connected.id).await.expect(200);
    let expected = json!({"access_token": "00D!1", "token_type": "Bearer", "instance_url": "https://one.my.salesforce.com"});
    assert_eq!(token["credentials"], expected);
    // The organisation moves.
    provider.next(answer("00D!2", "https://two.my.salesforce.com"));
    let token = nexus.refresh(&connected.id).await.expect(200);
    assert_eq!(
        token["credentials"]["instance_url"],
        "https://two.my.salesforce.com"
    );
}

async fn a_spent_refresh_token_of_github_needs_the_user(database: Database) {
    let nexus = TestNexus::start(database).await;
    let provider = ScriptedProvider::start().await;
    nexus.register(answered_by(&provider, "github-app")).await;
    let granted = json!({"access_token": "ghu_1", "expires_in": 28800, "refresh_token": "ghr_1",
        "refresh_token_expires_in": 15_897_600, "scope": "", "token_type": "bearer"});
    provider.next(answers(&granted));
    let connected = nexus.connect(&provider, "github-app").await;
    provider.next(answers(&json!({"error": "bad_refresh_token", "error_description": "It is expired.", "error_uri": "https://docs.github.com"})));
    let gone = nexus.refresh(&connected.id).await;
    assert_eq!(
        gone.refused(409, "attention_required")["reason"],
        "refresh_token_invalid"
    );
    assert_eq!(nexus.status(&connected.id).await["status"], "attention");
}
