//! A rebuild's steps on SQLite. Whatever writes takes turns with the appends, in pieces that are
//! soon done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nexus_ledger::ReadError;
use nexus_ledger::sqlite::SqliteDatabase;
use rusqlite::{Connection, OptionalExtension, params};

use super::folded::Folded;
use super::{Piece, RebuildError, Underway};
use crate::connections::signed;
use crate::outdated::Undecodable;
use crate::projection::Projection;
use crate::sqlite;
use crate::table::{Dialect, Shape, Statements, key_name, table_name};

/// What a piece should take; it grows and shrinks towards that.
const TURN: Duration = Duration::from_millis(20);
const FIRST_TURN: usize = 128;
const LONGEST_TURN: usize = 2_048;

/// How many rows the next piece may have, after one of `size` took `took`.
fn next_turn(size: usize, took: Duration) -> usize {
    if took > TURN {
        (size / 2).max(1)
    } else if took < TURN / 2 {
        (size * 2).min(LONGEST_TURN)
    } else {
        size
    }
}

pub(super) async fn begin<P: Projection>(database: &SqliteDatabase) -> Result<Underway, ReadError> {
    let (underway, left) = database.write(go_on_or_begin::<P>).await?;
    for generation in left {
        empty::<P>(database, generation).await?;
    }
    Ok(underway)
}

/// The rebuild that is under way, or a new one; and the generations that are of no use.
fn go_on_or_begin<P: Projection>(
    connection: &Connection,
) -> rusqlite::Result<(Underway, Vec<i64>)> {
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
    let serving = sqlite::serving::<P>(connection)?.generation;
    if let Some((version, underway)) = found.optional()?
        && version == P::VERSION
    {
        return Ok((underway, Vec::new()));
    }
    let tables = generations::<P>(connection)?;
    let newest = tables.iter().copied().max().unwrap_or(0).max(serving);
    let generation = newest + 1;
    let statements = Statements::of::<P>(generation, Dialect::Sqlite);
    connection.execute_batch(&(statements.create + &statements.index))?;
    let sql = "INSERT OR REPLACE INTO projection_rebuilds (name, version, generation, position, events) VALUES (?1, ?2, ?3, 0, 0)";
    connection.execute(sql, params![P::NAME, P::VERSION, generation])?;
    let underway = Underway {
        generation,
        position: 0,
        events: 0,
    };
    let left = tables.into_iter().filter(|table| *table != serving);
    Ok((underway, left.collect()))
}

/// The generations that have a table.
fn generations<P: Projection>(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let prefix = format!("{}_g", P::NAME);
    let mut statement = connection.prepare_cached(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE ?1 || '%'",
    )?;
    let names = statement.query_map([&prefix], |row| row.get::<_, String>(0))?;
    let mut generations = Vec::new();
    for name in names {
        let name = name?;
        generations.extend(
            name.strip_prefix(&prefix)
                .and_then(|rest| rest.parse::<i64>().ok()),
        );
    }
    Ok(generations)
}

pub(super) fn look_up<P: Projection>(
    connection: &Connection,
    generation: i64,
    keys: &BTreeSet<String>,
) -> rusqlite::Result<BTreeMap<String, P::Row>> {
    let statements = Statements::of::<P>(generation, Dialect::Sqlite);
    sqlite::by_key::<P>(connection, &statements.select, keys, Undecodable::Fails)
}

/// Writes rows in turns with the appends; the last one remembers how far the rebuild is. Returns
/// what the longest took.
pub(super) async fn write<P: Projection>(
    database: &SqliteDatabase,
    piece: Piece,
) -> Result<Duration, RebuildError> {
    let (mut rows, mut gone) = (piece.rows.into_iter(), piece.gone);
    let (from, to) = (piece.from, piece.to);
    let (mut longest, mut size) = (Duration::ZERO, FIRST_TURN);
    loop {
        let turn: Vec<_> = rows.by_ref().take(size).collect();
        let last = rows.len() == 0;
        let gone = if last {
            std::mem::take(&mut gone)
        } else {
            Vec::new()
        };
        let write = move |connection: &Connection| {
            let begun = Instant::now();
            if !still_at::<P>(connection, from)? {
                return Ok(None);
            }
            let statements = Statements::of::<P>(from.generation, Dialect::Sqlite);
            sqlite::write(connection, &statements.advance, &Shape::whole::<P>(), turn)?;
            if last {
                sqlite::delete(connection, &statements, &gone)?;
                remember::<P>(connection, to)?;
            }
            Ok(Some(begun))
        };
        let begun = database.write(write).await?;
        let took = begun.ok_or(RebuildError::Overtaken(P::NAME))?.elapsed();
        longest = longest.max(took);
        size = next_turn(size, took);
        if last {
            return Ok(longest);
        }
    }
}

/// Whether no other rebuild went on meanwhile.
fn still_at<P: Projection>(connection: &Connection, underway: Underway) -> rusqlite::Result<bool> {
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

fn remember<P: Projection>(connection: &Connection, reached: Underway) -> rusqlite::Result<()> {
    let sql = "UPDATE projection_rebuilds SET position = ?2, events = ?3 WHERE name = ?1";
    connection
        .execute(
            sql,
            params![P::NAME, signed(reached.position), signed(reached.events)],
        )
        .map(drop)
}

/// Returns the events that were left, the newest position, and for how long appends waited.
pub(super) async fn swap<P: Projection>(
    database: &SqliteDatabase,
    underway: Underway,
    folded: Folded<P>,
) -> Result<(u64, u64, Duration), RebuildError> {
    let write = move |connection: &Connection| {
        let begun = Instant::now();
        let swapped = swap_under_lock::<P>(connection, underway, folded)?;
        Ok(swapped.map(|(events, head)| (events, head, begun)))
    };
    let (events, head, begun) = database.write(write).await??;
    Ok((events, head, begun.elapsed()))
}

fn swap_under_lock<P: Projection>(
    connection: &Connection,
    underway: Underway,
    mut folded: Folded<P>,
) -> rusqlite::Result<Result<(u64, u64), RebuildError>> {
    if !still_at::<P>(connection, underway)? {
        return Ok(Err(RebuildError::Overtaken(P::NAME)));
    }
    let from = signed(underway.position + 1);
    let chunk = crate::log::sqlite_chunk(connection, P::STREAM, from, i64::MAX)?;
    let unknown = folded.unknown(&chunk.events);
    folded.know(look_up::<P>(connection, underway.generation, &unknown)?);
    if let Err(error) = folded.apply(&chunk.events) {
        return Ok(Err(error));
    }
    let statements = Statements::of::<P>(underway.generation, Dialect::Sqlite);
    let (rows, gone) = folded.take_changed();
    sqlite::write(connection, &statements.advance, &Shape::whole::<P>(), rows)?;
    sqlite::delete(connection, &statements, &gone)?;
    connection.execute(
        "UPDATE projections SET version = ?2, generation = ?3 WHERE name = ?1",
        params![P::NAME, P::VERSION, underway.generation],
    )?;
    connection.execute("DELETE FROM projection_rebuilds WHERE name = ?1", [P::NAME])?;
    Ok(Ok((chunk.events.len() as u64, chunk.head)))
}

/// Drops every generation but the one that serves.
pub(super) async fn drop_others<P: Projection>(
    database: &SqliteDatabase,
    serving: i64,
) -> Result<(), ReadError> {
    for generation in database.read(generations::<P>).await? {
        if generation < serving {
            empty::<P>(database, generation).await?;
        }
    }
    Ok(())
}

/// Deletes a generation in turns with the appends: dropping a large table at once would hold them up.
async fn empty<P: Projection>(database: &SqliteDatabase, generation: i64) -> Result<(), ReadError> {
    let (table, key) = (table_name::<P>(generation), key_name::<P>());
    let sql = format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} LIMIT ?1)");
    let mut size = FIRST_TURN;
    loop {
        let (sql, limit) = (sql.clone(), signed(size as u64));
        let delete = move |connection: &Connection| {
            let begun = Instant::now();
            Ok((connection.execute(&sql, [limit])?, begun))
        };
        let (deleted, begun) = database.write(delete).await?;
        if deleted < size {
            break;
        }
        size = next_turn(size, begun.elapsed());
    }
    let drop = Statements::of::<P>(generation, Dialect::Sqlite).drop;
    database
        .write(move |connection| connection.execute_batch(&drop))
        .await
}
