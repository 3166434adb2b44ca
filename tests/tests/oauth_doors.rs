//! The doors that OAuth defines: `POST /v1/oauth/introspect` and `POST /v1/oauth/revoke`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nexus_tests::{
    Answer, Database, Nexus, ScriptedBackend, ScriptedProvider, TestNexus, on_both_databases, until,
};
use serde_json::{Value, json};

on_both_databases! {
    a_token_whose_session_is_open_is_active_and_says_what_it_says,
    a_session_on_behalf_of_a_user_names_both,
    what_is_no_token_of_this_vault_is_inactive,
    a_token_is_inactive_once_its_time_is_over,
    a_token_is_inactive_once_its_session_is_closed,
    a_token_dies_with_what_its_agent_may_do,
    a_token_dies_with_its_connection,
    a_token_outlives_a_new_key_and_not_a_compromised_one,
    somebody_elses_token_is_inactive,
    asking_records_nothing,
    revoking_a_token_closes_its_session,
    revoking_what_is_no_token_of_the_callers_changes_nothing,
    refusals_are_in_oauths_form,
    both_doors_need_a_key,
    any_key_opens_both_doors,
    refused_callers_are_counted,
}

const INTROSPECT: &str = "/v1/oauth/introspect";
const REVOKE: &str = "/v1/oauth/revoke";
const DOORS: [&str; 2] = [INTROSPECT, REVOKE];

/// A server with an agent that may write reports and read mail.
async fn started(database: Database) -> TestNexus {
    let nexus = TestNexus::start(database).await;
    let scopes = ["report.write", "report.read"];
    nexus.register_agent("report-bot", &scopes).await;
    nexus
}

async fn opened(nexus: &TestNexus, more: Value) -> Value {
    let mut asked = json!({"agent_id": "report-bot", "scopes": ["report.write"]});
    asked
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    nexus.open_session(asked).await.expect(201)
}

/// The token of a session that was just opened.
async fn token(nexus: &TestNexus, more: Value) -> String {
    text(&opened(nexus, more).await, "session_token")
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().expect("text").to_owned()
}

/// Asserts that this, and no more, is said of a token.
#[track_caller]
fn inactive(introspected: &Value) {
    assert_eq!(introspected, &json!({"active": false}));
}

#[track_caller]
fn active(introspected: &Value) {
    assert_eq!(introspected["active"], true, "{introspected}");
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}

async fn a_token_whose_session_is_open_is_active_and_says_what_it_says(database: Database) {
    let nexus = started(database).await;
    let session = opened(&nexus, json!({"scopes": ["report.write", "report.read"]})).await;
    let token = text(&session, "session_token");
    let form = [("token", &*token), ("token_type_hint", "refresh_token")];
    let answer = nexus.form(INTROSPECT, &form).send().await;
    let said = answer.expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    let mut expected = claims(&token);
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(said, expected);
    assert_eq!(said["scope"], "report.write report.read");
    assert_eq!(said["sub"], "report-bot");
    assert_eq!(said["client_id"], "report-bot");
    assert_eq!(said["jti"], session["session_id"]);
    let base = nexus
        .gateway()
        .base()
        .as_str()
        .trim_end_matches('/')
        .to_owned();
    assert_eq!((&said["iss"], &said["aud"]), (&json!(base), &json!(base)));
    // Asked again, when its signature is known to be good.
    assert_eq!(nexus.introspect(&token).await, said);
}

async fn a_session_on_behalf_of_a_user_names_both(database: Database) {
    let backend = ScriptedBackend::start().await;
    backend.user(
        "anns",
        json!({"user_id": "ann", "tenant_id": "acme", "clearance_level": "secret", "permissions": ["report.write"]}),
    );
    let nexus = Nexus::new(database).set("BACKEND_AUTH_URL", backend.url());
    let nexus = nexus.start().await;
    nexus.register_agent("report-bot", &["report.write"]).await;
    let token = token(&nexus, json!({"user_context_token": "anns"})).await;
    let said = nexus.introspect(&token).await;
    active(&said);
    assert_eq!(
        (&said["sub"], &said["act"]),
        (&json!("ann"), &json!({"sub": "report-bot"}))
    );
    assert_eq!(said["client_id"], "report-bot");
    assert_eq!(
        (&said["tenant_id"], &said["clearance_level"]),
        (&json!("acme"), &json!("secret"))
    );
    // The vault knows nothing of other users.
    for (subject, is_active) in [("ann", true), ("bob", false)] {
        let asked = nexus.form(INTROSPECT, &[("token", &token)]);
        let said = asked.header("x-nexus-subject", subject).send().await;
        assert_eq!(said.expect(200)["active"], is_active, "{subject}");
    }
}

async fn what_is_no_token_of_this_vault_is_inactive(database: Database) {
    let nexus = started(database).await;
    let token = token(&nexus, json!({})).await;
    // Another vault, another issuer: its keys are others, and so are its sessions.
    let other = started(Database::Sqlite).await;
    let foreign = self::token(&other, json!({})).await;
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let (header, payload) = signed.split_once('.').expect("a payload");
    let forged = BASE64_URL_SAFE_NO_PAD.encode(
        claims(&token)
            .to_string()
            .replace("report.write", "report.read"),
    );
    for text in [
        "garbage",
        "a.b.c",
        "e30.e30.",
        &foreign,
        signed,
        &format!("{token}A"),
        &format!("{token}."),
        &format!(" {token}"),
        &format!("{header}.{forged}.{signature}"),
        &format!("eyJhbGciOiJub25lIn0.{payload}."),
        &"x".repeat(100_000),
    ] {
        inactive(&nexus.introspect(text).await);
    }
    active(&nexus.introspect(&token).await);
    active(&other.introspect(&foreign).await);
}

async fn a_token_is_inactive_once_its_time_is_over(database: Database) {
    let nexus = started(database).await;
    let long = token(&nexus, json!({})).await;
    let short = token(&nexus, json!({"ttl_seconds": 1})).await;
    until("its time is over", || async {
        let said = nexus.introspect(&short).await;
        (said["active"] == false).then(|| inactive(&said))
    })
    .await;
    active(&nexus.introspect(&long).await);
}

async fn a_token_is_inactive_once_its_session_is_closed(database: Database) {
    let nexus = started(database).await;
    let (closed, other) = (
        opened(&nexus, json!({})).await,
        token(&nexus, json!({})).await,
    );
    let token = text(&closed, "session_token");
    active(&nexus.introspect(&token).await);
    nexus.close_session(&text(&closed, "session_id")).await;
    inactive(&nexus.introspect(&token).await);
    active(&nexus.introspect(&other).await);
}

async fn a_token_dies_with_what_its_agent_may_do(database: Database) {
    let nexus = started(database).await;
    let widen = json!({"allowed_scopes": ["report.write", "report.read"], "active": true});
    for narrowing in [
        json!({"allowed_scopes": ["report.read"]}),
        json!({"active": false}),
    ] {
        let token = token(&nexus, json!({})).await;
        let other = self::token(&nexus, json!({"scopes": ["report.read"]})).await;
        let changed = nexus.change_agent("report-bot", narrowing.clone()).await;
        changed.expect(200);
        inactive(&nexus.introspect(&token).await);
        // What is still allowed goes on.
        let goes_on = narrowing.get("active").is_none();
        assert_eq!(nexus.introspect(&other).await["active"], goes_on);
        let changed = nexus.change_agent("report-bot", widen.clone()).await;
        changed.expect(200);
        inactive(&nexus.introspect(&token).await);
        assert_eq!(nexus.introspect(&other).await["active"], goes_on);
    }
    let token = token(&nexus, json!({})).await;
    nexus.deregister_agent("report-bot").await.expect(200);
    inactive(&nexus.introspect(&token).await);
    nexus
        .register_agent("report-bot", &["report.write", "report.read"])
        .await;
    inactive(&nexus.introspect(&token).await);
    active(
        &nexus
            .introspect(&self::token(&nexus, json!({})).await)
            .await,
    );
}

async fn a_token_dies_with_its_connection(database: Database) {
    let nexus = started(database).await;
    let provider = ScriptedProvider::start().await;
    let connected = nexus.connected(&provider, "google").await;
    let bound = token(&nexus, json!({"connection_id": connected.id})).await;
    let free = token(&nexus, json!({})).await;
    active(&nexus.introspect(&bound).await);
    let path = format!("/v1/connections/{}", connected.id);
    nexus.gateway().delete(&path).await.expect(200);
    inactive(&nexus.introspect(&bound).await);
    active(&nexus.introspect(&free).await);
}

async fn a_token_outlives_a_new_key_and_not_a_compromised_one(database: Database) {
    let nexus = started(database).await;
    let token = token(&nexus, json!({})).await;
    let rotate = async |asked: Value| {
        let rotated = nexus.broker().post("/admin/v1/session-keys", asked).await;
        rotated.expect(201);
    };
    rotate(json!({})).await;
    active(&nexus.introspect(&token).await);
    rotate(json!({"compromised": true})).await;
    inactive(&nexus.introspect(&token).await);
    active(
        &nexus
            .introspect(&self::token(&nexus, json!({})).await)
            .await,
    );
}

async fn somebody_elses_token_is_inactive(database: Database) {
    let nexus = started(database).await;
    let provider = ScriptedProvider::start().await;
    let connected = nexus.connected(&provider, "google").await;
    let token = token(&nexus, json!({"connection_id": connected.id})).await;
    for (subject, is_active) in [("user-1", true), ("user-2", false)] {
        let asked = nexus.form(INTROSPECT, &[("token", &token)]);
        let said = asked.header("x-nexus-subject", subject).send().await;
        assert_eq!(said.expect(200)["active"], is_active, "{subject}");
    }
}

async fn asking_records_nothing(database: Database) {
    let nexus = started(database).await;
    let token = token(&nexus, json!({})).await;
    let before = nexus.audit().await;
    for text in [&token, "garbage"] {
        nexus.introspect(text).await;
    }
    assert_eq!(nexus.audit().await, before);
}

async fn revoke(nexus: &TestNexus, token: &str, subject: Option<&str>) -> Value {
    let asked = nexus.form(REVOKE, &[("token", token)]);
    let asked = match subject {
        Some(subject) => asked.header("x-nexus-subject", subject),
        None => asked,
    };
    asked.send().await.expect(200)
}

/// The types of the newest audit entries of sessions' ends.
async fn ends(nexus: &TestNexus) -> usize {
    let path = "/audit?event_type=session.closed";
    let entries = nexus.broker().get(path).await.expect(200);
    entries.as_array().expect("an array").len()
}

async fn revoking_a_token_closes_its_session(database: Database) {
    let nexus = started(database).await;
    let session = opened(&nexus, json!({})).await;
    let token = text(&session, "session_token");
    for _ in 0..2 {
        assert_eq!(revoke(&nexus, &token, None).await, json!({}));
        inactive(&nexus.introspect(&token).await);
        assert_eq!(ends(&nexus).await, 1);
    }
    let shown = nexus.session(&text(&session, "session_id")).await;
    assert_eq!(
        (&shown["active"], &shown["closed_reason"]),
        (&json!(false), &json!("closed"))
    );
}

async fn revoking_what_is_no_token_of_the_callers_changes_nothing(database: Database) {
    let nexus = started(database).await;
    let provider = ScriptedProvider::start().await;
    let connected = nexus.connected(&provider, "google").await;
    let token = token(&nexus, json!({"connection_id": connected.id})).await;
    for (text, subject) in [
        ("garbage", None),
        ("e30.e30.e30", Some("user-1")),
        (&*token, Some("user-2")),
    ] {
        assert_eq!(revoke(&nexus, text, subject).await, json!({}));
    }
    active(&nexus.introspect(&token).await);
    assert_eq!(ends(&nexus).await, 0);
    assert_eq!(revoke(&nexus, &token, Some("user-1")).await, json!({}));
    inactive(&nexus.introspect(&token).await);
}

/// Asserts a refusal of OAuth's form.
#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str, code: &str) -> Value {
    let body = answer.refused(status, error);
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["error_description"], body["message"]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    body
}

async fn refusals_are_in_oauths_form(database: Database) {
    let nexus = started(database).await;
    let long = "x".repeat(300_000);
    for door in DOORS {
        for (form, code) in [
            (&[][..], "missing_fields"),
            (&[("token", "")], "missing_fields"),
            (&[("token_type_hint", "access_token")], "missing_fields"),
            (&[("token", "a"), ("token", "a")], "invalid_field"),
        ] {
            let answer = nexus.form(door, form).send().await;
            refused(&answer, 400, "invalid_request", code);
        }
        let json = nexus.admin().post(door, json!({"token": "a"})).await;
        refused(&json, 400, "invalid_request", "unsupported_media_type");
        let bare = nexus.admin().request("POST", door).send().await;
        refused(&bare, 400, "invalid_request", "unsupported_media_type");
        let large = nexus.form(door, &[("token", &long)]).send().await;
        refused(&large, 413, "invalid_request", "body_too_large");
        let twice = nexus.form(door, &[("token", "a")]);
        let twice = twice.header("x-nexus-subject", &"x".repeat(256)).send();
        refused(&twice.await, 400, "invalid_request", "invalid_header");
        // What is no door of OAuth's is refused as everywhere.
        let got = nexus.admin().get(door).await;
        got.refused(405, "method_not_allowed");
    }
}

async fn both_doors_need_a_key(database: Database) {
    let nexus = started(database).await;
    let token = token(&nexus, json!({})).await;
    let form = format!("token={token}");
    for door in DOORS {
        for (key, code) in [
            (None, "missing_api_key"),
            (Some("wrong"), "invalid_api_key"),
        ] {
            let client = match key {
                Some(key) => nexus.gateway().with_key(key),
                None => nexus.gateway(),
            };
            let asked = client.request("POST", door);
            let asked = asked.body("application/x-www-form-urlencoded", form.clone());
            let answer = asked.send().await;
            refused(&answer, 401, "invalid_client", code);
            assert_eq!(
                answer.header("www-authenticate"),
                Some(r#"ApiKey realm="nexus""#)
            );
        }
    }
    active(&nexus.introspect(&token).await);
}

async fn any_key_opens_both_doors(database: Database) {
    let nexus = Nexus::new(database).set("GATEWAY_API_KEYS", "a-callers-key-of-32-characters-aa");
    let nexus = nexus.start().await;
    nexus.register_agent("report-bot", &["report.write"]).await;
    let token = token(&nexus, json!({})).await;
    let caller = nexus
        .gateway()
        .with_key("a-callers-key-of-32-characters-aa");
    let ask = async |door: &str| {
        let asked = caller.request("POST", door);
        let asked = asked.body(
            "application/x-www-form-urlencoded; charset=UTF-8",
            format!("token={token}"),
        );
        asked.send().await.expect(200)
    };
    active(&ask(INTROSPECT).await);
    assert_eq!(ask(REVOKE).await, json!({}));
    inactive(&ask(INTROSPECT).await);
}

async fn refused_callers_are_counted(database: Database) {
    let nexus = started(database).await;
    let stranger = nexus.gateway();
    let asked = stranger.request("POST", INTROSPECT);
    let asked = asked.body("application/x-www-form-urlencoded", "token=a");
    refused(
        &asked.send().await,
        401,
        "invalid_client",
        "missing_api_key",
    );
    let nexus = nexus.into_stopped().await.start().await;
    let path = "/audit?event_type=credential.denied";
    let entries = nexus.broker().get(path).await.expect(200);
    let data: Value = serde_json::from_str(&text(&entries[0], "event_data")).expect("event data");
    assert_eq!(data["reason"], "missing_api_key", "{data}");
    assert_eq!(data["door"], INTROSPECT, "{data}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_nodes_key_is_active_on_every_node() {
    let here = |nexus: Nexus| nexus.set("BASE_URL", "https://nexus.example");
    let first = here(Nexus::new(Database::Postgres)).start().await;
    first.register_agent("report-bot", &["report.write"]).await;
    let second = first.beside_with(here).await;
    // The first key is made with the first token, and the other node has not looked since.
    let theirs = token(&first, json!({})).await;
    active(&second.introspect(&theirs).await);
    let rotated = json!({"compromised": true});
    let rotated = first.broker().post("/admin/v1/session-keys", rotated).await;
    rotated.expect(201);
    let newer = token(&first, json!({})).await;
    active(&second.introspect(&newer).await);
    inactive(&second.introspect(&theirs).await);
    // Whatever ends a session on one node has ended it on all.
    let revoked = second.form(REVOKE, &[("token", &newer)]).send().await;
    revoked.expect(200);
    inactive(&first.introspect(&newer).await);
}
