//! A database of its own for each test, and ways around the ledger to it.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use ed25519_dalek::SigningKey;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use nexus_domain::stream::StreamKey;
use nexus_ledger::postgres::{DedicatedClient, PostgresOptions};
use nexus_ledger::{
    Append, Database, Expected, Ledger, NewEvent, Options, ProjectError, Projector, RecordedEvent,
    Writes,
};
use tokio::sync::mpsc;

/// Appending an event of this type stops the writer inside its transaction.
const HOLD: &str = "test.hold";
/// A batch with an event of this type cannot be projected.
pub(crate) const UNPROJECTABLE: &str = "test.unprojectable";

static STORES: AtomicU32 = AtomicU32::new(0);

/// A fresh database.
pub(crate) enum Store {
    Sqlite(Directory),
    Postgres { url: String },
}

/// A temporary directory, removed with the test.
pub(crate) struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn unique() -> String {
    format!(
        "nexus_{}_{}",
        process::id(),
        STORES.fetch_add(1, Ordering::Relaxed)
    )
}

impl Store {
    #[expect(
        clippy::unused_async,
        reason = "the suite makes both databases in the same words"
    )]
    pub(crate) async fn sqlite() -> Self {
        let directory = std::env::temp_dir().join(unique());
        fs::create_dir(&directory).unwrap();
        Self::Sqlite(Directory(directory))
    }

    pub(crate) async fn postgres() -> Self {
        let server = server();
        let name = unique();
        postgres(&server)
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&name);
        Self::Postgres { url: url.into() }
    }

    /// The database file.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Sqlite(directory) => directory.0.join("nexus.db"),
            Self::Postgres { .. } => panic!("PostgreSQL has no file"),
        }
    }

    pub(crate) fn options(&self) -> Options {
        let database = match self {
            Self::Sqlite(_) => Database::Sqlite { path: self.path() },
            Self::Postgres { url } => {
                Database::Postgres(PostgresOptions::parse(url, None, None).unwrap())
            }
        };
        Options {
            database,
            projector: None,
            snapshot_every: 5,
            queue_capacity: 1_024,
            node_id: "node".into(),
            checkpoint_key: None,
            origin: "test.example/log".into(),
        }
    }

    pub(crate) async fn open(&self) -> Ledger {
        Ledger::open(self.options()).await.unwrap()
    }

    /// Opened so that its writer can be stopped inside a transaction.
    pub(crate) async fn open_holding(&self, queue_capacity: usize) -> (Ledger, Hold) {
        let (entered, inside) = mpsc::unbounded_channel();
        let (door, batches) = (Arc::<Door>::default(), Arc::<Mutex<Vec<usize>>>::default());
        let projector = Holding {
            entered,
            door: Arc::clone(&door),
            batches: Arc::clone(&batches),
        };
        let options = Options {
            projector: Some(Box::new(projector)),
            queue_capacity,
            ..self.options()
        };
        let ledger = Ledger::open(options).await.unwrap();
        (
            ledger,
            Hold {
                inside,
                door,
                batches,
            },
        )
    }

    /// Runs statements around the ledger.
    pub(crate) async fn run(&self, sqlite: &str, postgres_statements: &str) -> Result<(), String> {
        match self {
            Self::Sqlite(_) => {
                let connection = rusqlite::Connection::open(self.path()).unwrap();
                connection
                    .execute_batch(sqlite)
                    .map_err(|error| error.to_string())
            }
            Self::Postgres { url } => postgres(url)
                .await
                .batch_execute(postgres_statements)
                .await
                .map_err(|error| format!("{error:?}")),
        }
    }

    /// Runs a statement that both databases understand.
    pub(crate) async fn run_on_both(&self, statement: &str) -> Result<(), String> {
        self.run(statement, statement).await
    }

    /// Lifts what refuses changes, as the tables' owner can.
    pub(crate) async fn lift_triggers(&self) {
        let sqlite = "DROP TRIGGER events_are_not_updated; DROP TRIGGER events_are_not_deleted;
                      DROP TRIGGER sealed_blobs_are_not_updated; DROP TRIGGER log_heads_are_not_updated;
                      DROP TRIGGER log_heads_keep_the_newest;";
        let postgres = "ALTER TABLE events DISABLE TRIGGER USER; ALTER TABLE sealed_blobs DISABLE TRIGGER USER;
                        ALTER TABLE log_heads DISABLE TRIGGER USER;";
        self.run(sqlite, postgres).await.unwrap();
    }

    /// The one number that a query gives.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        match self {
            Self::Sqlite(_) => {
                let connection = rusqlite::Connection::open(self.path()).unwrap();
                connection.query_row(query, [], |row| row.get(0)).unwrap()
            }
            Self::Postgres { url } => postgres(url)
                .await
                .query_one(query, &[])
                .await
                .unwrap()
                .get(0),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the test server is comes from whoever runs the tests"
)]
fn server() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "no PostgreSQL to test with: run `scripts/postgres run -- cargo test -p nexus-ledger`",
    )
}

async fn postgres(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// What the suite signs checkpoints with.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub(crate) fn stream(id: &str) -> StreamKey {
    StreamKey::new("thing", id)
}

pub(crate) fn event(event_type: &str) -> NewEvent {
    NewEvent {
        event_type: event_type.into(),
        event_version: "1".into(),
        payload: "{}".into(),
        blob: None,
    }
}

/// One event for `thing` stream `id`.
pub(crate) fn append(id: &str, expected: Expected) -> Append {
    Append::new(stream(id), expected, vec![event("thing.done")])
}

/// The whole log.
pub(crate) async fn log(ledger: &Ledger) -> Vec<RecordedEvent> {
    ledger
        .read(1, usize::try_from(i64::MAX).unwrap())
        .await
        .unwrap()
}

/// A door that stands closed until it is opened for good.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    moved: Condvar,
}

impl Door {
    fn pass(&self) {
        drop(
            self.moved
                .wait_while(self.open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
    }
}

/// Holds the writer inside a transaction.
pub(crate) struct Hold {
    inside: mpsc::UnboundedReceiver<()>,
    door: Arc<Door>,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Hold {
    /// Makes the writer enter a transaction and stay there.
    pub(crate) async fn enter(&mut self, ledger: &Ledger) {
        let ledger = ledger.clone();
        let hold = Append::new(stream("hold"), Expected::Any, vec![event(HOLD)]);
        tokio::spawn(async move { ledger.append(hold).await });
        self.inside.recv().await.unwrap();
    }

    pub(crate) fn release(&self) {
        *self.door.open.lock().unwrap() = true;
        self.door.moved.notify_all();
    }

    /// How many events each batch had.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }

    /// Appends `members` so that they are one batch: they queue while the writer is held.
    pub(crate) async fn one_batch(
        &mut self,
        ledger: &Ledger,
        members: Vec<Append>,
    ) -> Vec<Result<nexus_ledger::Appended, nexus_ledger::AppendError>> {
        self.enter(ledger).await;
        // Polled in this order: every member is queued before the writer goes on.
        let queued =
            futures::future::join_all(members.into_iter().map(|member| ledger.append(member)));
        let (outcomes, ()) = futures::join!(queued, async { self.release() });
        outcomes
    }
}

struct Holding {
    entered: mpsc::UnboundedSender<()>,
    door: Arc<Door>,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Holding {
    /// Whether the batch is to be held, or fails.
    fn look<E>(&self, events: &[&RecordedEvent]) -> Result<bool, ProjectError<E>> {
        if let Some(bad) = events
            .iter()
            .find(|event| event.event_type == UNPROJECTABLE)
        {
            return Err(ProjectError::Fold {
                projection: "test",
                position: bad.position,
            });
        }
        self.batches.lock().unwrap().push(events.len());
        let held = events.iter().any(|event| event.event_type == HOLD);
        if held {
            self.entered.send(()).unwrap();
        }
        Ok(held)
    }
}

impl Projector for Holding {
    fn apply_sqlite(
        &mut self,
        _: &rusqlite::Connection,
        events: &[&RecordedEvent],
    ) -> Result<(), ProjectError<rusqlite::Error>> {
        if self.look(events)? {
            self.door.pass();
        }
        Ok(())
    }

    fn apply_postgres<'a>(
        &'a mut self,
        _: &'a DedicatedClient,
        _: &'a [tokio_postgres::Row],
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<Writes<'a>, ProjectError<tokio_postgres::Error>>> {
        let held = self.look(events);
        let door = Arc::clone(&self.door);
        async move {
            if held? {
                tokio::task::spawn_blocking(move || door.pass())
                    .await
                    .unwrap();
            }
            Ok(ready(Ok(())).boxed())
        }
        .boxed()
    }
}
