//! `GET /v1/check-connection/{id}?wait=…`: an answer that waits for a change, and `ETag`.

use std::time::Duration;

use nexus_tests::{
    Answer, Client, Database, Nexus, ScriptedProvider, TestNexus, on_both_databases,
};
use serde_json::json;
use tokio::task::JoinHandle;

on_both_databases! {
    a_poll_waits_for_the_consent,
    a_wait_ends_when_the_time_is_up,
    a_wait_ends_when_the_consent_lapses,
    what_is_not_pending_is_answered_at_once,
    a_wait_that_is_no_number_of_seconds_is_refused,
    a_stop_ends_every_wait,
    a_poll_that_brings_the_newest_tag_is_answered_304,
}

/// Far less than the longest wait: who is answered in this time was woken.
const WOKEN: Duration = Duration::from_secs(30);

fn path(id: &str, wait: &str) -> String {
    format!("/v1/check-connection/{id}?wait={wait}")
}

/// A poll that waits as long as it may.
fn poll(gateway: Client, id: &str) -> JoinHandle<Answer> {
    let path = path(id, "60");
    tokio::spawn(async move { gateway.get(&path).await })
}

async fn woken(poll: JoinHandle<Answer>) -> Answer {
    let answer = tokio::time::timeout(WOKEN, poll).await;
    answer.expect("it is woken").expect("a poll")
}

/// Until a server has taken up a poll that waits, which nothing else tells.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn a_poll_waits_for_the_consent(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    let other = nexus.request("google").await;
    let polls = [0; 3].map(|_| poll(nexus.gateway(), &requested.id));
    let unmoved = poll(nexus.gateway(), &other.id);
    settle().await;
    let callback = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    for poll in polls {
        assert_eq!(woken(poll).await.expect(200)["status"], "active");
    }
    assert!(!unmoved.is_finished(), "nobody consented to the other one");
    unmoved.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_at_one_node_waits_for_a_consent_at_another() {
    let (nexus, provider) = TestNexus::with_google(Database::Postgres).await;
    let other = nexus.beside().await;
    let requested = nexus.request("google").await;
    let poll = poll(other.gateway(), &requested.id);
    settle().await;
    let callback = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    assert_eq!(woken(poll).await.expect(200)["status"], "active");
}

async fn a_wait_ends_when_the_time_is_up(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    for wait in ["0", "1"] {
        let answer = nexus.gateway().get(&path(&requested.id, wait)).await;
        assert_eq!(answer.expect(200)["status"], "pending");
    }
}

async fn a_wait_ends_when_the_consent_lapses(database: Database) {
    let provider = ScriptedProvider::start().await;
    let nexus = Nexus::new(database).set("STATE_TTL", "2s").start().await;
    nexus.register(provider.profile("google")).await;
    let requested = nexus.request("google").await;
    let status = woken(poll(nexus.gateway(), &requested.id))
        .await
        .expect(200);
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&json!("failed"), &json!("pending_expired"))
    );
}

async fn what_is_not_pending_is_answered_at_once(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let connected = nexus.connect(&provider, "google").await;
    let unknown = "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90";
    for (id, status) in [
        (connected.id.as_str(), "active"),
        (unknown, "failed"),
        ("x", "failed"),
    ] {
        let answer = woken(poll(nexus.gateway(), id)).await;
        assert_eq!(answer.expect(200)["status"], status, "{id}");
    }
}

async fn a_wait_that_is_no_number_of_seconds_is_refused(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    for wait in ["61", "-1", "1.5", "soon", "", "99999999999999999999"] {
        let answer = nexus.gateway().get(&path(&requested.id, wait)).await;
        assert_eq!(answer.refused(400, "invalid_field")["field"], "wait");
    }
}

async fn a_stop_ends_every_wait(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    let poll = poll(nexus.gateway(), &requested.id);
    settle().await;
    let stopped = tokio::time::timeout(WOKEN, nexus.into_stopped()).await;
    drop(stopped.expect("it does not wait for those who wait"));
    assert_eq!(woken(poll).await.expect(200)["status"], "pending");
}

async fn a_poll_that_brings_the_newest_tag_is_answered_304(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    let plain = format!("/v1/check-connection/{}", requested.id);
    let pending = nexus.gateway().get(&plain).await;
    let tag = pending.header("etag").expect("a tag").to_owned();
    let again = |tag: String, path: String| {
        let request = nexus.gateway().request("GET", &path);
        request.header("if-none-match", &tag).send()
    };
    for path in [plain.clone(), path(&requested.id, "1")] {
        let known = again(tag.clone(), path).await;
        known.expect(304);
        assert_eq!(
            (known.text.as_str(), known.header("etag")),
            ("", Some(tag.as_str()))
        );
    }
    let callback = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    let active = again(tag, plain.clone()).await;
    assert_eq!(active.expect(200)["status"], "active");
    let newer = active.header("etag").expect("a tag").to_owned();
    again(newer, plain).await.expect(304);
    let unknown = nexus.gateway().get("/v1/check-connection/x").await;
    assert_eq!(unknown.header("etag"), None);
}
