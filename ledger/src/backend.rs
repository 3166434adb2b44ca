//! What is read and kept beside the append path, the same over both databases.

use nexus_domain::sealing::{KeyId, WrappedKey};

use crate::admission::Head;
use crate::append::RecordedEvent;
use crate::ledger::{Database, OpenError};
use crate::postgres::PostgresDatabase;
use crate::sqlite::SqliteDatabase;
use crate::verify::{Ends, StoredEvent};

/// The database, for what reads it beside the log: projections and queries.
#[derive(Clone)]
pub enum Backend {
    /// Embedded.
    Sqlite(SqliteDatabase),
    /// A server.
    Postgres(PostgresDatabase),
}

/// Why the database could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be reached.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

/// A checkpoint as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The size of the tree it signs.
    pub size: u64,
    /// The signed note.
    pub note: String,
}

impl Backend {
    /// Opens a database that somebody else serves, to read it and nothing more: no migration is
    /// applied, no lock that keeps a server out is taken, and every write is refused.
    ///
    /// An `SQLite` file may be served by another process meanwhile; each read is a short transaction of
    /// its own. This process must not serve it as well. The directory must be writable, because
    /// `SQLite` shares its index of the write-ahead log there.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open_read_only(database: &Database) -> Result<Self, OpenError> {
        match database {
            Database::Sqlite { path } => {
                SqliteDatabase::open_read_only(path).await.map(Self::Sqlite)
            }
            Database::Postgres(options) => PostgresDatabase::open_read_only(options)
                .await
                .map(Self::Postgres),
        }
    }

    /// Events from position `from` on, in order: at most `limit`, with the blobs still there.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn read(&self, from: u64, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        match self {
            Self::Sqlite(database) => database.read_events(from, limit).await,
            Self::Postgres(database) => database.read_events(from, limit).await,
        }
    }

    /// The newest head in the database; the empty one for an empty log.
    ///
    /// # Errors
    /// [`ReadError`], also when the stored head is damaged.
    pub async fn newest_head(&self) -> Result<Head, ReadError> {
        match self {
            Self::Sqlite(database) => database.newest_head().await,
            Self::Postgres(database) => database.newest_head().await,
        }
    }

    /// A wrapped data key; `None` when it never was or was shredded.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn data_key(&self, id: KeyId) -> Result<Option<WrappedKey>, ReadError> {
        match self {
            Self::Sqlite(database) => database.data_key(id).await,
            Self::Postgres(database) => database.data_key(id).await,
        }
    }

    /// A setting of the vault.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn setting(&self, name: &str) -> Result<Option<String>, ReadError> {
        match self {
            Self::Sqlite(database) => database.setting(name).await,
            Self::Postgres(database) => database.setting(name).await,
        }
    }

    /// Stores a setting unless it has a value; returns the value in force.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn put_setting_if_absent(
        &self,
        name: &str,
        value: &str,
    ) -> Result<String, ReadError> {
        match self {
            Self::Sqlite(database) => database.put_setting_if_absent(name, value).await,
            Self::Postgres(database) => database.put_setting_if_absent(name, value).await,
        }
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
        match self {
            Self::Sqlite(database) => database.checkpoints(after, limit).await,
            Self::Postgres(database) => database.checkpoints(after, limit).await,
        }
    }

    /// The checkpoint of the largest tree; `None` when none was taken.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn newest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, ReadError> {
        match self {
            Self::Sqlite(database) => database.newest_checkpoint().await,
            Self::Postgres(database) => database.newest_checkpoint().await,
        }
    }

    /// Stores a checkpoint unless one of that size is there.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn put_checkpoint(&self, checkpoint: StoredCheckpoint) -> Result<(), ReadError> {
        match self {
            Self::Sqlite(database) => database.put_checkpoint(checkpoint).await,
            Self::Postgres(database) => database.put_checkpoint(checkpoint).await,
        }
    }

    /// Where the log begins and ends.
    pub(crate) async fn ends(&self) -> Result<Ends, ReadError> {
        match self {
            Self::Sqlite(database) => database.ends().await,
            Self::Postgres(database) => database.ends().await,
        }
    }

    /// The events of the positions from `from` to before `until`, with the columns beside them;
    /// `None` when one of them does not decode.
    pub(crate) async fn stored(
        &self,
        from: u64,
        until: u64,
    ) -> Result<Option<Vec<StoredEvent>>, ReadError> {
        match self {
            Self::Sqlite(database) => database.stored(from, until).await,
            Self::Postgres(database) => database.stored(from, until).await,
        }
    }
}
