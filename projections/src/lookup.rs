//! Rows by key, for callers that come in crowds: whatever callers are waiting share one statement,
//! and the next statement's callers gather while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus_ledger::Backend;
use nexus_ledger::postgres::{DedicatedClient, PostgresDatabase};
use nexus_ledger::sqlite::SqliteDatabase;
use tokio::sync::{mpsc, oneshot};

use crate::postgres::{self, Selected};
use crate::projection::Projection;
use crate::sqlite;
use crate::store::{ASK_AGAIN, QueryError};
use crate::table::{Columns, Serving};

/// The most keys of one look-up.
const MAX_KEYS: usize = 512;
/// How many callers may wait for a look-up.
const WAITING: usize = 65_536;

/// A look-up plans once, for a table that may be tiny then and large later.
const SESSION: &str = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";

type Rows<P> = BTreeMap<String, Arc<<P as Projection>::Row>>;
type Answer<P> = Result<Option<Arc<<P as Projection>::Row>>, QueryError>;
type Waiting<P> = (String, oneshot::Sender<Answer<P>>);

/// Looks rows of a read model up by key; clones share it.
pub(crate) struct Lookup<P: Projection>(mpsc::Sender<Waiting<P>>);

impl<P: Projection> Clone for Lookup<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Projection> Lookup<P> {
    /// Starts the task that asks the database; it ends with the last clone.
    pub(crate) fn start(backend: &Backend, columns: Columns) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting<P>>(WAITING);
        let mut reader = Reader::new(backend, columns);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, MAX_KEYS).await > 0 {
                // Whoever is about to ask comes along: a fuller statement costs hardly more.
                tokio::task::yield_now().await;
                while batch.len() < MAX_KEYS
                    && let Ok(next) = waiting.try_recv()
                {
                    batch.push(next);
                }
                let keys = batch.iter().map(|(key, _)| key.clone()).collect();
                let rows = reader.by_key::<P>(keys).await;
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
        let (reply, answer) = oneshot::channel();
        let gone = || QueryError::Unavailable("the reader has stopped".to_owned());
        let asked = self.0.send((key.to_owned(), reply)).await;
        asked.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

struct Reader {
    source: Source,
    columns: Columns,
}

enum Source {
    Sqlite(SqliteDatabase),
    Postgres(PostgresReader),
}

impl Reader {
    fn new(backend: &Backend, columns: Columns) -> Self {
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

    async fn by_key<P: Projection>(
        &mut self,
        keys: BTreeSet<String>,
    ) -> Result<Rows<P>, QueryError> {
        let columns = self.columns;
        let rows = match &mut self.source {
            Source::Sqlite(database) => {
                database
                    .read(move |connection| sqlite::lookup::<P>(connection, columns, &keys))
                    .await?
            }
            Source::Postgres(reader) => {
                let keys: Vec<String> = keys.into_iter().collect();
                postgres::keyed::<P>(reader.by_key::<P>(columns, &keys).await?)
            }
        };
        Ok(rows
            .into_iter()
            .map(|(key, row)| (key, Arc::new(row)))
            .collect())
    }
}

/// A connection of its own, whose statement stays prepared.
struct PostgresReader {
    database: PostgresDatabase,
    client: Option<DedicatedClient>,
    /// The generation last seen to serve.
    serving: Option<Serving>,
}

impl PostgresReader {
    /// A connection that broke while nobody asked is replaced once.
    async fn by_key<P: Projection>(
        &mut self,
        columns: Columns,
        keys: &[String],
    ) -> Result<Vec<P::Row>, QueryError> {
        let was_open = self.client.is_some();
        let found = self.try_by_key::<P>(columns, keys).await;
        let broke = self.client.as_ref().is_none_or(|client| client.is_closed());
        if broke {
            self.client = None;
        }
        match found {
            Err(_) if broke && was_open => self.try_by_key::<P>(columns, keys).await,
            found => found,
        }
    }

    async fn try_by_key<P: Projection>(
        &mut self,
        columns: Columns,
        keys: &[String],
    ) -> Result<Vec<P::Row>, QueryError> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(self.database.dedicated_client(SESSION).await?),
        };
        for _ in 0..ASK_AGAIN {
            let guess = self.serving.get_or_insert_with(|| Serving::ours::<P>(1));
            match postgres::lookup::<P>(client, guess, columns, keys)
                .await
                .map_err(QueryError::of::<P>)?
            {
                Selected::Rows(rows) => return Ok(rows),
                Selected::Moved(serving) => self.serving = Some(serving),
            }
        }
        Err(QueryError::not_there::<P>())
    }
}
