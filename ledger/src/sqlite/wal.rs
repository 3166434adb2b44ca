//! Recycling the write-ahead log, so that it stays small however the readers overlap.
//!
//! Most of it is copied into the database by a thread of its own while the writer goes on. What was
//! written meanwhile is little; the writer copies that itself, and starts the log anew.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::files;
use super::gate::Gate;

/// The size from which on the log is recycled, bytes.
const LIMIT: u64 = 16 << 20;
/// How long recycling waits for a reader that did not come through the gate.
const PATIENCE: Duration = Duration::from_millis(200);
/// A copy that took longer is followed by another one: too much was written meanwhile.
const SHORT: Duration = Duration::from_millis(10);
/// How many copies there are before the writer copies the rest.
const COPIES: u32 = 3;

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
    copier: Copier,
    /// The copy under way.
    copying: Option<oneshot::Receiver<rusqlite::Result<Copied>>>,
    /// Copies since the log was last recycled.
    copies: u32,
}

/// What `PRAGMA wal_checkpoint` answers.
struct Answer {
    blocked: bool,
    frames: u64,
}

/// What a copy came to.
struct Copied {
    /// How long the log was when it began.
    frames: u64,
    took: Duration,
}

/// Copies the log into the database, as far as no reader needs it, on a thread of its own.
struct Copier {
    asked: mpsc::Sender<oneshot::Sender<rusqlite::Result<Copied>>>,
    thread: JoinHandle<()>,
}

impl Copier {
    fn start(connection: Connection) -> std::io::Result<Self> {
        let (asked, requests) = mpsc::channel::<oneshot::Sender<_>>();
        let copy = move || {
            for reply in requests {
                let began = Instant::now();
                let copied = checkpoint(&connection, "PASSIVE").map(|answer| Copied {
                    frames: answer.frames,
                    took: began.elapsed(),
                });
                drop(reply.send(copied));
            }
        };
        let thread = thread::Builder::new()
            .name("sqlite wal".into())
            .spawn(copy)?;
        Ok(Self { asked, thread })
    }

    fn copy(&self) -> oneshot::Receiver<rusqlite::Result<Copied>> {
        let (reply, copied) = oneshot::channel();
        // A thread that is gone drops the reply, and the copy has failed.
        drop(self.asked.send(reply));
        copied
    }

    fn stop(self) {
        drop(self.asked);
        drop(self.thread.join());
    }
}

impl Wal {
    /// Watches the log beside `path`; `copying` is a connection for the thread that copies it.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn new(path: &Path, gate: Gate, copying: Connection) -> std::io::Result<Self> {
        let page_size = copying
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .unwrap_or(4096);
        Ok(Self {
            file: files::beside(path, "-wal"),
            gate,
            page_size,
            recycled_at: 0,
            changes_then: 0,
            changes_to_limit: u64::MAX,
            copier: Copier::start(copying)?,
            copying: None,
            copies: 0,
        })
    }

    /// Recycles the log when it has grown beyond its limit, a step after each batch.
    pub(super) async fn keep_small(&mut self, connection: &mut Connection) {
        let Some(copying) = &mut self.copying else {
            if self.is_due(connection) {
                self.copying = Some(self.copier.copy());
            }
            return;
        };
        let copied = match copying.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return,
            Err(oneshot::error::TryRecvError::Closed) => Err(rusqlite::Error::UnwindingPanic),
            Ok(copied) => copied,
        };
        self.copying = None;
        let done = match copied {
            Ok(copied) => self.go_on(connection, &copied).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the write-ahead log could not be recycled");
        }
    }

    fn is_due(&self, connection: &Connection) -> bool {
        let size = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        size > self.recycled_at.max(LIMIT)
            || connection.total_changes().saturating_sub(self.changes_then) > self.changes_to_limit
    }

    /// After a copy: another one, if much was written meanwhile, or the end.
    async fn go_on(
        &mut self,
        connection: &mut Connection,
        copied: &Copied,
    ) -> rusqlite::Result<()> {
        let changed = connection
            .total_changes()
            .saturating_sub(self.changes_then)
            .max(1);
        let held = (copied.frames * self.page_size).max(1);
        self.changes_to_limit = (changed.saturating_mul(LIMIT) / held).max(1);
        if held < LIMIT {
            return Ok(());
        }
        self.copies += 1;
        if copied.took > SHORT && self.copies < COPIES {
            self.copying = Some(self.copier.copy());
            return Ok(());
        }
        self.copies = 0;
        self.start_anew(connection, changed).await
    }

    async fn start_anew(
        &mut self,
        connection: &mut Connection,
        changed: u64,
    ) -> rusqlite::Result<()> {
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
    pub(super) async fn empty(self, connection: &mut Connection) {
        self.copier.stop();
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
