//! Static credentials, tried at their provider before they are recorded.

use nexus_tests::{
    AccountCall, Answer, Database, Nexus, Reply, Requested, ScriptedProvider, TestNexus, Wire,
    is_not_in, on_both_databases, stored,
};
use serde_json::{Value, json};

on_both_databases! {
    a_credential_that_the_provider_takes_is_recorded,
    a_refused_credential_is_recorded_nowhere_and_can_be_corrected,
    every_strategy_reaches_the_provider,
    the_rules_of_the_provider_decide,
    a_provider_in_trouble_or_away_refuses_nothing,
    a_provider_that_says_nothing_is_not_waited_for_for_ever,
    a_provider_with_nothing_to_ask_is_not_asked,
    the_form_says_that_it_is_tried_only_where_it_is,
    a_redirect_is_not_followed,
    an_address_that_is_not_allowed_is_not_asked,
    a_field_that_cannot_be_sent_is_named,
    the_form_says_it_above_the_fields_and_keeps_what_was_typed,
    a_strategy_that_makes_no_sense_is_refused_with_its_field,
    a_credential_that_was_tried_is_in_no_log,
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A server, and a provider that is registered there as `weather` with these fields.
async fn weather(database: Database, fields: Value) -> (TestNexus, ScriptedProvider) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    nexus.register(profile("weather", &provider, fields)).await;
    (nexus, provider)
}

/// A profile whose user information is at the provider, unless the fields say otherwise.
fn profile(name: &str, provider: &ScriptedProvider, fields: Value) -> Value {
    let mut profile = json!({
        "name": name, "auth_type": "api_key",
        "api_base_url": provider.account_url(), "user_info_endpoint": "/me",
    });
    let Value::Object(fields) = fields else {
        panic!("fields are an object")
    };
    profile.as_object_mut().expect("an object").extend(fields);
    profile
}

async fn submit(nexus: &TestNexus, requested: &Requested, credentials: Value) -> Answer {
    let body = json!({"state": requested.state, "credentials": credentials});
    nexus.gateway().post("/v1/capture-credential", body).await
}

fn refusal() -> Reply {
    Reply::raw(401, "application/json", r#"{"error": "bad key"}"#)
}

async fn a_credential_that_the_provider_takes_is_recorded(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    let requested = nexus.request("weather").await;
    submit(&nexus, &requested, json!({"api_key": "k-1"}))
        .await
        .expect(200);
    let calls = provider.accounts();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].url, "/account/me");
    assert_eq!(calls[0].header("authorization"), Some("Bearer k-1"));
    assert_eq!(calls[0].header("accept"), Some("application/json"));
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
    let token = nexus.token(&requested.id).await.expect(200);
    assert_eq!(token["credentials"], json!({"api_key": "k-1"}));
    assert_eq!(provider.accounts().len(), 1, "it is tried once");
}

async fn a_refused_credential_is_recorded_nowhere_and_can_be_corrected(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    let requested = nexus.request("weather").await;
    for status in [401, 403] {
        let said = "what the provider said: canary-key";
        provider.next_account(Reply::raw(status, "text/plain", said));
        let answer = submit(&nexus, &requested, json!({"api_key": "canary-key"})).await;
        let refused = answer.refused(400, "credentials_rejected");
        assert_eq!(
            refused["message"],
            "The provider did not accept these credentials."
        );
        assert!(!answer.text.contains("canary-key") && !answer.text.contains("said"));
    }
    assert_eq!(nexus.status(&requested.id).await["status"], "pending");
    let asked = ["connection.requested"];
    assert_eq!(nexus.history(&requested.reference()).await, asked);
    submit(&nexus, &requested, json!({"api_key": "good"}))
        .await
        .expect(200);
    let done = ["connection.requested", "connection.credential_captured"];
    assert_eq!(nexus.history(&requested.reference()).await, done);
    let token = nexus.token(&requested.id).await.expect(200);
    assert_eq!(token["credentials"], json!({"api_key": "good"}));
    submit(&nexus, &requested, json!({"api_key": "again"}))
        .await
        .refused(409, "state_used");
    assert_eq!(provider.accounts().len(), 3, "a spent state asks nobody");
}

/// A profile's fields, a credential, and what of it is seen at the provider.
type Way = (Value, Value, fn(&AccountCall) -> bool);

fn ways() -> Vec<Way> {
    let header = json!({"auth_type": "header", "params": {"header_name": "X-Key", "value_prefix": "Token "}});
    let query = json!({"auth_type": "query_param", "params": {"param_name": "key"}, "user_info_endpoint": "/me?key=theirs&a=1"});
    let hmac = json!({"auth_type": "hmac_payload", "params": {"encoding": "base64"}});
    let aws = json!({"auth_type": "aws_sigv4", "params": {"service": "execute-api", "region": "eu-central-1"}});
    let path = json!({"auth_type": "path", "user_info_endpoint": "/bot{token}/me?t={token}"});
    let own = json!({"auth_type": "basic_auth", "params": {"auth_strategy": {"type": "header", "config": {"header_name": "X-Sid", "credential_field": "sid"}}}});
    vec![
        (header, json!({"api_key": "canary-header-key"}), |call| {
            call.header("x-key") == Some("Token canary-header-key")
        }),
        (query, json!({"api_key": "canary&query=key"}), |call| {
            call.url == "/account/me?a=1&key=canary%26query%3Dkey"
        }),
        (
            json!({"auth_type": "basic_auth"}),
            json!({"username": "canary-username", "password": "canary-pass:wörd"}),
            // `canary-username:canary-pass:wörd`, in UTF-8.
            |call| {
                call.header("authorization")
                    == Some("Basic Y2FuYXJ5LXVzZXJuYW1lOmNhbmFyeS1wYXNzOnfDtnJk")
            },
        ),
        (hmac, json!({"secret": "canary-hmac-secret"}), |call| {
            call.header("x-signature")
                .is_some_and(|text| text.len() == 44)
        }),
        (
            aws,
            json!({"access_key": "canary-access-key", "secret_key": "canary-secret-key", "session_token": "canary-session-token"}),
            |call| {
                let signed = call.header("authorization").unwrap_or_default();
                signed.starts_with("AWS4-HMAC-SHA256 Credential=canary-access-key/")
                    && signed.contains("/eu-central-1/execute-api/aws4_request, SignedHeaders=accept;host;x-amz-date;x-amz-security-token, ")
                    && call.header("x-amz-security-token") == Some("canary-session-token")
            },
        ),
        (path, json!({"token": "canary/path?key"}), |call| {
            call.url == "/account/botcanary%2Fpath%3Fkey/me?t=canary%2Fpath%3Fkey"
        }),
        (own, json!({"sid": "canary-own-sid-1"}), |call| {
            call.header("x-sid") == Some("canary-own-sid-1")
        }),
    ]
}

async fn every_strategy_reaches_the_provider(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    for (count, (fields, credentials, is_seen)) in ways().into_iter().enumerate() {
        let name = format!("way-{count}");
        nexus.register(profile(&name, &provider, fields)).await;
        let captured = nexus.capture(&name, credentials.clone()).await;
        let calls = provider.accounts();
        let call = calls.last().expect("a call");
        assert!(calls.len() == count + 1 && is_seen(call), "{name} {call:?}");
        let token = nexus.token(&captured.id).await.expect(200);
        assert_eq!(token["credentials"], credentials, "{name}");
    }
}

async fn the_rules_of_the_provider_decide(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    for (count, (rules, status, body, taken)) in [
        (json!({}), 200, "", true),
        (json!({}), 404, "", true),
        (json!({"failure_status": 404}), 404, "", false),
        (json!({"failure_status": [400, 404]}), 401, "", true),
        (json!({"failure_status": [503]}), 503, "", false),
        (
            json!({"failure_body_contains": "\"ok\":false"}),
            200,
            r#"{"ok":false}"#,
            false,
        ),
        (
            json!({"failure_body_contains": "\"ok\":false"}),
            200,
            r#"{"ok":true}"#,
            true,
        ),
        (
            json!({"success_body_contains": "account_id"}),
            200,
            r#"{"account_id":1}"#,
            true,
        ),
        (
            json!({"success_body_contains": "account_id"}),
            200,
            "{}",
            false,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("rules-{count}");
        let fields = json!({"params": {"validation": rules}});
        nexus.register(profile(&name, &provider, fields)).await;
        provider.next_account(Reply::raw(status, "application/json", body));
        let requested = nexus.request(&name).await;
        let answer = submit(&nexus, &requested, json!({"api_key": "k"})).await;
        if taken {
            answer.expect(200);
        } else {
            answer.refused(400, "credentials_rejected");
        }
    }
}

async fn a_provider_in_trouble_or_away_refuses_nothing(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    for reply in [
        Reply::raw(503, "text/plain", "canary of the provider"),
        Reply::raw(429, "text/plain", ""),
        refusal().on_wire(Wire::ClosedBefore),
        refusal().on_wire(Wire::ClosedMidway),
        refusal().on_wire(Wire::Reset),
        Reply::raw(401, "text/plain", &"x".repeat(1024 * 1024 + 1)),
    ] {
        provider.next_account(reply);
        nexus.capture("weather", json!({"api_key": "k"})).await;
    }
    assert_eq!(provider.accounts().len(), 6);
    let nowhere = json!({"user_info_endpoint": "http://127.0.0.1:9/me"});
    nexus.register(profile("nowhere", &provider, nowhere)).await;
    nexus.capture("nowhere", json!({"api_key": "k"})).await;
    assert!(nexus.says("a credential was taken untried"));
}

async fn a_provider_that_says_nothing_is_not_waited_for_for_ever(database: Database) {
    let provider = ScriptedProvider::start().await;
    let nexus = Nexus::new(database).set("UPSTREAM_TIMEOUT", "1s");
    let nexus = nexus.start().await;
    nexus.register(profile("mute", &provider, json!({}))).await;
    provider.next_account(refusal().on_wire(Wire::Silence));
    nexus.capture("mute", json!({"api_key": "k"})).await;
    assert_eq!(provider.accounts().len(), 1);
}

async fn a_provider_with_nothing_to_ask_is_not_asked(database: Database) {
    let (nexus, provider) = weather(database, json!({"user_info_endpoint": null})).await;
    nexus.capture("weather", json!({"api_key": "k"})).await;
    for (name, fields) in [
        ("skip", json!({"params": {"validation": {"skip": true}}})),
        ("baseless", json!({"api_base_url": null})),
        ("own", json!({"params": {"auth_strategy": {"type": "own"}}})),
        ("serviceless", json!({"auth_type": "aws_sigv4"})),
        ("versioned", json!({"user_info_endpoint": "/{version}/me"})),
    ] {
        nexus.register(profile(name, &provider, fields)).await;
        let credentials = json!({"api_key": "k", "access_key": "a", "secret_key": "s"});
        nexus.capture(name, credentials).await;
    }
    assert!(provider.accounts().is_empty());
}

async fn the_form_says_that_it_is_tried_only_where_it_is(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    let endpoint = provider.account_url();
    for (name, fields, said) in [
        ("asked", json!({}), true),
        ("silent", json!({"user_info_endpoint": null}), false),
        ("baseless", json!({"api_base_url": null}), false),
        (
            "whole",
            json!({"api_base_url": null, "user_info_endpoint": endpoint}),
            true,
        ),
        (
            "skip",
            json!({"params": {"validation": {"skip": true}}}),
            false,
        ),
        (
            "own",
            json!({"params": {"auth_strategy": {"type": "own"}}}),
            false,
        ),
    ] {
        nexus.register(profile(name, &provider, fields)).await;
        let state = nexus.request(name).await.state;
        let form = format!("/auth/capture-schema?state={state}");
        let form = nexus.gateway().request("GET", &form);
        let page = form.header("accept", "text/html").send().await;
        assert!(page.text.contains("stored encrypted"), "{}", page.text);
        let promised = page.text.contains("The vault tries it at");
        assert_eq!(promised, said, "{name}: {}", page.text);
    }
}

async fn a_redirect_is_not_followed(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    let query = format!(
        "response_type=code&code_challenge_method=S256&code_challenge=c&client_id=c&redirect_uri={}",
        provider.account_url()
    );
    let redirecting = format!("{}/authorize?{query}", provider.issuer());
    let fields = json!({"user_info_endpoint": redirecting});
    nexus.register(profile("away", &provider, fields)).await;
    nexus.capture("away", json!({"api_key": "k"})).await;
    let asked = provider.urls();
    assert!(asked.iter().any(|url| url.starts_with("/authorize?")));
    assert!(provider.accounts().is_empty(), "{asked:?}");
}

async fn an_address_that_is_not_allowed_is_not_asked(database: Database) {
    let provider = ScriptedProvider::start().await;
    let nexus = Nexus::new(database).set("ALLOW_PRIVATE_UPSTREAMS", "false");
    let nexus = nexus.start().await;
    nexus
        .register(profile("inside", &provider, json!({})))
        .await;
    nexus.capture("inside", json!({"api_key": "k"})).await;
    assert!(provider.urls().is_empty());
    assert!(nexus.says("insecure_url"));
}

async fn a_field_that_cannot_be_sent_is_named(database: Database) {
    let (nexus, provider) = weather(database, json!({})).await;
    let basic = json!({"auth_type": "basic_auth"});
    nexus.register(profile("basic", &provider, basic)).await;
    let path = json!({"auth_type": "path", "user_info_endpoint": "/{a~b}/me"});
    nexus.register(profile("path", &provider, path)).await;
    for (name, credentials, pointer) in [
        (
            "weather",
            json!({"api_key": "canary\r\nX-Other: 1"}),
            "/api_key",
        ),
        ("weather", json!({"api_key": "canary-kéy"}), "/api_key"),
        (
            "basic",
            json!({"username": "canary:user", "password": "p"}),
            "/username",
        ),
        ("path", json!({"a~b": ".."}), "/a~0b"),
    ] {
        let requested = nexus.request(name).await;
        let answer = submit(&nexus, &requested, credentials).await;
        let refused = answer.refused(400, "invalid_credentials");
        assert_eq!(refused["fields"][0]["path"], pointer);
        assert!(!answer.text.contains("canary"), "{}", answer.text);
        assert_eq!(nexus.status(&requested.id).await["status"], "pending");
    }
    assert!(provider.accounts().is_empty());
}

async fn the_form_says_it_above_the_fields_and_keeps_what_was_typed(database: Database) {
    let (nexus, provider) = weather(database, json!({"auth_type": "basic_auth"})).await;
    let requested = nexus.request("weather").await;
    let send = |accept: &str, word: &str| {
        let body = format!(
            "state={}&credential.username=ann%22&credential.password={word}",
            requested.state
        );
        let door = nexus.gateway().request("POST", "/auth/capture-credential");
        door.header("accept", accept).body(FORM, body).send()
    };
    provider.next_account(refusal());
    let page = send("text/html", "canary-word").await;
    assert_eq!(page.status, 400, "{}", page.text);
    let summary = page.text.find("role=\"alert\"").expect("a summary");
    let said = "The provider did not accept these credentials.";
    let said = page.text.find(said).expect("the sentence");
    let form = page.text.find("<form").expect("the form");
    assert!(summary < said && said < form, "{}", page.text);
    assert!(page.text.contains("value=\"ann&quot;\""), "{}", page.text);
    assert!(!page.text.contains("canary-word") && !page.text.contains("bad key"));
    provider.next_account(refusal());
    send("application/json", "w")
        .await
        .refused(400, "credentials_rejected");
    let back = send("text/html", "right").await;
    assert_eq!(back.location_param("status").as_deref(), Some("success"));
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
}

async fn a_strategy_that_makes_no_sense_is_refused_with_its_field(database: Database) {
    let nexus = TestNexus::start(database).await;
    let own =
        |kind: &str, config: Value| json!({"auth_strategy": {"type": kind, "config": config}});
    for (auth_type, params, field) in [
        ("hmac_payload", json!({"algo": "md5"}), "params.algo"),
        (
            "hmac_payload",
            json!({"encoding": "hexa"}),
            "params.encoding",
        ),
        ("query_param", json!({"param_name": 7}), "params.param_name"),
        ("path", json!({}), "api_base_url"),
        (
            "api_key",
            own("header", json!({"header_name": "a b"})),
            "params.auth_strategy.config.header_name",
        ),
        (
            "api_key",
            json!({"auth_strategy": []}),
            "params.auth_strategy",
        ),
        (
            "api_key",
            json!({"validation": {"failure_status": "4xx"}}),
            "params.validation.failure_status",
        ),
    ] {
        let profile = json!({"name": "odd", "auth_type": auth_type, "params": params});
        let answer = nexus.admin().post("/v1/providers", profile).await;
        assert_eq!(answer.refused(400, "invalid_provider")["field"], field);
    }
    let id = nexus
        .register(json!({"name": "weather", "auth_type": "hmac_payload"}))
        .await;
    let change = json!({"params": {"algo": "md5"}});
    let path = format!("/v1/providers/{id}");
    let answer = nexus.admin().patch(&path, change).await;
    assert_eq!(
        answer.refused(400, "invalid_provider")["field"],
        "params.algo"
    );
}

/// With a provider that repeats what it was sent, taken and refused, in every way, and everything logged.
async fn a_credential_that_was_tried_is_in_no_log(database: Database) {
    let provider = ScriptedProvider::start().await;
    let nexus = Nexus::new(database).set("RUST_LOG", "trace");
    let mut nexus = nexus.start().await;
    nexus.record_answers();
    let encoded = ["canary%26query%3Dkey", "canary%2Fpath%3Fkey"];
    let mut secrets = encoded.map(str::to_owned).to_vec();
    for (count, (fields, credentials, _)) in ways().into_iter().enumerate() {
        let name = format!("way-{count}");
        nexus.register(profile(&name, &provider, fields)).await;
        let echo = credentials.to_string();
        for (status, wire) in [
            (401, Wire::Whole),
            (401, Wire::ClosedMidway),
            (200, Wire::Whole),
        ] {
            let reply = Reply::raw(status, "application/json", &echo).on_wire(wire);
            provider.next_account(reply);
            let requested = nexus.request(&name).await;
            let answer = submit(&nexus, &requested, credentials.clone()).await;
            let refused = status == 401 && wire == Wire::Whole;
            assert_eq!(answer.status, if refused { 400 } else { 200 });
        }
        let texts = credentials.as_object().expect("an object").values();
        secrets.extend(texts.map(|text| text.as_str().expect("a text").to_owned()));
    }
    assert_eq!(provider.accounts().len(), 3 * ways().len());
    let trail = serde_json::to_string(&nexus.audit().await).expect("JSON");
    let answers = nexus.answers();
    let answers: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
    nexus.kill9().await;
    let places = [
        ("the log", nexus.log()),
        ("the trail", trail),
        ("the answers", answers.join("\n")),
        ("the database", stored(&nexus, database).await),
    ];
    for (place, text) in &places {
        assert!(!text.is_empty(), "{place} was read");
        for secret in &secrets {
            is_not_in(place, text, secret);
        }
    }
}
