//! `GET /v1/check-connection/{id}`.

use nexus_tests::{Database, Reply, ScriptedProvider, TestNexus, on_both_databases};
use serde_json::json;

on_both_databases! {
    a_connection_is_pending_then_active,
    an_unknown_or_malformed_id_has_failed,
    a_dead_grant_needs_the_user,
    polling_is_not_a_credential_read,
}

async fn a_connection_is_pending_then_active(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    nexus.register(provider.profile("google")).await;
    let requested = nexus.request("google").await;
    let pending = nexus.status(&requested.id).await;
    assert_eq!(
        (&pending["status"], &pending["provider_name"]),
        (&json!("pending"), &json!("google"))
    );
    let callback = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    let active = nexus.status(&requested.id).await;
    assert_eq!(
        (&active["status"], &active["health_status"]),
        (&json!("active"), &json!("healthy"))
    );
    assert_eq!(active.get("reason"), None);
}

async fn an_unknown_or_malformed_id_has_failed(database: Database) {
    let nexus = TestNexus::start(database).await;
    for id in [
        "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90",
        "not-a-uuid",
        "..%2F..%2Fetc",
    ] {
        let status = nexus.status(id).await;
        assert_eq!(
            status,
            json!({"status": "failed", "reason": "connection_not_found"}),
            "{id}"
        );
    }
    nexus
        .gateway()
        .post("/v1/check-connection/x", json!({}))
        .await
        .refused(405, "method_not_allowed");
}

async fn a_dead_grant_needs_the_user(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    provider.next(Reply::error(400, "invalid_grant"));
    nexus
        .refresh(&connected.id)
        .await
        .refused(409, "attention_required");
    let status = nexus.status(&connected.id).await;
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&json!("attention"), &json!("refresh_token_invalid"))
    );
}

async fn polling_is_not_a_credential_read(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    let before = nexus.audit().await;
    nexus.status(&connected.id).await;
    assert_eq!(nexus.audit().await, before);
}
