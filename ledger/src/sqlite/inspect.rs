//! Reading a database that is not believed: another process serves it, or somebody changed it.

use std::path::Path;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, params};
use tokio::sync::mpsc;

use super::open::{READERS, open_reading, unavailable};
use super::readers::Readers;
use super::{Gate, SqliteDatabase, rows};
use crate::append::IndexColumns;
use crate::backend::ReadError;
use crate::ledger::OpenError;
use crate::verify::{Ends, StoredEvent, StoredHead};

const ENDS: &str = "SELECT (SELECT min(position) FROM events), (SELECT max(position) FROM events), head.size, head.frontier, head.recorded_at
    FROM (SELECT 1) LEFT JOIN (SELECT size, frontier, recorded_at FROM log_heads ORDER BY size DESC LIMIT 1) head";

const STORED: &str = "SELECT events.position, aggregate_type, aggregate_id, sequence, event_type, event_version, recorded_at,
        payload, metadata, leaf, blob_digest, blob, connection, actor, agent
    FROM events LEFT JOIN sealed_blobs ON sealed_blobs.position = events.position
    WHERE events.position >= ?1 AND events.position < ?2 ORDER BY events.position";

impl SqliteDatabase {
    /// Opens the file for reading alone, whoever serves it.
    ///
    /// # Errors
    /// [`OpenError::Unavailable`]
    pub(crate) async fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let file = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || {
            let reading: rusqlite::Result<_> = (0..READERS).map(|_| open_reading(&file)).collect();
            reading.map_err(unavailable)
        });
        let reading = opening
            .await
            .map_err(|_| unavailable("opening it panicked"))??;
        // Nobody takes what is written: a write finds the queue closed.
        let (writer, _) = mpsc::channel(1);
        Ok(Self {
            readers: Readers::start(reading, &Gate::default()).map_err(unavailable)?,
            writer: writer.downgrade(),
            moves: None,
        })
    }

    /// Where the log begins and ends.
    pub(crate) async fn ends(&self) -> Result<Ends, ReadError> {
        self.read(|connection| connection.query_row(ENDS, [], ends))
            .await
    }

    /// The events of some positions; `None` when one of them does not decode.
    pub(crate) async fn stored(
        &self,
        from: u64,
        until: u64,
    ) -> Result<Option<Vec<StoredEvent>>, ReadError> {
        self.read(move |connection| match select(connection, from, until) {
            Err(error) if is_undecodable(&error) => Ok(None),
            outcome => outcome.map(Some),
        })
        .await
    }
}

fn select(connection: &Connection, from: u64, until: u64) -> rusqlite::Result<Vec<StoredEvent>> {
    let mut statement = connection.prepare_cached(STORED)?;
    statement.query_map(params![from, until], stored)?.collect()
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        event: rows::event(row)?,
        columns: IndexColumns {
            connection: row.get(12)?,
            actor: row.get(13)?,
            agent: row.get(14)?,
        },
    })
}

/// A head that does not decode is one of nothing: it agrees with no log.
fn ends(row: &Row<'_>) -> rusqlite::Result<Ends> {
    let size: Option<i64> = row.get(2)?;
    Ok(Ends {
        first: row.get(0)?,
        last: row.get(1)?,
        head: size.map(|size| StoredHead {
            size,
            frontier: decoded(row, 3),
            recorded_at: decoded(row, 4),
        }),
    })
}

fn decoded<T: FromSql + Default>(row: &Row<'_>, column: usize) -> T {
    row.get(column).unwrap_or_default()
}

fn is_undecodable(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}
