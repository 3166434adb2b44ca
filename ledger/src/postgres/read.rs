//! Reading the log, and the small tables beside it.

use std::sync::Arc;

use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use super::{DedicatedClient, PostgresDatabase, describe};
use crate::admission::Head;
use crate::append::RecordedEvent;
use crate::backend::{ReadError, StoredCheckpoint};
use crate::merkle::Frontier;

/// The server's clock in microseconds, and the newest head: NULL while the log is empty.
pub(super) const NEWEST_HEAD: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, head.size, head.frontier, head.recorded_at \
    FROM (SELECT) AS always \
    LEFT JOIN LATERAL (SELECT size, frontier, recorded_at FROM log_heads ORDER BY size DESC LIMIT 1) head ON true";

/// The blob by a scalar subquery: a join would read `sealed_blobs` from its beginning.
const EVENTS: &str = "SELECT e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.recorded_at, \
        e.payload::text, e.metadata::text, e.leaf, e.blob_digest, CASE WHEN e.blob_digest IS NOT NULL THEN (SELECT b.blob FROM sealed_blobs b WHERE b.position = e.position) END \
    FROM events e";

const DATA_KEYS: &str =
    "SELECT key_id, stream_type, stream_id, kek_id, wrapped FROM data_keys WHERE key_id = ANY($1)";

const SETTING: &str = "SELECT value FROM vault_settings WHERE name = $1";

const PUT_SETTING: &str =
    "INSERT INTO vault_settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

const CHECKPOINTS: &str =
    "SELECT size, note FROM checkpoints WHERE size > $1 ORDER BY size LIMIT $2";

const NEWEST_CHECKPOINT: &str = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";

const PUT_CHECKPOINT: &str =
    "INSERT INTO checkpoints (size, note) VALUES ($1, $2) ON CONFLICT (size) DO NOTHING";

/// The newest end of the log, and the time.
pub(super) struct Newest {
    pub(super) head: Head,
    /// Microseconds since the Unix epoch.
    pub(super) now: i64,
}

/// Reads a row of [`NEWEST_HEAD`]; `None` when its frontier does not fit its size.
pub(super) fn newest(row: &Row) -> Option<Newest> {
    let now = row.get(0);
    let Some(size) = row.get::<_, Option<i64>>(1) else {
        return Some(Newest {
            head: Head::default(),
            now,
        });
    };
    let tree = Frontier::from_bytes(size.cast_unsigned(), row.get(2))?;
    Some(Newest {
        head: Head {
            tree,
            recorded_at: row.get(3),
        },
        now,
    })
}

impl PostgresDatabase {
    /// Events from position `from` on, in order: at most `limit`, with the blobs still there.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read_events(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let (from, limit) = (
            i64::try_from(from).unwrap_or(i64::MAX),
            i64::try_from(limit).unwrap_or(i64::MAX),
        );
        let client = self.client().await?;
        select_events(
            &client,
            "WHERE e.position >= $1 ORDER BY e.position LIMIT $2",
            &[(&from, Type::INT8), (&limit, Type::INT8)],
        )
        .await
        .map_err(unavailable)
    }

    /// The newest head in the database; the empty one for an empty log.
    ///
    /// # Errors
    /// [`ReadError`], also when the stored head is damaged.
    pub async fn newest_head(&self) -> Result<Head, ReadError> {
        let rows = self.query(NEWEST_HEAD, &[]).await?;
        let found = rows.first().and_then(newest);
        found
            .map(|found| found.head)
            .ok_or_else(|| ReadError::Unavailable("the newest tree head is damaged".to_owned()))
    }

    /// Checkpoints of trees larger than `after`, ascending: at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn checkpoints(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, ReadError> {
        let (after, limit) = (
            i64::try_from(after).unwrap_or(i64::MAX),
            i64::try_from(limit).unwrap_or(i64::MAX),
        );
        let rows = self.query(CHECKPOINTS, &[&after, &limit]).await?;
        rows.iter()
            .map(|row| checkpoint(row).map_err(unavailable))
            .collect()
    }

    /// The checkpoint of the largest tree; `None` when none was taken.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn newest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, ReadError> {
        let rows = self.query(NEWEST_CHECKPOINT, &[]).await?;
        let newest = rows.first().map(checkpoint).transpose();
        newest.map_err(unavailable)
    }

    /// Stores a checkpoint unless another node stored one of that size.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn put_checkpoint(&self, checkpoint: StoredCheckpoint) -> Result<(), ReadError> {
        let size = checkpoint.size.cast_signed();
        self.query(PUT_CHECKPOINT, &[&size, &checkpoint.note])
            .await
            .map(drop)
    }

    /// A wrapped data key; `None` when it never was or was shredded.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn data_key(&self, key_id: KeyId) -> Result<Option<WrappedKey>, ReadError> {
        let client = self.client().await?;
        let found = data_keys(&client, &[key_id]).await?;
        Ok(found.into_iter().next())
    }

    /// A setting of the vault.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn setting(&self, name: &str) -> Result<Option<String>, ReadError> {
        Ok(self
            .query(SETTING, &[&name])
            .await?
            .first()
            .map(|row| row.get(0)))
    }

    /// Stores a setting unless it has a value, and returns the value in force.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn put_setting_if_absent(
        &self,
        name: &str,
        value: &str,
    ) -> Result<String, ReadError> {
        self.query(PUT_SETTING, &[&name, &value]).await?;
        Ok(self
            .setting(name)
            .await?
            .unwrap_or_else(|| value.to_owned()))
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, ReadError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await.map_err(unavailable)?;
        client
            .query(&statement, parameters)
            .await
            .map_err(unavailable)
    }
}

/// The wrapped data keys of ids, by a statement that stays prepared on its connection.
///
/// # Errors
/// [`ReadError`]
pub async fn data_keys(
    client: &DedicatedClient,
    ids: &[KeyId],
) -> Result<Vec<WrappedKey>, ReadError> {
    let statement = client
        .prepare_cached(DATA_KEYS)
        .await
        .map_err(unavailable)?;
    let ids: Vec<String> = ids.iter().map(KeyId::to_string).collect();
    let rows = client
        .query(&statement, &[&ids])
        .await
        .map_err(unavailable)?;
    let keys = rows.iter().filter_map(|row| {
        Some(WrappedKey {
            key_id: KeyId::parse(row.get(0)).ok()?,
            stream: StreamKey {
                stream_type: row.get(1),
                id: row.get(2),
            },
            kek_id: row.get(3),
            bytes: row.get(4),
        })
    });
    Ok(keys.collect())
}

/// The events that a condition on the columns of `events e` selects, with the blobs still there.
///
/// # Errors
/// The database's.
pub async fn select_events(
    client: &Client,
    condition: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<RecordedEvent>, Error> {
    client
        .query_typed(&format!("{EVENTS} {condition}"), parameters)
        .await?
        .iter()
        .map(event)
        .collect()
}

fn checkpoint(row: &Row) -> Result<StoredCheckpoint, Error> {
    let size: i64 = row.try_get(0)?;
    Ok(StoredCheckpoint {
        size: size.cast_unsigned(),
        note: row.try_get(1)?,
    })
}

pub(super) fn event(row: &Row) -> Result<RecordedEvent, Error> {
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
        metadata: row.try_get(8)?,
        leaf: leaf(row.try_get(9)?),
        blob_digest: row.try_get::<_, Option<&[u8]>>(10)?.map(leaf),
        blob: row.try_get::<_, Option<&[u8]>>(11)?.map(Arc::from),
    })
}

/// A leaf of another length was tampered with: all zeros is the hash of nothing.
fn leaf(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap_or([0; 32])
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
pub(super) fn unavailable(error: Error) -> ReadError {
    ReadError::Unavailable(describe(&error))
}
