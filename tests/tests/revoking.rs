//! `DELETE /v1/connections/{id}`, and the Broker's doors of the same kind.
//!
//! - `DELETE /v1/connections/{id}`
//! - `DELETE /connections/{id}/revoke`
//! - `POST /connections/{id}/revoke`

use nexus_tests::{
    Answer, Connected, Database, ScriptedProvider, TestNexus, on_both_databases, until,
};
use serde_json::{Value, json};

on_both_databases! {
    a_connection_is_ended_here_and_at_its_provider,
    ending_it_twice_is_no_error,
    a_provider_in_trouble_is_told_again,
    a_provider_that_refuses_is_not_told_again,
    a_provider_that_moved_meanwhile_is_not_told_what_another_host_issued,
    what_has_no_token_to_revoke_is_ended_all_the_same,
    only_ones_own_connection_is_ended,
    a_pending_connection_is_ended,
    operators_end_connections_at_the_broker,
}

async fn started(database: Database) -> (TestNexus, ScriptedProvider, Connected) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    (nexus, provider, connected)
}

async fn revoke(nexus: &TestNexus, id: &str) -> Answer {
    nexus
        .gateway()
        .delete(&format!("/v1/connections/{id}"))
        .await
}

async fn history(nexus: &TestNexus, connected: &Connected) -> Vec<String> {
    nexus.history(&connected.reference()).await
}

async fn a_connection_is_ended_here_and_at_its_provider(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let path = format!("/v1/connections/{}?reason=the+user+left", connected.id);
    let ended = nexus.gateway().delete(&path).await.expect(200);
    for (name, value) in [
        ("connection_id", json!(connected.id)),
        ("provider_name", json!("google")),
        ("status", json!("revoked")),
        ("already_revoked", json!(false)),
        ("token_deleted", json!(true)),
        ("provider_revoked", json!(true)),
        ("provider_revocation_error", Value::Null),
    ] {
        assert_eq!(ended[name], value, "{name}");
    }
    let calls = provider.revocations();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].form("token_type_hint"), Some("refresh_token"));
    assert_eq!(calls[0].form("client_secret"), Some("canary-client-secret"));
    let token = calls[0].form("token").expect("a token").to_owned();
    assert!(provider.secrets().contains(&token));
    let refused = nexus.token(&connected.id).await;
    assert_eq!(
        refused.refused(409, "connection_not_active")["status"],
        "revoked"
    );
    let status = nexus.status(&connected.id).await;
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&json!("failed"), &json!("revoked"))
    );
    let listing = nexus
        .admin()
        .get("/v1/connections?workspace_id=user-1")
        .await
        .expect(200);
    assert_eq!(
        (
            &listing[0]["id"],
            &listing[0]["status"],
            &listing[0]["reference"]
        ),
        (
            &Value::Null,
            &json!("revoked"),
            &json!(connected.reference())
        )
    );
    assert_eq!(
        history(&nexus, &connected).await[3..],
        ["connection.revoked", "connection.provider_revocation_ended"]
    );
    let trail = nexus
        .broker()
        .get("/audit?event_type=connection.revoked")
        .await
        .expect(200);
    assert!(
        trail[0]["event_data"]
            .as_str()
            .is_some_and(|data| data.contains("the user left"))
    );
    nexus.into_stopped().await.verified().await;
}

async fn ending_it_twice_is_no_error(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let first = revoke(&nexus, &connected.id).await.expect(200);
    let second = revoke(&nexus, &connected.id).await.expect(200);
    assert_eq!(second["already_revoked"], true);
    assert_eq!(second["revoked_at"], first["revoked_at"]);
    assert_eq!(second["provider_revoked"], true);
    assert_eq!(second.get("provider_revocation_error"), None);
    assert_eq!(provider.revocations().len(), 1);
}

async fn a_provider_in_trouble_is_told_again(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    provider.refuse_next_revocation(503, "temporarily_unavailable");
    let ended = revoke(&nexus, &connected.id).await.expect(200);
    assert_eq!(
        (
            &ended["token_deleted"],
            &ended["provider_revoked"],
            &ended["provider_revocation_error"]
        ),
        (&json!(true), &json!(false), &json!("status_503"))
    );
    // The next start tells it again.
    let nexus = nexus.into_stopped().await.start().await;
    until("the provider is told", || async {
        let last = history(&nexus, &connected).await.pop();
        (last.as_deref() == Some("connection.provider_revocation_ended")).then_some(())
    })
    .await;
    let calls = provider.revocations();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0], calls[1], "the same token");
}

async fn a_provider_that_moved_meanwhile_is_not_told_what_another_host_issued(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let elsewhere = ScriptedProvider::start().await;
    provider.refuse_next_revocation(503, "temporarily_unavailable");
    revoke(&nexus, &connected.id).await.expect(200);
    let id = nexus.broker().get("/providers/by-name/google").await;
    let path = format!(
        "/v1/providers/{}",
        id.expect(200)["id"].as_str().expect("an id")
    );
    let moved = nexus.admin().request("PATCH", &path);
    let moved = moved.json(&elsewhere.profile("google")).send().await;
    moved.expect(200);
    // The next start would tell it again.
    let nexus = nexus.into_stopped().await.start().await;
    until("the revocation has ended", || async {
        let last = history(&nexus, &connected).await.pop();
        (last.as_deref() == Some("connection.provider_revocation_ended")).then_some(())
    })
    .await;
    let again = revoke(&nexus, &connected.id).await.expect(200);
    assert_eq!(again["provider_revocation_error"], "provider_changed");
    assert_eq!(elsewhere.revocations(), []);
    assert_eq!(provider.revocations().len(), 1);
}

async fn a_provider_that_refuses_is_not_told_again(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    provider.refuse_next_revocation(400, "unsupported_token_type");
    let ended = revoke(&nexus, &connected.id).await.expect(200);
    assert_eq!(ended["provider_revocation_error"], "unsupported_token_type");
    assert_eq!(
        history(&nexus, &connected).await.last().map(String::as_str),
        Some("connection.provider_revocation_ended")
    );
    let again = revoke(&nexus, &connected.id).await.expect(200);
    assert_eq!(again["provider_revoked"], false);
    assert_eq!(again["provider_revocation_error"], "unsupported_token_type");
    assert_eq!(provider.revocations().len(), 1);
}

async fn what_has_no_token_to_revoke_is_ended_all_the_same(database: Database) {
    let (nexus, provider, _connected) = started(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let captured = nexus.capture("weather", json!({"api_key": "k"})).await;
    let ended = revoke(&nexus, &captured.id).await.expect(200);
    assert_eq!(ended["provider_revocation_error"], "no_token");
    nexus
        .token(&captured.id)
        .await
        .refused(409, "connection_not_active");
    // A provider that revokes nothing.
    nexus.register(provider.plain_profile("plain")).await;
    let plain = nexus.connect(&provider, "plain").await;
    let ended = revoke(&nexus, &plain.id).await.expect(200);
    assert_eq!(ended["provider_revocation_error"], "no_revocation_endpoint");
    assert_eq!(provider.revocations(), []);
}

async fn only_ones_own_connection_is_ended(database: Database) {
    let (nexus, _provider, connected) = started(database).await;
    let id = &connected.id;
    for path in [
        format!("/v1/connections/{id}?workspace_id=eve"),
        "/v1/connections/0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90".to_owned(),
        "/v1/connections/x".to_owned(),
    ] {
        nexus
            .gateway()
            .delete(&path)
            .await
            .refused(404, "connection_not_found");
    }
    let foreign = nexus
        .gateway()
        .request("DELETE", &format!("/v1/connections/{id}"));
    let foreign = foreign.header("x-nexus-subject", "eve").send().await;
    foreign.refused(404, "connection_not_found");
    let long = format!("/v1/connections/{id}?reason={}", "x".repeat(256));
    nexus
        .gateway()
        .delete(&long)
        .await
        .refused(400, "invalid_field");
    nexus.token(id).await.expect(200);
    let own = format!("/v1/connections/{id}?workspace_id=user-1");
    nexus.gateway().delete(&own).await.expect(200);
}

async fn a_pending_connection_is_ended(database: Database) {
    let (nexus, provider, _connected) = started(database).await;
    let requested = nexus.request("google").await;
    revoke(&nexus, &requested.id).await.expect(200);
    assert_eq!(nexus.status(&requested.id).await["status"], "failed");
    let callback = provider.consent(&requested.auth_url).await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
}

async fn operators_end_connections_at_the_broker(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let other = nexus.connect(&provider, "google").await;
    let path = |id: &str| format!("/connections/{id}/revoke");
    let without = nexus
        .broker_without_key()
        .delete(&path(&connected.id))
        .await;
    without.refused(401, "missing_api_key");
    nexus
        .broker()
        .delete(&path(&connected.id))
        .await
        .expect(200);
    let posted = nexus
        .broker()
        .request("POST", &path(&other.id))
        .send()
        .await;
    assert_eq!(posted.expect(200)["provider_revoked"], true);
}
