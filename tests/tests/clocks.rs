//! Nodes whose clocks are an hour wrong share a database, and its clock decides.

use nexus_tests::{
    Answer, Connected, Database, Nexus, Reply, ScriptedProvider, TestDatabase, TestNexus, until,
};
use serde_json::json;
use tokio_postgres::NoTls;

const FAST: &str = "+1h";
const SLOW: &str = "-1h";

/// A node whose clock is wrong; how long things take it measures rightly. Browsers know all nodes by one address.
fn wrong(nexus: Nexus, offset: &str) -> Nexus {
    nexus
        .set("BASE_URL", "http://127.0.0.1:9")
        .set("LD_PRELOAD", &libfaketime())
        .set("FAKETIME", offset)
        .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

fn libfaketime() -> String {
    let found = std::fs::read_dir("/usr/lib")
        .expect("/usr/lib")
        .map(|entry| {
            entry
                .expect("an entry")
                .path()
                .join("faketime/libfaketime.so.1")
        })
        .find(|path| path.is_file());
    let path = found
        .expect("libfaketime is missing: install the package `libfaketime`, or run scripts/test");
    path.display().to_string()
}

/// Two nodes on one database, the first with a setting of its own.
async fn start(offsets: [&str; 2], (name, value): (&str, &str)) -> [TestNexus; 2] {
    let nexus = Nexus::new(Database::Postgres).set(name, value);
    let first = wrong(nexus, offsets[0]).start().await;
    let second = first.beside_with(|nexus| wrong(nexus, offsets[1])).await;
    for (nexus, offset) in [(&first, offsets[0]), (&second, offsets[1])] {
        lives_by_its_clock(first.database(), nexus, offset).await;
    }
    [first, second]
}

/// What it says happens at the time it believes in: otherwise the rest proves nothing.
async fn lives_by_its_clock(database: &TestDatabase, nexus: &TestNexus, offset: &str) {
    nexus.gateway().get("/health").await.expect(200);
    let said = until("it has said when", || async {
        let log = nexus.log();
        let line = log.lines().find(|line| line.starts_with("20"))?;
        line.get(..19).map(str::to_owned)
    })
    .await;
    let half_way = match offset {
        FAST => "30 minutes",
        _ => "-30 minutes",
    };
    let query = format!(
        "SELECT to_char((now() + interval '{half_way}') AT TIME ZONE 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS')"
    );
    let half_way: String = ask(database, &query).await.get(0);
    assert_eq!(said > half_way, offset == FAST, "{said}, {half_way}");
}

async fn ask(database: &TestDatabase, query: &str) -> tokio_postgres::Row {
    let url = database.url().expect("a PostgreSQL database");
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("PostgreSQL answers");
    tokio::spawn(connection);
    client.query_one(query, &[]).await.expect("one row")
}

fn access_token(answer: &Answer) -> String {
    let body = answer.expect(200);
    body["access_token"].as_str().expect("a token").to_owned()
}

/// The database's time, microseconds since the Unix epoch.
async fn database_time(database: &TestDatabase) -> i64 {
    let query = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    ask(database, query).await.get(0)
}

fn refresh_at(nexus: &TestNexus, connected: &Connected) -> tokio::task::JoinHandle<Option<Answer>> {
    let (gateway, path) = (nexus.gateway(), format!("/v1/refresh/{}", connected.id));
    tokio::spawn(async move { gateway.request("POST", &path).try_send().await.ok() })
}

/// Sends the browser back to another node than the one that sent it off.
async fn connect_across(
    from: &TestNexus,
    to: &TestNexus,
    provider: &ScriptedProvider,
) -> Connected {
    let requested = from.request("google").await;
    let callback = provider.consent(&requested.auth_url).await;
    let path = format!(
        "{}?{}",
        callback.path(),
        callback.query().unwrap_or_default()
    );
    let answer = to.gateway().get(&path).await;
    assert!(
        answer.location().as_str().contains("status=success"),
        "{}",
        answer.location()
    );
    Connected { id: requested.id }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nodes_with_wrong_clocks_record_has_the_databases_time() {
    let [slow, fast] = start([SLOW, FAST], ("STATE_TTL", "15m")).await;
    let before = database_time(slow.database()).await;
    let provider = ScriptedProvider::start().await;
    slow.register(provider.profile("google")).await;
    for (from, to) in [(&slow, &fast), (&fast, &slow)] {
        // The id token lives for ten minutes by the provider's clock, which is right.
        let connected = connect_across(from, to, &provider).await;
        for node in [from, to] {
            let token = node.token(&connected.id).await.expect(200);
            let left = token["expires_in"].as_i64().expect("a number");
            assert!((3_000..=3_600).contains(&left), "{left} seconds of an hour");
        }
    }
    assert_eq!(
        provider.refreshes().len(),
        0,
        "no token seemed to have expired"
    );
    let after = database_time(slow.database()).await;
    let row = ask(
        slow.database(),
        &format!(
            "SELECT count(*) FILTER (WHERE recorded_at < {before}), count(*) FILTER (WHERE recorded_at > {after}), \
                 count(DISTINCT aggregate_id) FILTER (WHERE aggregate_type = 'access') FROM events"
        ),
    )
    .await;
    let (earlier, later, readers): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!((earlier, later), (0, 0), "no event is from another hour");
    assert_eq!(readers, 2, "both nodes recorded reads");

    drop(fast.into_stopped().await);
    let verified = slow.into_stopped().await.verified().await;
    assert!(verified.checkpoints > 0, "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_node_does_not_take_over_a_live_claim() {
    one_call_reaches_the_provider([SLOW, FAST]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_node_does_not_take_over_a_live_claim() {
    one_call_reaches_the_provider([FAST, SLOW]).await;
}

/// The first node claims a refresh at a slow provider, then the second is asked for one.
async fn one_call_reaches_the_provider(offsets: [&str; 2]) {
    let [holder, other] = start(offsets, ("UPSTREAM_TIMEOUT", "20s")).await;
    let provider = ScriptedProvider::start().await;
    holder.register(provider.profile("google")).await;
    let connected = connect_across(&holder, &other, &provider).await;
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let first = refresh_at(&holder, &connected);
    gate.arrived().await;
    let second = refresh_at(&other, &connected);
    until("the other node waits", || async {
        let waits = other.log().contains("waiting for another caller's refresh");
        waits.then_some(())
    })
    .await;
    assert_eq!(provider.refreshes().len(), 1);
    gate.open();
    let mut tokens = Vec::new();
    for caller in [first, second] {
        let answer = caller.await.expect("a caller").expect("an answer");
        tokens.push(access_token(&answer));
    }
    assert_eq!(tokens[0], tokens[1]);
    assert_eq!(provider.refreshes().len(), 1, "one call for both");
}

/// Were a node's own clock to decide, this would take an hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_node_takes_over_the_claim_of_a_dead_fast_one_when_the_database_says() {
    let [mut fast, slow] = start([FAST, SLOW], ("UPSTREAM_TIMEOUT", "1s")).await;
    let provider = ScriptedProvider::start().await;
    fast.register(provider.profile("google")).await;
    let connected = connect_across(&fast, &slow, &provider).await;
    let (held, gate) = Reply::error(503, "x").held();
    provider.next(held);
    let caller = refresh_at(&fast, &connected);
    gate.arrived().await;
    fast.kill9().await;
    assert!(caller.await.expect("a caller").is_none());
    let answer = until("the claim is taken over", || async {
        let answer = slow.refresh(&connected.id).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    answer.expect(200);
    assert_eq!(provider.refreshes().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_node_lets_a_consent_lapse_when_the_database_says() {
    only_what_is_due_lapses([SLOW, FAST]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_node_lets_a_consent_lapse_when_the_database_says() {
    only_what_is_due_lapses([FAST, SLOW]).await;
}

/// The first node asks for a consent that soon lapses, and is gone; the second has one with time left.
async fn only_what_is_due_lapses(offsets: [&str; 2]) {
    let [mut first, second] = start(offsets, ("STATE_TTL", "1s")).await;
    let weather = json!({"name": "weather", "auth_type": "api_key"});
    first.register(weather).await;
    let alive = second.request("weather").await;
    let lapsing = first.request("weather").await;
    first.kill9().await;
    until("the consent has lapsed", || async {
        let history = second.history(&lapsing.reference()).await;
        let lapsed = history.contains(&"connection.expired".to_owned());
        lapsed.then_some(())
    })
    .await;
    assert_eq!(second.status(&alive.id).await["status"], "pending");
    assert_eq!(
        second.history(&alive.reference()).await,
        ["connection.requested"]
    );
}

/// A machine that slept, or whose clock was put right: the clock is two hours further from one moment to the next, and
/// nothing else has happened. Returns how often the provider was asked to renew a token that lives for one hour.
async fn refreshes_after_a_leap(database: Database) -> usize {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = directory.path().join("clock");
    std::fs::write(&clock, "+0").expect("a file");
    let nexus = wrong(Nexus::new(database), "+0")
        .without("FAKETIME")
        .without("BASE_URL")
        .set("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .set("FAKETIME_NO_CACHE", "1")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    let connected = nexus.connected(&provider, "google").await;
    nexus.token(&connected.id).await.expect(200);
    assert_eq!(provider.refreshes().len(), 0);
    std::fs::write(&clock, "+2h").expect("a file");
    nexus.token(&connected.id).await.expect(200);
    provider.refreshes().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_the_process_has_the_time_and_a_leap_is_seen_at_once() {
    assert_eq!(refreshes_after_a_leap(Database::Sqlite).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_a_leap_of_a_nodes_clock_changes_nothing() {
    assert_eq!(refreshes_after_a_leap(Database::Postgres).await, 0);
}
