//! Asks the database for a crowd, on PostgreSQL on a connection of its own.

use std::collections::{BTreeMap, BTreeSet};

use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_ledger::Backend;
use nexus_ledger::postgres::{self as ledger_on_postgres, DedicatedClient, PostgresDatabase};
use nexus_ledger::sqlite::{self as ledger_on_sqlite, SqliteDatabase};

use crate::log::{self, Moved, Streams};
use crate::postgres::{self, Selected};
use crate::projection::Projection;
use crate::sqlite;
use crate::store::{ASK_AGAIN, QueryError};
use crate::table::{Columns, Serving};

/// A look-up plans once, for a table that may be tiny then and large later.
const SESSION: &str = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";

/// Asks the database.
pub(crate) enum Reader {
    Sqlite(SqliteDatabase),
    Postgres(PostgresReader),
}

impl Reader {
    pub(crate) fn new(backend: &Backend) -> Self {
        match backend {
            Backend::Sqlite(database) => Self::Sqlite(database.clone()),
            Backend::Postgres(database) => Self::Postgres(PostgresReader {
                database: database.clone(),
                client: None,
                serving: None,
            }),
        }
    }

    /// The rows of keys.
    pub(crate) async fn by_key<P: Projection>(
        &mut self,
        columns: Columns,
        keys: BTreeSet<String>,
    ) -> Result<BTreeMap<String, P::Row>, QueryError> {
        match self {
            Self::Sqlite(database) => Ok(database
                .read(move |connection| sqlite::lookup::<P>(connection, columns, &keys))
                .await?),
            Self::Postgres(reader) => {
                let keys: Vec<String> = keys.into_iter().collect();
                loop {
                    let connected = reader.connect().await?;
                    let rows = reader.by_key::<P>(columns, &keys).await;
                    if rows.is_ok() || !reader.broke_since(connected) {
                        return Ok(postgres::keyed::<P>(rows?));
                    }
                }
            }
        }
    }

    /// The wrapped data keys of ids.
    pub(crate) async fn data_keys(&mut self, ids: &[KeyId]) -> Result<Vec<WrappedKey>, QueryError> {
        match self {
            Self::Sqlite(database) => {
                let ids = ids.to_vec();
                let keys =
                    database.read(move |connection| ledger_on_sqlite::data_keys(connection, &ids));
                Ok(keys.await?)
            }
            Self::Postgres(reader) => loop {
                let connected = reader.connect().await?;
                let keys = ledger_on_postgres::data_keys(reader.client()?, ids).await;
                if keys.is_ok() || !reader.broke_since(connected) {
                    return Ok(keys?);
                }
            },
        }
    }

    /// Which streams have moved after a position: more than `limit` stand for any number. Also whether the server that
    /// says so is the one that was asked before.
    pub(crate) async fn moved(
        &mut self,
        after: u64,
        limit: usize,
    ) -> Result<(Moved, Connected), QueryError> {
        let of = Streams::Kept;
        match self {
            Self::Sqlite(database) => {
                let moved = database
                    .read(move |connection| log::sqlite_moved(connection, of, after, limit));
                Ok((moved.await?, Connected::Before))
            }
            Self::Postgres(reader) => loop {
                let connected = reader.connect().await?;
                let moved = log::postgres_moved(reader.client()?, of, after, limit).await;
                if moved.is_ok() || !reader.broke_since(connected) {
                    return Ok((moved.map_err(log::unavailable)?, connected));
                }
            },
        }
    }
}

/// A connection of its own, whose statements stay prepared.
pub(crate) struct PostgresReader {
    database: PostgresDatabase,
    client: Option<DedicatedClient>,
    /// The generation last seen to serve.
    serving: Option<Serving>,
}

/// Since when there is a connection. One that broke while nobody asked is replaced, once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connected {
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

    /// Whether the connection broke that had been there before.
    fn broke_since(&self, connected: Connected) -> bool {
        connected == Connected::Before && self.broke()
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
}
