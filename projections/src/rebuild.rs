//! Rebuilding a read model from the log, while everything else goes on.
//!
//! The rows of a new generation are folded from the log chunk by chunk; a stopped rebuild goes on
//! where it was. When it has caught up, the last events are applied under the head lock and one
//! pointer row is changed: nobody waits for a table lock, and no reader sees a stale row.

mod on_postgres;
mod on_sqlite;

use std::collections::BTreeMap;

use nexus_ledger::{Backend, ReadError, RecordedEvent, fault};
use rusqlite::params;
use tokio_postgres::types::Type;

use crate::connections::{Connections, signed};
use crate::inline::{Changes, fold};
use crate::log::{self, unavailable};
use crate::projection::Projection;
use crate::providers::Providers;
use crate::sqlite;
use crate::table::{Dialect, Statements, table_name};

/// How many events are folded at once.
const CHUNK: usize = 2_000;

/// The read models that are kept in tables.
pub const NAMES: &[&str] = &[Connections::NAME, Providers::NAME];

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
    pub differences: u64,
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
    prepare_one::<Providers>(backend).await
}

/// The read models whose rows were made by another version of their fold.
///
/// # Errors
/// [`ReadError`]
pub async fn outdated(backend: &Backend) -> Result<Vec<String>, ReadError> {
    let current = |pointer: &Pointer| match pointer.name.as_str() {
        Connections::NAME => pointer.version == Connections::VERSION,
        Providers::NAME => pointer.version == Providers::VERSION,
        _ => true,
    };
    Ok(pointers(backend)
        .await?
        .into_iter()
        .filter(|pointer| !current(pointer))
        .map(|pointer| pointer.name)
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
        Connections::NAME => rebuild_one::<Connections>(backend, progress).await,
        Providers::NAME => rebuild_one::<Providers>(backend, progress).await,
        other => Err(RebuildError::UnknownName(other.to_owned())),
    }
}

/// A rebuild that is under way.
#[derive(Clone, Copy, Debug)]
struct Underway {
    generation: i64,
    position: u64,
    events: u64,
}

async fn rebuild_one<P: Projection>(
    backend: &Backend,
    progress: impl Fn(Progress),
) -> Result<Rebuilt, RebuildError> {
    let mut underway = begin::<P>(backend).await?;
    loop {
        let head = log::bounds(backend).await?.map_or(0, |(_, last)| last);
        let events = log::changes(backend, underway.position + 1, CHUNK).await?;
        progress(Progress {
            position: underway.position,
            head,
            events: underway.events,
        });
        let last_chunk = events.len() < CHUNK;
        underway = fold_chunk::<P>(backend, underway, events).await?;
        fault::point("rebuild.after_chunk");
        if last_chunk {
            break;
        }
    }
    let differences = compare::<P>(backend, underway).await?;
    fault::point("rebuild.before_swap");
    let (rows, events) = swap::<P>(backend, underway).await?;
    fault::point("rebuild.after_swap");
    let head = log::bounds(backend).await?.map_or(0, |(_, last)| last);
    progress(Progress {
        position: head,
        head,
        events,
    });
    Ok(Rebuilt {
        name: P::NAME.to_owned(),
        version: P::VERSION,
        generation: underway.generation,
        events,
        rows,
        differences,
    })
}

async fn prepare_one<P: Projection>(backend: &Backend) -> Result<(), ReadError> {
    match backend {
        Backend::Sqlite(database) => {
            let write = |connection: &rusqlite::Connection| {
                let sql = "INSERT INTO projections (name, version, generation) VALUES (?1, ?2, 1) ON CONFLICT (name) DO NOTHING";
                if connection.execute(sql, params![P::NAME, P::VERSION])? > 0 {
                    connection.execute_batch(&Statements::of::<P>(1, Dialect::Sqlite).create)?;
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
                transaction
                    .batch_execute(&Statements::of::<P>(1, Dialect::Postgres).create)
                    .await
                    .map_err(unavailable)?;
            }
            transaction.commit().await.map_err(unavailable)
        }
    }
}

/// Goes on with a rebuild of this version, or starts one in a new generation.
async fn begin<P: Projection>(backend: &Backend) -> Result<Underway, ReadError> {
    match backend {
        Backend::Sqlite(database) => database.write(on_sqlite::begin::<P>).await,
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            on_postgres::begin::<P>(&mut client)
                .await
                .map_err(unavailable)
        }
    }
}

/// Where a rebuild stands after `events`.
fn after<P: Projection>(underway: Underway, events: &[RecordedEvent]) -> Underway {
    let folded = events
        .iter()
        .filter(|event| P::key(event).is_some())
        .count() as u64;
    Underway {
        position: events
            .last()
            .map_or(underway.position, |event| event.position),
        events: underway.events + folded,
        ..underway
    }
}

fn fold_into<P: Projection>(
    rows: BTreeMap<String, P::Row>,
    events: &[RecordedEvent],
) -> Result<Changes<P>, RebuildError> {
    let events: Vec<&RecordedEvent> = events.iter().collect();
    fold::<P>(rows, &events).map_err(|error| RebuildError::Undecodable {
        name: P::NAME,
        position: error.position,
        cause: error.cause.to_string(),
    })
}

/// Folds a chunk into the new generation and remembers how far it came, in one transaction.
async fn fold_chunk<P: Projection>(
    backend: &Backend,
    underway: Underway,
    events: Vec<RecordedEvent>,
) -> Result<Underway, RebuildError> {
    if events.is_empty() {
        return Ok(underway);
    }
    let reached = after::<P>(underway, &events);
    match backend {
        Backend::Sqlite(database) => {
            database
                .write(move |connection| {
                    on_sqlite::fold_chunk::<P>(connection, underway, reached, &events)
                })
                .await??;
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            on_postgres::still_at::<P>(transaction.client(), underway).await?;
            on_postgres::fold_events::<P>(transaction.client(), underway.generation, &events)
                .await?;
            on_postgres::remember::<P>(transaction.client(), reached)
                .await
                .map_err(unavailable)?;
            transaction.commit().await.map_err(unavailable)?;
        }
    }
    Ok(reached)
}

/// How many rows of the serving generation, among those that no later event touched, the log does
/// not bear out: changed, missing or invented ones.
async fn compare<P: Projection>(backend: &Backend, underway: Underway) -> Result<u64, ReadError> {
    let reached = signed(underway.position);
    let count: i64 = match backend {
        Backend::Sqlite(database) => {
            let read = move |connection: &rusqlite::Connection| {
                let sql = comparison::<P>(
                    sqlite::generation::<P>(connection)?,
                    underway.generation,
                    "IS NOT",
                    "?1",
                );
                connection.query_row(&sql, [reached], |row| row.get(0))
            };
            database.read(read).await?
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            on_postgres::compare::<P>(&mut client, underway.generation, reached)
                .await
                .map_err(unavailable)?
        }
    };
    Ok(count.cast_unsigned())
}

fn comparison<P: Projection>(serving: i64, rebuilt: i64, differs: &str, reached: &str) -> String {
    let (live, new) = (table_name::<P>(serving), table_name::<P>(rebuilt));
    let key = P::COLUMNS.first().map_or("", |column| column.name);
    let changed = P::COLUMNS
        .iter()
        .map(|column| format!("l.{0} {differs} n.{0}", column.name))
        .collect::<Vec<_>>()
        .join(" OR ");
    format!(
        "SELECT (SELECT count(*) FROM {live} l LEFT JOIN {new} n ON n.{key} = l.{key} WHERE l.position <= {reached} AND ({changed})) \
         + (SELECT count(*) FROM {new} n LEFT JOIN {live} l ON l.{key} = n.{key} WHERE l.{key} IS NULL)"
    )
}

/// Applies the last events under the head lock and points at the new generation. Returns the rows
/// that serve now and the events folded in all.
async fn swap<P: Projection>(
    backend: &Backend,
    underway: Underway,
) -> Result<(u64, u64), RebuildError> {
    match backend {
        Backend::Sqlite(database) => {
            database
                .write(move |connection| on_sqlite::swap::<P>(connection, underway))
                .await?
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            let swapped = on_postgres::swap::<P>(&mut client, underway).await?;
            if let Err(error) =
                on_postgres::drop_others::<P>(&mut client, underway.generation).await
            {
                tracing::info!(%error, projection = P::NAME, "the generation before is dropped later");
            }
            Ok(swapped)
        }
    }
}
