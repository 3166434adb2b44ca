//! The public Python client, `jarviscore-framework` from `PyPI`, as it is installed: its `NexusClient`, the parts of its
//! framework that connect accounts with it, and its command line.
//!
//! - `POST /v1/request-connection`
//! - `GET /v1/check-connection/{connection_id}`
//! - `GET /v1/token/{connection_id}`
//! - `POST /v1/refresh/{connection_id}`
//! - `GET /v1/resolve`
//! - `GET /v1/capture-schema`
//! - `GET /v1/providers`
//! - `POST /v1/providers`
//! - `GET /health`

use nexus_tests::{
    AccountCall, Browser, Database, Nexus, RealProvider, ScriptedProvider, TestNexus,
    on_both_databases,
};
use serde_json::{Value, json};
use url::Url;

mod jarviscore {
    pub(crate) mod application;
}

use jarviscore::application::{Application, CommandLine};

on_both_databases! {
    an_account_is_connected_used_refreshed_and_found_by_another_process,
    a_typed_credential_goes_where_its_provider_wants_it,
    a_withdrawn_grant_is_noticed_and_mended,
    what_cannot_be_is_told_apart,
    a_key_opens_what_it_should,
    a_credential_is_for_the_person_it_belongs_to,
    an_expiry_is_a_number_or_a_text_as_the_operator_says,
    the_command_line_registers_providers_and_begins_a_connection,
    the_command_line_says_what_was_refused,
}

/// What agents are given.
const CALLER: &str = "key-of-the-agents";
/// The client's own default.
const RETURN: &str = "http://localhost:8000/oauth/callback";

/// As an operator sets it up for this client.
fn operated(database: Database) -> Nexus {
    Nexus::new(database)
        .set("GATEWAY_API_KEYS", CALLER)
        .set("TOKEN_EXPIRES_AT", "rfc3339")
}

async fn started(database: Database) -> TestNexus {
    operated(database).start().await
}

fn wanted(provider: &str) -> Value {
    json!({"provider": provider, "user_id": "alice", "scopes": [], "return_url": RETURN})
}

/// Asks for a connection; returns its id and where the user is sent.
async fn requested(application: &mut Application, wanted: Value) -> (String, Url) {
    let pair = application.call("request_connection", wanted).await;
    let pair = pair.returned();
    (text(&pair[0]), text(&pair[1]).parse().expect("a URL"))
}

/// Asks for a connection at `mail`, where alice consents; returns its id.
async fn connected(
    nexus: &TestNexus,
    mail: &ScriptedProvider,
    application: &mut Application,
) -> String {
    let (id, auth_url) = requested(application, wanted("mail")).await;
    let callback = mail.consent(&auth_url).await;
    returned_with(&nexus.gateway().visit(&callback).await.location(), &id);
    assert_eq!(status(application, &id).await, "ACTIVE");
    id
}

async fn status(application: &mut Application, id: &str) -> Value {
    let with = json!({"connection_id": id});
    let came = application.call("check_connection_status", with).await;
    came.returned()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// What the provider that redirects leads to: back to the application, with a connection.
fn returned_with(address: &Url, id: &str) {
    let expected = format!("{RETURN}?status=success&connection_id={id}");
    assert!(address.as_str().starts_with(&expected), "{address}");
}

async fn an_account_is_connected_used_refreshed_and_found_by_another_process(database: Database) {
    let nexus = started(database).await;
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    let profile =
        json!({"profile": provider.profile("corp-mail", "nexus-demo", "client_secret_post")});
    let mut operator = Application::with_key(&nexus, &nexus.api_key());
    for _ in 0..2 {
        let came = operator.call("ensure_provider", profile.clone()).await;
        assert_eq!(came.returned(), Value::Null);
    }
    assert_eq!(nexus.provider_history().await, ["provider.registered"]);

    let mut application = Application::with_key(&nexus, CALLER);
    let scopes = json!(["openid", "email", "offline_access"]);
    let wanted = json!({"provider": "Corp_Mail", "user_id": "alice", "scopes": scopes, "return_url": RETURN});
    let (id, auth_url) = requested(&mut application, wanted).await;
    assert_eq!(status(&mut application, &id).await, "PENDING");
    let callback = provider.consent(&auth_url, "alice").await;
    returned_with(&nexus.gateway().visit(&callback).await.location(), &id);
    assert_eq!(status(&mut application, &id).await, "ACTIVE");

    application.acts_for("alice");
    application.acts_as("mail-reader", "read the inbox");
    let me = json!({"connection_id": id, "url": format!("{}/me", provider.issuer())});
    let answer = application.call("use", me.clone()).await.returned();
    assert_eq!(
        answer,
        json!({"status": 200, "body": {"sub": "alice", "email": "alice@example.test", "email_verified": true}})
    );
    let read = last_read(&nexus).await;
    assert_eq!(
        (&read["agent"], &read["operation"]),
        (&json!("mail-reader"), &json!("read the inbox"))
    );
    // The client makes a UUID of the name.
    assert_eq!(read["subject"], "c2ef90b9-02bc-5d53-93cd-92652b6e1b41");

    let by_id = json!({"connection_id": id});
    let first = application
        .call("get_token", by_id.clone())
        .await
        .returned();
    let refreshed = application.call("refresh_connection", by_id.clone()).await;
    assert_eq!(refreshed.returned(), Value::Null);
    assert_eq!(provider.granted("refresh_token"), 1);
    let second = application.call("get_token", by_id).await.returned();
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!(application.call("use", me).await.returned()["status"], 200);

    let mut other = Application::with_key(&nexus, CALLER);
    other.acts_for("alice");
    let whose = json!({"provider": "corp_mail", "user_id": "alice"});
    let found = other.call("resolve_active", whose).await.returned();
    assert_eq!(found["access_token"], second["access_token"]);
    assert_eq!(found["connection_id"], id);
    let handle = other
        .call("discover", json!({"provider": "corp_mail"}))
        .await;
    let handle = handle.returned();
    let me = json!({"handle": handle, "url": format!("{}/me", provider.issuer())});
    let answer = other.call("use_account", me).await.returned();
    assert_eq!(answer["body"]["sub"], "alice");
}

async fn last_read(nexus: &TestNexus) -> Value {
    let path = "/audit?event_type=credential.retrieved&limit=1";
    nexus.broker().get(path).await.expect(200)[0].clone()
}

/// A provider of static credentials as the client describes it, what the user types, and where the provider finds it.
struct Placed {
    profile: Value,
    typed: &'static [(&'static str, &'static str)],
    found: fn(&AccountCall) -> Option<String>,
    is: &'static str,
}

fn in_header(name: &'static str) -> impl Fn(&AccountCall) -> Option<String> {
    move |call| call.header(name).map(str::to_owned)
}

/// What the framework puts into a profile: the form, and nothing about where the credential goes.
fn key_form() -> Value {
    json!({"type": "object", "required": ["api_key"],
        "properties": {"api_key": {"type": "string", "title": "API key", "format": "password"}}})
}

fn placements() -> Vec<Placed> {
    const KEY: &[(&str, &str)] = &[("api_key", "canary-of-alice")];
    let login = json!({"type": "object", "required": ["username", "password"], "properties": {
        "username": {"type": "string", "title": "Username"},
        "password": {"type": "string", "title": "Password", "format": "password"}}});
    vec![
        Placed {
            profile: json!({"auth_type": "api_key", "params": {"credential_schema": key_form()}}),
            typed: KEY,
            found: |call| in_header("authorization")(call),
            is: "Bearer canary-of-alice",
        },
        Placed {
            profile: json!({"auth_type": "api_key", "params": {"credential_schema": key_form(), "header_name": "Private-Token"}}),
            typed: KEY,
            found: |call| in_header("private-token")(call),
            is: "canary-of-alice",
        },
        Placed {
            profile: json!({"auth_type": "header", "params": {"value_prefix": "SSWS "}}),
            typed: KEY,
            found: |call| in_header("authorization")(call),
            is: "SSWS canary-of-alice",
        },
        Placed {
            profile: json!({"auth_type": "query_param", "params": {"param_name": "token_auth"}}),
            typed: KEY,
            found: |call| call.url.split_once('?').map(|(_, query)| query.to_owned()),
            is: "token_auth=canary-of-alice",
        },
        Placed {
            profile: json!({"auth_type": "basic_auth", "params": {"credential_schema": login}}),
            typed: &[("username", "alice"), ("password", "open sesame")],
            found: |call| in_header("authorization")(call),
            is: "Basic YWxpY2U6b3BlbiBzZXNhbWU=",
        },
    ]
}

async fn a_typed_credential_goes_where_its_provider_wants_it(database: Database) {
    let (nexus, provider) = (started(database).await, ScriptedProvider::start().await);
    let mut operator = Application::with_key(&nexus, &nexus.api_key());
    let mut application = Application::with_key(&nexus, CALLER);
    application.acts_for("alice");
    for (count, placed) in placements().into_iter().enumerate() {
        let mut profile = placed.profile;
        let name = format!("kind-{count}");
        profile["name"] = json!(name);
        let came = operator
            .call("ensure_provider", json!({"profile": profile}))
            .await;
        came.returned();

        let (id, auth_url) = requested(&mut application, wanted(&name)).await;
        let (_, state) = auth_url.query_pairs().next().expect("a state");
        let form = application
            .call("capture_schema", json!({"state": state}))
            .await;
        let form = form.returned();
        for (field, _) in placed.typed {
            assert_eq!(form["properties"][field]["type"], "string", "{form}");
        }
        returned_with(&fill_in(&auth_url, placed.typed).await, &id);
        assert_eq!(status(&mut application, &id).await, "ACTIVE");

        let with = json!({"connection_id": id, "url": provider.account_url()});
        let answer = application.call("use", with).await.returned();
        assert_eq!(answer["status"], 200);
        let call = provider.accounts().pop().expect("a call");
        assert_eq!((placed.found)(&call).as_deref(), Some(placed.is));

        let whose = json!({"provider": name, "user_id": "alice"});
        let found = application.call("resolve_active", whose).await.returned();
        assert_eq!(found["connection_id"], id);
        let refresh = application
            .call("refresh_connection", json!({"connection_id": id}))
            .await;
        refresh.refused(400, "static_token");
    }
}

/// What a person does whom the browser shows the form: returns where that leads.
async fn fill_in(auth_url: &Url, typed: &[(&str, &str)]) -> Url {
    let browser = Browser::default();
    let away = |url: &Url| url.as_str().starts_with(RETURN);
    let page = browser.open(auth_url.clone(), away).await.expect("a form");
    let state = page.field("state").expect("a state");
    let typed = typed
        .iter()
        .map(|(name, value)| (format!("credential.{name}"), *value));
    let named: Vec<_> = typed.collect();
    let mut fields = vec![("state", state.as_str())];
    fields.extend(named.iter().map(|(name, value)| (name.as_str(), *value)));
    let left = browser.submit(&page, &fields, away).await;
    left.expect_err("back to the application")
}

async fn a_withdrawn_grant_is_noticed_and_mended(database: Database) {
    let nexus = started(database).await;
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    nexus
        .register(provider.profile("corp", "nexus-demo", "client_secret_post"))
        .await;
    let mut application = Application::with_key(&nexus, CALLER);
    let id = connect(&nexus, &provider, &mut application).await;
    provider.forget_grants().await;
    let lost = application.call("attention", json!({})).await.returned();
    assert_eq!(lost, json!(["corp"]));
    assert_eq!(status(&mut application, &id).await, "ATTENTION");
    for call in ["get_token", "refresh_connection"] {
        let came = application.call(call, json!({"connection_id": id})).await;
        came.refused(409, "attention_required");
    }
    let whose = json!({"provider": "corp", "user_id": "jarviscore-agent"});
    let found = application.call("resolve_active", whose).await;
    assert_eq!(found.returned(), Value::Null);

    let again = connect(&nexus, &provider, &mut application).await;
    assert_ne!(again, id);
    let me = json!({"handle": again, "url": format!("{}/me", provider.issuer())});
    let answer = application.call("use_account", me).await.returned();
    assert_eq!(answer["body"]["sub"], "alice");
}

/// The framework's own way: it sends the user to consent, polls, and from then on looks after the connection.
async fn connect(
    nexus: &TestNexus,
    provider: &RealProvider,
    application: &mut Application,
) -> String {
    let scopes = json!(["openid", "email", "offline_access"]);
    application
        .begin("connect", &json!({"provider": "corp", "scopes": scopes}))
        .await;
    let auth_url = application.opens().await;
    let callback = provider.consent(&auth_url, "alice").await;
    nexus.gateway().visit(&callback).await.location();
    text(&application.end().await.returned())
}

async fn what_cannot_be_is_told_apart(database: Database) {
    let (nexus, provider) = (started(database).await, ScriptedProvider::start().await);
    nexus.register(provider.profile("mail")).await;
    let mut application = Application::with_key(&nexus, CALLER);

    let (pending, _) = requested(&mut application, wanted("mail")).await;
    assert_eq!(status(&mut application, &pending).await, "PENDING");
    provider.deny_next("access_denied");
    let (denied, auth_url) = requested(&mut application, wanted("mail")).await;
    nexus
        .gateway()
        .visit(&provider.consent(&auth_url).await)
        .await
        .location();
    assert_eq!(status(&mut application, &denied).await, "FAILED");
    let unknown = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";
    assert_eq!(status(&mut application, unknown).await, "FAILED");
    for (id, code, refused) in [
        (pending.as_str(), 409, "connection_not_active"),
        (denied.as_str(), 409, "connection_not_active"),
        (unknown, 404, "connection_not_found"),
        ("not-an-id", 404, "connection_not_found"),
    ] {
        for call in ["get_token", "refresh_connection", "resolve_strategy"] {
            let came = application.call(call, json!({"connection_id": id})).await;
            came.refused(code, refused);
        }
    }
    let whose = json!({"provider": "mail", "user_id": "alice"});
    let found = application.call("resolve_active", whose).await;
    assert_eq!(found.returned(), Value::Null);

    let came = application.call("request_connection", wanted("fax")).await;
    came.refused(404, "provider_not_found");
    let mut elsewhere = wanted("mail");
    elsewhere["return_url"] = json!("https://elsewhere.example/");
    let came = application.call("request_connection", elsewhere).await;
    came.refused(400, "invalid_return_url");
    let came = application
        .call("capture_schema", json!({"state": "made-up"}))
        .await;
    came.refused(400, "invalid_state");
}

async fn a_key_opens_what_it_should(database: Database) {
    let (nexus, provider) = (started(database).await, ScriptedProvider::start().await);
    nexus.register(provider.profile("mail")).await;
    let present = json!({"profile": provider.profile("mail")});
    let absent = json!({"profile": provider.profile("chat")});
    let whose = json!({"provider": "mail", "user_id": "alice"});

    let mut agent = Application::with_key(&nexus, CALLER);
    agent
        .call("ensure_provider", present.clone())
        .await
        .returned();
    let came = agent.call("ensure_provider", absent.clone()).await;
    came.refused(403, "api_key_not_permitted");

    let mut nobody = Application::without_key(&nexus);
    let mut stranger = Application::with_key(&nexus, "a-wrong-key");
    for (application, code) in [
        (&mut nobody, "missing_api_key"),
        (&mut stranger, "invalid_api_key"),
    ] {
        for call in [("ensure_provider", &present), ("resolve_active", &whose)] {
            application
                .call(call.0, call.1.clone())
                .await
                .refused(401, code);
        }
        // The id is what opens these.
        let id = connected(&nexus, &provider, application).await;
        application
            .call("get_token", json!({"connection_id": id}))
            .await
            .returned();
    }
    assert_eq!(nexus.provider_history().await, ["provider.registered"]);
}

async fn a_credential_is_for_the_person_it_belongs_to(database: Database) {
    for binding in ["optional", "required"] {
        let nexus = operated(database).set("SUBJECT_BINDING", binding);
        let (nexus, provider) = (nexus.start().await, ScriptedProvider::start().await);
        nexus.register(provider.profile("mail")).await;
        let mut application = Application::with_key(&nexus, CALLER);
        // It names nobody when it asks for a connection and polls.
        let id = connected(&nexus, &provider, &mut application).await;
        let by_id = json!({"connection_id": id});
        let nobody = application.call("get_token", by_id.clone()).await;
        if binding == "required" {
            nobody.refused(401, "missing_subject");
        } else {
            nobody.returned();
        }
        application.acts_for("bob");
        for call in ["get_token", "refresh_connection"] {
            let came = application.call(call, by_id.clone()).await;
            came.refused(404, "connection_not_found");
        }
        let whose = json!({"provider": "mail", "user_id": "alice"});
        let found = application.call("resolve_active", whose).await;
        assert_eq!(found.returned(), Value::Null);
        application.acts_for("alice");
        application.call("get_token", by_id).await.returned();
    }
}

async fn an_expiry_is_a_number_or_a_text_as_the_operator_says(database: Database) {
    for (setting, fits) in [("epoch", false), ("rfc3339", true)] {
        let nexus = operated(database).set("TOKEN_EXPIRES_AT", setting);
        let (nexus, provider) = (nexus.start().await, ScriptedProvider::start().await);
        nexus.register(provider.profile("mail")).await;
        let mut application = Application::with_key(&nexus, CALLER);
        let id = connected(&nexus, &provider, &mut application).await;

        let strategy = application
            .call("resolve_strategy", json!({"connection_id": id}))
            .await;
        if fits {
            let strategy = strategy.returned();
            assert_eq!(strategy["type"], "oauth2");
            assert_eq!(
                strategy["expires_at"],
                strategy["credentials"]["expires_at"]
            );
        } else {
            strategy.does_not_fit(&["credentials/expires_at", "expires_at"]);
        }
        // What is resolved has a text either way.
        application.acts_for("alice");
        let handle = application
            .call("discover", json!({"provider": "mail"}))
            .await
            .returned();
        let with = json!({"handle": handle, "url": provider.account_url()});
        let answer = application.call("use_account", with).await.returned();
        assert_eq!(answer["status"], 200);
    }
}

async fn the_command_line_registers_providers_and_begins_a_connection(database: Database) {
    let nexus = operated(database).set("GATEWAY_REQUIRE_API_KEY", "true");
    let nexus = nexus.start().await;
    let operator = CommandLine::with_key(&nexus, &nexus.api_key());
    let status = operator.run(&["status"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(
        status.stdout.contains("Gateway is reachable and healthy"),
        "{status:?}"
    );

    for (name, arguments, auth_type) in [
        (
            "github",
            &["--client-id=our-app", "--client-secret=canary-of-the-app"][..],
            "oauth2",
        ),
        (
            "google-drive",
            &["--client-id=our-app", "--client-secret=canary-of-the-app"],
            "oauth2",
        ),
        ("brevo", &["--api-key=canary-of-the-key"], "api_key"),
        (
            "jira",
            &["--client-id=alice", "--client-secret=canary-of-alice"],
            "basic_auth",
        ),
        (
            "our-own",
            &[
                "--auth-type=api_key",
                "--api-key=canary-of-the-key",
                "--header-name=X-Key",
            ],
            "api_key",
        ),
    ] {
        let typed = name.replace('-', "_");
        let told = operator
            .run(&[&["register", &typed], arguments].concat())
            .await;
        assert_eq!(told.code, Some(0), "{told:?}");
        let path = format!("/providers/by-name/{name}");
        let id = text(&nexus.broker().get(&path).await.expect(200)["id"]);
        assert!(
            told.stdout.contains(&format!("Provider ID: {id}")),
            "{told:?}"
        );
        let profile = nexus
            .broker()
            .get(&format!("/providers/{id}"))
            .await
            .expect(200);
        assert_eq!(profile["auth_type"], auth_type, "{profile}");
    }
    // It looks for a list in the answer that its own client reads by kind, so that it names none.
    let list = operator.run(&["list"]).await;
    assert_eq!(list.code, Some(0), "{list:?}");
    let (_, listed) = list
        .stdout
        .split_once("Gateway providers:")
        .expect("a heading");
    assert_eq!(listed, "\u{1b}[0m\n", "{list:?}");

    let agent = CommandLine::with_key(&nexus, CALLER);
    let test = agent.run(&["test", "github", "--user-id=alice"]).await;
    assert_eq!(test.code, Some(0), "{test:?}");
    let id = after(&test.stdout, "connection_id = ");
    let check = nexus
        .admin()
        .get(&format!("/v1/check-connection/{id}"))
        .await;
    assert_eq!(check.expect(200)["status"], "pending");
    let auth_url: Url = after(&test.stdout, "auth_url      = ")
        .parse()
        .expect("a URL");
    assert_eq!(auth_url.host_str(), Some("github.com"));
    let scopes = auth_url.query_pairs().find(|(name, _)| name == "scope");
    assert_eq!(
        scopes.expect("scopes").1,
        "repo read:org read:user workflow"
    );
}

fn after<'a>(told: &'a str, label: &str) -> &'a str {
    let (_, rest) = told.split_once(label).unwrap_or_else(|| panic!("{told}"));
    rest.lines().next().expect("a line")
}

async fn the_command_line_says_what_was_refused(database: Database) {
    let nexus = started(database).await;
    let jira = [
        "register",
        "jira",
        "--client-id=alice",
        "--client-secret=canary-of-alice",
    ];
    let operator = CommandLine::with_key(&nexus, &nexus.api_key());
    assert_eq!(operator.run(&jira).await.code, Some(0));
    for (key, arguments, told) in [
        (
            nexus.api_key().as_str(),
            &jira[..],
            "HTTP 409): {\"error\":\"provider_exists\"",
        ),
        (
            CALLER,
            &jira,
            "HTTP 403): {\"error\":\"api_key_not_permitted\"",
        ),
        (
            "a-wrong-key",
            &jira,
            "HTTP 401): {\"error\":\"invalid_api_key\"",
        ),
        (
            CALLER,
            &["test", "slack"],
            "Test failed: Client error '404 Not Found'",
        ),
    ] {
        let refused = CommandLine::with_key(&nexus, key).run(arguments).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stdout.contains(told), "{refused:?}");
        assert!(!refused.stdout.contains("canary"), "{refused:?}");
    }
    assert_eq!(nexus.provider_history().await, ["provider.registered"]);
}
