//! The ledger: one append queue, two databases behind it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use futures::future::BoxFuture;
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_postgres::Row;

use crate::admission::Head;
use crate::append::{Append, AppendError, Appended, RecordedEvent};
use crate::backend::{Backend, ReadError};
use crate::checkpoint::{self, VerifierKey};
use crate::clock::Clock;
use crate::migrate::MigrateError;
use crate::postgres::{DedicatedClient, PostgresDatabase, PostgresOptions};
use crate::repository::{Repository, Source};
use crate::sqlite::SqliteDatabase;
use crate::subscription::Subscription;
use crate::validate;
use crate::writer::Message;

/// How long a stop waits for the writer to commit what was accepted.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Where the log lives.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file, embedded.
    Sqlite {
        /// Its path; created when it does not exist.
        path: PathBuf,
    },
    /// A server.
    Postgres(PostgresOptions),
}

/// How a ledger is opened.
pub struct Options {
    /// Where the log lives.
    pub database: Database,
    /// Applied inside each append transaction; `None` keeps no read models.
    pub projector: Option<Box<dyn Projector>>,
    /// A snapshot is stored whenever a stream passes a multiple of this many events.
    pub snapshot_every: usize,
    /// How many appends may wait; one more is [`AppendError::Overloaded`].
    pub queue_capacity: usize,
    /// Names this process in the `access` and `vault` streams.
    pub node_id: String,
    /// Signs checkpoints; `None` takes none.
    pub checkpoint_key: Option<SigningKey>,
    /// The log's name in its checkpoints (C2SP origin line).
    pub origin: String,
}

/// Why a batch's events could not be applied to the read models.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError<E> {
    /// The database refused, or went away.
    #[error(transparent)]
    Database(#[from] E),
    /// An event cannot be folded; the batch is refused.
    #[error("the event at {position} cannot be applied to {projection}")]
    Fold {
        /// The read model.
        projection: &'static str,
        /// The event's position.
        position: u64,
    },
    /// A newer version of the program keeps the rows; the batch is refused.
    #[error("the rows of {0} are kept by a newer version of this program")]
    Newer(&'static str),
}

/// Statements that are all sent when this is first polled, so that COMMIT can come right behind them.
pub type Writes<'a> = BoxFuture<'a, Result<(), tokio_postgres::Error>>;

/// Applies events to read models inside the append transaction.
pub trait Projector: Send + 'static {
    /// Applies one batch's events, in order of position.
    ///
    /// # Errors
    /// An error rolls the batch back.
    fn apply_sqlite(
        &mut self,
        transaction: &rusqlite::Connection,
        events: &[&RecordedEvent],
    ) -> Result<(), ProjectError<rusqlite::Error>>;

    /// A statement without parameters that is asked together with what begins a batch of these streams, under the head
    /// lock.
    fn opening(&self, _: &mut dyn Iterator<Item = &StreamKey>) -> Option<&'static str> {
        None
    }

    /// Folds one batch's events, in order of position, into what is then written; `opened` is what [`Self::opening`]
    /// found.
    ///
    /// # Errors
    /// An error rolls the batch back.
    fn apply_postgres<'a>(
        &'a mut self,
        client: &'a DedicatedClient,
        opened: &'a [Row],
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<Writes<'a>, ProjectError<tokio_postgres::Error>>>;
}

/// Why a ledger could not be opened. Nothing was written but complete migrations.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process serves this database file.
    #[error("another process holds {0}; stop it first")]
    Locked(PathBuf),
    /// The database cannot be reached or opened.
    #[error("the database cannot be opened: {0}")]
    Unavailable(String),
    /// The schema does not fit this program.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The newest head in the database does not decode.
    #[error("the newest tree head in the database is damaged")]
    DamagedHead,
}

/// A handle on the log; clones share it.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    queue: mpsc::Sender<Message>,
    head: watch::Receiver<Head>,
    clock: Arc<Clock>,
    backend: Backend,
    repository: Repository,
    snapshot_every: usize,
    node_id: String,
    verifier_key: Option<VerifierKey>,
    tasks: Mutex<Option<Tasks>>,
    stopping: watch::Sender<bool>,
}

struct Tasks {
    writer: JoinHandle<()>,
    signer: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the log, brings its schema up to date and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let (queue, waiting) = mpsc::channel(options.queue_capacity.max(1));
        let clock = Arc::new(match options.database {
            Database::Sqlite { .. } => Clock::process(),
            Database::Postgres(_) => Clock::server(),
        });
        let (backend, source, head, writer) = match options.database {
            Database::Sqlite { path } => {
                let opened =
                    SqliteDatabase::open(&path, options.projector, queue.downgrade(), waiting)
                        .await?;
                (
                    Backend::Sqlite(opened.database),
                    Source::Sqlite(opened.streams, opened.gate),
                    opened.head,
                    opened.writer,
                )
            }
            Database::Postgres(postgres) => {
                let opened = PostgresDatabase::open(
                    postgres,
                    options.projector,
                    Arc::clone(&clock),
                    waiting,
                )
                .await?;
                (
                    Backend::Postgres(opened.database),
                    Source::Postgres(opened.streams),
                    opened.head,
                    opened.writer,
                )
            }
        };
        let (stopping, stopped) = watch::channel(false);
        let key = options.checkpoint_key.as_ref();
        let verifier_key = key.map(|key| VerifierKey::of(&options.origin, key));
        let signer = options.checkpoint_key.map(|key| {
            tokio::spawn(checkpoint::sign_while_growing(
                backend.clone(),
                head.clone(),
                key,
                options.origin,
                stopped,
            ))
        });
        Ok(Self(Arc::new(Inner {
            queue,
            head,
            clock,
            backend,
            repository: Repository(Arc::new(source)),
            snapshot_every: options.snapshot_every.max(1),
            node_id: options.node_id,
            verifier_key,
            tasks: Mutex::new(Some(Tasks { writer, signer })),
            stopping,
        })))
    }

    /// Appends events. When this returns, they are durable and every read model holds them.
    ///
    /// # Errors
    /// [`AppendError`]; only [`AppendError::OutcomeUnknown`] leaves it open whether they are in the log.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        validate::check(&append)?;
        let (reply, answer) = oneshot::channel();
        self.0
            .queue
            .try_send(Message::Append(Box::new(append), reply))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => AppendError::Stopped,
            })?;
        answer.await.unwrap_or(Err(AppendError::Stopped))
    }

    /// Every event from position `from` on, and then each new one, exactly once and in order.
    #[must_use]
    pub fn subscribe(&self, from: u64) -> Subscription {
        Subscription::new(self.0.backend.clone(), self.0.head.clone(), from)
    }

    /// Events from position `from` on, in order: at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read(&self, from: u64, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.0.backend.read(from, limit).await
    }

    /// The newest head this process knows of; other nodes may have appended since.
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.head.borrow().clone()
    }

    /// Changes whenever this process learns of a newer head.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.0.head.clone()
    }

    /// The time the database would record now; what every node agrees on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The database, for projections and queries.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// This process's name in the `access` and `vault` streams.
    #[must_use]
    pub fn node_id(&self) -> &str {
        &self.0.node_id
    }

    /// The public half of the key that signs checkpoints, when they are signed.
    #[must_use]
    pub fn verifier_key(&self) -> Option<&VerifierKey> {
        self.0.verifier_key.as_ref()
    }

    /// Stops accepting, commits what was accepted, signs a last checkpoint. Idempotent.
    pub async fn stop(&self) {
        let mut tasks = self.0.tasks.lock().await;
        let Some(tasks) = tasks.take() else { return };
        if tokio::time::timeout(STOP_WITHIN, self.stop_in_order(tasks))
            .await
            .is_err()
        {
            tracing::error!("the ledger did not stop in time");
        }
    }

    /// The signer stores its last checkpoint through the writer, so the writer ends last.
    async fn stop_in_order(&self, tasks: Tasks) {
        let (done, committed) = oneshot::channel();
        // A writer that is gone already has nothing left to commit.
        drop(self.0.queue.send(Message::Stop(done)).await);
        drop(committed.await);
        self.0.stopping.send_replace(true);
        if let Some(signer) = tasks.signer {
            drop(signer.await);
        }
        drop(self.0.queue.send(Message::End).await);
        drop(tasks.writer.await);
    }

    pub(crate) fn repository(&self) -> Repository {
        self.0.repository.clone()
    }

    pub(crate) fn snapshot_every(&self) -> usize {
        self.0.snapshot_every
    }
}
