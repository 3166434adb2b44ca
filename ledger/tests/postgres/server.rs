//! A database of its own for each test, on the server of `TEST_DATABASE_URL`.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nexus_domain::stream::StreamKey;
use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::{Append, Backend, Database, Expected, Ledger, NewEvent, Options, RecordedEvent};
use tokio_postgres::{Client, NoTls};
use url::Url;

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Far longer than anything here takes: a test that hangs fails instead.
const LIMIT: Duration = Duration::from_mins(1);

/// An empty database.
pub(crate) struct Server {
    pub(crate) url: Url,
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the test server is comes from whoever runs the tests"
)]
fn test_server() -> Url {
    let url = std::env::var("TEST_DATABASE_URL").expect(
        "no PostgreSQL to test with: run `scripts/postgres run -- cargo test -p nexus-ledger`",
    );
    Url::parse(&url).unwrap()
}

/// A name no other test has, for what all databases of the server share.
pub(crate) fn unique() -> String {
    format!(
        "nexus_pg_{}_{}",
        process::id(),
        DATABASES.fetch_add(1, Ordering::Relaxed)
    )
}

impl Server {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// `CREATE DATABASE … {clause}`
    pub(crate) async fn with(clause: &str) -> Self {
        let name = unique();
        let mut url = test_server();
        connect(&url)
            .await
            .batch_execute(&format!("CREATE DATABASE {name} {clause}"))
            .await
            .unwrap();
        url.set_path(&name);
        Self { url }
    }

    /// A connection around the ledger.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url).await
    }

    pub(crate) async fn open(&self) -> Ledger {
        open(&self.url).await
    }

    /// Ends every other session, as a restart of the server does.
    pub(crate) async fn end_sessions(&self) {
        let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.client().await.query(end, &[]).await.unwrap();
    }

    /// The number that a query gives.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.client()
            .await
            .query_one(query, &[])
            .await
            .unwrap()
            .get(0)
    }

    /// Returns once `query` counts `wanted`.
    pub(crate) async fn until(&self, query: &str, wanted: i64) {
        let client = self.client().await;
        soon(async {
            while client.query_one(query, &[]).await.unwrap().get::<_, i64>(0) != wanted {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// How many sessions wait for an advisory lock of this database.
pub(crate) const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

pub(crate) async fn connect(url: &Url) -> Client {
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn options(url: &Url) -> Options {
    Options {
        database: Database::Postgres(PostgresOptions::parse(url.as_str(), None, None).unwrap()),
        projector: None,
        snapshot_every: 5,
        queue_capacity: 1_024,
        node_id: "node".into(),
        checkpoint_key: None,
        origin: "test.example/log".into(),
    }
}

pub(crate) async fn open(url: &Url) -> Ledger {
    Ledger::open(options(url)).await.unwrap()
}

/// The connections of the ledger's pool.
pub(crate) async fn pooled(ledger: &Ledger) -> nexus_ledger::postgres::Client {
    match ledger.backend() {
        Backend::Postgres(database) => database.client().await.unwrap(),
        Backend::Sqlite(_) => unreachable!("opened on PostgreSQL"),
    }
}

/// One event for `thing` stream `id`.
pub(crate) fn append(id: &str, expected: Expected) -> Append {
    let event = NewEvent {
        event_type: "thing.done".into(),
        event_version: "1".into(),
        payload: "{}".into(),
        blob: None,
    };
    Append::new(StreamKey::new("thing", id), expected, vec![event])
}

/// Stream id and sequence of every event, in order of position.
pub(crate) async fn log(ledger: &Ledger) -> Vec<(String, u64)> {
    let events = ledger.read(1, 100_000).await.unwrap();
    assert!(
        events
            .iter()
            .map(|event| event.position)
            .eq(1..=events.len() as u64),
        "positions have gaps"
    );
    events
        .into_iter()
        .map(
            |RecordedEvent {
                 stream, sequence, ..
             }| (stream.id, sequence),
        )
        .collect()
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what)
        .await
        .expect("took too long")
}
