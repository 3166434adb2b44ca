//! Read models rebuilt while the real server serves: nobody notices, a kill costs little, an upgrade needs nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nexus_domain::stream::StreamKey;
use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::{Append, Expected, Ledger, NewEvent, Options};
use nexus_projections::ReadModels;
use nexus_tests::{Database, Nexus, TestNexus, on_both_databases, until};
use serde_json::{Value, json};

on_both_databases! {
    clients_notice_nothing_of_rebuilds,
    a_rebuild_that_was_killed_goes_on_where_it_was,
    an_older_versions_rows_serve_until_they_are_rebuilt_at_start,
}

/// More than a rebuild folds before the database remembers it.
const MANY: u64 = 32_000;

/// What another process sees and does in the server's database.
struct Behind {
    sqlite: std::path::PathBuf,
    postgres: Option<String>,
}

impl Behind {
    fn of(nexus: &TestNexus) -> Self {
        Self {
            sqlite: nexus.data_dir().join("nexus.db"),
            postgres: nexus.database().url().map(str::to_owned),
        }
    }

    fn sqlite(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(&self.sqlite).expect("the database");
        connection
            .busy_timeout(Duration::from_secs(10))
            .expect("a time-out");
        connection
    }

    async fn postgres(url: &str) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .expect("PostgreSQL answers");
        tokio::spawn(connection);
        client
    }

    async fn run(&self, sql: &str) {
        match &self.postgres {
            None => self.sqlite().execute_batch(sql).expect("it is done"),
            Some(url) => {
                let client = Self::postgres(url).await;
                client.batch_execute(sql).await.expect("it is done");
            }
        }
    }

    /// The number that a query returns; `None` for no row.
    async fn number(&self, sql: &str) -> Option<i64> {
        match &self.postgres {
            None => self.sqlite().query_row(sql, [], |row| row.get(0)).ok(),
            Some(url) => {
                let client = Self::postgres(url).await;
                let row = client.query_opt(sql, &[]).await.expect("an answer");
                row.map(|row| row.get(0))
            }
        }
    }

    /// A ledger over the database of a server that does not run.
    async fn ledger(&self) -> Ledger {
        let database = match &self.postgres {
            None => nexus_ledger::Database::Sqlite {
                path: self.sqlite.clone(),
            },
            Some(url) => nexus_ledger::Database::Postgres(
                PostgresOptions::parse(url, None, None).expect("a URL"),
            ),
        };
        let options = Options {
            database,
            projector: Some(Box::new(ReadModels::default())),
            snapshot_every: 1_000,
            queue_capacity: 1_024,
            node_id: "test".to_owned(),
            checkpoint_key: None,
            origin: "nexus".to_owned(),
        };
        Ledger::open(options).await.expect("the log opens")
    }
}

async fn start_rebuild(nexus: &TestNexus, name: &str) {
    let door = format!("/admin/v1/projections/{name}/rebuild");
    nexus.broker().post(&door, json!({})).await.expect(202);
}

/// What the newest rebuild did, once it is done.
async fn rebuilt(nexus: &TestNexus, name: &str) -> Value {
    until("the rebuild is done", || async {
        let rebuild = nexus.projection(name).await["rebuild"].clone();
        assert_ne!(rebuild["state"], "failed", "{rebuild}");
        (rebuild["state"] == "done").then_some(rebuild)
    })
    .await
}

/// Writes and reads what it wrote, by everybody's doors: whatever was acknowledged must be seen from then on.
async fn use_the_vault(nexus: &TestNexus, name: &str, done: &AtomicBool, rounds: &AtomicU64) {
    let profile =
        |header: &str| json!({"name": name, "auth_type": "api_key", "auth_header": header});
    let provider = nexus.register(profile("X-0")).await;
    for round in 1.. {
        let requested = nexus.request(name).await;
        assert_eq!(nexus.status(&requested.id).await["status"], "pending");
        let key = format!("key-{name}-{round}");
        let body = json!({"state": requested.state, "credentials": {"api_key": key}});
        let captured = nexus.gateway().post("/v1/capture-credential", body).await;
        captured.expect(200);
        assert_eq!(nexus.status(&requested.id).await["status"], "active");
        let token = nexus.token(&requested.id).await.expect(200);
        assert!(token.to_string().contains(&key), "{token}");
        let (path, header) = (format!("/v1/providers/{provider}"), format!("X-{round}"));
        nexus.admin().put(&path, profile(&header)).await.expect(200);
        let seen = nexus.admin().get(&path).await.expect(200);
        assert!(
            seen.to_string().contains(&format!("\"{header}\"")),
            "{seen}"
        );
        rounds.fetch_add(1, Ordering::Relaxed);
        if done.load(Ordering::Relaxed) {
            return;
        }
    }
}

async fn clients_notice_nothing_of_rebuilds(database: Database) {
    let nexus = TestNexus::start(database).await;
    let (done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let clients = ["a", "b", "c", "d"].map(|name| use_the_vault(&nexus, name, &done, &rounds));
    let rebuilds = async {
        for generation in 2..6 {
            let before = rounds.load(Ordering::Relaxed);
            for name in ["connections", "providers", "agents", "sessions"] {
                start_rebuild(&nexus, name).await;
                let rebuilt = rebuilt(&nexus, name).await;
                assert_eq!(rebuilt["generation"], generation);
                assert_eq!(rebuilt["differences"], 0, "{rebuilt}");
                assert!(rebuilt["longest_pause_us"].as_u64() > Some(0), "{rebuilt}");
            }
            until("the clients went on", || {
                std::future::ready((rounds.load(Ordering::Relaxed) > before).then_some(()))
            })
            .await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let [a, b, c, d] = clients;
    tokio::join!(rebuilds, a, b, c, d);
}

/// Many claims of one connection that nobody made.
async fn fill(ledger: &Ledger) {
    let stream = StreamKey::new("connection", "00000000-0000-8000-8000-000000000001");
    let claim = |attempt: u64| NewEvent {
        event_type: "connection.refresh_started".into(),
        event_version: "1".into(),
        payload: format!(
            r#"{{"type":"connection.refresh_started","attempt":{attempt},"deadline_ms":1000,"credential_version":1,"repeat":false,"forced":false}}"#
        ),
        blob: None,
    };
    for first in (0..MANY).step_by(1_000) {
        let claims = (first..first + 1_000).map(claim).collect();
        let append = Append::new(stream.clone(), Expected::At(first), claims);
        ledger.append(append).await.expect("they are appended");
    }
}

async fn a_rebuild_that_was_killed_goes_on_where_it_was(database: Database) {
    let mut nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let kept = nexus.capture("weather", json!({"api_key": "kept"})).await;
    nexus.terminate().await;
    let behind = Behind::of(&nexus);
    let ledger = behind.ledger().await;
    fill(&ledger).await;
    ledger.stop().await;
    drop(ledger);
    nexus.start_again().await;

    start_rebuild(&nexus, "connections").await;
    until("the database remembers some of it", || async {
        let rebuild = nexus.projection("connections").await["rebuild"].clone();
        assert_eq!(rebuild["state"], "running", "it was faster than this test");
        (rebuild["position"].as_u64() > Some(18_500)).then_some(())
    })
    .await;
    nexus.kill9().await;
    let remembered = "SELECT position FROM projection_rebuilds WHERE name = 'connections'";
    let position = behind
        .number(remembered)
        .await
        .expect("a rebuild under way");
    assert!(position > 0, "{position}");

    nexus.start_again().await;
    assert_eq!(nexus.projection("connections").await["generation"], 1);
    nexus.token(&kept.id).await.expect(200);
    start_rebuild(&nexus, "connections").await;
    let rebuilt = rebuilt(&nexus, "connections").await;
    let log = nexus.log();
    assert!(
        log.contains(&format!(
            "a rebuild goes on name=\"connections\" generation=2 position={position}"
        )),
        "{log}"
    );
    let folded = "SELECT count(*) FROM events WHERE aggregate_type = 'connection'";
    let folded = behind.number(folded).await.expect("a count");
    assert_eq!(rebuilt["events"], folded);
    assert_eq!(
        (&rebuilt["differences"], &rebuilt["rows"]),
        (&json!(0), &json!(2))
    );
    nexus.token(&kept.id).await.expect(200);
}

async fn an_older_versions_rows_serve_until_they_are_rebuilt_at_start(database: Database) {
    let mut nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let before = nexus.capture("weather", json!({"api_key": "before"})).await;
    let behind = Behind::of(&nexus);
    let version = "SELECT version FROM projections WHERE name = 'connections'";
    let current = behind.number(version).await.expect("a version");
    nexus.terminate().await;
    // Another state, a column less: as an older version of the program would have left it.
    behind
        .run(
            "UPDATE projections SET version = 999 WHERE name = 'connections'; \
             UPDATE connections_g1 SET state = '{\"state_version\":0}'; \
             ALTER TABLE connections_g1 DROP COLUMN retry_at",
        )
        .await;
    let held = match &behind.postgres {
        None => None,
        // No rebuild begins while the pointer is held; reads and appends do not ask for it.
        Some(url) => {
            let client = Behind::postgres(url).await;
            let hold = "BEGIN; SELECT * FROM projections FOR UPDATE";
            client.batch_execute(hold).await.expect("it is held");
            Some(client)
        }
    };
    nexus.start_again().await;
    nexus.token(&before.id).await.expect(200);
    assert_eq!(nexus.status(&before.id).await["status"], "active");
    let during = nexus.capture("weather", json!({"api_key": "during"})).await;
    nexus.token(&during.id).await.expect(200);
    if let Some(client) = held {
        assert_eq!(behind.number(version).await, Some(999));
        client.batch_execute("COMMIT").await.expect("it is let go");
    }
    let rebuilt = rebuilt(&nexus, "connections").await;
    assert_eq!(rebuilt["differences"], 0, "{rebuilt}");
    assert_eq!(behind.number(version).await, Some(current));
    for id in [&before.id, &during.id] {
        nexus.token(id).await.expect(200);
    }
    let entries = nexus.audit().await;
    let upgraded = entries
        .iter()
        .filter(|entry| entry["event_type"] == "vault.projection_rebuilt");
    assert_eq!(upgraded.count(), 1);
    // The same database is started again without another rebuild.
    let stopped: Nexus = nexus.into_stopped().await;
    let nexus = stopped.start().await;
    assert_eq!(
        nexus.projection("connections").await["rebuild"],
        Value::Null
    );
}
