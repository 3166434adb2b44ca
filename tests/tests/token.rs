//! `GET /v1/token/{id}`.

use nexus_tests::{Database, Nexus, Reply, ScriptedProvider, TestNexus, on_both_databases};
use serde_json::{Value, json};

on_both_databases! {
    an_agent_gets_the_access_token_and_never_the_refresh_token,
    a_credential_without_expiry_says_nothing_of_it,
    the_granted_scopes_are_served,
    an_unknown_and_a_malformed_id_get_the_same_answer,
    a_connection_that_is_not_active_has_no_credential,
    every_read_is_recorded_before_it_is_answered,
    a_credential_about_to_expire_is_refreshed_first,
    while_it_lives_the_old_credential_is_served_when_the_provider_is_down,
    an_expired_credential_that_cannot_be_refreshed_now_is_unavailable,
    an_expired_credential_without_a_refresh_token_needs_the_user,
    a_deleted_providers_connections_go_on,
}

async fn an_agent_gets_the_access_token_and_never_the_refresh_token(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    let answer = nexus.token(&connected.id).await;
    let token = answer.expect(200);
    let access_token = token["access_token"].as_str().expect("text");
    assert!(access_token.starts_with("canary-access-"));
    assert_eq!(token["strategy"], json!({"type": "oauth2"}));
    assert_eq!(token["credentials"]["access_token"], access_token);
    assert_eq!(token["credentials"]["token_type"], "Bearer");
    assert_eq!(token["credentials"]["expires_at"], token["expires_at"]);
    assert!(
        token["expires_at"]
            .as_i64()
            .is_some_and(|at| at > 1_700_000_000),
        "{token}"
    );
    assert!(
        token["expires_in"]
            .as_i64()
            .is_some_and(|left| (3500..=3600).contains(&left)),
        "{token}"
    );
    assert_eq!(
        (&token["provider"], &token["connection_id"]),
        (&json!("google"), &json!(connected.id))
    );
    assert!(
        token["credentials"]["id_token"].is_string(),
        "a verified id_token is served"
    );
    assert_eq!(token["id_token"], token["credentials"]["id_token"]);
    assert!(!answer.text.contains("canary-refresh-"));
}

async fn a_credential_without_expiry_says_nothing_of_it(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    provider.next(Reply::tokens().expires_in(Value::Null));
    let connected = nexus.connect(&provider, "google").await;
    let token = nexus.token(&connected.id).await.expect(200);
    assert_eq!(
        (
            token.get("expires_at"),
            token["credentials"].get("expires_at"),
            token.get("expires_in")
        ),
        (None, None, None)
    );
    provider.next(Reply::tokens().expires_in(json!("1800")));
    let connected = nexus.connect(&provider, "google").await;
    let token = nexus.token(&connected.id).await.expect(200);
    assert!(
        token["expires_in"]
            .as_i64()
            .is_some_and(|left| (1700..=1800).contains(&left)),
        "{token}"
    );
}

async fn the_granted_scopes_are_served(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    provider.next(Reply::tokens().scope("openid"));
    let connected = nexus.connect(&provider, "google").await;
    assert_eq!(
        nexus.token(&connected.id).await.expect(200)["scope"],
        "openid"
    );
    let connected = nexus.connect(&provider, "google").await;
    assert_eq!(
        nexus.token(&connected.id).await.expect(200)["scope"],
        "openid email"
    );
}

async fn an_unknown_and_a_malformed_id_get_the_same_answer(database: Database) {
    let nexus = TestNexus::start(database).await;
    let mut bodies = Vec::new();
    for id in [
        "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90",
        "not-a-uuid",
        "0B6CF3F2",
    ] {
        let path = format!("/v1/token/{id}");
        let answer = nexus
            .gateway()
            .request("GET", &path)
            .header("x-request-id", "same")
            .send()
            .await;
        answer.refused(404, "connection_not_found");
        bodies.push(answer.text);
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[0], bodies[2]);
}

async fn a_connection_that_is_not_active_has_no_credential(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    let pending = nexus
        .token(&requested.id)
        .await
        .refused(409, "connection_not_active");
    assert_eq!(pending["status"], "pending");
    provider.deny_next("access_denied");
    let callback = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    let failed = nexus
        .token(&requested.id)
        .await
        .refused(409, "connection_not_active");
    assert_eq!(failed["status"], "failed");
    let connected = nexus.connect(&provider, "google").await;
    provider.next(Reply::error(400, "invalid_grant"));
    nexus
        .refresh(&connected.id)
        .await
        .refused(409, "attention_required");
    let attention = nexus
        .token(&connected.id)
        .await
        .refused(409, "attention_required");
    assert_eq!(attention["reason"], "refresh_token_invalid");
    let reads = nexus
        .audit()
        .await
        .into_iter()
        .filter(|entry| entry["event_type"] == "credential.retrieved")
        .count();
    assert_eq!(reads, 0);
}

async fn every_read_is_recorded_before_it_is_answered(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    for read in 1..=3 {
        let path = format!("/v1/token/{}", connected.id);
        let id = format!("read-{read}");
        let request = nexus
            .gateway()
            .request("GET", &path)
            .header("x-request-id", &id)
            .header("user-agent", "agent/1");
        request.send().await.expect(200);
        let newest = nexus.audit().await.pop().expect("an entry");
        assert_eq!(newest["event_type"], "credential.retrieved");
        assert_eq!(newest["connection_id"], json!(connected.reference()));
        assert_eq!(
            (
                &newest["request_id"],
                &newest["user_agent"],
                &newest["ip_address"]
            ),
            (&json!(id), &json!("agent/1"), &json!("127.0.0.1"))
        );
        let data: Value =
            serde_json::from_str(newest["event_data"].as_str().expect("text")).expect("JSON");
        assert_eq!(
            (&data["door"], &data["credential_version"]),
            (&json!("token"), &json!(1))
        );
    }
}

async fn a_credential_about_to_expire_is_refreshed_first(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    provider.next(Reply::tokens().expires_in(json!(30)));
    let connected = nexus.connect(&provider, "google").await;
    let token = nexus.token(&connected.id).await.expect(200);
    assert_eq!(provider.refreshes().len(), 1);
    assert!(
        token["expires_in"].as_i64().is_some_and(|left| left > 3000),
        "{token}"
    );
    nexus.token(&connected.id).await.expect(200);
    assert_eq!(
        provider.refreshes().len(),
        1,
        "a fresh credential is left alone"
    );
}

async fn while_it_lives_the_old_credential_is_served_when_the_provider_is_down(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    provider.next(Reply::tokens().expires_in(json!(50)));
    let connected = nexus.connect(&provider, "google").await;
    provider.always(Reply::raw(503, "text/plain", "down"));
    let token = nexus.token(&connected.id).await.expect(200);
    assert!(
        token["expires_in"].as_i64().is_some_and(|left| left <= 50),
        "{token}"
    );
    assert!(!provider.refreshes().is_empty());
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
}

async fn an_expired_credential_that_cannot_be_refreshed_now_is_unavailable(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    provider.next(Reply::tokens().expires_in(json!(0)));
    let connected = nexus.connect(&provider, "google").await;
    provider.next(Reply::raw(503, "text/plain", "down"));
    nexus
        .token(&connected.id)
        .await
        .refused(503, "refresh_unavailable");
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
    nexus.refresh(&connected.id).await.expect(200);
    nexus.token(&connected.id).await.expect(200);
}

async fn an_expired_credential_without_a_refresh_token_needs_the_user(database: Database) {
    let nexus = Nexus::new(database).set("REFRESH_SKEW", "0s").start().await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("google")).await;
    provider.next(Reply::tokens().without_refresh_token().expires_in(json!(0)));
    let connected = nexus.connect(&provider, "google").await;
    let refused = nexus
        .token(&connected.id)
        .await
        .refused(409, "attention_required");
    assert_eq!(refused["reason"], "credential_expired");
    assert_eq!(nexus.status(&connected.id).await["status"], "attention");
}

async fn a_deleted_providers_connections_go_on(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let id = nexus.register(provider.profile("google")).await;
    let connected = nexus.connect(&provider, "google").await;
    nexus
        .admin()
        .delete(&format!("/v1/providers/{id}"))
        .await
        .expect(200);
    nexus.token(&connected.id).await.expect(200);
    let asked =
        json!({"workspace_id": "user-1", "provider_id": id, "return_url": "http://localhost/"});
    nexus
        .gateway()
        .post("/v1/request-connection", asked)
        .await
        .refused(404, "provider_not_found");
}

/// A database that takes every event but the record of a read.
const REFUSE_READS: &str = "CREATE FUNCTION refuse_reads() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'no reads'; END $$; \
     CREATE TRIGGER refuse_reads BEFORE INSERT ON events FOR EACH ROW \
     WHEN (NEW.event_type = 'credential.retrieved') EXECUTE FUNCTION refuse_reads()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_cannot_be_recorded_hands_out_nothing() {
    let (nexus, provider) = TestNexus::with_google(Database::Postgres).await;
    let connected = nexus.connect(&provider, "google").await;
    nexus.database().execute(REFUSE_READS).await;
    for answer in [
        nexus.token(&connected.id).await,
        nexus.refresh(&connected.id).await,
    ] {
        answer.refused(503, "audit_unavailable");
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.text.contains("canary-"), "{}", answer.text);
    }
    assert_eq!(
        reads(&nexus).await,
        0,
        "nothing was handed out, nothing recorded"
    );
    nexus
        .database()
        .execute("DROP TRIGGER refuse_reads ON events")
        .await;
    nexus.token(&connected.id).await.expect(200);
    assert_eq!(reads(&nexus).await, 1);
}

async fn reads(nexus: &TestNexus) -> usize {
    let retrieved = |entry: &&Value| entry["event_type"] == "credential.retrieved";
    nexus.audit().await.iter().filter(retrieved).count()
}
