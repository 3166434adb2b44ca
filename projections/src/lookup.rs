//! Rows by key, for callers that come in crowds: whatever callers are waiting share one statement,
//! and the next statement's callers gather while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus_ledger::Backend;
use nexus_ledger::postgres::{DedicatedClient, PostgresDatabase};
use nexus_ledger::sqlite::SqliteDatabase;
use tokio::sync::{mpsc, oneshot};

use crate::log::{self, Moved};
use crate::postgres::{self, Selected};
use crate::projection::Projection;
use crate::sqlite;
use crate::store::{ASK_AGAIN, QueryError};
use crate::table::{Columns, Serving};

/// The most keys of one look-up.
const MAX_KEYS: usize = 512;
/// How many callers may wait for a look-up.
pub(crate) const WAITING: usize = 65_536;

/// A look-up plans once, for a table that may be tiny then and large later.
const SESSION: &str = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";

type Rows<P> = BTreeMap<String, Arc<<P as Projection>::Row>>;
type Answer<P> = Result<Option<Arc<<P as Projection>::Row>>, QueryError>;
type Waiting<P> = Question<String, Option<Arc<<P as Projection>::Row>>>;

/// Looks rows of a read model up by key; clones share it.
pub(crate) struct Lookup<P: Projection>(mpsc::Sender<Waiting<P>>);

impl<P: Projection> Clone for Lookup<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Projection> Lookup<P> {
    /// Starts the task that asks the database; it ends with the last clone.
    pub(crate) fn start(backend: &Backend) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting<P>>(WAITING);
        let mut reader = Reader::new(backend, Columns::All);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while crowd(&mut waiting, &mut batch).await {
                let keys = batch.iter().map(|(key, _)| key.clone()).collect();
                let rows = reader.by_key::<P>(keys).await;
                let rows: Result<Rows<P>, _> = rows.map(|rows| {
                    let shared = rows.into_iter().map(|(key, row)| (key, Arc::new(row)));
                    shared.collect()
                });
                for (key, reply) in batch.drain(..) {
                    let row = rows.as_ref().map(|rows| rows.get(&key).cloned());
                    // A caller that went away does not want its answer.
                    drop(reply.send(row.map_err(Clone::clone)));
                }
            }
        });
        Self(queue)
    }

    /// The row of a key, as the newest committed transaction left it or a later one.
    pub(crate) async fn get(&self, key: &str) -> Answer<P> {
        ask(&self.0, key.to_owned()).await
    }
}

/// What is asked, and where the answer goes.
pub(crate) type Question<Q, A> = (Q, oneshot::Sender<Result<A, QueryError>>);

/// Joins the crowd that waits in a queue, and waits for the answer.
pub(crate) async fn ask<Q, A>(
    queue: &mpsc::Sender<Question<Q, A>>,
    asked: Q,
) -> Result<A, QueryError> {
    let (reply, answer) = oneshot::channel();
    let gone = || QueryError::Unavailable("the reader has stopped".to_owned());
    queue.send((asked, reply)).await.map_err(|_| gone())?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

/// Receives whoever waits, at most [`MAX_KEYS`]; false once nobody will come any more.
pub(crate) async fn crowd<T>(waiting: &mut mpsc::Receiver<T>, batch: &mut Vec<T>) -> bool {
    let any = waiting.recv_many(batch, MAX_KEYS).await > 0;
    // Whoever is about to ask comes along: a fuller statement costs hardly more.
    tokio::task::yield_now().await;
    while batch.len() < MAX_KEYS
        && let Ok(next) = waiting.try_recv()
    {
        batch.push(next);
    }
    any
}

/// Asks the database, on PostgreSQL on a connection of its own.
pub(crate) struct Reader {
    source: Source,
    columns: Columns,
}

enum Source {
    Sqlite(SqliteDatabase),
    Postgres(PostgresReader),
}

impl Reader {
    pub(crate) fn new(backend: &Backend, columns: Columns) -> Self {
        let source = match backend {
            Backend::Sqlite(database) => Source::Sqlite(database.clone()),
            Backend::Postgres(database) => Source::Postgres(PostgresReader {
                database: database.clone(),
                client: None,
                serving: None,
            }),
        };
        Self { source, columns }
    }

    /// The rows of keys.
    pub(crate) async fn by_key<P: Projection>(
        &mut self,
        keys: BTreeSet<String>,
    ) -> Result<BTreeMap<String, P::Row>, QueryError> {
        let columns = self.columns;
        match &mut self.source {
            Source::Sqlite(database) => Ok(database
                .read(move |connection| sqlite::lookup::<P>(connection, columns, &keys))
                .await?),
            Source::Postgres(reader) => {
                let keys: Vec<String> = keys.into_iter().collect();
                loop {
                    let connected = reader.connect().await?;
                    let rows = reader.by_key::<P>(columns, &keys).await;
                    if rows.is_ok() || connected == Connected::Now || !reader.broke() {
                        return Ok(postgres::keyed::<P>(rows?));
                    }
                }
            }
        }
    }

    /// Which streams of a type have moved after a position: more than `limit` stand for any number.
    pub(crate) async fn moved(
        &mut self,
        stream_type: &'static str,
        after: u64,
        limit: usize,
    ) -> Result<Moved, QueryError> {
        match &mut self.source {
            Source::Sqlite(database) => Ok(database
                .read(move |connection| log::sqlite_moved(connection, stream_type, after, limit))
                .await?),
            Source::Postgres(reader) => loop {
                let connected = reader.connect().await?;
                let moved = reader.moved(stream_type, after, limit).await;
                if moved.is_ok() || connected == Connected::Now || !reader.broke() {
                    return moved;
                }
            },
        }
    }
}

/// A connection of its own, whose statements stay prepared.
struct PostgresReader {
    database: PostgresDatabase,
    client: Option<DedicatedClient>,
    /// The generation last seen to serve.
    serving: Option<Serving>,
}

/// Since when there is a connection. One that broke while nobody asked is replaced, once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connected {
    Before,
    Now,
}

impl PostgresReader {
    async fn connect(&mut self) -> Result<Connected, QueryError> {
        if self.client.is_some() && !self.broke() {
            return Ok(Connected::Before);
        }
        self.client = None;
        self.client = Some(self.database.dedicated_client(SESSION).await?);
        Ok(Connected::Now)
    }

    fn broke(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.is_closed())
    }

    fn client(&self) -> Result<&DedicatedClient, QueryError> {
        let gone = || QueryError::Unavailable("there is no connection".to_owned());
        self.client.as_ref().ok_or_else(gone)
    }

    async fn by_key<P: Projection>(
        &mut self,
        columns: Columns,
        keys: &[String],
    ) -> Result<Vec<P::Row>, QueryError> {
        for _ in 0..ASK_AGAIN {
            let guess = self.serving.clone();
            let guess = guess.unwrap_or_else(|| Serving::ours::<P>(1));
            match postgres::lookup::<P>(self.client()?, &guess, columns, keys)
                .await
                .map_err(QueryError::of::<P>)?
            {
                Selected::Rows(rows) => return Ok(rows),
                Selected::Moved(serving) => self.serving = Some(serving),
            }
        }
        Err(QueryError::not_there::<P>())
    }

    async fn moved(
        &self,
        stream_type: &str,
        after: u64,
        limit: usize,
    ) -> Result<Moved, QueryError> {
        let moved = log::postgres_moved(self.client()?, stream_type, after, limit).await;
        Ok(moved.map_err(log::unavailable)?)
    }
}
