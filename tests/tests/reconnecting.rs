//! `POST /v1/request-connection` for a connection that exists, and with an `Idempotency-Key`.

use futures::future::join_all;
use nexus_tests::{
    Answer, Client, Database, Reply, ScriptedProvider, TestNexus, on_both_databases,
};
use serde_json::{Value, json};
use url::Url;

on_both_databases! {
    a_user_connects_anew_under_the_same_id,
    while_reconnecting_the_old_credential_serves,
    a_connection_is_consented_to_anew_only_as_itself,
    the_same_request_gets_the_same_answer,
    the_same_request_many_times_at_once_makes_one_connection,
    an_idempotency_key_is_its_keys_own,
    the_same_request_to_connect_anew_gets_the_same_answer,
    another_account_changes_nothing,
    nobody_is_asked_anew_while_a_code_is_exchanged,
}

/// What the harness asks for, and more.
fn asking(more: &Value) -> Value {
    let mut asked = json!({"workspace_id": "user-1", "provider_name": "google", "return_url": "http://127.0.0.1:9/done"});
    let (asked_for, more) = (asked.as_object_mut(), more.as_object());
    asked_for
        .expect("an object")
        .extend(more.expect("an object").clone());
    asked
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

async fn consent(nexus: &TestNexus, provider: &ScriptedProvider, requested: &Value) {
    let auth_url: Url = text(&requested["auth_url"]).parse().expect("a URL");
    let callback = provider.consent(&auth_url).await;
    let location = nexus.gateway().visit(&callback).await.location();
    assert!(
        location
            .query()
            .is_some_and(|query| query.contains("status=success")),
        "{location}"
    );
}

async fn a_user_connects_anew_under_the_same_id(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    provider.next(Reply::error(400, "invalid_grant"));
    nexus
        .refresh(&connected.id)
        .await
        .refused(409, "attention_required");
    let asked = asking(&json!({"connection_id": connected.id}));
    let requested = nexus
        .gateway()
        .post("/v1/request-connection", asked)
        .await
        .expect(200);
    assert_eq!(requested["connection_id"], connected.id.as_str());
    assert_eq!(nexus.status(&connected.id).await["status"], "attention");
    consent(&nexus, &provider, &requested).await;
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
    nexus.token(&connected.id).await.expect(200);
    let listing = nexus
        .admin()
        .get("/v1/connections?workspace_id=user-1")
        .await
        .expect(200);
    let listed = listing.as_array().expect("an array");
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(connected.id)));
}

async fn while_reconnecting_the_old_credential_serves(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    let before = nexus.token(&connected.id).await.expect(200);
    let asked = asking(&json!({"connection_id": connected.id}));
    let requested = nexus
        .gateway()
        .post("/v1/request-connection", asked)
        .await
        .expect(200);
    let meanwhile = nexus.token(&connected.id).await.expect(200);
    assert_eq!(meanwhile["access_token"], before["access_token"]);
    consent(&nexus, &provider, &requested).await;
    let after = nexus.token(&connected.id).await.expect(200);
    assert_ne!(after["access_token"], before["access_token"]);
}

async fn a_connection_is_consented_to_anew_only_as_itself(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let refused = |more: Value, status, code| {
        let gateway = nexus.gateway();
        async move {
            let answer = gateway.post("/v1/request-connection", asking(&more)).await;
            answer.refused(status, code);
        }
    };
    let id = connected.id.as_str();
    refused(
        json!({"connection_id": id, "workspace_id": "eve"}),
        404,
        "connection_not_found",
    )
    .await;
    refused(
        json!({"connection_id": id, "provider_name": "weather"}),
        400,
        "provider_mismatch",
    )
    .await;
    let unknown = "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90";
    for id in [unknown, "x", &connected.reference()] {
        refused(json!({"connection_id": id}), 404, "connection_not_found").await;
    }
}

async fn ask(client: &Client, key: &str, asked: &Value) -> Answer {
    let request = client.request("POST", "/v1/request-connection").json(asked);
    request.header("idempotency-key", key).send().await
}

async fn the_same_request_gets_the_same_answer(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let (client, asked) = (nexus.admin(), asking(&json!({"metadata": {"order": 7}})));
    let first = ask(&client, "order-7", &asked).await.expect(200);
    assert_eq!(ask(&client, "order-7", &asked).await.expect(200), first);
    consent(&nexus, &provider, &first).await;
    assert_eq!(ask(&client, "order-7", &asked).await.expect(200), first);
    let other = asking(&json!({"metadata": {"order": 8}}));
    ask(&client, "order-7", &other)
        .await
        .refused(409, "idempotency_conflict");
    let second = ask(&client, "order-8", &asked).await.expect(200);
    assert_ne!(second["connection_id"], first["connection_id"]);
    let long = "x".repeat(256);
    ask(&client, &long, &asked)
        .await
        .refused(400, "invalid_header");
}

async fn the_same_request_many_times_at_once_makes_one_connection(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let (client, asked) = (nexus.admin(), asking(&json!({})));
    let answers = join_all((0..8).map(|_| ask(&client, "at once", &asked))).await;
    let first = answers[0].expect(200);
    assert!(answers.iter().all(|answer| answer.expect(200) == first));
    let requested = nexus
        .broker()
        .get("/audit?event_type=connection.requested")
        .await;
    assert_eq!(requested.expect(200).as_array().map(Vec::len), Some(1));
}

async fn an_idempotency_key_is_its_keys_own(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let again = nexus
        .into_stopped()
        .await
        .set("GATEWAY_API_KEYS", "caller-1,caller-2");
    let nexus = again.start().await;
    let asked = asking(&json!({}));
    let mut made = Vec::new();
    for key in ["caller-1", "caller-2"] {
        let client = nexus.gateway().with_key(key);
        made.push(text(
            &ask(&client, "k", &asked).await.expect(200)["connection_id"],
        ));
    }
    // Without a key, or with a wrong one, it says nothing.
    for client in [
        nexus.gateway(),
        nexus.gateway(),
        nexus.gateway().with_key("wrong"),
    ] {
        made.push(text(
            &ask(&client, "k", &asked).await.expect(200)["connection_id"],
        ));
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 5);
}

async fn the_same_request_to_connect_anew_gets_the_same_answer(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    let asked = asking(&json!({"connection_id": connected.id}));
    let client = nexus.admin();
    let first = ask(&client, "again", &asked).await.expect(200);
    assert_eq!(first["connection_id"], connected.id.as_str());
    assert_eq!(ask(&client, "again", &asked).await.expect(200), first);
    let other = asking(&json!({"connection_id": connected.id, "metadata": {"order": 8}}));
    ask(&client, "again", &other)
        .await
        .refused(409, "idempotency_conflict");
    consent(&nexus, &provider, &first).await;
    assert_eq!(ask(&client, "again", &asked).await.expect(200), first);
    let fresh = ask(&client, "another", &asked).await.expect(200);
    assert_ne!(fresh["state"], first["state"]);
}

async fn another_account_changes_nothing(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    let before = nexus.token(&connected.id).await.expect(200);
    let asked = asking(&json!({"connection_id": connected.id}));
    let requested = nexus.gateway().post("/v1/request-connection", asked).await;
    let auth_url: Url = text(&requested.expect(200)["auth_url"])
        .parse()
        .expect("a URL");
    provider.next(Reply::tokens().subject("somebody-else"));
    let callback = provider.consent(&auth_url).await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(answer.location_param("status").as_deref(), Some("failed"));
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("account_mismatch")
    );
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
    assert_eq!(
        nexus.token(&connected.id).await.expect(200)["access_token"],
        before["access_token"]
    );
}

async fn nobody_is_asked_anew_while_a_code_is_exchanged(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    let asked = asking(&json!({"connection_id": connected.id}));
    let gateway = nexus.gateway();
    let post = || gateway.post("/v1/request-connection", asked.clone());
    let requested = post().await.expect(200);
    let (reply, gate) = Reply::tokens().held();
    provider.next(reply);
    let auth_url: Url = text(&requested["auth_url"]).parse().expect("a URL");
    let callback = provider.consent(&auth_url).await;
    let returning = nexus.gateway();
    let exchange = tokio::spawn(async move { returning.visit(&callback).await });
    gate.arrived().await;
    post().await.refused(409, "conflict");
    gate.open();
    let answer = exchange.await.expect("an answer");
    assert_eq!(answer.location_param("status").as_deref(), Some("success"));
    post().await.expect(200);
}
