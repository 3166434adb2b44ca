//! A rebuild's steps on SQLite, each within one write between two batches.

use nexus_ledger::RecordedEvent;
use rusqlite::{Connection, OptionalExtension, params};

use super::{RebuildError, Underway, after, fold_into};
use crate::connections::signed;
use crate::inline::keys_of;
use crate::projection::Projection;
use crate::sqlite;
use crate::table::{Dialect, Statements, table_name};

pub(super) fn begin<P: Projection>(connection: &Connection) -> rusqlite::Result<Underway> {
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

pub(super) fn fold_chunk<P: Projection>(
    connection: &Connection,
    from: Underway,
    reached: Underway,
    events: &[RecordedEvent],
) -> rusqlite::Result<Result<(), RebuildError>> {
    if !still_at::<P>(connection, from)? {
        return Ok(Err(RebuildError::Overtaken(P::NAME)));
    }
    match fold_events::<P>(connection, from.generation, events)? {
        Ok(()) => remember::<P>(connection, reached).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// Whether no other rebuild went on meanwhile: folding an event twice would make a wrong row.
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

fn fold_events<P: Projection>(
    connection: &Connection,
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

fn remember<P: Projection>(connection: &Connection, reached: Underway) -> rusqlite::Result<()> {
    let sql = "UPDATE projection_rebuilds SET position = ?2, events = ?3 WHERE name = ?1";
    connection
        .execute(
            sql,
            params![P::NAME, signed(reached.position), signed(reached.events)],
        )
        .map(drop)
}

pub(super) fn swap<P: Projection>(
    connection: &Connection,
    underway: Underway,
) -> rusqlite::Result<Result<(u64, u64), RebuildError>> {
    if !still_at::<P>(connection, underway)? {
        return Ok(Err(RebuildError::Overtaken(P::NAME)));
    }
    let events = crate::log::sqlite_changes(connection, signed(underway.position + 1), i64::MAX)?;
    let reached = after::<P>(underway, &events);
    if let Err(error) = fold_events::<P>(connection, underway.generation, &events)? {
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
