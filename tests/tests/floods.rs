//! What callers without a key can make the log grow by is bounded.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream;
use nexus_tests::{Answer, Database, Nexus, ScriptedProvider, TestNexus, on_both_databases, until};
use serde_json::{Value, json};
use url::Url;

on_both_databases! {
    refusals_are_counted_per_source_reason_and_minute,
    a_flood_of_refusals_from_everywhere_is_recorded_in_few_events_and_none_is_lost,
    pending_connections_are_capped_per_source_and_in_total_and_a_key_is_apart,
    a_place_is_free_again_when_its_consent_has_ended_and_when_it_has_lapsed,
}

const UNKNOWN: &str = "/v1/token/0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90";

/// A server that believes the harness when it says whose request it passes on.
fn behind_a_proxy(database: Database) -> Nexus {
    Nexus::new(database).set("TRUSTED_PROXIES", "127.0.0.1")
}

/// The `credential.denied` events of a server that has been stopped and started again.
async fn denials(nexus: &mut TestNexus) -> Vec<Value> {
    nexus.terminate().await;
    nexus.start_again().await;
    let mut path = "/audit?event_type=credential.denied&limit=1000".to_owned();
    let mut all = Vec::new();
    loop {
        let page = nexus.broker().get(&path).await;
        all.extend(page.expect(200).as_array().expect("entries").clone());
        let Some(cursor) = page.header("x-next-cursor") else {
            return all;
        };
        path = format!("/audit?event_type=credential.denied&limit=1000&cursor={cursor}");
    }
}

fn data(entry: &Value) -> Value {
    serde_json::from_str(entry["event_data"].as_str().expect("a text")).expect("JSON")
}

fn total(denials: &[Value]) -> u64 {
    let counts = denials.iter().map(|entry| data(entry)["count"].as_u64());
    counts.map(|count| count.expect("a count")).sum()
}

async fn refusals_are_counted_per_source_reason_and_minute(database: Database) {
    let mut nexus = behind_a_proxy(database).start().await;
    let asked = [
        ("192.0.2.1", UNKNOWN, "connection_not_found", 300),
        ("192.0.2.2", UNKNOWN, "connection_not_found", 40),
        ("192.0.2.1", "/v1/providers", "missing_api_key", 50),
        (
            "2001:db8::1",
            "/v1/callback?state=x&code=y",
            "invalid_state",
            7,
        ),
        (
            "2001:db8::2",
            "/v1/callback?state=x&code=y",
            "invalid_state",
            6,
        ),
    ];
    for (source, path, code, times) in asked {
        for _ in 0..times {
            let request = nexus.gateway().request("GET", path);
            let answer = request.header("x-forwarded-for", source).send().await;
            assert_eq!(answer.json()["error"], code);
        }
    }
    // A refusal that is shown as a page is one, too.
    let shown = nexus
        .gateway()
        .request("GET", "/v1/callback?state=x&code=y");
    let shown = shown.header("x-forwarded-for", "192.0.2.3");
    let shown = shown.header("accept", "text/html").send().await;
    assert!(
        shown.text.contains("This link is not valid"),
        "{}",
        shown.text
    );
    let denials = denials(&mut nexus).await;
    let mut counted = BTreeMap::new();
    for entry in &denials {
        let (data, source) = (data(entry), entry["ip_address"].as_str().expect("a source"));
        let reason = data["reason"].as_str().expect("a reason").to_owned();
        let count = data["count"].as_u64().expect("a count");
        *counted.entry((source.to_owned(), reason)).or_insert(0) += count;
    }
    let expected = [
        ("192.0.2.1", "connection_not_found", 300),
        ("192.0.2.1", "missing_api_key", 50),
        ("192.0.2.2", "connection_not_found", 40),
        ("192.0.2.3", "invalid_state", 1),
        ("2001:db8::/64", "invalid_state", 13),
    ];
    let expected =
        expected.map(|(source, reason, count)| ((source.to_owned(), reason.to_owned()), count));
    assert_eq!(counted, BTreeMap::from(expected));
    // They took less than three minutes.
    assert!(denials.len() <= 3 * counted.len(), "{}", denials.len());
}

async fn a_flood_of_refusals_from_everywhere_is_recorded_in_few_events_and_none_is_lost(
    database: Database,
) {
    const SOURCES: u32 = 4_000;
    let mut nexus = behind_a_proxy(database).start().await;
    let gateway = nexus.gateway();
    let asking = stream::iter(0..SOURCES).for_each_concurrent(16, |number| {
        let source = std::net::Ipv4Addr::from_bits(0xc633_0000 + number).to_string();
        let request = gateway.request("GET", UNKNOWN);
        let request = request.header("x-forwarded-for", &source);
        async move {
            request.send().await.refused(404, "connection_not_found");
        }
    });
    asking.await;
    let denials = denials(&mut nexus).await;
    assert_eq!(total(&denials), u64::from(SOURCES));
    // A thousand and one a minute, and they took less than three.
    assert!(denials.len() <= 3 * 1_001, "{}", denials.len());
}

/// Asks for a connection at `weather` from an address.
async fn ask(nexus: &TestNexus, source: &str, workspace: &str, key: bool) -> Answer {
    let gateway = if key { nexus.admin() } else { nexus.gateway() };
    let request = gateway.request("POST", "/v1/request-connection");
    let body = json!({
        "workspace_id": workspace, "provider_name": "weather", "return_url": "http://localhost/done",
    });
    request
        .header("x-forwarded-for", source)
        .json(&body)
        .send()
        .await
}

/// How many of so many requests at once are taken; the others are told to come back.
async fn taken(nexus: &TestNexus, source: &str, workspace: &str, key: bool, times: usize) -> usize {
    let asking = (0..times).map(|_| ask(nexus, source, workspace, key));
    let answers = join_all(asking).await;
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.refused(429, "rate_limited");
        assert!(refused.header("retry-after").is_some());
    }
    answers.iter().filter(|answer| answer.status == 200).count()
}

async fn position(nexus: &TestNexus) -> u64 {
    let newest = nexus.broker().get("/audit?limit=1").await;
    newest.expect(200)[0]["position"]
        .as_u64()
        .expect("a position")
}

async fn pending_connections_are_capped_per_source_and_in_total_and_a_key_is_apart(
    database: Database,
) {
    let nexus = behind_a_proxy(database)
        .set("MAX_PENDING_PER_SOURCE", "5")
        .set("MAX_PENDING_WITHOUT_KEY", "8")
        .set("MAX_PENDING_PER_WORKSPACE", "3")
        .start()
        .await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let before = position(&nexus).await;
    assert_eq!(taken(&nexus, "192.0.2.1", "ann", false, 60).await, 5);
    assert_eq!(taken(&nexus, "192.0.2.2", "ann", false, 60).await, 3);
    assert_eq!(taken(&nexus, "192.0.2.3", "ann", false, 60).await, 0);
    // Strangers have not taken the places of those who have a key, in whatever workspace.
    assert_eq!(taken(&nexus, "192.0.2.1", "ann", true, 10).await, 3);
    assert_eq!(taken(&nexus, "192.0.2.1", "bob", true, 10).await, 3);
    assert_eq!(position(&nexus).await, before + 5 + 3 + 3 + 3);
}

async fn a_place_is_free_again_when_its_consent_has_ended_and_when_it_has_lapsed(
    database: Database,
) {
    let provider = ScriptedProvider::start().await;
    let nexus = behind_a_proxy(database)
        .set("MAX_PENDING_PER_SOURCE", "1")
        .set("STATE_TTL", "4s")
        .start()
        .await;
    nexus.register(provider.profile("weather")).await;
    let first = ask(&nexus, "192.0.2.1", "ann", false).await.expect(200);
    let auth_url: Url = first["auth_url"]
        .as_str()
        .expect("a URL")
        .parse()
        .expect("a URL");
    let callback = provider.consent(&auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    for how in ["ended", "lapsed"] {
        until(how, || async {
            let answer = ask(&nexus, "192.0.2.1", "ann", false).await;
            (answer.status == 200).then_some(())
        })
        .await;
        let full = ask(&nexus, "192.0.2.1", "ann", false).await;
        full.refused(429, "rate_limited");
    }
}
