//! Recycling the write-ahead log, so that it stays small however the readers overlap.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::files;
use super::gate::Gate;

/// The size from which on the log is recycled, bytes.
const LIMIT: u64 = 16 << 20;
/// How long recycling waits for a reader that did not come through the gate.
const PATIENCE: Duration = Duration::from_millis(200);

/// Watches the log's size.
///
/// Its file never shrinks, so once it was recycled the file says nothing. What it holds is then
/// known only from a checkpoint's answer; between two checkpoints it is guessed from the number of
/// rows changed, by what the rows before them needed.
pub(super) struct Wal {
    file: PathBuf,
    gate: Gate,
    page_size: u64,
    /// The file's size when it was last recycled.
    recycled_at: u64,
    /// Rows the connection had changed when the log was last recycled.
    changes_then: u64,
    /// Rows that fill the log up to the limit, as far as is known.
    changes_to_limit: u64,
}

/// What `PRAGMA wal_checkpoint` answers.
struct Answer {
    blocked: bool,
    frames: u64,
}

impl Wal {
    pub(super) fn new(path: &Path, gate: Gate, connection: &Connection) -> Self {
        let page_size = connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .unwrap_or(4096);
        let file = files::beside(path, "-wal");
        Self {
            file,
            gate,
            page_size,
            recycled_at: 0,
            changes_then: 0,
            changes_to_limit: u64::MAX,
        }
    }

    /// Recycles the log when it has grown beyond its limit.
    pub(super) async fn keep_small(&mut self, connection: &mut Connection) {
        if self.is_due(connection)
            && let Err(error) = self.recycle(connection).await
        {
            tracing::warn!(%error, "the write-ahead log could not be recycled");
        }
    }

    fn is_due(&self, connection: &Connection) -> bool {
        let size = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        size > self.recycled_at.max(LIMIT)
            || connection.total_changes().saturating_sub(self.changes_then) > self.changes_to_limit
    }

    async fn recycle(&mut self, connection: &mut Connection) -> rusqlite::Result<()> {
        let passive = checkpoint(connection, "PASSIVE")?;
        let changed = connection
            .total_changes()
            .saturating_sub(self.changes_then)
            .max(1);
        let held = (passive.frames * self.page_size).max(1);
        self.changes_to_limit = (changed.saturating_mul(LIMIT) / held).max(1);
        if held < LIMIT {
            return Ok(());
        }
        let gate = self.gate.clone();
        let _closed = gate.close().await;
        connection.busy_timeout(PATIENCE)?;
        let restart = checkpoint(connection, "RESTART");
        connection.busy_timeout(super::open::BUSY)?;
        if restart?.blocked {
            // Somebody else reads: guess anew only after as much again was written.
            self.changes_to_limit = self.changes_to_limit.saturating_add(changed);
        } else {
            self.changes_then = connection.total_changes();
        }
        self.recycled_at = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        Ok(())
    }

    /// Empties the log, for a database that is closed.
    pub(super) async fn empty(&mut self, connection: &mut Connection) {
        let _closed = self.gate.close().await;
        if let Err(error) = checkpoint(connection, "TRUNCATE") {
            tracing::warn!(%error, "the write-ahead log could not be emptied");
        }
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Answer> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let frames: i64 = row.get(1)?;
        Ok(Answer {
            blocked: row.get::<_, i64>(0)? != 0,
            frames: u64::try_from(frames).unwrap_or(0),
        })
    })
}
