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
    assert_eq!(listed, [("connections", "1", "-"), ("providers", "1", "-")]);
}

async fn read_models_are_rebuilt_while_the_server_runs(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    let said = printed(&run(&nexus, &["projections", "rebuild"]).await);
    let expected = "\
connections: generation 2 serves, 1 row from 3 events; the old rows were what the log says
providers: generation 2 serves, 1 row from 1 event; the old rows were what the log says
";
    assert_eq!(said, expected);
    assert_eq!(rebuilds_in_the_trail(&nexus).await, 2);
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

async fn an_unknown_name_starts_nothing(database: Database) {
    let nexus = TestNexus::start(database).await;
    let output = run(&nexus, &["projections", "rebuild", "providers", "all"]).await;
    assert_eq!(
        complaint(&output),
        "nexus-admin: there is no read model named all; there are connections, providers\n"
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
