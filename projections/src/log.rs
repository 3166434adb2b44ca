//! The queries over the log itself.

use std::sync::Arc;

use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Backend, ReadError, RecordedEvent, postgres, sqlite};
use rusqlite::{OptionalExtension, params};
use tokio_postgres::types::Type;

use crate::connections::signed;

/// A stretch of the log, as one read model's fold needs it.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// The events of the read model's streams, without metadata and leaves.
    pub(crate) events: Vec<RecordedEvent>,
    /// The position that the stretch reaches.
    pub(crate) end: u64,
    /// The newest position of the log.
    pub(crate) head: u64,
    /// Whether nothing was left behind it.
    pub(crate) last: bool,
}

/// The stretch from position `from` on with `size` changes of state, or what there is. An index
/// skips credential reads, so that they cost nothing here.
pub(crate) async fn chunk(
    backend: &Backend,
    stream_type: &'static str,
    from: u64,
    size: u64,
) -> Result<Chunk, ReadError> {
    let (from, size) = (signed(from), signed(size));
    match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| sqlite_chunk(connection, stream_type, from, size))
                .await
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            postgres_chunk(&client, stream_type, from, size)
                .await
                .map_err(unavailable)
        }
    }
}

/// Where a stretch ends, from what was found: the position of its last change, unless there are fewer.
fn bounded(from: i64, end: Option<i64>, head: Option<i64>) -> (i64, Chunk) {
    let head = head.unwrap_or(0);
    let reached = end.unwrap_or(head.max(from - 1));
    let chunk = Chunk {
        events: Vec::new(),
        end: reached.cast_unsigned(),
        head: head.cast_unsigned(),
        last: end.is_none(),
    };
    (reached, chunk)
}

pub(crate) fn sqlite_chunk(
    connection: &rusqlite::Connection,
    stream_type: &str,
    from: i64,
    size: i64,
) -> rusqlite::Result<Chunk> {
    let mut bounds = connection.prepare_cached(
        "SELECT (SELECT position FROM events INDEXED BY events_that_change_state
                 WHERE aggregate_type <> 'access' AND position >= ?1 ORDER BY position LIMIT 1 OFFSET ?2),
                (SELECT max(position) FROM events)",
    )?;
    let (end, head) = bounds.query_row([from, size - 1], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (end, chunk) = bounded(from, end, head);
    let mut statement = connection.prepare_cached(&format!(
        "{SQLITE_EVENTS} INDEXED BY events_that_change_state
         WHERE aggregate_type <> 'access' AND position BETWEEN ?1 AND ?2 AND +aggregate_type = ?3 ORDER BY position"
    ))?;
    let events = statement
        .query_map(params![from, end, stream_type], sqlite_event)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Chunk { events, ..chunk })
}

/// What a fold reads of an event; conditions follow.
pub(crate) const SQLITE_EVENTS: &str = "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, recorded_at, payload,
        CASE WHEN blob_digest IS NOT NULL THEN (SELECT blob FROM sealed_blobs WHERE sealed_blobs.position = events.position) END
    FROM events";

pub(crate) fn sqlite_event(row: &rusqlite::Row<'_>) -> rusqlite::Result<RecordedEvent> {
    Ok(RecordedEvent {
        position: row.get(0)?,
        stream: StreamKey {
            stream_type: row.get(1)?,
            id: row.get(2)?,
        },
        sequence: row.get(3)?,
        event_type: row.get(4)?,
        event_version: row.get(5)?,
        recorded_at: Timestamp::from_micros(row.get(6)?),
        payload: row.get(7)?,
        blob: row.get_ref(8)?.as_blob_or_null()?.map(Arc::from),
        metadata: String::new(),
        leaf: [0; 32],
        blob_digest: None,
    })
}

pub(crate) async fn postgres_chunk(
    client: &tokio_postgres::Client,
    stream_type: &str,
    from: i64,
    size: i64,
) -> Result<Chunk, tokio_postgres::Error> {
    let bounds = "SELECT (SELECT position FROM events WHERE aggregate_type <> 'access' AND position >= $1 ORDER BY position OFFSET $2 LIMIT 1), \
        (SELECT max(position) FROM events)";
    let row = client
        .query_typed_one(bounds, &[(&from, Type::INT8), (&(size - 1), Type::INT8)])
        .await?;
    let (end, chunk) = bounded(from, row.try_get(0)?, row.try_get(1)?);
    // An expression instead of the column: the planner must not take the index of streams here.
    let events = format!(
        "{POSTGRES_EVENTS} WHERE e.aggregate_type <> 'access' AND e.position BETWEEN $1 AND $2 AND e.aggregate_type || '' = $3 ORDER BY e.position"
    );
    let rows = client
        .query_typed(
            &events,
            &[
                (&from, Type::INT8),
                (&end, Type::INT8),
                (&stream_type, Type::TEXT),
            ],
        )
        .await?;
    let events = rows.iter().map(postgres_event).collect::<Result<_, _>>()?;
    Ok(Chunk { events, ..chunk })
}

/// What a fold reads of an event `e`; conditions follow.
pub(crate) const POSTGRES_EVENTS: &str = "SELECT e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.recorded_at, \
        e.payload::text, CASE WHEN e.blob_digest IS NOT NULL THEN (SELECT b.blob FROM sealed_blobs b WHERE b.position = e.position) END \
    FROM events e";

pub(crate) fn postgres_event(
    row: &tokio_postgres::Row,
) -> Result<RecordedEvent, tokio_postgres::Error> {
    let (position, sequence): (i64, i64) = (row.try_get(0)?, row.try_get(3)?);
    Ok(RecordedEvent {
        position: position.cast_unsigned(),
        stream: StreamKey {
            stream_type: row.try_get(1)?,
            id: row.try_get(2)?,
        },
        sequence: sequence.cast_unsigned(),
        event_type: row.try_get(4)?,
        event_version: row.try_get(5)?,
        recorded_at: Timestamp::from_micros(row.try_get(6)?),
        payload: row.try_get(7)?,
        blob: row.try_get::<_, Option<&[u8]>>(8)?.map(Arc::from),
        metadata: String::new(),
        leaf: [0; 32],
        blob_digest: None,
    })
}

/// The newest events from position `from` on, newest first: at most `limit`, of one stored name if given.
pub(crate) async fn newest(
    backend: &Backend,
    from: u64,
    event_type: Option<String>,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let (from, limit) = (signed(from), signed(limit as u64));
    match backend {
        Backend::Sqlite(database) => {
            let read = move |connection: &rusqlite::Connection| match event_type {
                None => sqlite::select_events(
                    connection,
                    "WHERE events.position >= ?1 ORDER BY events.position DESC LIMIT ?2",
                    params![from, limit],
                ),
                Some(name) => {
                    let condition = format!(
                        "WHERE event_type = {} AND events.position >= ?1 ORDER BY events.position DESC LIMIT ?2",
                        literal(&name)
                    );
                    sqlite::select_events(connection, &condition, params![from, limit])
                }
            };
            database.read(read).await
        }
        Backend::Postgres(database) => {
            let filter = event_type.map_or_else(String::new, |name| {
                format!("e.event_type = {} AND", literal(&name))
            });
            let condition =
                format!("WHERE {filter} e.position >= $1 ORDER BY e.position DESC LIMIT $2");
            let client = database.client().await?;
            postgres::select_events(
                &client,
                &condition,
                &[(&from, Type::INT8), (&limit, Type::INT8)],
            )
            .await
            .map_err(unavailable)
        }
    }
}

/// A stored name as an SQL literal: with a parameter instead, the planner could not prove that the
/// partial index on names holds it. Stored names are lower-case letters, dots and underscores;
/// anything else is reduced to what no event is called.
fn literal(name: &str) -> String {
    let known = name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'));
    if known {
        format!("'{name}'")
    } else {
        "''".to_owned()
    }
}

/// The first and the newest position; `None` for an empty log.
pub(crate) async fn bounds(backend: &Backend) -> Result<Option<(u64, u64)>, ReadError> {
    let sql = "SELECT min(position), max(position) FROM events";
    let bounds: (Option<i64>, Option<i64>) = match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| {
                    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
                })
                .await?
        }
        Backend::Postgres(database) => {
            let row = database
                .client()
                .await?
                .query_typed_one(sql, &[])
                .await
                .map_err(unavailable)?;
            (row.get(0), row.get(1))
        }
    };
    Ok(bounds
        .0
        .zip(bounds.1)
        .map(|(first, last)| (first.cast_unsigned(), last.cast_unsigned())))
}

/// When the event at a position was recorded.
pub(crate) async fn recorded_at(
    backend: &Backend,
    position: u64,
) -> Result<Option<Timestamp>, ReadError> {
    let position = signed(position);
    let micros: Option<i64> = match backend {
        Backend::Sqlite(database) => {
            let read = move |connection: &rusqlite::Connection| {
                connection
                    .query_row(
                        "SELECT recorded_at FROM events WHERE position = ?1",
                        [position],
                        |row| row.get(0),
                    )
                    .optional()
            };
            database.read(read).await?
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            let row = client
                .query_typed_opt(
                    "SELECT recorded_at FROM events WHERE position = $1",
                    &[(&position, Type::INT8)],
                )
                .await
                .map_err(unavailable)?;
            row.map(|row| row.get(0))
        }
    };
    Ok(micros.map(Timestamp::from_micros))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
pub(crate) fn unavailable(error: tokio_postgres::Error) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_event_has_cannot_leave_its_literal() {
        assert_eq!(literal("connection.refreshed"), "'connection.refreshed'");
        assert_eq!(literal("x' OR '1' = '1"), "''");
    }
}
