//! A rebuild's steps on PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nexus_ledger::ReadError;
use nexus_ledger::postgres::lock_head;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Transaction};

use super::folded::Folded;
use super::{Piece, RebuildError, Underway};
use crate::connections::signed;
use crate::log::unavailable;
use crate::outdated::Undecodable;
use crate::postgres::{self, Transposed};
use crate::projection::Projection;
use crate::table::{Dialect, Shape, Statements, Value, table_name};

/// How long the indexes of a new generation may take.
const COMPLETE_WITHIN: &str = "30min";

/// How many generations back a table may still be there to drop.
const KEPT: i64 = 3;

type Parameter<'a> = (&'a (dyn tokio_postgres::types::ToSql + Sync), Type);

pub(super) async fn begin<P: Projection>(client: &mut Client) -> Result<Underway, Error> {
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
async fn hold_pointer<P: Projection>(transaction: &Transaction<'_>) -> Result<i64, Error> {
    let sql = "SELECT generation FROM projections WHERE name = $1 FOR UPDATE";
    transaction
        .query_typed_one(sql, &[(&P::NAME, Type::TEXT)])
        .await?
        .try_get(0)
}

pub(super) async fn still_at<P: Projection>(
    client: &Client,
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

pub(super) async fn look_up<P: Projection>(
    client: &Client,
    generation: i64,
    keys: &BTreeSet<String>,
) -> Result<BTreeMap<String, P::Row>, RebuildError> {
    let statements = Statements::of::<P>(generation, Dialect::Postgres);
    let rows = postgres::rows_of::<P>(client, &statements, keys, Undecodable::Fails)
        .await
        .map_err(|error| ReadError::Unavailable(error.to_string()))?;
    Ok(rows)
}

/// Writes rows, and how far the rebuild is, in one transaction. Losing both in a crash of the
/// database loses nothing, so nobody waits for the disk.
pub(super) async fn write<P: Projection>(
    client: &mut Client,
    piece: Piece,
) -> Result<(), RebuildError> {
    let transaction = client.transaction().await.map_err(unavailable)?;
    transaction
        .batch_execute("SET LOCAL synchronous_commit = off")
        .await
        .map_err(unavailable)?;
    still_at::<P>(transaction.client(), piece.from).await?;
    let generation = piece.from.generation;
    store::<P>(transaction.client(), generation, piece.rows, &piece.gone).await?;
    remember::<P>(transaction.client(), piece.to)
        .await
        .map_err(unavailable)?;
    Ok(transaction.commit().await.map_err(unavailable)?)
}

async fn store<P: Projection>(
    client: &Client,
    generation: i64,
    rows: Vec<Vec<Value>>,
    gone: &[String],
) -> Result<(), RebuildError> {
    let statements = Statements::of::<P>(generation, Dialect::Postgres);
    let columns = Transposed::of::<P>(&Shape::whole::<P>(), rows);
    postgres::write(client, &statements.advance, &columns)
        .await
        .map_err(unavailable)?;
    postgres::delete(client, &statements, gone)
        .await
        .map_err(unavailable)?;
    Ok(())
}

pub(super) async fn remember<P: Projection>(
    client: &Client,
    reached: Underway,
) -> Result<(), Error> {
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

/// The indexes, made at once over all rows, and what the planner has to know of the table.
pub(super) async fn complete_table<P: Projection>(
    client: &mut Client,
    generation: i64,
) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let index = Statements::of::<P>(generation, Dialect::Postgres).index;
    let table = table_name::<P>(generation);
    transaction
        .batch_execute(&format!(
            "SET LOCAL statement_timeout = '{COMPLETE_WITHIN}'; {index} ANALYZE {table}"
        ))
        .await?;
    transaction.commit().await
}

/// Returns the events that were left, the newest position, and for how long the head was locked.
pub(super) async fn swap<P: Projection>(
    client: &mut Client,
    underway: Underway,
    mut folded: Folded<P>,
) -> Result<(u64, u64, Duration), RebuildError> {
    let transaction = client.transaction().await.map_err(unavailable)?;
    lock_head(&transaction).await.map_err(unavailable)?;
    let locked = Instant::now();
    hold_pointer::<P>(&transaction).await.map_err(unavailable)?;
    still_at::<P>(transaction.client(), underway).await?;
    let from = signed(underway.position + 1);
    let chunk = crate::log::postgres_chunk(transaction.client(), P::STREAM, from, i64::MAX)
        .await
        .map_err(unavailable)?;
    let unknown = folded.unknown(&chunk.events);
    folded.know(look_up::<P>(transaction.client(), underway.generation, &unknown).await?);
    folded.apply(&chunk.events)?;
    let (rows, gone) = folded.take_changed();
    store::<P>(transaction.client(), underway.generation, rows, &gone).await?;
    point_at::<P>(&transaction, underway.generation)
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    Ok((chunk.events.len() as u64, chunk.head, locked.elapsed()))
}

async fn point_at<P: Projection>(
    transaction: &Transaction<'_>,
    generation: i64,
) -> Result<(), Error> {
    let sql = "UPDATE projections SET version = $2, generation = $3 WHERE name = $1";
    let parameters: [Parameter<'_>; 3] = [
        (&P::NAME, Type::TEXT),
        (&P::VERSION, Type::INT8),
        (&generation, Type::INT8),
    ];
    transaction.query_typed(sql, &parameters).await?;
    transaction
        .query_typed(
            "DELETE FROM projection_rebuilds WHERE name = $1",
            &[(&P::NAME, Type::TEXT)],
        )
        .await
        .map(drop)
}

/// Drops the generation before, if nobody reads it this second; a reader that comes late finds the
/// pointer and asks again. What stays behind is dropped by the next rebuild.
pub(super) async fn drop_others<P: Projection>(
    client: &mut Client,
    serving: i64,
) -> Result<(), Error> {
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
