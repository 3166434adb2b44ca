//! Reading a database that is not believed: other processes serve it, or somebody changed it.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use super::read::{event, unavailable};
use super::{PostgresDatabase, PostgresOptions, pool};
use crate::append::IndexColumns;
use crate::backend::ReadError;
use crate::ledger::OpenError;
use crate::verify::{Ends, StoredEvent, StoredHead};

const ENDS: &str = "SELECT (SELECT min(position) FROM events), (SELECT max(position) FROM events), head.size, head.frontier, head.recorded_at \
    FROM (SELECT) AS always \
    LEFT JOIN LATERAL (SELECT size, frontier, recorded_at FROM log_heads ORDER BY size DESC LIMIT 1) head ON true";

const STORED: &str = "SELECT e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.recorded_at, \
        e.payload::text, e.metadata::text, e.leaf, e.blob_digest, (SELECT b.blob FROM sealed_blobs b WHERE b.position = e.position), \
        e.connection, e.actor, e.agent \
    FROM events e WHERE e.position >= $1 AND e.position < $2 ORDER BY e.position";

/// A session that reads gives itself a name of its own and refuses to write.
const READ_ONLY: &str = "-c default_transaction_read_only=on";

impl PostgresDatabase {
    /// Connects for reading alone; no schema is made or changed.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`]
    pub(crate) async fn open_read_only(options: &PostgresOptions) -> Result<Self, OpenError> {
        let mut config = options.tokio_postgres();
        let session = config.get_options().unwrap_or_default();
        let session = format!("{session} {READ_ONLY}");
        config.options(session).application_name("nexus-admin");
        let database = Self {
            pool: pool(config, options)?,
        };
        match database.client().await {
            Ok(_) => Ok(database),
            Err(ReadError::Unavailable(cause)) => Err(OpenError::Unavailable(cause)),
        }
    }

    /// Where the log begins and ends.
    pub(crate) async fn ends(&self) -> Result<Ends, ReadError> {
        let client = self.client().await?;
        let row = client.query_one(ENDS, &[]).await.map_err(unavailable)?;
        ends(&row).map_err(unavailable)
    }

    /// The events of some positions; `None` when one of them does not decode.
    pub(crate) async fn stored(
        &self,
        from: u64,
        until: u64,
    ) -> Result<Option<Vec<StoredEvent>>, ReadError> {
        let bound = |position| i64::try_from(position).unwrap_or(i64::MAX);
        let (from, until) = (bound(from), bound(until));
        let client = self.client().await?;
        let rows = client
            .query_typed(STORED, &[(&from, Type::INT8), (&until, Type::INT8)])
            .await
            .map_err(unavailable)?;
        let events: Result<_, Error> = rows.iter().map(stored).collect();
        Ok(events.ok())
    }
}

fn stored(row: &Row) -> Result<StoredEvent, Error> {
    Ok(StoredEvent {
        event: event(row)?,
        columns: IndexColumns {
            connection: row.try_get(12)?,
            actor: row.try_get(13)?,
            agent: row.try_get(14)?,
        },
    })
}

fn ends(row: &Row) -> Result<Ends, Error> {
    let size: Option<i64> = row.try_get(2)?;
    Ok(Ends {
        first: row.try_get(0)?,
        last: row.try_get(1)?,
        head: size.map(|size| StoredHead {
            size,
            // A head that does not decode is one of nothing: it agrees with no log.
            frontier: row.try_get(3).unwrap_or_default(),
            recorded_at: row.try_get(4).unwrap_or_default(),
        }),
    })
}
