//! One batch in one transaction.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::gate::Gate;
use super::rows;
use super::wal::Wal;
use crate::admission::{Decided, Facts, Needs, decide};
use crate::append::{Append, Appended, KeyChange, NameChange, RecordedEvent};
use crate::clock::{Clock, wall_clock};
use crate::ledger::{ProjectError, Projector};
use crate::writer::{BatchError, Batcher, Work};

/// After so many batches the old tree heads are deleted, in the batch's own transaction.
const HEADS_KEPT: u64 = 1_024;

/// The writing connection. Fields are dropped in order: the lock is given back last.
pub(super) struct SqliteBatcher {
    connection: Connection,
    projector: Option<Box<dyn Projector>>,
    clock: Arc<Clock>,
    wal: Wal,
    batches: u64,
    _lock: File,
}

/// Why a batch could not be written.
enum Failure {
    Database(rusqlite::Error),
    Fold(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<ProjectError<rusqlite::Error>> for Failure {
    fn from(error: ProjectError<rusqlite::Error>) -> Self {
        match error {
            ProjectError::Database(error) => Self::Database(error),
            ProjectError::Fold { .. } => Self::Fold(error.to_string()),
        }
    }
}

impl From<Failure> for BatchError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fold(cause) => Self::Refused(cause),
            Failure::Database(error) if is_outage(&error) => Self::Unavailable(error.to_string()),
            Failure::Database(error) => Self::Refused(error.to_string()),
        }
    }
}

/// Whether the database as a whole fails, rather than the statement.
fn is_outage(error: &rusqlite::Error) -> bool {
    let refusals = [
        ErrorCode::ConstraintViolation,
        ErrorCode::TypeMismatch,
        ErrorCode::TooBig,
        ErrorCode::Unknown,
    ];
    error
        .sqlite_error_code()
        .is_some_and(|code| !refusals.contains(&code))
}

impl SqliteBatcher {
    pub(super) fn new(
        connection: Connection,
        path: &Path,
        projector: Option<Box<dyn Projector>>,
        clock: Arc<Clock>,
        gate: Gate,
        lock: File,
    ) -> Self {
        let wal = Wal::new(path, gate, &connection);
        Self {
            connection,
            projector,
            clock,
            wal,
            batches: 0,
            _lock: lock,
        }
    }

    fn commit_now(&mut self, batch: &[&Append]) -> Result<Decided, BatchError> {
        let Self {
            connection,
            projector,
            clock,
            batches,
            ..
        } = self;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::from)?;
        let now = wall_clock();
        clock.observe(now);
        let decided = decide(
            batch,
            read_facts(&transaction, batch, now).map_err(Failure::from)?,
        );
        let events: Vec<&RecordedEvent> = decided.events().collect();
        if events.is_empty() {
            return Ok(decided);
        }
        for (append, appended) in decided.accepted(batch) {
            insert_member(&transaction, append, appended, now).map_err(Failure::from)?;
        }
        if let Some(projector) = projector {
            projector
                .apply_sqlite(&transaction, &events)
                .map_err(Failure::from)?;
        }
        *batches += 1;
        insert_head(&transaction, &decided, *batches).map_err(Failure::from)?;
        // A commit that failed while it was being written may be found after a crash.
        match transaction.commit() {
            Ok(()) => Ok(decided),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                Err(Failure::from(error).into())
            }
            Err(error) => Err(BatchError::Lost {
                decided,
                cause: error.to_string(),
            }),
        }
    }

    fn landed_now(&mut self, lost: &Decided) -> rusqlite::Result<bool> {
        let Some(first) = lost.events().next() else {
            return Ok(true);
        };
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let leaf = transaction.query_row(
            "SELECT leaf FROM events WHERE position = ?1",
            [first.position],
            |row| row.get(0),
        );
        Ok(leaf.optional()? == Some(first.leaf))
    }
}

impl Batcher for SqliteBatcher {
    async fn commit(&mut self, batch: &[&Append]) -> Result<Decided, BatchError> {
        self.commit_now(batch)
    }

    async fn landed(&mut self, lost: &Decided) -> Result<bool, String> {
        self.landed_now(lost).map_err(|error| error.to_string())
    }

    async fn after_batch(&mut self) {
        self.wal.keep_small(&mut self.connection).await;
    }

    async fn work(&mut self, work: Work) {
        work(&self.connection);
    }

    async fn finish(mut self) {
        self.wal.empty(&mut self.connection).await;
    }
}

fn read_facts(connection: &Connection, batch: &[&Append], now: i64) -> rusqlite::Result<Facts> {
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

fn insert_member(
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

fn insert_head(connection: &Connection, decided: &Decided, batches: u64) -> rusqlite::Result<()> {
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
