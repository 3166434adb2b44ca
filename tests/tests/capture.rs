//! `GET /v1/capture-schema` and `POST /v1/capture-credential`: static credentials.

use nexus_tests::{Answer, Database, Nexus, ScriptedProvider, TestNexus, on_both_databases, until};
use serde_json::{Value, json};

on_both_databases! {
    the_schema_is_made_from_the_strategys_fields,
    a_schema_of_the_providers_own_wins,
    a_captured_credential_is_served_with_its_strategy,
    every_kind_is_served_with_what_its_use_needs,
    credentials_that_break_the_schema_are_refused_without_being_repeated,
    a_refused_attempt_leaves_the_state_good,
    a_state_works_once,
    a_state_that_is_not_ours_opens_nothing,
    a_state_of_an_oauth_consent_captures_nothing,
    a_body_that_is_none_is_refused,
    a_state_after_its_time_is_refused,
}

async fn submit(nexus: &TestNexus, state: &str, credentials: Value) -> Answer {
    nexus
        .gateway()
        .post(
            "/v1/capture-credential",
            json!({"state": state, "credentials": credentials}),
        )
        .await
}

async fn schema(nexus: &TestNexus, state: &str) -> Answer {
    nexus
        .gateway()
        .get(&format!("/v1/capture-schema?state={state}"))
        .await
}

async fn weather(database: Database) -> TestNexus {
    let nexus = TestNexus::start(database).await;
    nexus
        .register(
            json!({"name": "weather", "auth_type": "api_key", "auth_header": "X-Weather-Key"}),
        )
        .await;
    nexus
}

async fn the_schema_is_made_from_the_strategys_fields(database: Database) {
    let nexus = weather(database).await;
    let requested = nexus.request("weather").await;
    let body = schema(&nexus, &requested.state).await.expect(200);
    assert_eq!(body["provider_name"], "weather");
    assert_eq!(
        (&body["type"], &body["required"]),
        (&json!("object"), &json!(["api_key"]))
    );
    assert_eq!(body["properties"]["api_key"]["format"], "password");
    assert_eq!(body["schema"]["properties"], body["properties"]);
    let path = format!("/auth/capture-schema?state={}", requested.state);
    assert_eq!(
        nexus.broker_without_key().get(&path).await.expect(200),
        body
    );
}

async fn a_schema_of_the_providers_own_wins(database: Database) {
    let nexus = TestNexus::start(database).await;
    let own = json!({"type": "object", "required": ["pin"], "properties": {"pin": {"type": "string", "pattern": "^[0-9]{4}$"}}, "additionalProperties": false});
    nexus
        .register(
            json!({"name": "bank", "auth_type": "header", "params": {"credential_schema": own}}),
        )
        .await;
    let requested = nexus.request("bank").await;
    assert_eq!(
        schema(&nexus, &requested.state).await.expect(200)["schema"],
        own
    );
    for wrong in [
        json!({"pin": "12345"}),
        json!({"pin": 1234}),
        json!({"pin": "1234", "other": "x"}),
        json!({}),
    ] {
        submit(&nexus, &requested.state, wrong)
            .await
            .refused(400, "invalid_credentials");
    }
    submit(&nexus, &requested.state, json!({"pin": "1234"}))
        .await
        .expect(200);
}

async fn a_captured_credential_is_served_with_its_strategy(database: Database) {
    let nexus = weather(database).await;
    let requested = nexus.request("weather").await;
    let body = submit(&nexus, &requested.state, json!({"api_key": "canary-key"}))
        .await
        .expect(200);
    assert_eq!(
        (&body["connection_id"], &body["status"]),
        (&json!(requested.id), &json!("success"))
    );
    let expected = format!(
        "http://127.0.0.1:9/done?keep=1&status=success&connection_id={}#end",
        requested.id
    );
    assert_eq!(body["redirect_url"], expected);
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
    let token = nexus.token(&requested.id).await.expect(200);
    assert_eq!(token["strategy"]["type"], "header");
    assert_eq!(token["strategy"]["config"]["header_name"], "X-Weather-Key");
    assert_eq!(token["strategy"]["config"]["credential_field"], "api_key");
    assert_eq!(token["credentials"], json!({"api_key": "canary-key"}));
    assert_eq!(
        (&token["scope"], &token["provider"]),
        (&json!(""), &json!("weather"))
    );
    assert_eq!(
        (token.get("expires_at"), token.get("access_token")),
        (None, None)
    );
    let history = ["connection.requested", "connection.credential_captured"];
    assert_eq!(nexus.history(&requested.reference()).await[..2], history);
}

async fn every_kind_is_served_with_what_its_use_needs(database: Database) {
    let nexus = TestNexus::start(database).await;
    let kinds = [
        (
            json!({"auth_type": "api_key"}),
            json!({"api_key": "k"}),
            "header",
            json!({"header_name": "Authorization", "value_prefix": "Bearer ", "credential_field": "api_key"}),
        ),
        (
            json!({"auth_type": "header", "params": {"header_name": "X-Token", "value_prefix": "Token "}}),
            json!({"api_key": "k"}),
            "header",
            json!({"header_name": "X-Token", "value_prefix": "Token ", "credential_field": "api_key"}),
        ),
        (
            json!({"auth_type": "query_param", "params": {"param_name": "key"}}),
            json!({"api_key": "k"}),
            "query_param",
            json!({"param_name": "key", "credential_field": "api_key"}),
        ),
        (
            json!({"auth_type": "basic_auth"}),
            json!({"username": "u", "password": "p"}),
            "basic_auth",
            json!({"username_field": "username", "password_field": "password"}),
        ),
        (
            json!({"auth_type": "aws_sigv4", "params": {"service": "s3"}}),
            json!({"access_key": "a", "secret_key": "s"}),
            "aws_sigv4",
            json!({"service": "s3", "region": "us-east-1"}),
        ),
    ];
    for (count, (mut profile, credentials, kind, config)) in kinds.into_iter().enumerate() {
        let name = format!("kind-{count}");
        profile["name"] = json!(name);
        nexus.register(profile).await;
        let captured = nexus.capture(&name, credentials.clone()).await;
        let token = nexus.token(&captured.id).await.expect(200);
        assert_eq!(token["strategy"], json!({"type": kind, "config": config}));
        assert_eq!(token["credentials"], credentials);
    }
}

async fn credentials_that_break_the_schema_are_refused_without_being_repeated(database: Database) {
    let nexus = weather(database).await;
    let requested = nexus.request("weather").await;
    let answer = submit(&nexus, &requested.state, json!({"api_key": ["canary-key"]})).await;
    let refused = answer.refused(400, "invalid_credentials");
    assert_eq!(refused["fields"][0]["path"], "/api_key");
    assert!(!answer.text.contains("canary-key"), "{}", answer.text);
    let absent = submit(&nexus, &requested.state, json!({"wrong": "canary-key"}))
        .await
        .refused(400, "invalid_credentials");
    assert!(!absent.to_string().contains("canary-key"));
    assert!(!nexus.log().contains("canary-key"));
}

async fn a_refused_attempt_leaves_the_state_good(database: Database) {
    let nexus = weather(database).await;
    let requested = nexus.request("weather").await;
    submit(&nexus, &requested.state, json!({}))
        .await
        .refused(400, "invalid_credentials");
    assert_eq!(nexus.status(&requested.id).await["status"], "pending");
    submit(&nexus, &requested.state, json!({"api_key": "k"}))
        .await
        .expect(200);
}

async fn a_state_works_once(database: Database) {
    let nexus = weather(database).await;
    let requested = nexus.request("weather").await;
    submit(&nexus, &requested.state, json!({"api_key": "first"}))
        .await
        .expect(200);
    submit(&nexus, &requested.state, json!({"api_key": "second"}))
        .await
        .refused(409, "state_used");
    schema(&nexus, &requested.state)
        .await
        .refused(409, "state_used");
    assert_eq!(
        nexus.token(&requested.id).await.expect(200)["credentials"]["api_key"],
        "first"
    );

    let requested = nexus.request("weather").await;
    let attempts = ["left", "right"].map(|key| {
        let (gateway, body) = (
            nexus.gateway(),
            json!({"state": requested.state, "credentials": {"api_key": key}}),
        );
        tokio::spawn(async move { gateway.post("/v1/capture-credential", body).await.status })
    });
    let mut statuses = Vec::new();
    for attempt in attempts {
        statuses.push(attempt.await.expect("an attempt"));
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

async fn a_state_that_is_not_ours_opens_nothing(database: Database) {
    let nexus = weather(database).await;
    schema(&nexus, "invented")
        .await
        .refused(400, "invalid_state");
    submit(&nexus, "invented", json!({"api_key": "k"}))
        .await
        .refused(400, "invalid_state");
    nexus
        .gateway()
        .get("/v1/capture-schema")
        .await
        .refused(400, "invalid_state");
}

async fn a_state_of_an_oauth_consent_captures_nothing(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    nexus.register(provider.profile("google")).await;
    let requested = nexus.request("google").await;
    schema(&nexus, &requested.state)
        .await
        .refused(400, "invalid_state");
    submit(&nexus, &requested.state, json!({"access_token": "x"}))
        .await
        .refused(400, "invalid_state");
    assert_eq!(nexus.status(&requested.id).await["status"], "pending");
}

async fn a_body_that_is_none_is_refused(database: Database) {
    let nexus = weather(database).await;
    let state = nexus.request("weather").await.state;
    let send = |kind: &'static str, body: String| {
        nexus
            .gateway()
            .request("POST", "/v1/capture-credential")
            .body(kind, body)
            .send()
    };
    send("application/json", "[".to_owned())
        .await
        .refused(400, "invalid_json");
    send(
        "application/json",
        json!({"state": 7, "credentials": {}}).to_string(),
    )
    .await
    .refused(400, "invalid_field");
    send(
        "application/json",
        json!({"state": state, "credentials": "x"}).to_string(),
    )
    .await
    .refused(400, "invalid_field");
    send("application/json", json!({"state": state}).to_string())
        .await
        .refused(400, "missing_fields");
    send("application/x-www-form-urlencoded", "state=x".to_owned())
        .await
        .refused(415, "unsupported_media_type");
    let long =
        json!({"state": state, "credentials": {"api_key": "x".repeat(300 * 1024)}}).to_string();
    send("application/json", long)
        .await
        .refused(413, "body_too_large");
}

async fn a_state_after_its_time_is_refused(database: Database) {
    let nexus = Nexus::new(database).set("STATE_TTL", "1s").start().await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let requested = nexus.request("weather").await;
    until("the request lapses", || async {
        (nexus.status(&requested.id).await["status"] == "failed").then_some(())
    })
    .await;
    schema(&nexus, &requested.state)
        .await
        .refused(400, "invalid_state");
    submit(&nexus, &requested.state, json!({"api_key": "k"}))
        .await
        .refused(400, "invalid_state");
}
