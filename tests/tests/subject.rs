//! `X-Nexus-Subject`, `X-Nexus-Agent` and `X-Nexus-Operation`, under each `SUBJECT_BINDING`.

use nexus_tests::{
    Answer, Connected, Database, Nexus, ScriptedProvider, TestNexus, on_both_databases,
};
use serde_json::json;

on_both_databases! {
    what_the_caller_says_is_recorded,
    somebody_elses_connection_is_an_unknown_one,
    a_connection_is_requested_for_its_subject_only,
    a_subject_can_be_required,
    the_headers_can_be_switched_off,
    a_header_that_is_too_long_is_refused,
}

/// The workspace that the harness connects accounts for.
const OWNER: &str = "user-1";

async fn started(database: Database, binding: &str) -> (TestNexus, ScriptedProvider, Connected) {
    let provider = ScriptedProvider::start().await;
    let nexus = Nexus::new(database)
        .set("SUBJECT_BINDING", "off")
        .start()
        .await;
    let connected = nexus.connected(&provider, "google").await;
    let bound = nexus.into_stopped().await.set("SUBJECT_BINDING", binding);
    (bound.start().await, provider, connected)
}

async fn as_subject(nexus: &TestNexus, method: &str, path: &str, subject: &str) -> Answer {
    let request = nexus.admin().request(method, path);
    request.header("x-nexus-subject", subject).send().await
}

async fn what_the_caller_says_is_recorded(database: Database) {
    let (nexus, _provider, connected) = started(database, "optional").await;
    let path = format!("/v1/token/{}", connected.id);
    let request = nexus.gateway().request("GET", &path);
    let request = request
        .header("x-nexus-subject", OWNER)
        .header("x-nexus-agent", "bot-7");
    let request = request.header("x-nexus-operation", "send the invoices");
    request.send().await.expect(200);
    let entry = nexus.audit().await.pop().expect("an entry");
    assert_eq!(entry["event_type"], "credential.retrieved");
    assert_eq!(
        (&entry["subject"], &entry["agent"]),
        (&json!(OWNER), &json!("bot-7"))
    );
    assert_eq!(entry["operation"], "send the invoices");
    nexus.token(&connected.id).await.expect(200);
}

async fn somebody_elses_connection_is_an_unknown_one(database: Database) {
    let (nexus, _provider, connected) = started(database, "optional").await;
    let id = &connected.id;
    // A row that was read a moment ago is no way around it.
    nexus.token(id).await.expect(200);
    for (method, path) in [
        ("GET", format!("/v1/token/{id}")),
        ("POST", format!("/v1/refresh/{id}")),
        (
            "GET",
            format!("/v1/resolve?workspace_id={OWNER}&provider_name=google"),
        ),
    ] {
        let foreign = as_subject(&nexus, method, &path, "somebody").await;
        foreign.refused(404, "connection_not_found");
        as_subject(&nexus, method, &path, OWNER).await.expect(200);
    }
    let path = format!("/v1/check-connection/{id}");
    let status = as_subject(&nexus, "GET", &path, "somebody").await;
    assert_eq!(
        status.expect(200),
        json!({"status": "failed", "reason": "connection_not_found"})
    );
    assert_eq!(status.header("etag"), None);
    let listing = format!("/v1/connections?workspace_id={OWNER}");
    let foreign = as_subject(&nexus, "GET", &listing, "somebody").await;
    assert_eq!(foreign.expect(200), json!([]));
    let own = as_subject(&nexus, "GET", &listing, OWNER).await;
    assert_eq!(own.expect(200)[0]["id"], id.as_str());
}

async fn a_connection_is_requested_for_its_subject_only(database: Database) {
    let (nexus, _provider, _connected) = started(database, "optional").await;
    let asked = json!({"workspace_id": OWNER, "provider_name": "google", "return_url": "http://127.0.0.1:9/"});
    for (subject, status) in [("somebody", 400), (OWNER, 200)] {
        let request = nexus
            .gateway()
            .request("POST", "/v1/request-connection")
            .json(&asked);
        let answer = request.header("x-nexus-subject", subject).send().await;
        answer.expect(status);
    }
}

async fn a_subject_can_be_required(database: Database) {
    let (nexus, _provider, connected) = started(database, "required").await;
    let path = format!("/v1/token/{}", connected.id);
    nexus
        .gateway()
        .get(&path)
        .await
        .refused(401, "missing_subject");
    as_subject(&nexus, "GET", &path, OWNER).await.expect(200);
    for (method, path) in [
        ("POST", format!("/v1/refresh/{}", connected.id)),
        ("DELETE", format!("/v1/connections/{}", connected.id)),
    ] {
        let request = nexus.gateway().request(method, &path);
        request.send().await.refused(401, "missing_subject");
    }
    // What gives no credential away needs none.
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
    nexus.request("google").await;
    let again = json!({"provider_name": "google", "connection_id": connected.id, "return_url": "http://localhost/"});
    let again = nexus.gateway().post("/v1/request-connection", again).await;
    again.refused(401, "missing_subject");
    let poll = format!("/v1/check-connection/{}", connected.id);
    let foreign = as_subject(&nexus, "GET", &poll, "somebody").await;
    assert_eq!(foreign.expect(200)["status"], "failed");
    // Operators call for nobody.
    nexus.admin().get("/v1/providers").await.expect(200);
    let broker = format!("/connections/{}/token", connected.id);
    nexus.broker().get(&broker).await.expect(200);
}

async fn the_headers_can_be_switched_off(database: Database) {
    let (nexus, _provider, connected) = started(database, "off").await;
    let path = format!("/v1/token/{}", connected.id);
    as_subject(&nexus, "GET", &path, "somebody")
        .await
        .expect(200);
    let entry = nexus.audit().await.pop().expect("an entry");
    assert_eq!(entry["subject"], json!(null));
}

async fn a_header_that_is_too_long_is_refused(database: Database) {
    let (nexus, _provider, connected) = started(database, "optional").await;
    let path = format!("/v1/token/{}", connected.id);
    for (name, longest) in [
        ("x-nexus-subject", 255),
        ("x-nexus-agent", 128),
        ("x-nexus-operation", 128),
    ] {
        let request = nexus.gateway().request("GET", &path);
        let answer = request.header(name, &"x".repeat(longest + 1)).send().await;
        assert_eq!(answer.refused(400, "invalid_header")["header"], name);
    }
}
