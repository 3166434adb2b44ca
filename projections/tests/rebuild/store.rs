//! A database of its own for each test, and ways around the ledger to it.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::{Backend, Database, Ledger, Options};
use nexus_projections::ReadModels;
use nexus_projections::rebuild::prepare;
use tempfile::TempDir;

static STORES: AtomicU32 = AtomicU32::new(0);

/// A fresh database.
pub(crate) enum Store {
    Sqlite(TempDir),
    Postgres(String),
}

impl Store {
    #[expect(
        clippy::unused_async,
        reason = "the suite makes both databases in the same words"
    )]
    pub(crate) async fn sqlite() -> Self {
        Self::Sqlite(TempDir::with_prefix("nexus-projections-").unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        let server = server();
        let name = format!(
            "nexus_projections_{}_{}",
            process::id(),
            STORES.fetch_add(1, Ordering::Relaxed)
        );
        let (client, connection) = tokio_postgres::connect(&server, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&name);
        Self::Postgres(url.into())
    }

    /// A ledger that keeps the read models.
    pub(crate) async fn open(&self) -> Ledger {
        let database = match self {
            Self::Sqlite(directory) => Database::Sqlite {
                path: directory.path().join("nexus.db"),
            },
            Self::Postgres(url) => {
                Database::Postgres(PostgresOptions::parse(url, None, None).unwrap())
            }
        };
        let options = Options {
            database,
            projector: Some(Box::<ReadModels>::default()),
            snapshot_every: 5,
            queue_capacity: 1_024,
            node_id: "node".into(),
            checkpoint_key: None,
            origin: "test.example/log".into(),
        };
        let ledger = Ledger::open(options).await.unwrap();
        prepare(ledger.backend()).await.unwrap();
        ledger
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the test server is comes from whoever runs the tests"
)]
fn server() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "no PostgreSQL to test with: run `scripts/postgres run -- cargo test -p nexus-projections`",
    )
}

/// Runs statements that both databases understand, around the ledger.
pub(crate) async fn run(backend: &Backend, sql: &str) {
    match backend {
        Backend::Sqlite(database) => {
            let sql = sql.to_owned();
            database
                .write(move |connection| connection.execute_batch(&sql))
                .await
                .unwrap();
        }
        Backend::Postgres(database) => {
            let client = database.client().await.unwrap();
            client.batch_execute(sql).await.unwrap();
        }
    }
}

/// Whether there is a table of this name.
pub(crate) async fn has_table(backend: &Backend, table: &str) -> bool {
    match backend {
        Backend::Sqlite(database) => {
            let sql = format!("SELECT count(*) FROM sqlite_schema WHERE name = '{table}'");
            let count: i64 = database
                .read(move |connection| connection.query_row(&sql, [], |row| row.get(0)))
                .await
                .unwrap();
            count > 0
        }
        Backend::Postgres(database) => {
            let client = database.client().await.unwrap();
            let sql = format!("SELECT to_regclass('{table}') IS NOT NULL");
            client.query_one(&sql, &[]).await.unwrap().get(0)
        }
    }
}

/// Every row of a table with every value, in order.
pub(crate) async fn contents(backend: &Backend, table: &str) -> Vec<String> {
    let mut rows = match backend {
        Backend::Sqlite(database) => {
            let sql = format!("SELECT * FROM {table}");
            let read = move |connection: &rusqlite::Connection| {
                let mut statement = connection.prepare(&sql)?;
                let columns = statement.column_count();
                let row = |row: &rusqlite::Row<'_>| {
                    let values =
                        (0..columns).map(|index| row.get::<_, rusqlite::types::Value>(index));
                    Ok(format!(
                        "{:?}",
                        values.collect::<rusqlite::Result<Vec<_>>>()?
                    ))
                };
                statement
                    .query_map([], row)?
                    .collect::<rusqlite::Result<Vec<_>>>()
            };
            database.read(read).await.unwrap()
        }
        Backend::Postgres(database) => {
            let client = database.client().await.unwrap();
            let rows = client
                .query(&format!("SELECT t::text FROM {table} t"), &[])
                .await
                .unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        }
    };
    rows.sort();
    rows
}
