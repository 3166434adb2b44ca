//! The public clients that no registry has: what each sends, and what it reads in the answers. (The one that can be installed is in
//! `jarviscore.rs`.)
//!
//! - `POST /v1/request-connection`
//! - `GET /v1/check-connection/{connection_id}`
//! - `GET /v1/token/{connection_id}`
//! - `POST /v1/refresh/{connection_id}`
//! - `GET /v1/resolve`
//! - `DELETE /v1/connections/{connection_id}`
//! - `GET /providers`
//! - `POST /providers`
//! - `GET /providers/{provider_id}`
//! - `PATCH /providers/{provider_id}`
//! - `DELETE /providers/{provider_id}`

use nexus_tests::{Answer, Database, Nexus, Reply, ScriptedProvider, TestNexus, on_both_databases};
use serde_json::{Value, json};

mod clients {
    pub(crate) mod habit;
    pub(crate) mod nexus_cli;
}

use clients::habit::{
    Habit,
    Read::{self, Absent, Is, Number, Text, TextMap, Texts, Time},
    reads, refusal,
};
use clients::nexus_cli::{apply, plan, provider};

on_both_databases! {
    go_sdk,
    go_bridge,
    go_sidecar,
    python_sdk,
    typescript_sdk,
    mcp_adapter,
    nexus_cli,
    nexus_cli_sees_every_provider_at_once,
}

const CALLER: &str = "key-of-the-agents";
const RETURN: &str = "https://app.example/callback";
const RESOLVE: &str = "/v1/resolve?workspace_id=user-1&provider_name=";

/// A vault where `mail` is an OAuth provider and `weather`, `maps` and `bank` take what users type.
async fn started(database: Database) -> (TestNexus, ScriptedProvider) {
    let nexus = Nexus::new(database)
        .set("GATEWAY_API_KEYS", CALLER)
        .set("ALLOWED_RETURN_DOMAINS", "app.example")
        .start()
        .await;
    let mail = ScriptedProvider::start().await;
    nexus.register(mail.profile("mail")).await;
    for (name, auth_type, params) in [
        (
            "weather",
            "api_key",
            json!({"header_name": "X-Weather-Key"}),
        ),
        ("maps", "query_param", json!({"param_name": "key"})),
        ("bank", "basic_auth", json!({})),
    ] {
        let profile = json!({"name": name, "auth_type": auth_type, "params": params});
        nexus.register(profile).await;
    }
    (nexus, mail)
}

/// Asks for a connection as the client does; a user consents. Returns the connection's id.
async fn connected(
    nexus: &TestNexus,
    mail: &ScriptedProvider,
    client: &Habit,
    asked: &Value,
) -> String {
    let answer = client
        .ask("POST", "/v1/request-connection", Some(asked))
        .await;
    let members = [
        ("/authUrl", Text),
        ("/connection_id", Text),
        ("/state", Text),
        ("/scopes", Texts),
        ("/provider_id", Text),
    ];
    let body = reads(&answer, 200, &members);
    let id = text(&body["connection_id"]).to_owned();
    let check = format!("/v1/check-connection/{id}");
    reads(
        &client.get(&check).await,
        200,
        &[("/status", is("pending"))],
    );
    let callback = mail
        .consent(&text(&body["authUrl"]).parse().expect("a URL"))
        .await;
    let back = nexus.gateway().visit(&callback).await;
    assert_eq!(back.location_param("status").as_deref(), Some("success"));
    reads(&client.get(&check).await, 200, &[("/status", is("active"))]);
    id
}

/// What every client of a kind does when it is refused: it reads the envelope, and does not ask again, as it would after a 5xx.
async fn is_refused(client: &Habit, mail: &ScriptedProvider, id: &str) {
    let unknown = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";
    let check = format!("/v1/check-connection/{unknown}");
    reads(&client.get(&check).await, 200, &[("/status", is("failed"))]);
    let token = client.get(&format!("/v1/token/{unknown}")).await;
    refusal(&token, 404, "connection_not_found");
    mail.next(Reply::error(400, "invalid_grant"));
    let refresh = client.post_nothing(&format!("/v1/refresh/{id}")).await;
    refusal(&refresh, 409, "attention_required");
    let token = client.get(&format!("/v1/token/{id}")).await;
    refusal(&token, 409, "attention_required");
    let check = format!("/v1/check-connection/{id}");
    reads(
        &client.get(&check).await,
        200,
        &[("/status", is("attention"))],
    );
}

/// The end of a connection, twice: a client that lost the first answer asks again.
async fn is_ended(client: &Habit, id: &str) {
    let path = format!("/v1/connections/{id}?workspace_id=user-1&reason=the+user+left");
    for already in [false, true] {
        let members = [
            ("/connection_id", is(id)),
            ("/provider_name", is("mail")),
            ("/status", is("revoked")),
            ("/revoked_at", Time),
            ("/already_revoked", Is(json!(already))),
            ("/token_deleted", Is(json!(true))),
        ];
        let answer = client.ask("DELETE", &path, None).await;
        let body = reads(&answer, 200, &members);
        assert!(body["provider_revoked"].is_boolean(), "{body}");
    }
    let token = client.get(&format!("/v1/token/{id}")).await;
    refusal(&token, 409, "connection_not_active");
    let check = format!("/v1/check-connection/{id}");
    reads(&client.get(&check).await, 200, &[("/status", is("failed"))]);
}

fn is(text: &str) -> Read {
    Is(json!(text))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// The top of a token answer, where the Go client looks.
fn on_top() -> Vec<(&'static str, Read)> {
    vec![
        ("/access_token", Text),
        ("/token_type", is("Bearer")),
        ("/expires_in", Number),
        ("/expires_at", Number),
        ("/scope", is("openid email")),
        ("/id_token", Text),
        ("/refresh_token", Absent),
        ("/provider", is("mail")),
        ("/strategy/type", is("oauth2")),
        ("/credentials/access_token", Text),
    ]
}

async fn go_sdk(database: Database) {
    let (nexus, mail) = started(database).await;
    let headers = [
        ("user-agent", "Go-http-client/1.1"),
        ("accept-encoding", "gzip"),
    ];
    let client = Habit::new(nexus.gateway(), &headers);
    // A slice that nobody filled is null.
    let asked =
        json!({"user_id": "user-2", "provider_name": "mail", "scopes": null, "return_url": RETURN});
    connected(&nexus, &mail, &client, &asked).await;
    let asked = json!({"user_id": "user-1", "provider_name": "mail", "scopes": ["openid", "email"],
        "return_url": RETURN, "metadata": {"tenant": 7}});
    let id = connected(&nexus, &mail, &client, &asked).await;
    let first = reads(
        &client.get(&format!("/v1/token/{id}")).await,
        200,
        &on_top(),
    );
    let refresh = client.post_nothing(&format!("/v1/refresh/{id}")).await;
    let second = reads(&refresh, 200, &on_top());
    assert_ne!(first["access_token"], second["access_token"]);

    // It sends a key only where the application's HTTP client adds one.
    let resolve = format!("{RESOLVE}mail");
    refusal(&client.get(&resolve).await, 401, "missing_api_key");
    let keyed = Habit::new(nexus.gateway().with_key(CALLER), &headers);
    let resolved = [
        (
            "/credentials/access_token",
            Is(second["access_token"].clone()),
        ),
        ("/credentials/token_type", is("Bearer")),
        ("/credentials/expires_at", Time),
        ("/strategy/type", is("oauth2")),
    ];
    reads(&keyed.get(&resolve).await, 200, &resolved);
    is_refused(&client, &mail, &id).await;
    is_ended(&client, &id).await;
    refusal(&keyed.get(&resolve).await, 404, "connection_not_found");
}

/// The parts of a token from which the bridge makes a request's headers or query.
async fn go_bridge(database: Database) {
    let (nexus, mail) = started(database).await;
    let client = Habit::new(nexus.gateway(), &[("user-agent", "Go-http-client/1.1")]);
    let id = nexus.connect(&mail, "mail").await.id;
    let oauth = || {
        [
            ("/strategy/type", is("oauth2")),
            ("/credentials/access_token", Text),
            ("/expires_at", Number),
        ]
    };
    reads(&client.get(&format!("/v1/token/{id}")).await, 200, &oauth());
    let refresh = client.post_nothing(&format!("/v1/refresh/{id}")).await;
    reads(&refresh, 200, &oauth());

    for (name, params) in [
        ("bus", json!({"auth_type": "hmac_payload"})),
        (
            "store",
            json!({"auth_type": "aws_sigv4", "params": {"service": "s3"}}),
        ),
        (
            "bot",
            json!({"auth_type": "path", "user_info_endpoint": "/bot{api_key}/me"}),
        ),
    ] {
        let mut profile = params;
        profile["name"] = json!(name);
        nexus.register(profile).await;
    }
    for (name, typed, kind, config) in [
        (
            "weather",
            json!({"api_key": "k-1"}),
            "header",
            json!({"header_name": "X-Weather-Key", "value_prefix": "", "credential_field": "api_key"}),
        ),
        (
            "maps",
            json!({"api_key": "k-1"}),
            "query_param",
            json!({"param_name": "key", "credential_field": "api_key"}),
        ),
        (
            "bank",
            json!({"username": "u", "password": "p"}),
            "basic_auth",
            json!({"username_field": "username", "password_field": "password"}),
        ),
        (
            "bus",
            json!({"secret": "s"}),
            "hmac_payload",
            json!({"header_name": "X-Signature", "secret_field": "secret", "algo": "sha256", "encoding": "hex"}),
        ),
        (
            "store",
            json!({"access_key": "a", "secret_key": "s"}),
            "aws_sigv4",
            json!({"service": "s3", "region": "us-east-1"}),
        ),
        ("bot", json!({"api_key": "k-1"}), "path", json!({})),
    ] {
        let id = nexus.capture(name, typed.clone()).await.id;
        let members = [
            ("/strategy/type", is(kind)),
            ("/strategy/config", Is(config)),
            ("/credentials", Is(typed)),
            // It takes 0 for never.
            ("/expires_at", Absent),
        ];
        reads(&client.get(&format!("/v1/token/{id}")).await, 200, &members);
    }
}

/// It is the Go client and the bridge in one process, and keeps a token as long as it is told.
async fn go_sidecar(database: Database) {
    let (nexus, mail) = started(database).await;
    let client = Habit::new(nexus.gateway(), &[("user-agent", "Go-http-client/1.1")]);
    let id = nexus.connect(&mail, "mail").await.id;
    let path = format!("/v1/token/{id}");
    reads(&client.get(&path).await, 200, &on_top());
    mail.next(Reply::tokens().expires_in(Value::Null));
    client
        .post_nothing(&format!("/v1/refresh/{id}"))
        .await
        .expect(200);
    let forever = [
        ("/expires_at", Absent),
        ("/expires_in", Absent),
        ("/access_token", Text),
    ];
    reads(&client.get(&path).await, 200, &forever);
    let id = nexus
        .capture("bank", json!({"username": "u", "password": "p"}))
        .await
        .id;
    let typed = [
        ("/strategy/type", is("basic_auth")),
        ("/credentials", TextMap),
        ("/access_token", Absent),
    ];
    reads(&client.get(&format!("/v1/token/{id}")).await, 200, &typed);
}

async fn python_sdk(database: Database) {
    let (nexus, mail) = started(database).await;
    let headers = [
        ("user-agent", "Python-urllib/3.11"),
        ("accept", "application/json"),
        ("connection", "close"),
    ];
    let client = Habit::new(nexus.gateway().with_key(CALLER), &headers);
    let asked = json!({"user_id": "user-1", "provider_name": "mail", "scopes": ["openid", "email"],
        "return_url": RETURN, "metadata": {"tenant": "acme"}});
    let id = connected(&nexus, &mail, &client, &asked).await;
    // Either level will do.
    for answer in [
        client.get(&format!("/v1/token/{id}")).await,
        client.post_nothing(&format!("/v1/refresh/{id}")).await,
    ] {
        let mut members = on_top();
        members.push(("/credentials/token_type", is("Bearer")));
        members.push(("/credentials/expires_at", Number));
        members.push(("/credentials/id_token", Text));
        members.push(("/credentials/refresh_token", Absent));
        reads(&answer, 200, &members);
    }
    resolves_with_a_key(&nexus, &client).await;
    is_refused(&client, &mail, &id).await;
    is_ended(&client, &id).await;
}

/// A token of either kind by workspace and provider, as it is read before an API is called.
async fn resolves_with_a_key(nexus: &TestNexus, client: &Habit) {
    let members = [
        ("/credentials/access_token", Text),
        ("/credentials/token_type", is("Bearer")),
        ("/credentials/expires_at", Time),
        ("/expires_at", Time),
        ("/strategy/type", is("oauth2")),
    ];
    reads(&client.get(&format!("{RESOLVE}mail")).await, 200, &members);
    nexus.capture("weather", json!({"api_key": "k-1"})).await;
    let members = [
        ("/strategy/type", is("header")),
        ("/strategy/config/header_name", is("X-Weather-Key")),
        // Were it absent, `Bearer ` would be put before the key.
        ("/strategy/config/value_prefix", is("")),
        ("/strategy/config/credential_field", is("api_key")),
        ("/credentials/api_key", is("k-1")),
        ("/expires_at", Absent),
    ];
    reads(
        &client.get(&format!("{RESOLVE}weather")).await,
        200,
        &members,
    );
    let none = client.get(&format!("{RESOLVE}maps")).await;
    refusal(&none, 404, "connection_not_found");
}

async fn typescript_sdk(database: Database) {
    let (nexus, mail) = started(database).await;
    let headers = [
        ("accept", "application/json"),
        ("accept-language", "*"),
        ("sec-fetch-mode", "cors"),
        ("user-agent", "node"),
    ];
    let client = Habit::new(nexus.gateway().with_key(CALLER), &headers);
    let asked = json!({"user_id": "user-1", "provider_name": "mail", "scopes": ["openid", "email"], "return_url": RETURN});
    let id = connected(&nexus, &mail, &client, &asked).await;
    for answer in [
        client.get(&format!("/v1/token/{id}")).await,
        client.post_nothing(&format!("/v1/refresh/{id}")).await,
    ] {
        reads(&answer, 200, &on_top());
    }
    resolves_with_a_key(&nexus, &client).await;
    is_refused(&client, &mail, &id).await;
    is_ended(&client, &id).await;
}

async fn mcp_adapter(database: Database) {
    let (nexus, mail) = started(database).await;
    nexus.connect(&mail, "mail").await;
    let headers = [("accept", "application/json"), ("user-agent", "node")];
    let client = Habit::new(nexus.gateway().with_key(CALLER), &headers);
    resolves_with_a_key(&nexus, &client).await;
    let unkeyed = Habit::new(nexus.gateway().with_key(""), &headers);
    let refused = unkeyed.get(&format!("{RESOLVE}mail")).await;
    refusal(&refused, 401, "invalid_api_key");
}

fn manifest() -> Vec<Value> {
    let login = json!({"type": "object", "required": ["base_url", "username", "password"], "properties": {
        "base_url": {"type": "string", "title": "Where it is", "format": "uri"},
        "username": {"type": "string"}, "password": {"type": "string", "format": "password"}}});
    let providers = [
        json!({"name": "corp", "auth_type": "oauth2", "client_id": "app", "client_secret": "canary-of-the-app",
            "issuer": "https://idp.example", "enable_discovery": true, "scopes": ["openid", "email"],
            "params": {"access_type": "offline", "prompt": "consent"}}),
        json!({"name": "social", "auth_type": "oauth2", "auth_header": "client_secret_basic", "client_id": "app",
            "client_secret": "canary-of-the-app", "auth_url": "https://social.example/authorize",
            "token_url": "https://social.example/token", "scopes": ["read"], "api_base_url": "https://api.social.example",
            "params": {"skip_scope_on_exchange": true}}),
        json!({"name": "bot", "auth_type": "api_key", "scopes": [], "api_base_url": "https://bot.example",
            "params": {"auth_strategy": {"type": "path"}, "credential_schema": {"type": "object"}}}),
        json!({"name": "desk", "auth_type": "api_key", "scopes": [], "params": {"auth_strategy":
            {"type": "header", "config": {"header_name": "Authorization", "value_prefix": "token ", "credential_field": "api_key"}}}}),
        json!({"name": "maps", "auth_type": "api_key", "scopes": [], "params": {"auth_strategy":
            {"type": "query_param", "config": {"param_name": "key", "credential_field": "api_key"}}}}),
        json!({"name": "events", "auth_type": "api_key", "scopes": [], "params": {"validation": {"skip": true}}}),
        json!({"name": "chat", "auth_type": "api_key", "scopes": [],
            "params": {"validation": {"failure_body_contains": "\"ok\":false", "failure_status": [401, 418]}}}),
        json!({"name": "builds", "auth_type": "basic_auth", "scopes": [], "params": {"credential_schema": login}}),
    ];
    providers.iter().map(provider).collect()
}

fn succeeded(answers: &[Answer]) -> usize {
    for answer in answers {
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    }
    answers.len()
}

async fn nexus_cli(database: Database) {
    let (nexus, mut manifest) = (TestNexus::start(database).await, manifest());
    let headers = [
        ("user-agent", "Go-http-client/1.1"),
        ("accept-encoding", "gzip"),
    ];
    let cli = Habit::new(nexus.broker(), &headers);

    let first = plan(&cli, &manifest).await;
    assert_eq!(first.summary(), (8, vec![], 0));
    assert_eq!(succeeded(&apply(&cli, &first, false).await), 8);

    // Nobody says a secret again, so that it looks changed for ever.
    let secret = || vec!["client_secret"];
    let second = plan(&cli, &manifest).await;
    assert_eq!(second.summary(), (0, vec![secret(), secret()], 0));
    assert_eq!(succeeded(&apply(&cli, &second, false).await), 2);

    for profile in &mut manifest {
        if let Some(fields) = profile.as_object_mut() {
            fields.remove("client_secret");
        }
    }
    manifest[0]["scopes"] = json!(["openid"]);
    manifest[0]["params"] = json!({"audience": "https://api.example", "max_age": 60});
    manifest[3]["api_base_url"] = json!("https://desk.example");
    // Without scopes in the manifest it sends null, which is none.
    manifest[4]["scopes"] = Value::Null;
    let orphan = manifest.pop().expect("a provider");
    manifest.push(provider(&json!({"name": "new", "auth_type": "api_key"})));
    let third = plan(&cli, &manifest).await;
    let (created, mut updated, orphans) = third.summary();
    updated.sort_unstable();
    let expected = [
        vec!["api_base_url"],
        vec!["params", "scopes"],
        vec!["scopes"],
    ];
    assert_eq!((created, updated, orphans), (1, expected.to_vec(), 1));
    assert_eq!(succeeded(&apply(&cli, &third, false).await), 4);
    let by_name = format!("/providers/by-name/{}", text(&orphan["name"]));
    nexus.broker().get(&by_name).await.expect(200);

    let nulls = |profile: &mut Value| {
        if profile["scopes"].is_null() {
            profile["scopes"] = json!([]);
        }
    };
    manifest.iter_mut().for_each(nulls);
    let fourth = plan(&cli, &manifest).await;
    assert_eq!(fourth.summary(), (0, vec![], 1));
    assert_eq!(succeeded(&apply(&cli, &fourth, true).await), 1);
    nexus
        .broker()
        .get(&by_name)
        .await
        .refused(404, "provider_not_found");
    assert_eq!(plan(&cli, &manifest).await.summary(), (0, vec![], 0));

    let surface = || nexus.broker_without_key();
    // An old version's way of sending the key.
    let bearer = format!("Bearer {}", nexus.api_key());
    for (surface, authorization, code) in [
        (surface(), "", "missing_api_key"),
        (surface(), bearer.as_str(), "missing_api_key"),
        (surface().with_key("a-wrong-key"), "", "invalid_api_key"),
    ] {
        let old = Habit::new(surface, &[("authorization", authorization)]);
        refusal(&old.get("/providers").await, 401, code);
    }
}

async fn nexus_cli_sees_every_provider_at_once(database: Database) {
    let nexus = TestNexus::start(database).await;
    let cli = Habit::new(nexus.broker(), &[("user-agent", "Go-http-client/1.1")]);
    let named =
        |number| json!({"name": format!("api-{number}"), "auth_type": "api_key", "scopes": []});
    let manifest: Vec<Value> = (0..120).map(|number| provider(&named(number))).collect();
    let first = plan(&cli, &manifest).await;
    assert_eq!(succeeded(&apply(&cli, &first, false).await), 120);
    assert_eq!(plan(&cli, &manifest).await.summary(), (0, vec![], 0));
}
