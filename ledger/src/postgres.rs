//! The log on a PostgreSQL server: for production, and for more than one node.
//!
//! Each node has one session that writes (`batcher`), one that listens for the other nodes
//! (`listener`), a pool for everything that reads ([`PostgresDatabase::client`]) and a small one
//! of the driver that the loading crates need. An advisory lock ([`HEAD_LOCK`]) orders the writers
//! of all nodes; whoever holds it alone moves the end of the log.

mod batcher;
mod failure;
mod inspect;
mod link;
mod listener;
mod migrate;
mod options;
mod read;
mod rows;
mod session;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use postgres_es::PostgresEventRepository;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Transaction;

use crate::admission::Head;
use crate::backend::ReadError;
use crate::clock::Clock;
use crate::ledger::{OpenError, Projector};
use crate::writer::{self, Message};

pub use deadpool_postgres::{Client, ClientWrapper as DedicatedClient};
pub use options::PostgresOptions;
pub use read::{data_keys, select_events};

use failure::describe;

/// Advisory lock of whoever moves the end of the log: the writers of all nodes, and the swap of a
/// rebuilt read model. The letters `nexuslog`.
pub const HEAD_LOCK: i64 = i64::from_be_bytes(*b"nexuslog");

/// How long a connection may take: whoever waits for it is to know within a second that the database is away.
const CONNECT_WITHIN: Duration = Duration::from_millis(800);
/// How long the first connection may take.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries of it.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long a reader waits for a connection of the pool.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// How long a load waits for a connection, for the same reason: the loaders' driver tries again all that time when the
/// server refuses.
const LOAD_WAIT: Duration = Duration::from_millis(800);
/// Connections for reads.
const READERS: usize = 8;
/// Connections of the driver that loads streams.
const LOADERS: u32 = 8;

/// The database, for what reads it beside the log; clones share its pool.
#[derive(Clone)]
pub struct PostgresDatabase {
    pool: Pool,
}

/// A log that was opened.
pub(crate) struct Opened {
    pub(crate) database: PostgresDatabase,
    /// Loads single streams.
    pub(crate) streams: PostgresEventRepository,
    /// The newest head this process knows of.
    pub(crate) head: watch::Receiver<Head>,
    /// Ends when the queue was told to stop, or is closed.
    pub(crate) writer: JoinHandle<()>,
}

impl PostgresDatabase {
    /// Connects, brings the schema up to date and starts the writer and the listener.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) async fn open(
        options: PostgresOptions,
        projector: Option<Box<dyn Projector>>,
        clock: Arc<Clock>,
        waiting: mpsc::Receiver<Message>,
    ) -> Result<Opened, OpenError> {
        check_and_migrate(&options).await?;
        let database = Self {
            pool: pool(options.tokio_postgres(), &options)?,
        };
        let newest = database.first_newest().await?;
        clock.observe(newest.now);
        let (sender, head) = watch::channel(newest.head);
        let loads = PgPoolOptions::new()
            .max_connections(LOADERS)
            .acquire_timeout(LOAD_WAIT)
            .connect_lazy_with(options.sqlx());
        let following = listener::follow(options.clone(), sender.clone(), Arc::clone(&clock));
        let batcher = batcher::PostgresBatcher::new(options, projector, clock);
        let ended = writer::start(waiting, batcher, sender)
            .map_err(|error| OpenError::Unavailable(error.to_string()))?;
        let listener = tokio::spawn(following);
        let writer = tokio::spawn(async move {
            drop(ended.await);
            listener.abort();
        });
        Ok(Opened {
            database,
            streams: PostgresEventRepository::new(loads),
            head,
            writer,
        })
    }

    /// A connection of the pool; goes back when dropped. Its statements are limited to 30 seconds,
    /// and so is the time between two statements of a transaction; longer work says `SET LOCAL`.
    ///
    /// # Errors
    /// No connection was free or could be made in time.
    pub async fn client(&self) -> Result<Client, ReadError> {
        self.pool
            .get()
            .await
            .map_err(|error| ReadError::Unavailable(describe_pool(&error)))
    }

    /// A connection that is nobody else's and is never given back; `settings` are run on it first.
    ///
    /// # Errors
    /// No connection was free or could be made in time.
    pub async fn dedicated_client(&self, settings: &str) -> Result<DedicatedClient, ReadError> {
        let client = Client::take(self.client().await?);
        match client.batch_execute(settings).await {
            Ok(()) => Ok(client),
            Err(error) => Err(ReadError::Unavailable(describe(&error))),
        }
    }

    /// The newest head, from the pool's first connection: one that is slow to come is tried again while opening may
    /// last, though nobody who asks later waits that long.
    async fn first_newest(&self) -> Result<read::Newest, OpenError> {
        let give_up = Instant::now() + OPEN_WITHIN;
        loop {
            match self.newest().await {
                Err(OpenError::Unavailable(_)) if Instant::now() < give_up => {
                    tokio::time::sleep(OPEN_AGAIN_AFTER).await;
                }
                newest => return newest,
            }
        }
    }

    async fn newest(&self) -> Result<read::Newest, OpenError> {
        let unavailable = |error: ReadError| OpenError::Unavailable(error.to_string());
        let client = self.client().await.map_err(unavailable)?;
        let row = client
            .query_one(read::NEWEST_HEAD, &[])
            .await
            .map_err(|error| OpenError::Unavailable(describe(&error)))?;
        read::newest(&row).ok_or(OpenError::DamagedHead)
    }
}

/// Takes the head lock until the transaction ends. Read what the lock protects in a *later*
/// statement: this one's snapshot is older than its wait.
///
/// # Errors
/// The database's, `lock_timeout` included.
pub async fn lock_head(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&HEAD_LOCK])
        .await
        .map(drop)
}

/// Refuses a database that would change the bytes of what it stores, then migrates.
async fn check_and_migrate(options: &PostgresOptions) -> Result<(), OpenError> {
    let unavailable = |error: tokio_postgres::Error| OpenError::Unavailable(describe(&error));
    let mut link = link::Link::open(options, OPEN_WITHIN, |_| ())
        .await
        .map_err(OpenError::Unavailable)?;
    let encoding: String = link
        .client
        .query_one("SHOW server_encoding", &[])
        .await
        .map_err(unavailable)?
        .get(0);
    if encoding != "UTF8" {
        return Err(OpenError::Unavailable(format!(
            "its encoding is {encoding}; it must be UTF8"
        )));
    }
    migrate::migrate(&mut link.client).await?;
    link.close().await;
    Ok(())
}

fn pool(config: tokio_postgres::Config, options: &PostgresOptions) -> Result<Pool, OpenError> {
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(config, options.connector(), recycling);
    Pool::builder(manager)
        .max_size(READERS)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(POOL_WAIT))
        .create_timeout(Some(CONNECT_WITHIN))
        .build()
        .map_err(|error| OpenError::Unavailable(error.to_string()))
}

fn describe_pool(error: &deadpool_postgres::PoolError) -> String {
    match error {
        deadpool_postgres::PoolError::Backend(error) => describe(error),
        other => other.to_string(),
    }
}
