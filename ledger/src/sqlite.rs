//! The embedded database: one file, one writing thread, a few reading threads.
//!
//! Nothing in this process opens or closes the database file, its `-wal` or its `-shm` except
//! `SQLite` itself: closing any other descriptor of them drops the process's POSIX locks, and
//! acknowledged commits with them. Sizes and permissions are asked and set by path.

mod batch;
mod files;
mod gate;
mod inspect;
mod moves;
mod open;
mod readers;
mod rows;
mod wal;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

use nexus_domain::sealing::{KeyId, WrappedKey};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sqlite_es::SqliteEventRepository;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::admission::Head;
use crate::append::RecordedEvent;
use crate::backend::{ReadError, StoredCheckpoint};
use crate::writer::{Message, Work};

pub(crate) use gate::Gate;
use moves::Moves;
pub use moves::Watcher;
use readers::Readers;
pub use rows::{data_keys, select_events};

/// A handle on the database; clones share its reading threads.
#[derive(Clone)]
pub struct SqliteDatabase {
    readers: Readers,
    writer: mpsc::WeakSender<Message>,
    /// `None` where another process may write the file.
    moves: Option<Moves>,
}

/// An opened database and what runs over it.
pub(crate) struct Opened {
    pub(crate) database: SqliteDatabase,
    pub(crate) streams: SqliteEventRepository,
    pub(crate) gate: Gate,
    pub(crate) head: watch::Receiver<Head>,
    pub(crate) writer: JoinHandle<()>,
}

impl SqliteDatabase {
    /// Runs `read` on a reading thread, in a read transaction of its own. It must be short: the
    /// log of writes cannot be recycled under it.
    ///
    /// # Errors
    /// [`ReadError`], also when `read` fails or panics.
    pub async fn read<R, F>(&self, read: F) -> Result<R, ReadError>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<R> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.readers.send(Box::new(move |connection| {
            let outcome = connection
                .unchecked_transaction()
                .and_then(|transaction| read(&transaction));
            drop(reply.send(outcome));
        }));
        outcome(answer).await
    }

    /// Runs `write` on the writing thread between two batches, in a transaction of its own: no
    /// event is appended meanwhile. It returns when the transaction is durable.
    ///
    /// # Errors
    /// [`ReadError`], also when `write` fails or panics; nothing was written then.
    pub async fn write<R, F>(&self, write: F) -> Result<R, ReadError>
    where
        R: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<R> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            // The writer must outlive the work of others.
            let outcome = catch_unwind(AssertUnwindSafe(|| in_transaction(connection, write)));
            if let Ok(outcome) = outcome {
                drop(reply.send(outcome));
            }
        });
        let writer = self.writer.upgrade().ok_or_else(closed)?;
        writer
            .send(Message::Work(work))
            .await
            .map_err(|_| closed())?;
        drop(writer);
        outcome(answer).await
    }

    /// Has `watcher` hear of every commit from now on; false where another process may write the file.
    #[must_use]
    pub fn tell(&self, watcher: Weak<dyn Watcher>) -> bool {
        let told = self.moves.as_ref().map(|moves| moves.tell(watcher));
        told.is_some()
    }

    /// Events from position `from` on, in order: at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read_events(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.read(move |connection| rows::events(connection, from, limit))
            .await
    }

    pub(crate) async fn newest_head(&self) -> Result<Head, ReadError> {
        self.read(rows::newest_head).await
    }

    pub(crate) async fn data_key(&self, id: KeyId) -> Result<Option<WrappedKey>, ReadError> {
        let keys = self.read(move |connection| rows::data_keys(connection, &[id]));
        Ok(keys.await?.into_iter().next())
    }

    pub(crate) async fn setting(&self, name: &str) -> Result<Option<String>, ReadError> {
        let name = name.to_owned();
        self.read(move |connection| setting(connection, &name))
            .await
    }

    pub(crate) async fn put_setting_if_absent(
        &self,
        name: &str,
        value: &str,
    ) -> Result<String, ReadError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |connection| {
            connection.execute("INSERT INTO vault_settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING", [&name, &value])?;
            Ok(setting(connection, &name)?.unwrap_or(value))
        })
        .await
    }

    pub(crate) async fn checkpoints(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, ReadError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT size, note FROM checkpoints WHERE size > ?1 ORDER BY size LIMIT ?2",
            )?;
            let rows = statement.query_map(params![after, limit], rows::checkpoint)?;
            rows.collect()
        })
        .await
    }

    pub(crate) async fn newest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, ReadError> {
        self.read(|connection| {
            let newest = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";
            connection
                .query_row(newest, [], rows::checkpoint)
                .optional()
        })
        .await
    }

    pub(crate) async fn put_checkpoint(
        &self,
        checkpoint: StoredCheckpoint,
    ) -> Result<(), ReadError> {
        self.write(move |connection| {
            let StoredCheckpoint { size, note } = checkpoint;
            connection.execute(
                "INSERT INTO checkpoints (size, note) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM checkpoints WHERE size = ?1)",
                params![size, note],
            )?;
            Ok(())
        })
        .await
    }
}

fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT value FROM vault_settings WHERE name = ?1",
            [name],
            |row| row.get(0),
        )
        .optional()
}

fn in_transaction<R>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> rusqlite::Result<R>,
) -> rusqlite::Result<R> {
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let written = write(&transaction)?;
    transaction.commit()?;
    Ok(written)
}

async fn outcome<R>(answer: oneshot::Receiver<rusqlite::Result<R>>) -> Result<R, ReadError> {
    match answer.await {
        Ok(outcome) => outcome.map_err(|error| ReadError::Unavailable(error.to_string())),
        Err(_) => Err(closed()),
    }
}

fn closed() -> ReadError {
    ReadError::Unavailable("it was closed, or the work on it panicked".to_owned())
}
