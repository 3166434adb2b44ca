//! PostgreSQL killed under a running server, which nobody restarts.

use std::time::Duration;

use nexus_tests::{
    Answer, Cluster, Database, LossyProxy, Nexus, Reply, ScriptedProvider, TestDatabase, TestNexus,
    until,
};
use serde_json::json;

/// How long an answer may take. It takes a few milliseconds; the documented run of `scripts/crash-matrix` measures it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_is_away_every_door_says_503_and_afterwards_all_is_well() {
    let mut cluster = Cluster::start().await;
    let nexus = Nexus::over(TestDatabase::at(cluster.url())).start().await;
    let provider = ScriptedProvider::start().await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let account = nexus.connected(&provider, "accounts").await;
    let captured = nexus.capture("weather", json!({"api_key": "k-1"})).await;

    for outage in 0..2 {
        if outage == 0 {
            cluster.kill().await;
        } else {
            cluster.stop_immediately().await;
        }
        // The connections that broke are noticed by one caller each, the rest is refused.
        for _ in 0..3 {
            every_door_is_unavailable(&nexus, &captured.id, &account.id).await;
        }
        cluster.start_again().await;
        well_again(&nexus, &captured.id).await;
        nexus.refresh(&account.id).await.expect(200);
    }
    cluster.kill_backend().await;
    well_again(&nexus, &captured.id).await;
    nexus.connect(&provider, "accounts").await;
    nexus.into_stopped().await.verified().await;
}

async fn every_door_is_unavailable(nexus: &TestNexus, captured: &str, account: &str) {
    let asked = json!({"workspace_id": "user-1", "provider_name": "weather", "return_url": "http://127.0.0.1:9/"});
    let profile = json!({"name": "another", "auth_type": "api_key"});
    let (gateway, broker) = (nexus.gateway(), nexus.broker());
    let requests = [
        gateway.request("GET", &format!("/v1/token/{captured}")),
        gateway.request("GET", &format!("/v1/check-connection/{captured}")),
        gateway
            .request("POST", "/v1/request-connection")
            .json(&asked),
        gateway.request("POST", &format!("/v1/refresh/{account}")),
        nexus
            .admin()
            .request("POST", "/v1/providers")
            .json(&profile),
        broker.request("GET", "/audit"),
        broker.request("GET", "/admin/v1/projections"),
    ];
    for request in requests {
        let answer: Answer = tokio::time::timeout(ANSWER_WITHIN, request.send())
            .await
            .expect("an answer in time");
        answer.expect(503);
    }
}

/// Without anybody's help.
async fn well_again(nexus: &TestNexus, captured: &str) {
    let answer = until("tokens are served again", || async {
        let answer = nexus.token(captured).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.expect(200)["credentials"]["api_key"], "k-1");
}

/// The answer to the commit of a consent's outcome is lost for longer than the writer looks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_whose_commit_was_not_answered_is_recorded_once() {
    let database = TestDatabase::create(Database::Postgres);
    let proxy = LossyProxy::start(database.url().expect("PostgreSQL")).await;
    let nexus = Nexus::over(TestDatabase::at(proxy.url())).start().await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("accounts")).await;
    let requested = nexus.request("accounts").await;
    let callback = provider.consent(&requested.auth_url).await;
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let gateway = nexus.gateway();
    let browser = tokio::spawn(async move { gateway.visit(&callback).await });
    gate.arrived().await;
    let ((), answer) = tokio::join!(proxy.lose_the_next_commit(Duration::from_secs(2)), async {
        gate.open();
        browser.await.expect("a browser")
    });
    answer.expect(503);
    until("the connection is active", || async {
        let status = nexus.status(&requested.id).await;
        (status["status"] == "active").then_some(())
    })
    .await;
    nexus.token(&requested.id).await.expect(200);
    let history = nexus.history(&requested.reference()).await;
    let expected = [
        "connection.requested",
        "connection.consent_returned",
        "connection.activated",
        "credential.retrieved",
    ];
    assert_eq!(history, expected);
    assert!(
        nexus.log().contains("an answer cannot be recorded yet"),
        "its outcome was unknown"
    );
}

/// The database goes away while the provider thinks: the caller is told, and the answer is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_answer_is_kept_until_it_can_be_recorded() {
    let mut cluster = Cluster::start().await;
    let nexus = Nexus::over(TestDatabase::at(cluster.url())).start().await;
    let provider = ScriptedProvider::start().await;
    let account = nexus.connected(&provider, "accounts").await;
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let gateway = nexus.gateway();
    let path = format!("/v1/refresh/{}", account.id);
    let caller = tokio::spawn(async move { gateway.request("POST", &path).send().await });
    gate.arrived().await;
    cluster.kill().await;
    gate.open();
    let answer = tokio::time::timeout(ANSWER_WITHIN, caller).await;
    let answer: Answer = answer.expect("an answer in time").expect("a caller");
    answer.expect(503);
    cluster.start_again().await;
    until("the refresh is recorded", || async {
        let history = nexus.history(&account.reference()).await;
        let refreshed = |event: &String| *event == "connection.refreshed";
        history.iter().any(refreshed).then_some(())
    })
    .await;
    nexus.token(&account.id).await.expect(200);
}
