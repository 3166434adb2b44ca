//! The two databases, and a PostgreSQL database of its own for each test.

use tokio_postgres::NoTls;
use url::Url;

use crate::scripted::random;

/// Which database a server keeps its log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// The embedded default, a file in the data directory.
    Sqlite,
    /// A database in the cluster of `TEST_DATABASE_URL`.
    Postgres,
}

/// A database that is gone when this is dropped. On SQLite there is nothing to hold: the file goes with its directory.
#[derive(Debug)]
pub struct TestDatabase {
    url: Option<Url>,
    ours: bool,
}

impl TestDatabase {
    /// Makes an empty database.
    pub fn create(kind: Database) -> TestDatabase {
        if kind == Database::Sqlite {
            return TestDatabase {
                url: None,
                ours: false,
            };
        }
        let name = format!("nexus_{}", random());
        let mut url = cluster();
        administer(format!("CREATE DATABASE {name}"));
        url.set_path(&name);
        TestDatabase {
            url: Some(url),
            ours: true,
        }
    }

    /// The database at this `DATABASE_URL`; it stays when this is dropped.
    pub fn at(url: &str) -> TestDatabase {
        let url = url.parse().expect("a URL");
        TestDatabase {
            url: Some(url),
            ours: false,
        }
    }

    /// Its `DATABASE_URL`, `None` for the embedded default.
    pub fn url(&self) -> Option<&str> {
        self.url.as_ref().map(Url::as_str)
    }

    /// Every value of every row of every table as text, bytes in hexadecimal: where a secret must not be found.
    /// PostgreSQL only; SQLite's are files.
    pub async fn dump(&self) -> String {
        let url = self.url().expect("a PostgreSQL database");
        let client = connect(url).await;
        let tables = client
            .query(
                "SELECT quote_ident(relname) FROM pg_stat_user_tables ORDER BY 1",
                &[],
            )
            .await
            .expect("the tables");
        let mut dump = String::new();
        for table in tables {
            let table: String = table.get(0);
            let rows = client
                .query(&format!("SELECT t::text FROM {table} t"), &[])
                .await
                .expect("the rows");
            for row in rows {
                dump.push_str(row.get(0));
            }
        }
        dump
    }

    /// Cuts every connection to it and lets nobody in until [`TestDatabase::let_in`].
    pub async fn lock_out(&self) {
        let name = self.name();
        on_cluster(&format!(
            "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"
        ))
        .await;
        on_cluster(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ))
        .await;
    }

    /// Ends [`TestDatabase::lock_out`].
    pub async fn let_in(&self) {
        on_cluster(&format!(
            "ALTER DATABASE {} WITH ALLOW_CONNECTIONS true",
            self.name()
        ))
        .await;
    }

    /// Runs one statement in it, as the owner of its tables.
    pub async fn execute(&self, statement: &str) {
        let client = connect(self.url().expect("a PostgreSQL database")).await;
        client
            .batch_execute(statement)
            .await
            .expect("the database obeys");
    }

    fn name(&self) -> &str {
        self.url
            .as_ref()
            .expect("a PostgreSQL database")
            .path()
            .trim_start_matches('/')
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.ours {
            administer(format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                self.name()
            ));
        }
    }
}

fn cluster() -> Url {
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness has no settings but this one, and cargo hands it over"
    )]
    let url = std::env::var("TEST_DATABASE_URL");
    let url = url.expect(
        "TEST_DATABASE_URL is not set: run scripts/test, or scripts/postgres run -- cargo test …",
    );
    url.parse().expect("TEST_DATABASE_URL is a URL")
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

async fn on_cluster(statement: &str) {
    let client = connect(cluster().as_str()).await;
    client
        .batch_execute(statement)
        .await
        .expect("the cluster obeys");
}

/// One statement on the cluster, from wherever we are: a drop runs inside a runtime and cannot wait. The runtime's other
/// work goes on meanwhile, and must: a database is only dropped when every session that is logging on has got that far.
fn administer(statement: String) {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let work = async move {
        let client = connect(cluster().as_str()).await;
        client
            .batch_execute(&statement)
            .await
            .expect("the cluster obeys");
    };
    let thread = std::thread::spawn(move || runtime().block_on(work));
    let ended = tokio::task::block_in_place(|| thread.join());
    assert!(ended.is_ok(), "PostgreSQL refused; see above");
}
