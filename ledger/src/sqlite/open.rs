//! Opening: lock, permissions, settings, schema; then the threads and the loaders' pool.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};
use sqlite_es::SqliteEventRepository;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::sync::{mpsc, watch};

use super::batch::SqliteBatcher;
use super::moves::Moves;
use super::readers::Readers;
use super::wal::Wal;
use super::{Gate, Opened, SqliteDatabase, files, in_transaction, rows};
use crate::admission::Head;
use crate::ledger::{OpenError, Projector};
use crate::migrate::{self, MigrateError, Migration};
use crate::writer::{self, Message};

/// How many threads read.
pub(super) const READERS: usize = 3;
/// How many streams load at once.
const LOADERS: u32 = 4;
/// How long a statement waits for somebody else's lock: only a tool from outside can hold one.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// What a reading connection keeps of the file, negative KiB.
const READER_CACHE: i64 = -8_192;
/// Prepared statements kept per connection.
const STATEMENTS: usize = 128;
/// Every commit is on the disk before it is answered, what is deleted is overwritten, and the
/// write-ahead log is recycled by the writer alone. Pages are kept for what is near the root and newest; after an index
/// was balanced a commit looks through all that are kept.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA secure_delete = ON;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8192;
";

/// What is opened with blocking calls.
struct Files {
    lock: File,
    writing: Connection,
    copying: Connection,
    reading: Vec<Connection>,
    head: Head,
}

impl SqliteDatabase {
    /// Opens the database file, makes it when there is none, and starts its threads.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) async fn open(
        path: &Path,
        projector: Option<Box<dyn Projector>>,
        queue: mpsc::WeakSender<Message>,
        waiting: mpsc::Receiver<Message>,
    ) -> Result<Opened, OpenError> {
        let file = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || open_files(&file));
        let files = opening
            .await
            .map_err(|_| unavailable("opening it panicked"))??;
        let gate = Gate::default();
        let streams = open_loaders(path).await?;
        let readers = Readers::start(files.reading, &gate).map_err(unavailable)?;
        let (head, seen) = watch::channel(files.head);
        let moves = Moves::default();
        let wal = Wal::new(path, gate.clone(), files.copying).map_err(unavailable)?;
        let batcher = SqliteBatcher::new(files.writing, projector, moves.clone(), wal, files.lock);
        let writer = writer::start(waiting, batcher, head).map_err(unavailable)?;
        Ok(Opened {
            database: Self {
                readers,
                writer: queue,
                moves: Some(moves),
            },
            streams,
            gate,
            head: seen,
            writer,
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
pub(super) fn unavailable(error: impl ToString) -> OpenError {
    OpenError::Unavailable(error.to_string())
}

fn open_files(path: &Path) -> Result<Files, OpenError> {
    let lock = files::lock(path)?;
    files::make_private(path)?;
    let writing = open_writing(path).map_err(unavailable)?;
    migrate(&writing)?;
    let head = rows::newest_head(&writing).map_err(|error| match error {
        rusqlite::Error::FromSqlConversionFailure(..) => OpenError::DamagedHead,
        other => unavailable(other),
    })?;
    let copying = open_writing(path).map_err(unavailable)?;
    let reading = (0..READERS)
        .map(|_| open_reading(path))
        .collect::<Result<_, _>>()
        .map_err(unavailable)?;
    Ok(Files {
        lock,
        writing,
        copying,
        reading,
        head,
    })
}

fn open_writing(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.execute_batch(SETTINGS)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

pub(super) fn open_reading(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "cache_size", READER_CACHE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn migrate(connection: &Connection) -> Result<(), MigrateError> {
    let failed = |error| MigrateError::Failed(said(&error));
    connection.execute_batch(migrate::TABLE).map_err(failed)?;
    let applied = applied(connection).map_err(failed)?;
    for migration in migrate::pending(migrate::SQLITE, &applied)? {
        in_transaction(connection, |transaction| apply(transaction, migration)).map_err(failed)?;
    }
    Ok(())
}

/// What the database said, without the statement it said it about.
fn said(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

fn applied(connection: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut statement =
        connection.prepare("SELECT number, checksum FROM schema_migrations ORDER BY number")?;
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn apply(connection: &Connection, migration: &Migration) -> rusqlite::Result<()> {
    connection.execute_batch(migration.sql)?;
    connection.execute(
        "INSERT INTO schema_migrations (number, name, checksum) VALUES (?1, ?2, ?3)",
        params![migration.number, migration.name, migration.checksum()],
    )?;
    Ok(())
}

/// A small pool of our own: the crate's default one would set `synchronous = NORMAL`.
async fn open_loaders(path: &Path) -> Result<SqliteEventRepository, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(BUSY)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(LOADERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(unavailable)?;
    Ok(SqliteEventRepository::new(pool))
}
