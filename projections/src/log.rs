//! The queries over the log itself.

use std::sync::Arc;

use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::postgres::DedicatedClient;
use nexus_ledger::{Backend, ReadError, RecordedEvent, postgres, sqlite};
use rusqlite::{params, params_from_iter};
use tokio_postgres::types::{ToSql, Type};

use crate::connections::signed;
use crate::postgres::parameter;
use crate::table::{Dialect, Value};

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
    /// The streams' types and ids, one more than the limit standing for any number; one that moved twice may come twice.
    pub(crate) streams: Vec<(String, String)>,
}

/// Of which streams it is asked whether they moved.
#[derive(Clone, Copy)]
pub(crate) enum Streams {
    /// Those of a type.
    Of(&'static str),
    /// All that something can be kept of: a session that is new was not there to be kept.
    Kept,
}

type MovedRow = (Option<i64>, Option<String>, Option<String>);

impl Moved {
    /// From rows of [`moved_sql`].
    fn from_rows(rows: Vec<MovedRow>) -> Self {
        let head = rows.iter().find_map(|(head, ..)| *head).unwrap_or(0);
        let streams = rows.into_iter();
        Self {
            head: head.cast_unsigned(),
            streams: streams.filter_map(|(_, of, id)| of.zip(id)).collect(),
        }
    }
}

/// The newest position, and of the same snapshot the streams that moved after `$1`; one more than the limit stands for any number.
fn moved_sql(index: &str, streams: Streams, limit: usize) -> String {
    let those = match streams {
        Streams::Of(stream_type) => format!("aggregate_type || '' = '{stream_type}'"),
        Streams::Kept => "(sequence > 1 OR aggregate_type || '' <> 'session')".to_owned(),
    };
    format!(
        "SELECT (SELECT max(position) FROM events), NULL, NULL UNION ALL SELECT NULL, moved.aggregate_type, moved.aggregate_id FROM (
            SELECT aggregate_type, aggregate_id FROM events {index} WHERE aggregate_type <> 'access' AND position > $1
            AND {those} ORDER BY position LIMIT {limit}) moved",
        limit = limit + 1,
    )
}

/// Which streams of a type moved after a position.
pub(crate) async fn moved(
    backend: &Backend,
    stream_type: &'static str,
    after: u64,
    limit: usize,
) -> Result<Moved, ReadError> {
    let streams = Streams::Of(stream_type);
    match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| sqlite_moved(connection, streams, after, limit))
                .await
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            let moved = postgres_moved(&client, streams, after, limit).await;
            moved.map_err(unavailable)
        }
    }
}

pub(crate) fn sqlite_moved(
    connection: &rusqlite::Connection,
    streams: Streams,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Moved> {
    let sql = moved_sql("INDEXED BY events_that_change_state", streams, limit);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([signed(after)], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    Ok(Moved::from_rows(rows.collect::<rusqlite::Result<_>>()?))
}

pub(crate) async fn postgres_moved(
    client: &DedicatedClient,
    streams: Streams,
    after: u64,
    limit: usize,
) -> Result<Moved, tokio_postgres::Error> {
    let sql = moved_sql("", streams, limit);
    let statement = client.prepare_typed_cached(&sql, &[Type::INT8]).await?;
    let rows = client.query(&statement, &[&signed(after)]).await?;
    let rows = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    Ok(Moved::from_rows(
        rows.collect::<Result<_, tokio_postgres::Error>>()?,
    ))
}

/// Which events an auditor asks for.
pub(crate) struct Selection {
    /// Of this stored name.
    pub(crate) event_type: Option<String>,
    /// Of the connection of this reference.
    pub(crate) connection: Option<String>,
    /// From this position on.
    pub(crate) from: u64,
    /// Up to the one before this position.
    pub(crate) before: Option<u64>,
}

/// The one stored name that the index on names leaves out: most events have it, so the newest of them are near the end of the log.
const COMMON: &str = "credential.retrieved";

impl Selection {
    /// What follows `FROM events`, and what it is compared with. Parameters are named as SQLite names them.
    fn newest(&self, dialect: Dialect, limit: usize) -> (String, Vec<Value>) {
        let before = self.before.map_or(i64::MAX, signed);
        let mut parameters = vec![
            signed(self.from).into(),
            before.into(),
            signed(limit as u64).into(),
        ];
        let mut conditions = vec!["position >= ?1 AND position < ?2".to_owned()];
        let mut of = |column: &str, value: &str| {
            parameters.push(Value::Text(Some(value.to_owned())));
            conditions.push(format!("{column} = ?{}", parameters.len()));
        };
        let mut index = "";
        if let Some(name) = &self.event_type {
            of("event_type", name);
        }
        if let Some(connection) = &self.connection {
            of("connection", connection);
            index = "INDEXED BY events_by_connection";
        } else if self.event_type.as_ref().is_some_and(|name| name != COMMON) {
            // The index's own condition, so that the planner sees that it holds every such event.
            conditions.push(format!("event_type <> '{COMMON}'"));
            index = "INDEXED BY events_by_type";
        }
        let index = if dialect == Dialect::Sqlite {
            index
        } else {
            ""
        };
        let conditions = conditions.join(" AND ");
        let condition = format!("{index} WHERE {conditions} ORDER BY position DESC LIMIT ?3");
        (condition, parameters)
    }
}

/// The newest events of a selection, newest first: at most `limit`.
pub(crate) async fn newest(
    backend: &Backend,
    selection: Selection,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    match backend {
        Backend::Sqlite(database) => {
            let (condition, parameters) = selection.newest(Dialect::Sqlite, limit);
            let read = move |connection: &rusqlite::Connection| {
                sqlite::select_events(connection, &condition, params_from_iter(parameters))
            };
            database.read(read).await
        }
        Backend::Postgres(database) => {
            let (condition, parameters) = selection.newest(Dialect::Postgres, limit);
            let condition = condition.replace('?', "$");
            let parameters: Vec<_> = parameters.iter().map(parameter).collect();
            let client = database.client().await?;
            postgres::select_events(&client, &condition, &parameters)
                .await
                .map_err(unavailable)
        }
    }
}

/// The events of a stream after a sequence, the oldest first.
pub(crate) async fn of_stream(
    backend: &Backend,
    stream: &StreamKey,
    after: u64,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let (kind, id, after) = (stream.stream_type.clone(), stream.id.clone(), signed(after));
    match backend {
        Backend::Sqlite(database) => {
            let condition = "WHERE aggregate_type = ?1 AND aggregate_id = ?2 AND sequence > ?3 ORDER BY sequence";
            let read = move |connection: &rusqlite::Connection| {
                sqlite::select_events(connection, condition, params![kind, id, after])
            };
            database.read(read).await
        }
        Backend::Postgres(database) => {
            let condition = "WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 ORDER BY sequence";
            let parameters: [(&(dyn ToSql + Sync), Type); 3] =
                [(&kind, Type::TEXT), (&id, Type::TEXT), (&after, Type::INT8)];
            let client = database.client().await?;
            postgres::select_events(&client, condition, &parameters)
                .await
                .map_err(unavailable)
        }
    }
}

/// Whether the database answers a question about the log.
pub(crate) async fn ping(backend: &Backend) -> Result<(), ReadError> {
    let sql = "SELECT max(position) FROM events";
    match backend {
        Backend::Sqlite(database) => {
            let read = |connection: &rusqlite::Connection| {
                connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0))
            };
            database.read(read).await.map(drop)
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            let answered = client.query_typed_one(sql, &[]).await;
            answered.map(drop).map_err(unavailable)
        }
    }
}

/// The first position recorded at `since` or later, or the one after the newest: recorded times
/// never decrease with the position, so it is found by halving.
pub(crate) async fn first_since(backend: &Backend, since: Timestamp) -> Result<u64, ReadError> {
    // A position that is missing counts as earlier.
    const FIRST_SINCE: &str = "WITH RECURSIVE halved(low, high) AS (
            SELECT coalesce((SELECT min(position) FROM events), 1), coalesce((SELECT max(position) FROM events), 0) + 1
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
