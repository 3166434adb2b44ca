//! One batch in one transaction.

use std::fs::File;

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};

use super::moves::Moves;
use super::wal::Wal;
use super::write;
use crate::admission::{Decided, decide};
use crate::append::{Append, RecordedEvent};
use crate::clock::wall_clock;
use crate::ledger::{ProjectError, Projector};
use crate::writer::{BatchError, Batcher, Work};

/// The writing connection. Fields are dropped in order: the lock is given back last.
pub(super) struct SqliteBatcher {
    connection: Connection,
    projector: Option<Box<dyn Projector>>,
    moves: Moves,
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
            ProjectError::Fold { .. } | ProjectError::Newer(_) => Self::Fold(error.to_string()),
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
        projector: Option<Box<dyn Projector>>,
        moves: Moves,
        wal: Wal,
        lock: File,
    ) -> Self {
        Self {
            connection,
            projector,
            moves,
            wal,
            batches: 0,
            _lock: lock,
        }
    }

    fn commit_now(&mut self, batch: &[&Append]) -> Result<Decided, BatchError> {
        let Self {
            connection,
            projector,
            moves,
            batches,
            ..
        } = self;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Failure::from)?;
        let now = wall_clock();
        let decided = decide(
            batch,
            write::read_facts(&transaction, batch, now).map_err(Failure::from)?,
        );
        let events: Vec<&RecordedEvent> = decided.events().collect();
        if events.is_empty() {
            return Ok(decided);
        }
        for (append, appended) in decided.accepted(batch) {
            write::insert_member(&transaction, append, appended, now).map_err(Failure::from)?;
        }
        if let Some(projector) = projector {
            projector
                .apply_sqlite(&transaction, &events)
                .map_err(Failure::from)?;
        }
        *batches += 1;
        write::insert_head(&transaction, &decided, *batches).map_err(Failure::from)?;
        crate::fault::point("writer.before_commit");
        let _announced = moves.announce(&events);
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

    async fn finish(self) {
        let Self {
            mut connection,
            wal,
            _lock,
            ..
        } = self;
        wal.empty(&mut connection).await;
    }
}
