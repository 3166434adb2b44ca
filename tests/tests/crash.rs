//! The real binary, killed with SIGKILL exactly where it hurts, and started again on what is left.

use std::future::Future;
use std::time::Duration;

use nexus_ledger::fault;
use nexus_tests::crash::{KeepAlive, Plan, run};
use nexus_tests::{
    Connected, Database, Nexus, ScriptedProvider, TestNexus, on_both_databases, until,
};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

on_both_databases! {
    a_consent_cut_anywhere_exchanges_its_code_once_and_comes_to_an_end,
    a_refresh_cut_anywhere_is_taken_over_and_only_a_marked_repeat_redeems_a_token_again,
    a_token_read_cut_before_its_record_left_no_trace_and_after_it_is_recorded,
    a_batch_cut_before_its_commit_is_absent_and_after_it_is_whole,
    a_rebuild_cut_anywhere_can_be_done_again_and_equals_the_log,
    kills_at_random_under_load_lose_nothing_that_was_acknowledged,
}

/// Runs one scenario for each point of a flow, all at once: most of it is waiting for deadlines.
async fn at_every_point<F>(flow: &str, scenario: impl Fn(&'static str) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let points = fault::POINTS.iter().filter(|point| point.starts_with(flow));
    let mut scenarios: JoinSet<()> = points.map(|point| scenario(point)).collect();
    assert!(!scenarios.is_empty(), "{flow} has no points");
    while let Some(ended) = scenarios.join_next().await {
        ended.expect("a scenario");
    }
}

/// A server whose claims hold for six seconds, and a provider whose refresh tokens are good once.
async fn started(database: Database) -> (TestNexus, ScriptedProvider) {
    let nexus = Nexus::new(database)
        .set("UPSTREAM_TIMEOUT", "1s")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    let mut profile = provider.profile("accounts");
    profile["params"] = json!({"refresh_rotation": "always"});
    nexus.register(profile).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    (nexus, provider)
}

/// Starts the server anew, so that it is held at this point.
async fn arm(nexus: &mut TestNexus, point: &str) {
    nexus.kill9().await;
    nexus.change(fault::VARIABLE, Some(point));
    nexus.start_again().await;
}

/// A request that will never be answered, because its server is killed.
fn ask(nexus: &TestNexus, method: &str, path: &str, body: Option<&Value>) -> JoinHandle<bool> {
    let mut request = nexus.gateway().request(method, path);
    if let Some(body) = body {
        request = request.json(body);
    }
    tokio::spawn(async move { request.try_send().await.is_err() })
}

/// Waits until the server is held, kills it there and starts it again, to be held no more.
async fn kill_at(nexus: &mut TestNexus, point: &str, caller: Option<JoinHandle<bool>>) {
    let line = format!("fault point {point} reached");
    until(&line, || {
        std::future::ready(nexus.says(&line).then_some(()))
    })
    .await;
    nexus.kill9().await;
    if let Some(caller) = caller {
        assert!(
            caller.await.expect("a caller"),
            "{point}: the caller was answered"
        );
    }
    nexus.change(fault::VARIABLE, None);
    nexus.start_again().await;
}

/// The read models equal the log, and the log verifies from its raw entries.
async fn sound(nexus: TestNexus) {
    for name in ["connections", "providers", "agents", "sessions"] {
        assert_eq!(rebuilt(&nexus, name).await["differences"], 0, "{name}");
    }
    let stopped = nexus.into_stopped().await;
    assert!(stopped.verified().await.checkpoints > 0);
}

/// Rebuilds a read model; how that went.
async fn rebuilt(nexus: &TestNexus, name: &str) -> Value {
    nexus
        .broker()
        .request("POST", &format!("/admin/v1/projections/{name}/rebuild"))
        .send()
        .await
        .expect(202);
    until("the rebuild is done", || async {
        let rebuild = nexus.projection(name).await["rebuild"].clone();
        assert_ne!(rebuild["state"], "failed", "{rebuild}");
        (rebuild["state"] == "done").then_some(rebuild)
    })
    .await
}

fn exchanges(provider: &ScriptedProvider) -> usize {
    provider.calls().len() - provider.refreshes().len()
}

async fn a_consent_cut_anywhere_exchanges_its_code_once_and_comes_to_an_end(database: Database) {
    at_every_point("consent.", |point| consent_cut(database, point)).await;
}

async fn consent_cut(database: Database, point: &'static str) {
    let (mut nexus, provider) = started(database).await;
    arm(&mut nexus, point).await;
    let requested = nexus.request("accounts").await;
    let callback = provider.consent(&requested.auth_url).await;
    let caller = ask(&nexus, "GET", callback.as_str(), None);
    kill_at(&mut nexus, point, Some(caller)).await;

    let sent = usize::from(point != "consent.before_send");
    assert_eq!(exchanges(&provider), sent, "{point}");
    // The person tries again with what the browser still has.
    let again = nexus.gateway().visit(&callback).await;
    assert!(
        (400..500).contains(&again.status),
        "{point}: {}",
        again.text
    );
    if point == "consent.after_commit" {
        assert_eq!(nexus.status(&requested.id).await["status"], "active");
        nexus.token(&requested.id).await.expect(200);
    } else {
        let history = until("the consent has lapsed", || async {
            let history = nexus.history(&requested.reference()).await;
            (history.len() > 2).then_some(history)
        })
        .await;
        assert_eq!(nexus.status(&requested.id).await["status"], "failed");
        assert_eq!(
            history,
            [
                "connection.requested",
                "connection.consent_returned",
                "connection.expired"
            ],
            "{point}"
        );
    }
    assert_eq!(
        exchanges(&provider),
        sent,
        "{point}: a code is exchanged once"
    );
    nexus.connect(&provider, "accounts").await;
    sound(nexus).await;
}

async fn a_refresh_cut_anywhere_is_taken_over_and_only_a_marked_repeat_redeems_a_token_again(
    database: Database,
) {
    at_every_point("refresh.", |point| refresh_cut(database, point)).await;
}

async fn refresh_cut(database: Database, point: &'static str) {
    let (mut nexus, provider) = started(database).await;
    let connected = nexus.connect(&provider, "accounts").await;
    arm(&mut nexus, point).await;
    let caller = ask(
        &nexus,
        "POST",
        &format!("/v1/refresh/{}", connected.id),
        None,
    );
    kill_at(&mut nexus, point, Some(caller)).await;

    let sent = usize::from(point != "refresh.before_send");
    assert_eq!(provider.refreshes().len(), sent, "{point}");
    // The old credential has not expired and goes on being served meanwhile, or the new one is.
    nexus.token(&connected.id).await.expect(200);
    if point == "refresh.after_commit" {
        assert_eq!(provider.refreshes().len(), 1);
        nexus.refresh(&connected.id).await.expect(200);
        sound(nexus).await;
        return;
    }
    let answer = until("the claim is taken over", || async {
        let answer = nexus.refresh(&connected.id).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert_eq!(repeats(&nexus, &connected).await, [false, true], "{point}");
    if point == "refresh.before_send" {
        answer.expect(200);
        assert_eq!(
            provider.refreshes().len(),
            1,
            "the token was never sent before"
        );
    } else {
        let refused = answer.refused(409, "attention_required");
        assert_eq!(
            refused["reason"], "refresh_token_invalid",
            "{point}: its successor died with the server"
        );
        assert_eq!(
            provider.refreshes().len(),
            2,
            "{point}: once more and no more"
        );
    }
    sound(nexus).await;
}

/// Of each claim, whether it says that it repeats.
async fn repeats(nexus: &TestNexus, connected: &Connected) -> Vec<Value> {
    let entries = nexus.audit().await;
    let own = entries
        .iter()
        .filter(|entry| entry["connection_id"] == connected.reference());
    own.filter(|entry| entry["event_type"] == "connection.refresh_started")
        .map(|entry| {
            let data: Value =
                serde_json::from_str(entry["event_data"].as_str().expect("text")).expect("JSON");
            data["repeat"].clone()
        })
        .collect()
}

async fn a_token_read_cut_before_its_record_left_no_trace_and_after_it_is_recorded(
    database: Database,
) {
    at_every_point("token.", |point| token_read_cut(database, point)).await;
}

async fn token_read_cut(database: Database, point: &'static str) {
    let (mut nexus, _provider) = started(database).await;
    let connected = nexus.capture("weather", json!({"api_key": "k-1"})).await;
    arm(&mut nexus, point).await;
    let caller = ask(&nexus, "GET", &format!("/v1/token/{}", connected.id), None);
    kill_at(&mut nexus, point, Some(caller)).await;

    let recorded = usize::from(point == "token.after_commit");
    assert_eq!(reads(&nexus, &connected).await, recorded, "{point}");
    assert_eq!(
        nexus.token(&connected.id).await.expect(200)["credentials"]["api_key"],
        "k-1"
    );
    assert_eq!(reads(&nexus, &connected).await, recorded + 1, "{point}");
    sound(nexus).await;
}

async fn reads(nexus: &TestNexus, connected: &Connected) -> usize {
    let history = nexus.history(&connected.reference()).await;
    history
        .iter()
        .filter(|event| *event == "credential.retrieved")
        .count()
}

async fn a_batch_cut_before_its_commit_is_absent_and_after_it_is_whole(database: Database) {
    at_every_point("writer.", |point| batch_cut(database, point)).await;
}

async fn batch_cut(database: Database, point: &'static str) {
    let (mut nexus, _provider) = started(database).await;
    let requested = nexus.request("weather").await;
    arm(&mut nexus, point).await;
    let body = json!({"state": requested.state, "credentials": {"api_key": "k-2"}});
    let caller = ask(&nexus, "POST", "/v1/capture-credential", Some(&body));
    kill_at(&mut nexus, point, Some(caller)).await;

    // Event, blob, read model and head come together or not at all.
    let committed = point == "writer.after_commit";
    let expected = if committed { "active" } else { "pending" };
    assert_eq!(
        nexus.status(&requested.id).await["status"],
        expected,
        "{point}"
    );
    let again = nexus.gateway().post("/v1/capture-credential", body).await;
    assert_eq!(
        again.status,
        if committed { 409 } else { 200 },
        "{point}: {}",
        again.text
    );
    assert_eq!(
        nexus.token(&requested.id).await.expect(200)["credentials"]["api_key"],
        "k-2"
    );
    let history = nexus.history(&requested.reference()).await;
    assert_eq!(
        history,
        [
            "connection.requested",
            "connection.credential_captured",
            "credential.retrieved"
        ],
        "{point}"
    );
    sound(nexus).await;
}

async fn a_rebuild_cut_anywhere_can_be_done_again_and_equals_the_log(database: Database) {
    at_every_point("rebuild.", |point| rebuild_cut(database, point)).await;
}

async fn rebuild_cut(database: Database, point: &'static str) {
    let (mut nexus, _provider) = started(database).await;
    let connected = nexus.capture("weather", json!({"api_key": "k-3"})).await;
    let before = nexus.projection("connections").await["generation"].as_i64();
    arm(&mut nexus, point).await;
    nexus
        .broker()
        .request("POST", "/admin/v1/projections/connections/rebuild")
        .send()
        .await
        .expect(202);
    kill_at(&mut nexus, point, None).await;

    let swapped = i64::from(point == "rebuild.after_swap");
    let after = nexus.projection("connections").await["generation"].as_i64();
    assert_eq!(
        after,
        before.map(|generation| generation + swapped),
        "{point}"
    );
    nexus.token(&connected.id).await.expect(200);
    let other = nexus.capture("weather", json!({"api_key": "k-4"})).await;
    assert_eq!(
        rebuilt(&nexus, "connections").await["differences"],
        0,
        "{point}"
    );
    for connected in [connected, other] {
        nexus.token(&connected.id).await.expect(200);
    }
    sound(nexus).await;
}

async fn kills_at_random_under_load_lose_nothing_that_was_acknowledged(database: Database) {
    let plan = Plan {
        database,
        seed: 5,
        within: Duration::from_secs(12),
        kills: 6,
        appends: 300,
        connections: 10,
        readers: 8,
        verify_every: 4,
    };
    let report = run(plan).await;
    assert_eq!(report.violations, Vec::<String>::new());
    assert!(
        report.killed() > 2 && report.acknowledged > 0,
        "{report:#?}"
    );
}

/// From which size on a write-ahead log counts as full: thousands of commits, none of them in the database file yet.
const FULL: u64 = 8 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_killed_with_a_full_write_ahead_log_finds_everything_in_it() {
    let (mut nexus, _provider) = started(Database::Sqlite).await;
    let connected = nexus.capture("weather", json!({"api_key": "k-5"})).await;
    let mut readers = JoinSet::new();
    for _ in 0..16 {
        let (base, path) = (
            nexus.gateway().base().clone(),
            format!("/v1/token/{}", connected.id),
        );
        readers.spawn(async move {
            let mut wire = KeepAlive::connect(&base).await.expect("a connection");
            let mut acknowledged = 0;
            while let Ok(answer) = wire.ask("GET", &path, None, "").await {
                assert_eq!(answer.status, 200);
                acknowledged += 1;
            }
            acknowledged
        });
    }
    let log = nexus.data_dir().join("nexus.db-wal");
    let size = || std::fs::metadata(&log).map_or(0, |file| file.len());
    until("the write-ahead log is full", || {
        std::future::ready((size() >= FULL).then_some(()))
    })
    .await;
    nexus.kill9().await;
    let acknowledged: u64 = readers.join_all().await.into_iter().sum();
    assert!(
        size() >= FULL,
        "what was committed is still in the write-ahead log"
    );
    nexus.start_again().await;
    nexus.token(&connected.id).await.expect(200);
    let stopped = nexus.into_stopped().await;
    // Two registrations, a request and a capture; a read that was recorded may not have been answered.
    let reads = stopped.verified().await.size - 4 - 1;
    assert!(
        acknowledged > 0 && (acknowledged..=acknowledged + 16).contains(&reads),
        "{reads} of {acknowledged}"
    );
}
