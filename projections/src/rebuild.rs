//! Rebuilding a read model from the log, while everything else goes on.
//!
//! The rows of a new generation are folded from the log chunk by chunk; a stopped rebuild goes on
//! where it was. When it has caught up, the last events are applied under the head lock and one
//! pointer row is changed: nobody waits for a table lock, and no reader sees a stale row.

use std::collections::BTreeMap;

use nexus_ledger::postgres::lock_head;
use nexus_ledger::{Backend, ReadError, RecordedEvent};
use rusqlite::{OptionalExtension, params};
use tokio_postgres::types::Type;

use crate::connections::{Connections, signed};
use crate::inline::{Changes, fold, keys_of};
use crate::log::{self, unavailable};
use crate::postgres;
use crate::projection::Projection;
use crate::providers::Providers;
use crate::sqlite;
use crate::table::{Dialect, Statements, table_name};

/// How many events are folded at once.
const CHUNK: usize = 2_000;
/// How long PostgreSQL may compare two generations: it reads both tables whole.
const COMPARE_WITHIN: &str = "10min";

/// How many generations back a table may still be there to drop.
const KEPT: i64 = 3;

type Parameter<'a> = (&'a (dyn tokio_postgres::types::ToSql + Sync), Type);

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
        if last_chunk {
            break;
        }
    }
    let differences = compare::<P>(backend, underway).await?;
    let (rows, events) = swap::<P>(backend, underway).await?;
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
        Backend::Sqlite(database) => database.write(begin_sqlite::<P>).await,
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            begin_postgres::<P>(&mut client).await.map_err(unavailable)
        }
    }
}

fn begin_sqlite<P: Projection>(connection: &rusqlite::Connection) -> rusqlite::Result<Underway> {
    let sql =
        "SELECT version, generation, position, events FROM projection_rebuilds WHERE name = ?1";
    let found = connection.query_row(sql, [P::NAME], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            Underway {
                generation: row.get(1)?,
                position: row.get(2)?,
                events: row.get(3)?,
            },
        ))
    });
    let serving = sqlite::generation::<P>(connection)?;
    let generation = match found.optional()? {
        Some((version, underway)) if version == P::VERSION => return Ok(underway),
        // Rows that another version of the fold began are of no use.
        Some((_, abandoned)) => {
            connection
                .execute_batch(&Statements::of::<P>(abandoned.generation, Dialect::Sqlite).drop)?;
            serving.max(abandoned.generation) + 1
        }
        None => serving + 1,
    };
    let statements = Statements::of::<P>(generation, Dialect::Sqlite);
    connection.execute_batch(&statements.drop)?;
    connection.execute_batch(&statements.create)?;
    let sql = "INSERT OR REPLACE INTO projection_rebuilds (name, version, generation, position, events) VALUES (?1, ?2, ?3, 0, 0)";
    connection.execute(sql, params![P::NAME, P::VERSION, generation])?;
    Ok(Underway {
        generation,
        position: 0,
        events: 0,
    })
}

async fn begin_postgres<P: Projection>(
    client: &mut tokio_postgres::Client,
) -> Result<Underway, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let serving = hold_pointer::<P>(&transaction).await?;
    let sql =
        "SELECT version, generation, position, events FROM projection_rebuilds WHERE name = $1";
    let found = transaction
        .query_typed_opt(sql, &[(&P::NAME, Type::TEXT)])
        .await?;
    let mut generation = serving + 1;
    if let Some(row) = found {
        let underway = Underway {
            generation: row.get(1),
            position: row.get::<_, i64>(2).cast_unsigned(),
            events: row.get::<_, i64>(3).cast_unsigned(),
        };
        if row.get::<_, i64>(0) == P::VERSION {
            return Ok(underway);
        }
        transaction
            .batch_execute(&Statements::of::<P>(underway.generation, Dialect::Postgres).drop)
            .await?;
        generation = generation.max(underway.generation + 1);
    }
    let statements = Statements::of::<P>(generation, Dialect::Postgres);
    transaction.batch_execute(&statements.drop).await?;
    transaction.batch_execute(&statements.create).await?;
    let sql = "INSERT INTO projection_rebuilds (name, version, generation, position, events) VALUES ($1, $2, $3, 0, 0) \
        ON CONFLICT (name) DO UPDATE SET version = excluded.version, generation = excluded.generation, position = 0, events = 0";
    transaction
        .query_typed(
            sql,
            &[
                (&P::NAME, Type::TEXT),
                (&P::VERSION, Type::INT8),
                (&generation, Type::INT8),
            ],
        )
        .await?;
    transaction.commit().await?;
    Ok(Underway {
        generation,
        position: 0,
        events: 0,
    })
}

/// The generation that serves; no other rebuild begins or ends until the transaction does.
async fn hold_pointer<P: Projection>(
    transaction: &tokio_postgres::Transaction<'_>,
) -> Result<i64, tokio_postgres::Error> {
    let sql = "SELECT generation FROM projections WHERE name = $1 FOR UPDATE";
    transaction
        .query_typed_one(sql, &[(&P::NAME, Type::TEXT)])
        .await?
        .try_get(0)
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
                .write(move |connection| sqlite_chunk::<P>(connection, underway, reached, &events))
                .await??;
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            postgres_still_at::<P>(transaction.client(), underway).await?;
            postgres_fold::<P>(transaction.client(), underway.generation, &events).await?;
            postgres_remember::<P>(transaction.client(), reached)
                .await
                .map_err(unavailable)?;
            transaction.commit().await.map_err(unavailable)?;
        }
    }
    Ok(reached)
}

fn sqlite_chunk<P: Projection>(
    connection: &rusqlite::Connection,
    from: Underway,
    reached: Underway,
    events: &[RecordedEvent],
) -> rusqlite::Result<Result<(), RebuildError>> {
    if !sqlite_still_at::<P>(connection, from)? {
        return Ok(Err(RebuildError::Overtaken(P::NAME)));
    }
    match sqlite_fold::<P>(connection, from.generation, events)? {
        Ok(()) => sqlite_remember::<P>(connection, reached).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Whether no other rebuild went on meanwhile: folding an event twice would make a wrong row.
fn sqlite_still_at<P: Projection>(
    connection: &rusqlite::Connection,
    underway: Underway,
) -> rusqlite::Result<bool> {
    let sql =
        "SELECT 1 FROM projection_rebuilds WHERE name = ?1 AND generation = ?2 AND position = ?3";
    let found = connection
        .query_row(
            sql,
            params![P::NAME, underway.generation, signed(underway.position)],
            |_| Ok(()),
        )
        .optional()?;
    Ok(found.is_some())
}

async fn postgres_still_at<P: Projection>(
    client: &tokio_postgres::Client,
    underway: Underway,
) -> Result<(), RebuildError> {
    let sql = "SELECT 1 FROM projection_rebuilds WHERE name = $1 AND generation = $2 AND position = $3 FOR UPDATE";
    let position = signed(underway.position);
    let parameters: [Parameter<'_>; 3] = [
        (&P::NAME, Type::TEXT),
        (&underway.generation, Type::INT8),
        (&position, Type::INT8),
    ];
    let found = client
        .query_typed_opt(sql, &parameters)
        .await
        .map_err(unavailable)?;
    found.map(drop).ok_or(RebuildError::Overtaken(P::NAME))
}

fn sqlite_fold<P: Projection>(
    connection: &rusqlite::Connection,
    generation: i64,
    events: &[RecordedEvent],
) -> rusqlite::Result<Result<(), RebuildError>> {
    let statements = Statements::of::<P>(generation, Dialect::Sqlite);
    let rows = sqlite::by_key::<P>(
        connection,
        &statements,
        &keys_of::<P>(&events.iter().collect::<Vec<_>>()),
    )?;
    match fold_into::<P>(rows, events) {
        Ok(changes) => sqlite::write(connection, &statements, &changes).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

fn sqlite_remember<P: Projection>(
    connection: &rusqlite::Connection,
    reached: Underway,
) -> rusqlite::Result<()> {
    let sql = "UPDATE projection_rebuilds SET position = ?2, events = ?3 WHERE name = ?1";
    connection
        .execute(
            sql,
            params![P::NAME, signed(reached.position), signed(reached.events)],
        )
        .map(drop)
}

async fn postgres_fold<P: Projection>(
    client: &tokio_postgres::Client,
    generation: i64,
    events: &[RecordedEvent],
) -> Result<(), RebuildError> {
    let statements = Statements::of::<P>(generation, Dialect::Postgres);
    let keys = keys_of::<P>(&events.iter().collect::<Vec<_>>());
    let rows = postgres::rows_of::<P>(client, &statements, &keys)
        .await
        .map_err(|error| ReadError::Unavailable(error.to_string()))?;
    let changes = fold_into::<P>(rows, events)?;
    Ok(postgres::write(client, &statements, &changes)
        .await
        .map_err(unavailable)?)
}

async fn postgres_remember<P: Projection>(
    client: &tokio_postgres::Client,
    reached: Underway,
) -> Result<(), tokio_postgres::Error> {
    let sql = "UPDATE projection_rebuilds SET position = $2, events = $3 WHERE name = $1";
    let (position, events) = (signed(reached.position), signed(reached.events));
    client
        .query_typed(
            sql,
            &[
                (&P::NAME, Type::TEXT),
                (&position, Type::INT8),
                (&events, Type::INT8),
            ],
        )
        .await
        .map(drop)
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
            compare_postgres::<P>(&mut client, underway.generation, reached)
                .await
                .map_err(unavailable)?
        }
    };
    Ok(count.cast_unsigned())
}

async fn compare_postgres<P: Projection>(
    client: &mut tokio_postgres::Client,
    rebuilt: i64,
    reached: i64,
) -> Result<i64, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&format!("SET LOCAL statement_timeout = '{COMPARE_WITHIN}'"))
        .await?;
    let serving = postgres::generation::<P>(transaction.client()).await?;
    let sql = comparison::<P>(serving, rebuilt, "IS DISTINCT FROM", "$1");
    transaction
        .query_typed_one(&sql, &[(&reached, Type::INT8)])
        .await?
        .try_get(0)
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
                .write(move |connection| swap_sqlite::<P>(connection, underway))
                .await?
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            let swapped = swap_postgres::<P>(&mut client, underway).await?;
            if let Err(error) = drop_others_postgres::<P>(&mut client, underway.generation).await {
                tracing::info!(%error, projection = P::NAME, "the generation before is dropped later");
            }
            Ok(swapped)
        }
    }
}

fn swap_sqlite<P: Projection>(
    connection: &rusqlite::Connection,
    underway: Underway,
) -> rusqlite::Result<Result<(u64, u64), RebuildError>> {
    if !sqlite_still_at::<P>(connection, underway)? {
        return Ok(Err(RebuildError::Overtaken(P::NAME)));
    }
    let events = crate::log::sqlite_changes(connection, signed(underway.position + 1), i64::MAX)?;
    let reached = after::<P>(underway, &events);
    if let Err(error) = sqlite_fold::<P>(connection, underway.generation, &events)? {
        return Ok(Err(error));
    }
    let old = sqlite::generation::<P>(connection)?;
    connection.execute(
        "UPDATE projections SET version = ?2, generation = ?3 WHERE name = ?1",
        params![P::NAME, P::VERSION, underway.generation],
    )?;
    connection.execute("DELETE FROM projection_rebuilds WHERE name = ?1", [P::NAME])?;
    connection.execute_batch(&Statements::of::<P>(old, Dialect::Sqlite).drop)?;
    let rows = connection.query_row(
        &format!(
            "SELECT count(*) FROM {}",
            table_name::<P>(underway.generation)
        ),
        [],
        |row| row.get::<_, i64>(0),
    )?;
    Ok(Ok((rows.cast_unsigned(), reached.events)))
}

async fn swap_postgres<P: Projection>(
    client: &mut tokio_postgres::Client,
    underway: Underway,
) -> Result<(u64, u64), RebuildError> {
    let transaction = client.transaction().await.map_err(unavailable)?;
    lock_head(&transaction).await.map_err(unavailable)?;
    hold_pointer::<P>(&transaction).await.map_err(unavailable)?;
    postgres_still_at::<P>(transaction.client(), underway).await?;
    let events = crate::log::postgres_changes(
        transaction.client(),
        signed(underway.position + 1),
        i64::MAX,
    )
    .await
    .map_err(unavailable)?;
    let reached = after::<P>(underway, &events);
    postgres_fold::<P>(transaction.client(), underway.generation, &events).await?;
    let sql = "UPDATE projections SET version = $2, generation = $3 WHERE name = $1";
    let parameters: [Parameter<'_>; 3] = [
        (&P::NAME, Type::TEXT),
        (&P::VERSION, Type::INT8),
        (&underway.generation, Type::INT8),
    ];
    transaction
        .query_typed(sql, &parameters)
        .await
        .map_err(unavailable)?;
    transaction
        .query_typed(
            "DELETE FROM projection_rebuilds WHERE name = $1",
            &[(&P::NAME, Type::TEXT)],
        )
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    let count = format!(
        "SELECT count(*) FROM {}",
        table_name::<P>(underway.generation)
    );
    let rows: i64 = client
        .query_typed_one(&count, &[])
        .await
        .map_err(unavailable)?
        .get(0);
    Ok((rows.cast_unsigned(), reached.events))
}

/// Drops the generation before, if nobody reads it this second; a reader that comes late finds the
/// pointer and asks again. What stays behind is dropped by the next rebuild.
async fn drop_others_postgres<P: Projection>(
    client: &mut tokio_postgres::Client,
    serving: i64,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction
        .batch_execute("SET LOCAL lock_timeout = '1s'")
        .await?;
    for generation in (serving - KEPT).max(1)..serving {
        transaction
            .batch_execute(&Statements::of::<P>(generation, Dialect::Postgres).drop)
            .await?;
    }
    transaction.commit().await
}
