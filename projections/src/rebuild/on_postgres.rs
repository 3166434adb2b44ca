//! A rebuild's steps on PostgreSQL.

use nexus_ledger::postgres::lock_head;
use nexus_ledger::{ReadError, RecordedEvent};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Transaction};

use super::{RebuildError, Underway, after, comparison, fold_into};
use crate::connections::signed;
use crate::inline::keys_of;
use crate::log::unavailable;
use crate::postgres;
use crate::projection::Projection;
use crate::table::{Dialect, Statements, table_name};

/// How long PostgreSQL may compare two generations: it reads both tables whole.
const COMPARE_WITHIN: &str = "10min";

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

pub(super) async fn fold_events<P: Projection>(
    client: &Client,
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

pub(super) async fn compare<P: Projection>(
    client: &mut Client,
    rebuilt: i64,
    reached: i64,
) -> Result<i64, Error> {
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

pub(super) async fn swap<P: Projection>(
    client: &mut Client,
    underway: Underway,
) -> Result<(u64, u64), RebuildError> {
    let transaction = client.transaction().await.map_err(unavailable)?;
    lock_head(&transaction).await.map_err(unavailable)?;
    hold_pointer::<P>(&transaction).await.map_err(unavailable)?;
    still_at::<P>(transaction.client(), underway).await?;
    let events = crate::log::postgres_changes(
        transaction.client(),
        signed(underway.position + 1),
        i64::MAX,
    )
    .await
    .map_err(unavailable)?;
    let reached = after::<P>(underway, &events);
    fold_events::<P>(transaction.client(), underway.generation, &events).await?;
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
