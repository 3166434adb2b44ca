//! `nexus-admin projections` against a running server.

use std::path::PathBuf;
use std::process::Output;

use nexus_tests::{Database, ScriptedProvider, TestNexus, on_both_databases};
use serde_json::json;
use tokio::process::Command;

on_both_databases! {
    status_lists_every_read_model,
    read_models_are_rebuilt_while_the_server_runs,
    only_the_named_ones_are_rebuilt,
    rows_changed_behind_the_servers_back_are_found_with_exit_code_4,
    an_unknown_name_starts_nothing,
    a_refused_key_is_one_sentence_that_does_not_show_it,
    a_server_that_is_away_is_named,
}

/// The operators' binary, beside the test's own executable in the target directory.
fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("this executable");
    let directory = own
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>");
    let binary = directory.join("nexus-admin");
    assert!(
        binary.is_file(),
        "{} is missing: cargo build -p nexus-admin",
        binary.display()
    );
    binary
}

async fn run_with_key(nexus: &TestNexus, key: &str, arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env_clear()
        .env(
            "BROKER_BASE_URL",
            nexus.broker_without_key().base().as_str(),
        )
        .env("API_KEY", key)
        .output()
        .await
        .expect("the binary runs")
}

async fn run(nexus: &TestNexus, arguments: &[&str]) -> Output {
    run_with_key(nexus, &nexus.api_key(), arguments).await
}

/// What it printed, given that it succeeded and complained of nothing.
fn printed(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), errors.as_ref()), (Some(0), ""));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What it complained of, given that it failed and printed nothing.
fn complaint(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), out.as_ref()), (Some(1), ""));
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

async fn rebuilds_in_the_trail(nexus: &TestNexus) -> usize {
    let entries = nexus.audit().await;
    entries
        .iter()
        .filter(|entry| entry["event_type"] == "vault.projection_rebuilt")
        .count()
}

/// The words of each line, whatever the widths of the columns.
fn words(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

async fn status_lists_every_read_model(database: Database) {
    let nexus = TestNexus::start(database).await;
    let table = printed(&run(&nexus, &["projections", "status"]).await);
    let rows = words(&table);
    assert_eq!(rows[0], ["NAME", "VERSION", "GENERATION", "REBUILD"]);
    let listed: Vec<_> = rows[1..]
        .iter()
        .map(|row| (row[0], row[2], row[3]))
        .collect();
    assert_eq!(
        listed,
        [
            ("agents", "1", "-"),
            ("connections", "1", "-"),
            ("providers", "1", "-"),
            ("sessions", "1", "-"),
        ]
    );
}

async fn read_models_are_rebuilt_while_the_server_runs(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    let said = printed(&run(&nexus, &["projections", "rebuild"]).await);
    let expected = [
        "agents: generation 2 serves, 0 rows from 0 events; the old rows were what the log says; writers waited ",
        "connections: generation 2 serves, 1 row from 3 events; the old rows were what the log says; writers waited ",
        "providers: generation 2 serves, 1 row from 1 event; the old rows were what the log says; writers waited ",
        "sessions: generation 2 serves, 0 rows from 0 events; the old rows were what the log says; writers waited ",
    ];
    assert_eq!(said.lines().count(), 4, "{said}");
    for (line, expected) in said.lines().zip(expected) {
        assert!(
            line.starts_with(expected) && line.ends_with(" ms at most"),
            "{line}"
        );
    }
    assert_eq!(rebuilds_in_the_trail(&nexus).await, 4);
    nexus.token(&connected.id).await.expect(200);
    let status = printed(&run(&nexus, &["projections", "status"]).await);
    assert!(
        status.contains("done, 1 row from 3 events, 0 differences"),
        "{status}"
    );
}

async fn only_the_named_ones_are_rebuilt(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let said = printed(&run(&nexus, &["projections", "rebuild", "providers"]).await);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("providers: generation 2 serves"), "{said}");
    assert_eq!(rebuilds_in_the_trail(&nexus).await, 1);
}

/// Changes the database as somebody with access to it would.
async fn tamper(nexus: &TestNexus, sql: &str) {
    if nexus.database().url().is_some() {
        return nexus.database().execute(sql).await;
    }
    let path = nexus.data_dir().join("nexus.db");
    let connection = rusqlite::Connection::open(path).expect("the database");
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .expect("a time-out");
    connection.execute_batch(sql).expect("it is done");
}

async fn rows_changed_behind_the_servers_back_are_found_with_exit_code_4(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let key = || json!({"api_key": "canary-key"});
    let altered = nexus.capture("weather", key()).await;
    let missing = nexus.capture("weather", key()).await;
    let clean = "\
agents: 0 rows from 0 events; every row is what the log says
connections: 2 rows from 4 events; every row is what the log says
providers: 1 row from 1 event; every row is what the log says
sessions: 0 rows from 0 events; every row is what the log says
";
    assert_eq!(
        printed(&run(&nexus, &["projections", "verify"]).await),
        clean
    );

    let (a, m) = (altered.reference(), missing.reference());
    let sql = format!(
        "INSERT INTO connections_g1 (reference, sequence, position, status, state, created_at, updated_at) \
           SELECT 'zz-invented', sequence, position, status, state, created_at, updated_at FROM connections_g1 WHERE reference = '{a}'; \
         UPDATE connections_g1 SET credential_blob = NULL, position = 1000000 WHERE reference = '{a}'; \
         DELETE FROM connections_g1 WHERE reference = '{m}'"
    );
    tamper(&nexus, &sql).await;
    let output = run(&nexus, &["projections", "verify"]).await;
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(4), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[1],
        "connections: 3 rows from 4 events; 1 altered, 1 missing, 1 invented"
    );
    for expected in [
        format!("  altered {a}"),
        format!("  missing {m}"),
        "  invented zz-invented".to_owned(),
    ] {
        assert!(lines.contains(&expected.as_str()), "{said}");
    }
    assert_eq!(
        lines[5],
        "providers: 1 row from 1 event; every row is what the log says"
    );
    assert!(
        !said.contains("canary-key") && !said.contains(&altered.id),
        "{said}"
    );

    let repaired = printed(&run(&nexus, &["projections", "rebuild", "connections"]).await);
    assert!(
        repaired.contains("3 old rows were not what the log says and are repaired"),
        "{repaired}"
    );
    assert_eq!(
        printed(&run(&nexus, &["projections", "verify"]).await),
        clean
    );
    nexus.token(&altered.id).await.expect(200);
    nexus.token(&missing.id).await.expect(200);
}

async fn an_unknown_name_starts_nothing(database: Database) {
    let nexus = TestNexus::start(database).await;
    let output = run(&nexus, &["projections", "rebuild", "providers", "all"]).await;
    assert_eq!(
        complaint(&output),
        "nexus-admin: there is no read model named all; there are agents, connections, providers, sessions\n"
    );
    assert_eq!(rebuilds_in_the_trail(&nexus).await, 0);
}

async fn a_refused_key_is_one_sentence_that_does_not_show_it(database: Database) {
    let nexus = TestNexus::start(database).await;
    let output = run_with_key(&nexus, "canary", &["projections", "status"]).await;
    let base = nexus.broker_without_key().base().to_string();
    assert_eq!(
        complaint(&output),
        format!("nexus-admin: the Broker at {base} does not accept this API key\n")
    );
}

async fn a_server_that_is_away_is_named(database: Database) {
    let mut nexus = TestNexus::start(database).await;
    nexus.terminate().await;
    let said = complaint(&run(&nexus, &["projections", "status"]).await);
    let base = nexus.broker_without_key().base().to_string();
    let expected = format!("nexus-admin: the Broker at {base} cannot be reached: ");
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
