//! The keys of session tokens: published, rotated, gone when they should be; and tokens as others see them.
//!
//! - `GET /.well-known/jwks.json`
//! - `GET /admin/v1/session-keys`
//! - `POST /admin/v1/session-keys`

use nexus_api::session_tokens::{Actor, Claims};
use nexus_domain::sealing::KeyId;
use nexus_domain::time::Timestamp;
use nexus_ledger::Backend;
use nexus_tests::{Answer, Client, Database, Nexus, TestNexus, on_both_databases, until};
use serde_json::{Value, json};

on_both_databases! {
    the_first_key_is_made_when_it_is_asked_for,
    a_new_key_is_published_before_it_signs,
    keys_outlive_a_crash,
    a_key_goes_when_everything_it_signed_is_over,
    compromised_keys_go_at_once,
    a_damaged_key_is_not_published_and_can_be_replaced,
    other_libraries_believe_our_tokens,
    other_libraries_believe_what_an_agent_is_given,
}

const JWKS: &str = "/.well-known/jwks.json";
const KEYS: &str = "/admin/v1/session-keys";
const AUDIENCE: &str = "https://api.example";

/// The ids of the published keys, the oldest first.
fn kids(answer: &Answer) -> Vec<String> {
    let body = answer.expect(200);
    let keys = body["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("an id").to_owned())
        .collect()
}

async fn published(nexus: &TestNexus) -> Vec<String> {
    kids(&nexus.gateway().get(JWKS).await)
}

/// The keys' ids and states, the newest first.
async fn states(nexus: &TestNexus) -> Vec<(String, String)> {
    let body = nexus.broker().get(KEYS).await.expect(200);
    let keys = body["keys"].as_array().expect("keys").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    keys.map(|key| (text(&key["kid"]), text(&key["state"])))
        .collect()
}

async fn rotate(nexus: &TestNexus, compromised: bool) -> String {
    let body = json!({"compromised": compromised});
    let new = nexus.broker().post(KEYS, body).await.expect(201);
    new["kid"].as_str().expect("an id").to_owned()
}

async fn is_stored(nexus: &Nexus, kid: &str) -> bool {
    let kid = KeyId::parse(kid).expect("an id");
    nexus.session_key(kid).await.is_some()
}

/// The session keys' events: type, who acted, key.
async fn trail(nexus: &TestNexus) -> Vec<(String, String, String)> {
    let entries = nexus.audit().await.into_iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keys = entries.filter(|entry| text(&entry["event_type"]).starts_with("vault.session_key_"));
    keys.map(|entry| {
        let data: Value = serde_json::from_str(&text(&entry["event_data"])).expect("JSON");
        (
            text(&entry["event_type"]),
            text(&entry["actor"]),
            text(&data["kid"]),
        )
    })
    .collect()
}

fn event(name: &str, actor: &str, kid: &str) -> (String, String, String) {
    (
        format!("vault.session_key_{name}"),
        actor.to_owned(),
        kid.to_owned(),
    )
}

fn state(kid: &str, state: &str) -> (String, String) {
    (kid.to_owned(), state.to_owned())
}

async fn the_first_key_is_made_when_it_is_asked_for(database: Database) {
    let nexus = TestNexus::start(database).await;
    assert_eq!(states(&nexus).await, []);
    let answer = nexus.gateway().get(JWKS).await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let [kid] = kids(&answer).try_into().expect("one key");
    assert_eq!(states(&nexus).await, [state(&kid, "signing")]);
    assert_eq!(nexus.gateway().get(JWKS).await.text, answer.text);
    assert_eq!(trail(&nexus).await, [event("created", "system", &kid)]);
}

async fn a_new_key_is_published_before_it_signs(database: Database) {
    let nexus = TestNexus::start(database).await;
    let [old] = published(&nexus).await.try_into().expect("one key");
    let said = nexus.operate(&["keys", "rotate"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let (new, _) = said.stdout.split_once(" signs from ").expect("a time");
    assert_eq!(published(&nexus).await, [old.as_str(), new]);
    let expected = [state(new, "published"), state(&old, "signing")];
    assert_eq!(states(&nexus).await, expected);
    let listed = nexus.operate(&["keys", "list"]).await.stdout;
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(
        rows,
        [["KID", "STATE"], [new, "published"], [&old, "signing"]]
    );
    let newest = trail(&nexus).await.pop().expect("an event");
    // The operator's key has a name.
    assert!(newest.1.starts_with("key"), "{newest:?}");
    assert_eq!(newest, event("created", &newest.1, new));
}

async fn keys_outlive_a_crash(database: Database) {
    let mut nexus = TestNexus::start(database).await;
    let first = published(&nexus).await;
    let new = rotate(&nexus, false).await;
    let before = nexus.gateway().get(JWKS).await.text;
    nexus.kill9().await;
    nexus.start_again().await;
    assert_eq!(nexus.gateway().get(JWKS).await.text, before);
    assert_eq!(published(&nexus).await, [&first[..], &[new]].concat());
}

/// What has been recorded of keys is put into the past, so that nobody has to wait.
async fn age(nexus: &Nexus, minutes: u32) {
    let micros = u64::from(minutes) * 60_000_000;
    nexus
        .tamper(&format!(
            "UPDATE events SET recorded_at = recorded_at - {micros} \
             WHERE event_type = 'vault.session_key_created'"
        ))
        .await;
}

async fn a_key_goes_when_everything_it_signed_is_over(database: Database) {
    let nexus = Nexus::new(database).set("SESSION_MAX_TTL", "60s");
    let mut nexus = nexus.start().await;
    let [old] = published(&nexus).await.try_into().expect("one key");
    let new = rotate(&nexus, false).await;
    let restarted_after = async |nexus: &mut TestNexus, minutes| {
        nexus.terminate().await;
        age(nexus.remains(), minutes).await;
        nexus.start_again().await;
    };
    // It signs, and what the old one signed may be about for another minute.
    restarted_after(&mut nexus, 11).await;
    let expected = [state(&new, "signing"), state(&old, "verifying")];
    assert_eq!(states(&nexus).await, expected);
    assert_eq!(published(&nexus).await, [old.as_str(), &new]);
    assert!(is_stored(nexus.settings(), &old).await);
    restarted_after(&mut nexus, 2).await;
    until("the old key is gone", || async {
        (published(&nexus).await == [new.as_str()]).then_some(())
    })
    .await;
    let expected = [state(&new, "signing"), state(&old, "retired")];
    assert_eq!(states(&nexus).await, expected);
    let newest = trail(&nexus).await.pop();
    assert_eq!(newest, Some(event("retired", "system", &old)));
    assert!(!is_stored(nexus.settings(), &old).await);
    assert!(is_stored(nexus.settings(), &new).await);
}

async fn compromised_keys_go_at_once(database: Database) {
    let nexus = TestNexus::start(database).await;
    let [first] = published(&nexus).await.try_into().expect("one key");
    let second = rotate(&nexus, false).await;
    let said = nexus.operate(&["keys", "rotate", "--compromised"]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let [third] = published(&nexus).await.try_into().expect("one key");
    let expected = [
        state(&third, "signing"),
        state(&second, "retired"),
        state(&first, "retired"),
    ];
    assert_eq!(states(&nexus).await, expected);
    for kid in [&first, &second] {
        assert!(!is_stored(nexus.settings(), kid).await);
    }
}

async fn a_damaged_key_is_not_published_and_can_be_replaced(database: Database) {
    let mut nexus = TestNexus::start(database).await;
    let [damaged] = published(&nexus).await.try_into().expect("one key");
    nexus.terminate().await;
    let delete = format!("DELETE FROM data_keys WHERE key_id = '{damaged}'");
    nexus.remains().tamper(&delete).await;
    nexus.start_again().await;
    assert_eq!(published(&nexus).await, Vec::<String>::new());
    let new = rotate(&nexus, true).await;
    assert_eq!(published(&nexus).await, [new]);
}

async fn now(nexus: &TestNexus) -> Timestamp {
    let backend = Backend::open_read_only(&nexus.settings().options().database).await;
    let head = backend.expect("it opens").newest_head().await;
    Timestamp::from_micros(head.expect("a head").recorded_at)
}

fn claims(now: Timestamp) -> Claims {
    Claims {
        sub: "user-1".to_owned(),
        client_id: "mail-bot".to_owned(),
        iat: now.as_seconds(),
        exp: now.as_seconds() + 900,
        jti: "obo_00112233445566778899aabbccddeeff".to_owned(),
        scope: "mail.read".to_owned(),
        act: Some(Actor {
            sub: "mail-bot".to_owned(),
        }),
        tenant_id: None,
        clearance_level: None,
    }
}

async fn other_libraries_believe_our_tokens(database: Database) {
    let nexus = TestNexus::start(database).await;
    published(&nexus).await;
    let (tokens, now) = (nexus.session_tokens(AUDIENCE).await, now(&nexus).await);
    let token = tokens.mint(&claims(now), now).expect("a token");
    for verdict in nexus.verdicts(&token, AUDIENCE).await {
        let said = verdict.expect("it is believed");
        assert_eq!(
            (&said["iss"], &said["aud"]),
            (&json!(nexus.issuer()), &json!(AUDIENCE))
        );
        assert_eq!(said["act"], json!({"sub": "mail-bot"}));
        assert_eq!(said["exp"], json!(now.as_seconds() + 900));
    }
    for verdict in nexus.verdicts(&token, "https://elsewhere.example").await {
        verdict.expect_err("it is for somebody else");
    }
    // Published after it was signed: what was signed before is still good.
    rotate(&nexus, false).await;
    for verdict in nexus.verdicts(&token, AUDIENCE).await {
        verdict.expect("it is believed");
    }
    let over = Claims {
        exp: now.as_seconds() - 1,
        ..claims(now)
    };
    let over = tokens.mint(&over, now).expect("a token");
    let mut altered = token.clone().into_bytes();
    let last = altered.len() - 10;
    altered[last] = if altered[last] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).expect("text");
    for refused in [over, altered] {
        for verdict in nexus.verdicts(&refused, AUDIENCE).await {
            verdict.expect_err("it is over, or altered");
        }
    }
    rotate(&nexus, true).await;
    for verdict in nexus.verdicts(&token, AUDIENCE).await {
        verdict.expect_err("its key is compromised");
    }
}

async fn other_libraries_believe_what_an_agent_is_given(database: Database) {
    let nexus = Nexus::new(database).set("SESSION_AUDIENCE", AUDIENCE);
    let nexus = nexus.start().await;
    let agent = json!({"agent_id": "mail-bot", "allowed_scopes": ["report", "sum"]});
    let registered = nexus.broker().post("/admin/v1/agents", agent).await;
    registered.expect(201);
    // Nobody has asked for keys yet: the first token makes the first key.
    let asked = json!({"agent_id": "mail-bot", "scopes": ["report", "sum"]});
    let session = nexus.admin().post("/v1/agent-sessions", asked).await;
    let session = session.expect(201);
    let token = session["session_token"].as_str().expect("a token");
    for verdict in nexus.verdicts(token, AUDIENCE).await {
        let said = verdict.expect("it is believed");
        assert_eq!(said["sub"], "mail-bot");
        assert_eq!(said["client_id"], "mail-bot");
        assert_eq!(said["scope"], "report sum");
        assert_eq!(said["jti"], session["session_id"]);
        assert!(said.get("act").is_none(), "{said}");
    }
    rotate(&nexus, true).await;
    for verdict in nexus.verdicts(token, AUDIENCE).await {
        verdict.expect_err("its key is compromised");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_agree_on_the_keys() {
    let first = TestNexus::start(Database::Postgres).await;
    let second = first.beside().await;
    // Both make the first key at once, and there is one.
    let (at_first, at_second) = tokio::join!(published(&first), published(&second));
    assert_eq!((at_first.len(), &at_first), (1, &at_second));
    let all = tokio::join!(
        rotate(&first, false),
        rotate(&second, false),
        rotate(&first, false),
        rotate(&second, false)
    );
    for node in [&first, &second] {
        let published = until("a node has every key", || async {
            let published = published(node).await;
            (published.len() == 5).then_some(published)
        })
        .await;
        for kid in [&all.0, &all.1, &all.2, &all.3] {
            assert!(published.contains(kid), "{kid}");
        }
    }
    assert_eq!(states(&first).await, states(&second).await);
    let new = rotate(&second, true).await;
    until("the other node has heard of it", || async {
        (published(&first).await == [new.as_str()]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_is_refused_the_public_keys() {
    let nexus = Nexus::new(Database::Sqlite)
        .set("GATEWAY_REQUIRE_API_KEY", "true")
        .set("ALLOWED_CIDRS", "192.0.2.0/24")
        .start()
        .await;
    nexus.gateway().get(JWKS).await.expect(200);
    let refused = nexus.gateway().get("/v1/providers").await;
    refused.refused(403, "ip_not_allowed");
}

#[tokio::test]
async fn only_operators_see_and_rotate_keys() {
    let nexus = Nexus::new(Database::Sqlite)
        .set("GATEWAY_API_KEYS", "caller-1")
        .start()
        .await;
    let ask = async |client: Client, code: &str| {
        client.get(KEYS).await.refused(401, code);
        client.post(KEYS, json!({})).await.refused(401, code);
    };
    ask(nexus.broker_without_key(), "missing_api_key").await;
    let caller = nexus.broker_without_key().with_key("caller-1");
    ask(caller, "invalid_api_key").await;
    let wrong = json!({"compromised": "very"});
    let wrong = nexus.broker().post(KEYS, wrong).await;
    assert_eq!(wrong.refused(400, "invalid_field")["field"], "compromised");
    assert_eq!(states(&nexus).await, []);
}
