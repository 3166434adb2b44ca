//! `/health`, `/v1/health` and `/livez`, and what holds at every door.
//!
//! - `GET /health`
//! - `GET /v1/health`
//! - `GET /livez`
//! - `GET /metrics`

use nexus_tests::{Database, TestNexus, on_both_databases, until};

on_both_databases! {
    a_ready_vault_is_healthy_on_both_surfaces,
    every_answer_carries_a_request_id,
    unknown_paths_and_methods_get_the_envelope,
    what_is_no_text_names_nothing,
    the_metrics_count_answers_by_route,
    the_binary_asks_a_vault_that_runs,
}

async fn a_ready_vault_is_healthy_on_both_surfaces(database: Database) {
    let nexus = TestNexus::start(database).await;
    for client in [nexus.gateway(), nexus.broker_without_key()] {
        assert_eq!(client.get("/health").await.expect(200)["status"], "healthy");
        client.get("/livez").await.expect(200);
    }
    assert_eq!(
        nexus.gateway().get("/v1/health").await.expect(200)["status"],
        "healthy"
    );
}

async fn every_answer_carries_a_request_id(database: Database) {
    let nexus = TestNexus::start(database).await;
    let ask = |id: &'static str| {
        nexus
            .gateway()
            .request("GET", "/v1/token/x")
            .header("x-request-id", id)
            .send()
    };
    assert_eq!(
        ask("mine-1.2:3_4").await.header("x-request-id"),
        Some("mine-1.2:3_4")
    );
    for insane in ["with space", "new{line}", "é"] {
        let answer = ask(insane).await;
        assert_ne!(answer.header("x-request-id"), Some(insane));
    }
    let (first, second) = (
        nexus.gateway().get("/livez").await,
        nexus.gateway().get("/livez").await,
    );
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert_eq!(first.header("x-content-type-options"), Some("nosniff"));
}

async fn unknown_paths_and_methods_get_the_envelope(database: Database) {
    let nexus = TestNexus::start(database).await;
    for path in [
        "/",
        "/v1",
        "/v1/nowhere",
        "/v1/token",
        "/admin/v1/nothing",
        "/audit/x",
    ] {
        nexus.gateway().get(path).await.refused(404, "not_found");
        nexus.broker().get(path).await.refused(404, "not_found");
    }
    let refused = nexus.gateway().delete("/livez").await;
    refused.refused(405, "method_not_allowed");
    assert!(
        refused
            .header("allow")
            .is_some_and(|allow| allow.contains("GET"))
    );
}

async fn what_is_no_text_names_nothing(database: Database) {
    let nexus = TestNexus::start(database).await;
    let admin = nexus.admin();
    let status = admin.get("/v1/check-connection/%FF").await.expect(200);
    assert_eq!(status["reason"], "connection_not_found");
    for (path, status, code) in [
        ("/v1/token/%FF", 404, "connection_not_found"),
        ("/v1/providers/%FF", 400, "invalid_provider_id"),
        ("/v1/agent-sessions/%FF", 404, "session_not_found"),
    ] {
        admin.get(path).await.refused(status, code);
    }
    let name = nexus.broker().get("/providers/by-name/%FF").await;
    name.refused(404, "provider_not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_without_its_database_lives_but_is_not_healthy() {
    let nexus = TestNexus::start(Database::Postgres).await;
    nexus.database().lock_out().await;
    until("the vault notices", || async {
        (nexus.gateway().get("/health").await.status == 503).then_some(())
    })
    .await;
    nexus.gateway().get("/livez").await.expect(200);
    nexus
        .gateway()
        .get("/v1/token/0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90")
        .await
        .refused(503, "database_unavailable");
    nexus.database().let_in().await;
    until("the vault is back", || async {
        (nexus.gateway().get("/health").await.status == 200).then_some(())
    })
    .await;
}

async fn the_metrics_count_answers_by_route(database: Database) {
    let nexus = TestNexus::start(database).await;
    let unknown = "/v1/token/0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90";
    for _ in 0..3 {
        nexus.gateway().get(unknown).await.expect(404);
    }
    let metrics = nexus.broker_without_key().get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let counted = "nexus_http_requests_total{surface=\"gateway\",method=\"GET\",route=\"/v1/token/{id}\",status=\"404\"} 3";
    assert!(
        metrics.text.lines().any(|line| line == counted),
        "{}",
        metrics.text
    );
    assert!(!metrics.text.contains("0b6cf3f2"), "no path is a label");
    nexus
        .gateway()
        .get("/metrics")
        .await
        .refused(404, "not_found");
    let keyed = nexus
        .into_stopped()
        .await
        .set("METRICS_REQUIRE_API_KEY", "true");
    let nexus = keyed.start().await;
    nexus
        .broker_without_key()
        .get("/metrics")
        .await
        .refused(401, "missing_api_key");
    assert_eq!(nexus.broker().get("/metrics").await.status, 200);
}

async fn the_binary_asks_a_vault_that_runs(database: Database) {
    let mut nexus = TestNexus::start(database).await;
    let port = nexus.gateway().base().port().expect("a port").to_string();
    let asked = nexus.settings().run(&["health", "--port", &port]).await;
    assert_eq!((asked.code, asked.stderr.as_str()), (Some(0), ""));
    nexus.kill9().await;
    let asked = nexus.settings().run(&["health", "--port", &port]).await;
    assert_eq!(asked.code, Some(1));
    assert!(
        asked.stderr.starts_with("nexus: nobody answers at "),
        "{}",
        asked.stderr
    );
}
