//! The queries over the log itself.

use std::sync::Arc;

use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::postgres::DedicatedClient;
use nexus_ledger::{Backend, ReadError, RecordedEvent, postgres, sqlite};
use rusqlite::params;
use tokio_postgres::types::{ToSql, Type};

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

/// What moved in the log.
#[derive(Debug)]
pub(crate) struct Moved {
    /// The newest position, 0 for an empty log.
    pub(crate) head: u64,
    /// The streams' ids; one that moved twice may come twice.
    pub(crate) streams: Vec<String>,
}

impl Moved {
    /// From rows of [`moved_sql`].
    fn from_rows(rows: Vec<(Option<i64>, Option<String>)>) -> Self {
        let head = rows.iter().find_map(|(head, _)| *head).unwrap_or(0);
        Self {
            head: head.cast_unsigned(),
            streams: rows.into_iter().filter_map(|(_, stream)| stream).collect(),
        }
    }
}

/// The newest position, and of the same snapshot the streams that moved after `$1`; one more than the limit stands for any number.
fn moved_sql(index: &str, stream_type: &str, limit: usize) -> String {
    format!(
        "SELECT (SELECT max(position) FROM events), NULL UNION ALL SELECT NULL, moved.aggregate_id FROM (
            SELECT aggregate_id FROM events {index} WHERE aggregate_type <> 'access' AND position > $1
            AND aggregate_type || '' = '{stream_type}' ORDER BY position LIMIT {limit}) moved",
        limit = limit + 1,
    )
}

pub(crate) fn sqlite_moved(
    connection: &rusqlite::Connection,
    stream_type: &str,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Moved> {
    let sql = moved_sql("INDEXED BY events_that_change_state", stream_type, limit);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([signed(after)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Moved::from_rows(rows.collect::<rusqlite::Result<_>>()?))
}

pub(crate) async fn postgres_moved(
    client: &DedicatedClient,
    stream_type: &str,
    after: u64,
    limit: usize,
) -> Result<Moved, tokio_postgres::Error> {
    let sql = moved_sql("", stream_type, limit);
    let statement = client.prepare_typed_cached(&sql, &[Type::INT8]).await?;
    let rows = client.query(&statement, &[&signed(after)]).await?;
    let rows = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    Ok(Moved::from_rows(
        rows.collect::<Result<_, tokio_postgres::Error>>()?,
    ))
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
            let read = move |connection: &rusqlite::Connection| {
                let condition = newest_of(event_type.as_deref(), "INDEXED BY events_by_type");
                // With a dollar they would be numbered in the order in which they occur.
                let condition = condition.replace('$', "?");
                match &event_type {
                    None => sqlite::select_events(connection, &condition, params![from, limit]),
                    Some(name) => {
                        sqlite::select_events(connection, &condition, params![from, limit, name])
                    }
                }
            };
            database.read(read).await
        }
        Backend::Postgres(database) => {
            let condition = newest_of(event_type.as_deref(), "");
            let mut parameters: Vec<(&(dyn ToSql + Sync), _)> =
                vec![(&from, Type::INT8), (&limit, Type::INT8)];
            if let Some(name) = &event_type {
                parameters.push((name, Type::TEXT));
            }
            let client = database.client().await?;
            postgres::select_events(&client, &condition, &parameters)
                .await
                .map_err(unavailable)
        }
    }
}

/// The one stored name that the index on names leaves out: most events have it, so the newest of them are near the end of the log.
const COMMON: &str = "credential.retrieved";

/// What follows `FROM events`: from position `$1` on, at most `$2`, of the stored name `$3` if there is one.
fn newest_of(event_type: Option<&str>, index: &str) -> String {
    let (index, of_type) = match event_type {
        None => ("", String::new()),
        Some(COMMON) => ("", "event_type = $3 AND".to_owned()),
        // The index's own condition, so that the planner sees that it holds every such event.
        Some(_) => (
            index,
            format!("event_type = $3 AND event_type <> '{COMMON}' AND"),
        ),
    };
    format!("{index} WHERE {of_type} position >= $1 ORDER BY position DESC LIMIT $2")
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

/// The first position recorded at `since` or later, or the one after the newest: recorded times
/// never decrease with the position, so it is found by halving.
pub(crate) async fn first_since(backend: &Backend, since: Timestamp) -> Result<u64, ReadError> {
    // A position that is missing counts as earlier.
    const FIRST_SINCE: &str = "WITH RECURSIVE halved(low, high) AS (
            SELECT coalesce(min(position), 1), coalesce(max(position), 0) + 1 FROM events
            UNION ALL
            SELECT CASE WHEN e.recorded_at >= $1 THEN low ELSE low + (high - low) / 2 + 1 END,
                   CASE WHEN e.recorded_at >= $1 THEN low + (high - low) / 2 ELSE high END
            FROM halved LEFT JOIN events e ON e.position = low + (high - low) / 2 WHERE low < high)
        SELECT low FROM halved WHERE low >= high";
    let since = since.as_micros();
    let first: i64 = match backend {
        Backend::Sqlite(database) => {
            let read = move |connection: &rusqlite::Connection| {
                let mut statement = connection.prepare_cached(FIRST_SINCE)?;
                statement.query_row([since], |row| row.get(0))
            };
            database.read(read).await?
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            let row = client
                .query_typed_one(FIRST_SINCE, &[(&since, Type::INT8)])
                .await;
            row.map_err(unavailable)?.get(0)
        }
    };
    Ok(first.cast_unsigned())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
pub(crate) fn unavailable(error: tokio_postgres::Error) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
