//! Starting, stopping, and the ways a start is refused: a clear sentence, exit code 1, nothing written.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexus_tests::{
    Database, Nexus, Outcome, Reply, ScriptedProvider, TestNexus, on_both_databases, until,
};
use serde_json::json;

on_both_databases! {
    the_first_start_makes_what_it_needs_and_says_where_it_is,
    the_second_start_finds_the_same_data_and_keys,
    a_wrong_encryption_key_is_refused,
    a_database_of_a_newer_schema_is_refused,
    a_port_in_use_is_refused,
    a_key_that_cannot_be_used_is_refused_by_its_path,
    a_bad_setting_is_refused_by_its_name,
    the_effective_configuration_shows_no_secret,
    a_termination_lets_requests_end,
    secrets_are_read_from_the_files_that_settings_name,
}

const KEYS: [&str; 4] = ["encryption.key", "state.key", "audit.key", "api.key"];

/// The files of a directory and what they hold, without those that SQLite makes and removes as it likes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let lasting = paths.filter(|path| {
        !["-wal", "-shm", ".lock"]
            .iter()
            .any(|end| path.to_string_lossy().ends_with(end))
    });
    lasting
        .map(|path| (path.clone(), std::fs::read(&path).expect("a file")))
        .collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("a file").permissions().mode() & 0o777
}

fn refused(outcome: &Outcome, sentence: &str) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains(sentence),
        "`{sentence}` is not in {outcome:?}"
    );
    assert!(!outcome.stdout.contains("nexus ready"), "{outcome:?}");
}

async fn the_first_start_makes_what_it_needs_and_says_where_it_is(database: Database) {
    let nexus = TestNexus::start(database).await;
    assert_eq!(mode(&nexus.data_dir()), 0o700);
    for key in KEYS {
        assert_eq!(mode(&nexus.data_dir().join(key)), 0o600, "{key}");
    }
    if database == Database::Sqlite {
        assert_eq!(mode(&nexus.data_dir().join("nexus.db")), 0o600);
    }
    let key = nexus.api_key();
    assert!(key.starts_with("nxs_") && key.len() == 47, "{key}");
    let said = nexus.log();
    let data_dir = nexus.data_dir().display().to_string();
    for place in [
        nexus.gateway().base().as_str().trim_end_matches('/'),
        nexus.broker().base().as_str().trim_end_matches('/'),
        &data_dir,
    ] {
        assert!(said.contains(place), "{place} is not in {said}");
    }
    assert!(!said.contains(&key), "the key itself is not printed");
}

async fn the_second_start_finds_the_same_data_and_keys(database: Database) {
    let mut nexus = TestNexus::start(database).await;
    let keys = || KEYS.map(|key| std::fs::read(nexus.data_dir().join(key)).expect("a key"));
    let before = keys();
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let captured = nexus.capture("weather", json!({"api_key": "k"})).await;
    assert_eq!(nexus.terminate().await, Some(0));
    nexus.start_again().await;
    assert_eq!(
        KEYS.map(|key| std::fs::read(nexus.data_dir().join(key)).expect("a key")),
        before
    );
    assert_eq!(
        nexus.token(&captured.id).await.expect(200)["credentials"]["api_key"],
        "k"
    );
    assert_eq!(nexus.provider_history().await, ["provider.registered"]);
}

async fn a_wrong_encryption_key_is_refused(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let trail = nexus.audit().await;
    let stopped = nexus.into_stopped().await;
    let before = files(&stopped.data_dir());
    let other = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let stopped = stopped.set("ENCRYPTION_KEY", other);
    refused(&stopped.run(&[]).await, "encryption key");
    assert_eq!(files(&stopped.data_dir()), before);
    let nexus = stopped.without("ENCRYPTION_KEY").start().await;
    assert_eq!(nexus.audit().await, trail);
}

async fn a_database_of_a_newer_schema_is_refused(database: Database) {
    let stopped = TestNexus::start(database).await.into_stopped().await;
    let newer = "INSERT INTO schema_migrations (number, name, checksum) SELECT 9999, 'from_the_future', checksum FROM schema_migrations LIMIT 1";
    match database {
        Database::Postgres => stopped.database().execute(newer).await,
        Database::Sqlite => {
            let connection = rusqlite::Connection::open(stopped.data_dir().join("nexus.db"))
                .expect("the database");
            connection.execute(newer, []).expect("a row");
        }
    }
    let before = files(&stopped.data_dir());
    refused(&stopped.run(&[]).await, "newer");
    assert_eq!(files(&stopped.data_dir()), before);
}

async fn a_port_in_use_is_refused(database: Database) {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for setting in ["PORT", "BROKER_PORT"] {
        let nexus = Nexus::new(database)
            .without("BIND_ADDRESS")
            .set(setting, &port);
        let outcome = nexus.run(&[]).await;
        refused(&outcome, &format!("{setting}: 127.0.0.1:{port}"));
        assert_eq!(files(&nexus.data_dir()), BTreeMap::new());
    }
}

async fn a_key_that_cannot_be_used_is_refused_by_its_path(database: Database) {
    let stopped = TestNexus::start(database).await.into_stopped().await;
    for key in KEYS {
        let path = stopped.data_dir().join(key);
        let good = std::fs::read(&path).expect("a key");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("a mode");
        refused(&stopped.run(&[]).await, &path.display().to_string());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("a mode");
        std::fs::write(&path, "").expect("a file");
        refused(&stopped.run(&[]).await, &path.display().to_string());
        assert_eq!(
            std::fs::read(&path).expect("a file"),
            b"",
            "a key file is never overwritten"
        );
        std::fs::write(&path, good).expect("a file");
    }
    stopped.start().await;
}

async fn a_bad_setting_is_refused_by_its_name(database: Database) {
    let wrong = [
        ("STATE_TTL", "soon"),
        ("REFRESH_SKEW", "-1s"),
        ("UPSTREAM_TIMEOUT", "0s"),
        ("PORT", "70000"),
        ("BROKER_PORT", "http"),
        ("BIND_ADDRESS", "localhost:1"),
        ("BASE_URL", "vault.example.test"),
        ("REDIRECT_PATH", "callback"),
        ("DEFAULT_RETURN_URL", "/done"),
        ("ENCRYPTION_KEY", "c2hvcnQ="),
        ("STATE_KEY", "not base64!"),
        ("AUDIT_KEY", "c2hvcnQ="),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("ENFORCE_RETURN_URL", "perhaps"),
        ("LOG_FORMAT", "xml"),
        ("QUEUE_CAPACITY", "0"),
        ("API_KEY_FILE", "/nonexistent/key"),
        ("BACKEND_AUTH_URL", "backend"),
        ("OBO_AUDIENCE", "nexus"),
        ("OBO_ALGORITHMS", "ES256,HS256"),
    ];
    for (name, value) in wrong {
        let nexus = Nexus::new(database).set(name, value);
        let outcome = nexus.run(&[]).await;
        refused(&outcome, name);
        if name.ends_with("KEY") {
            assert!(!outcome.stderr.contains(value), "{outcome:?}");
        }
        assert_eq!(files(&nexus.data_dir()), BTreeMap::new(), "{name}");
    }
    let open = Nexus::new(database)
        .set("REQUIRE_API_KEY", "false")
        .set("BIND_ADDRESS", "0.0.0.0");
    refused(&open.run(&[]).await, "REQUIRE_API_KEY");
}

async fn the_effective_configuration_shows_no_secret(database: Database) {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let nexus = Nexus::new(database)
        .without("BIND_ADDRESS")
        .set("API_KEY", "canary-api-key")
        .set("ENCRYPTION_KEY", key)
        .set("STATE_KEY", key)
        .set("STATE_TTL", "90s")
        .set("REDIS_URL", "redis://:canary-redis@localhost");
    let outcome = nexus.run(&["check-config"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    let password = nexus
        .database()
        .url()
        .and_then(|url| url.split([':', '@']).nth(2).map(str::to_owned));
    for secret in ["canary-api-key", key, "canary-redis"]
        .into_iter()
        .map(str::to_owned)
        .chain(password)
    {
        assert!(!said.contains(&secret), "{secret} is in {said}");
    }
    for shown in [
        "STATE_TTL",
        "REFRESH_SKEW",
        "DATABASE_URL",
        "BIND_ADDRESS",
        "127.0.0.1",
        "REDIS_URL",
    ] {
        assert!(said.contains(shown), "{shown} is not in {said}");
    }
    assert_eq!(files(&nexus.data_dir()), BTreeMap::new());
    assert!(!nexus.data_dir().exists());
    let bad = nexus.set("STATE_TTL", "soon");
    refused(&bad.run(&["check-config"]).await, "STATE_TTL");
}

async fn a_termination_lets_requests_end(database: Database) {
    let (mut nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let caller = tokio::spawn({
        let (gateway, path) = (nexus.gateway(), format!("/v1/refresh/{}", connected.id));
        async move { gateway.request("POST", &path).send().await }
    });
    gate.arrived().await;
    nexus.ask_to_stop();
    until("it is stopping", || async {
        nexus.log().contains("stopping").then_some(())
    })
    .await;
    gate.open();
    assert_eq!(nexus.ended().await, Some(0));
    caller.await.expect("a caller").expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_one_sqlite_database_is_refused() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    refused(&nexus.run(&[]).await, "nexus.db");
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_postgresql_see_each_others_events_at_once() {
    let first = TestNexus::start(Database::Postgres).await;
    let second = first.beside().await;
    first
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let captured = second.capture("weather", json!({"api_key": "k"})).await;
    first.token(&captured.id).await.expect(200);
    assert_eq!(first.audit().await, second.audit().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_postgresql_is_refused_without_its_password() {
    let nexus = Nexus::new(Database::Sqlite).set(
        "DATABASE_URL",
        "postgres://nexus:canary-password@127.0.0.1:1/nexus",
    );
    let outcome = nexus.run(&[]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        !outcome.stderr.is_empty() && !outcome.stderr.contains("canary-password"),
        "{outcome:?}"
    );
    assert_eq!(files(&nexus.data_dir()), BTreeMap::new());
}

/// As supervisors hand secrets out: files that are not the data directory's.
async fn secrets_are_read_from_the_files_that_settings_name(database: Database) {
    let mut nexus = Nexus::new(database);
    let secrets = tempfile::tempdir().expect("a directory");
    let key = |byte: u8| STANDARD.encode([byte; 32]);
    let mut given = vec![
        ("ENCRYPTION_KEY_FILE", key(7)),
        ("STATE_KEY_FILE", key(8)),
        ("AUDIT_KEY_FILE", key(9)),
        ("API_KEYS_FILE", "canary-admin-key".to_owned()),
    ];
    let url = nexus.database().url().map(str::to_owned);
    given.extend(url.map(|url| ("DATABASE_URL_FILE", url)));
    for (setting, secret) in &given {
        let path = secrets.path().join(setting);
        std::fs::write(&path, format!("{secret}\n")).expect("it is written");
        nexus = nexus.set(setting, path.to_str().expect("text"));
    }
    let nexus = nexus.without("DATABASE_URL");
    let shown = nexus.run(&["check-config"]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let masked = "ENCRYPTION_KEY=********  # environment";
    assert!(shown.stdout.contains(masked), "{}", shown.stdout);

    let nexus = nexus.start().await;
    let made = files(&nexus.data_dir()).into_keys();
    let keys: Vec<_> = made
        .filter(|path| path.extension().is_some_and(|kind| kind == "key"))
        .collect();
    assert_eq!(keys, Vec::<PathBuf>::new());
    let broker = nexus.broker_without_key();
    broker.get("/audit").await.refused(401, "missing_api_key");
    broker
        .with_key("canary-admin-key")
        .get("/audit")
        .await
        .expect(200);
    for (setting, secret) in given {
        assert!(!nexus.log().contains(&secret), "{setting} is in the log");
    }
}
