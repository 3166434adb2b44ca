//! Rebuilding a read model from the log, while everything else goes on.
//!
//! ```text
//! log ── stretches ──▶ fold, rows in memory ── pieces ──▶ new generation ── swap ──▶ it serves
//!        read ahead                             remembered: a stopped rebuild goes on there
//! ```
//!
//! The log is read a stretch ahead of the fold, the rows that were folded are kept in memory for as
//! long as they are few, and written when many have changed. When the new generation has caught up,
//! the last events are applied under the head lock and one pointer row is changed: nobody waits for
//! a table lock, and no reader sees a stale row.

mod compare;
mod folded;
mod job;
mod on_postgres;
mod on_sqlite;

use std::time::Duration;

use nexus_ledger::{Backend, ReadError};
use rusqlite::params;
use tokio_postgres::types::Type;

use crate::agents::Agents;
use crate::connections::Connections;
use crate::log::unavailable;
use crate::projection::Projection;
use crate::providers::Providers;
use crate::sessions::Sessions;
use crate::table::{Dialect, Statements, Value};

pub(crate) use job::unblocked;

/// The read models that are kept in tables.
pub const NAMES: &[&str] = &[
    Connections::NAME,
    Providers::NAME,
    Agents::NAME,
    Sessions::NAME,
];

/// A read model as its pointer row tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The read model's name.
    pub name: String,
    /// The version of the fold that made its rows.
    pub version: i64,
    /// The generation that serves.
    pub generation: i64,
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Every event up to this position is folded or skipped.
    pub position: u64,
    /// The newest position when it was looked at last.
    pub head: u64,
    /// Events folded.
    pub events: u64,
    /// Positions passed per second, since this process took the rebuild up.
    pub rate: u64,
    /// What is left at that rate; `None` while there is none.
    pub left: Option<Duration>,
}

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The read model's name.
    pub name: String,
    /// The version of the fold.
    pub version: i64,
    /// The generation that serves now.
    pub generation: i64,
    /// Events folded.
    pub events: u64,
    /// Rows that serve now.
    pub rows: u64,
    /// Rows of the old generation that were not what the log says; 0 unless somebody changed them.
    /// Those of another version's fold are not compared.
    pub differences: u64,
    /// The longest that appends had to wait for this rebuild at a stretch. On PostgreSQL that is
    /// the swap; on SQLite also the writing of rows takes turns with them.
    pub longest_pause: Duration,
}

/// Why a rebuild stopped; it can be started again and goes on where it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no such read model.
    #[error("there is no read model named {0}")]
    UnknownName(String),
    /// An event or a row does not decode.
    #[error("the event at position {position} cannot be applied to {name}: {cause}")]
    Undecodable {
        /// The read model.
        name: &'static str,
        /// The position.
        position: u64,
        /// What is wrong.
        cause: String,
    },
    /// Another rebuild of the same read model came between, from this or another process.
    #[error("another rebuild of {0} is under way")]
    Overtaken(&'static str),
    /// The rows that serve were made by another version of the fold; a rebuild makes them anew.
    #[error("the rows of {name} are of version {version} and cannot be compared; rebuild it first")]
    OtherVersion {
        /// The read model.
        name: &'static str,
        /// The version of its rows.
        version: i64,
    },
    /// The database cannot be reached.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Creates the pointer rows and first tables of read models that have none.
///
/// # Errors
/// [`ReadError`]
pub async fn prepare(backend: &Backend) -> Result<(), ReadError> {
    prepare_one::<Connections>(backend).await?;
    prepare_one::<Providers>(backend).await?;
    prepare_one::<Agents>(backend).await?;
    prepare_one::<Sessions>(backend).await
}

/// A read model whose rows were made by another version of its fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The read model's name.
    pub name: String,
    /// Whether that version is a newer one than this program's: the program was put back.
    pub newer: bool,
}

/// The read models whose rows were made by another version of their fold.
///
/// # Errors
/// [`ReadError`]
pub async fn outdated(backend: &Backend) -> Result<Vec<Outdated>, ReadError> {
    let ours = |pointer: &Pointer| match pointer.name.as_str() {
        Connections::NAME => Some(Connections::VERSION),
        Providers::NAME => Some(Providers::VERSION),
        Agents::NAME => Some(Agents::VERSION),
        Sessions::NAME => Some(Sessions::VERSION),
        _ => None,
    };
    let outdated = |pointer: Pointer| {
        let ours = ours(&pointer).filter(|ours| *ours != pointer.version)?;
        Some(Outdated {
            newer: pointer.version > ours,
            name: pointer.name,
        })
    };
    Ok(pointers(backend)
        .await?
        .into_iter()
        .filter_map(outdated)
        .collect())
}

/// Every read model's pointer row.
///
/// # Errors
/// [`ReadError`]
pub async fn pointers(backend: &Backend) -> Result<Vec<Pointer>, ReadError> {
    let sql = "SELECT name, version, generation FROM projections ORDER BY name";
    match backend {
        Backend::Sqlite(database) => {
            let read = move |connection: &rusqlite::Connection| {
                let mut statement = connection.prepare(sql)?;
                let rows = statement.query_map([], |row| {
                    Ok(Pointer {
                        name: row.get(0)?,
                        version: row.get(1)?,
                        generation: row.get(2)?,
                    })
                })?;
                rows.collect()
            };
            database.read(read).await
        }
        Backend::Postgres(database) => {
            let rows = database
                .client()
                .await?
                .query_typed(sql, &[])
                .await
                .map_err(unavailable)?;
            Ok(rows
                .iter()
                .map(|row| Pointer {
                    name: row.get(0),
                    version: row.get(1),
                    generation: row.get(2),
                })
                .collect())
        }
    }
}

/// Rebuilds a read model; `progress` is told after every chunk.
///
/// # Errors
/// [`RebuildError`]
pub async fn rebuild(
    backend: &Backend,
    name: &str,
    progress: impl Fn(Progress),
) -> Result<Rebuilt, RebuildError> {
    match name {
        Connections::NAME => job::run::<Connections>(backend, progress).await,
        Providers::NAME => job::run::<Providers>(backend, progress).await,
        Agents::NAME => job::run::<Agents>(backend, progress).await,
        Sessions::NAME => job::run::<Sessions>(backend, progress).await,
        other => Err(RebuildError::UnknownName(other.to_owned())),
    }
}

async fn prepare_one<P: Projection>(backend: &Backend) -> Result<(), ReadError> {
    match backend {
        Backend::Sqlite(database) => {
            let write = |connection: &rusqlite::Connection| {
                let sql = "INSERT INTO projections (name, version, generation) VALUES (?1, ?2, 1) ON CONFLICT (name) DO NOTHING";
                if connection.execute(sql, params![P::NAME, P::VERSION])? > 0 {
                    let statements = Statements::of::<P>(1, Dialect::Sqlite);
                    connection.execute_batch(&(statements.create + &statements.index))?;
                }
                Ok(())
            };
            database.write(write).await
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            let sql = "INSERT INTO projections (name, version, generation) VALUES ($1, $2, 1) ON CONFLICT (name) DO NOTHING RETURNING 1";
            let inserted = transaction
                .query_typed(sql, &[(&P::NAME, Type::TEXT), (&P::VERSION, Type::INT8)])
                .await
                .map_err(unavailable)?;
            if !inserted.is_empty() {
                let statements = Statements::of::<P>(1, Dialect::Postgres);
                transaction
                    .batch_execute(&(statements.create + &statements.index))
                    .await
                    .map_err(unavailable)?;
            }
            transaction.commit().await.map_err(unavailable)
        }
    }
}

/// How far a rebuild has come, as the database remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Underway {
    generation: i64,
    position: u64,
    events: u64,
}

/// Rows to write into the new generation, and where that brings it.
struct Piece {
    rows: Vec<Vec<Value>>,
    /// Keys of rows that are no more.
    gone: Vec<String>,
    /// As far as the database remembers.
    from: Underway,
    to: Underway,
}
