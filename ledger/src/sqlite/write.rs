//! What a batch's transaction reads and writes, statement by statement.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::rows;
use crate::admission::{Decided, Facts, Needs};
use crate::append::{Append, Appended, KeyChange, NameChange, RecordedEvent};

/// After so many batches the old tree heads are deleted, in the batch's own transaction.
const HEADS_KEPT: u64 = 1_024;

/// What decides the batch, read under the write lock.
pub(super) fn read_facts(
    connection: &Connection,
    batch: &[&Append],
    now: i64,
) -> rusqlite::Result<Facts> {
    let needs = Needs::of(batch);
    let mut sequences = HashMap::with_capacity(needs.streams.len());
    let mut newest = connection.prepare_cached(
        "SELECT max(sequence) FROM events WHERE aggregate_type = ?1 AND aggregate_id = ?2",
    )?;
    for stream in needs.streams {
        let sequence: Option<u64> =
            newest.query_row([&stream.stream_type, &stream.id], |row| row.get(0))?;
        sequences.extend(sequence.map(|sequence| (stream, sequence)));
    }
    let mut names = HashMap::with_capacity(needs.names.len());
    let mut holder = connection
        .prepare_cached("SELECT stream_id FROM unique_names WHERE scope = ?1 AND name = ?2")?;
    for (scope, name) in needs.names {
        let owner: Option<String> = holder
            .query_row([&scope, &name], |row| row.get(0))
            .optional()?;
        names.extend(owner.map(|owner| ((scope, name), owner)));
    }
    Ok(Facts {
        head: rows::newest_head(connection)?,
        now,
        sequences,
        names,
    })
}

/// Everything that an accepted member stores.
pub(super) fn insert_member(
    connection: &Connection,
    append: &Append,
    appended: &Appended,
    now: i64,
) -> rusqlite::Result<()> {
    for event in &appended.events {
        insert_event(connection, append, event)?;
    }
    for change in &append.names {
        change_name(connection, append, change)?;
    }
    for change in &append.keys {
        change_key(connection, change, now)?;
    }
    insert_snapshot(connection, append)
}

fn insert_event(
    connection: &Connection,
    append: &Append,
    event: &RecordedEvent,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             recorded_at, leaf, blob_digest, connection, actor, agent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    insert.execute(params![
        event.position,
        event.stream.stream_type,
        event.stream.id,
        event.sequence,
        event.event_type,
        event.event_version,
        event.payload,
        event.metadata,
        event.recorded_at.as_micros(),
        event.leaf,
        event.blob_digest,
        append.columns.connection,
        append.columns.actor,
        append.columns.agent,
    ])?;
    if let Some(blob) = &event.blob {
        let mut insert = connection
            .prepare_cached("INSERT INTO sealed_blobs (position, blob) VALUES (?1, ?2)")?;
        insert.execute(params![event.position, &**blob])?;
    }
    Ok(())
}

fn change_name(
    connection: &Connection,
    append: &Append,
    change: &NameChange,
) -> rusqlite::Result<()> {
    let (statement, scope, name) = match change {
        NameChange::Take { scope, name } => (
            "INSERT INTO unique_names (scope, name, stream_id) VALUES (?1, ?2, ?3) ON CONFLICT (scope, name) DO NOTHING",
            scope,
            name,
        ),
        NameChange::Release { scope, name } => (
            "DELETE FROM unique_names WHERE scope = ?1 AND name = ?2 AND stream_id = ?3",
            scope,
            name,
        ),
    };
    connection
        .prepare_cached(statement)?
        .execute([scope, name, &append.stream.id])?;
    Ok(())
}

fn change_key(connection: &Connection, change: &KeyChange, now: i64) -> rusqlite::Result<()> {
    match change {
        KeyChange::Put(key) => {
            let mut insert = connection.prepare_cached(
                "INSERT INTO data_keys (key_id, stream_type, stream_id, kek_id, wrapped, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            insert.execute(params![
                key.key_id.to_string(),
                key.stream.stream_type,
                key.stream.id,
                key.kek_id,
                key.bytes,
                now
            ])?;
        }
        KeyChange::Shred(id) => {
            connection
                .prepare_cached("DELETE FROM data_keys WHERE key_id = ?1")?
                .execute([id.to_string()])?;
        }
    }
    Ok(())
}

fn insert_snapshot(connection: &Connection, append: &Append) -> rusqlite::Result<()> {
    let Some(snapshot) = &append.snapshot else {
        return Ok(());
    };
    let mut upsert = connection.prepare_cached(
        "INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, current_snapshot, payload) VALUES (?1, ?2, ?3, 1, ?4)
         ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
         SET last_sequence = excluded.last_sequence, current_snapshot = current_snapshot + 1, payload = excluded.payload",
    )?;
    upsert.execute(params![
        append.stream.stream_type,
        append.stream.id,
        snapshot.last_sequence,
        snapshot.payload
    ])?;
    Ok(())
}

/// The tree head after the batch; now and then the old ones go.
pub(super) fn insert_head(
    connection: &Connection,
    decided: &Decided,
    batches: u64,
) -> rusqlite::Result<()> {
    let head = &decided.head;
    connection
        .prepare_cached("INSERT INTO log_heads (size, frontier, recorded_at) VALUES (?1, ?2, ?3)")?
        .execute(params![
            head.position(),
            head.tree.to_bytes(),
            head.recorded_at
        ])?;
    if batches.is_multiple_of(HEADS_KEPT) {
        connection
            .prepare_cached("DELETE FROM log_heads WHERE size < (SELECT min(size) FROM (SELECT size FROM log_heads ORDER BY size DESC LIMIT ?1))")?
            .execute([HEADS_KEPT])?;
    }
    Ok(())
}
