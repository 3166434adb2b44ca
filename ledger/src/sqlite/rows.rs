//! Rows to values.

use std::sync::Arc;

use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use crate::admission::Head;
use crate::append::RecordedEvent;
use crate::backend::StoredCheckpoint;
use crate::merkle::Frontier;

pub(super) fn events(
    connection: &Connection,
    from: u64,
    limit: usize,
) -> rusqlite::Result<Vec<RecordedEvent>> {
    select_events(
        connection,
        "WHERE position >= ?1 ORDER BY position LIMIT ?2",
        params![from, limit],
    )
}

/// The events that what follows `FROM events` selects, with the blobs still there.
///
/// # Errors
/// The database's.
pub fn select_events(
    connection: &Connection,
    condition: &str,
    parameters: impl Params,
) -> rusqlite::Result<Vec<RecordedEvent>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                recorded_at, payload, metadata, leaf, blob_digest,
                CASE WHEN blob_digest IS NOT NULL THEN (SELECT blob FROM sealed_blobs WHERE sealed_blobs.position = events.position) END
         FROM events {condition}"
    ))?;
    statement.query_map(parameters, event)?.collect()
}

pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<RecordedEvent> {
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
        metadata: row.get(8)?,
        leaf: row.get(9)?,
        blob_digest: row.get(10)?,
        blob: row.get::<_, Option<Vec<u8>>>(11)?.map(Arc::from),
    })
}

pub(super) fn checkpoint(row: &Row<'_>) -> rusqlite::Result<StoredCheckpoint> {
    Ok(StoredCheckpoint {
        size: row.get(0)?,
        note: row.get(1)?,
    })
}

/// The newest head; a conversion failure means that it is damaged.
pub(super) fn newest_head(connection: &Connection) -> rusqlite::Result<Head> {
    let mut statement = connection.prepare_cached(
        "SELECT size, frontier, recorded_at FROM log_heads ORDER BY size DESC LIMIT 1",
    )?;
    let head = statement.query_row([], |row| {
        let size = row.get(0)?;
        let frontier = row.get_ref(1)?.as_blob()?;
        let tree = Frontier::from_bytes(size, frontier)
            .ok_or_else(|| damaged(1, "the tree's frontier does not fit its size"))?;
        Ok(Head {
            tree,
            recorded_at: row.get(2)?,
        })
    });
    Ok(head.optional()?.unwrap_or_default())
}

/// The wrapped data keys of ids.
///
/// # Errors
/// The database's.
pub fn data_keys(connection: &Connection, ids: &[KeyId]) -> rusqlite::Result<Vec<WrappedKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT stream_type, stream_id, kek_id, wrapped FROM data_keys WHERE key_id = ?1",
    )?;
    let mut keys = Vec::with_capacity(ids.len());
    for id in ids {
        let key = statement.query_row([id.to_string()], |row| {
            Ok(WrappedKey {
                key_id: *id,
                stream: StreamKey {
                    stream_type: row.get(0)?,
                    id: row.get(1)?,
                },
                kek_id: row.get(2)?,
                bytes: row.get(3)?,
            })
        });
        keys.extend(key.optional()?);
    }
    Ok(keys)
}

fn damaged(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, what.into())
}
