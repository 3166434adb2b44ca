//! Rows and their streams in one snapshot, on PostgreSQL.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, IsolationLevel, Transaction};

use super::{Seen, Which};
use crate::log::{POSTGRES_EVENTS, postgres_event};
use crate::postgres;
use crate::projection::Projection;
use crate::table::{Dialect, Value, key_name};

/// So many streams are folded in one snapshot.
const STREAMS: i64 = 1_000;

type Parameter<'a> = (&'a (dyn tokio_postgres::types::ToSql + Sync), Type);

/// A transaction whose statements all see the same.
pub(crate) async fn snapshot(client: &mut Client) -> Result<Transaction<'_>, Error> {
    client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
}

pub(super) async fn see<P: Projection>(client: &mut Client, which: Which) -> Result<Seen, Error> {
    let transaction = snapshot(client).await?;
    match which {
        Which::These(keys) => {
            let parameters: [Parameter<'_>; 1] = [(&keys, Type::TEXT_ARRAY)];
            let restricted = |column: &str| format!("{column} = ANY($1)");
            select::<P>(&transaction, restricted, &parameters, None).await
        }
        Which::Behind(after) => {
            let end = end_of::<P>(&transaction, after.as_deref()).await?;
            let after = after.as_deref();
            let parameters: [Parameter<'_>; 2] = [(&after, Type::TEXT), (&end, Type::TEXT)];
            let restricted = |column: &str| {
                format!(
                    "($1::text IS NULL OR {column} > $1::text) AND ($2::text IS NULL OR {column} <= $2::text)"
                )
            };
            select::<P>(&transaction, restricted, &parameters, end.clone()).await
        }
    }
}

/// The id of the last stream of so many behind a key; none when there are fewer.
async fn end_of<P: Projection>(
    transaction: &Transaction<'_>,
    after: Option<&str>,
) -> Result<Option<String>, Error> {
    // Without hashing the streams come one after another from their index.
    transaction
        .batch_execute("SET LOCAL enable_hashagg = off")
        .await?;
    let sql = format!(
        "SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = '{}' AND ($1::text IS NULL OR aggregate_id > $1::text) \
         ORDER BY aggregate_id LIMIT 1 OFFSET $2",
        P::STREAM
    );
    let last = STREAMS - 1;
    let row = transaction
        .query_typed_opt(&sql, &[(&after, Type::TEXT), (&last, Type::INT8)])
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

async fn select<P: Projection>(
    transaction: &Transaction<'_>,
    restricted: impl Fn(&str) -> String,
    parameters: &[Parameter<'_>],
    end: Option<String>,
) -> Result<Seen, Error> {
    let serving = postgres::serving::<P>(transaction.client()).await?;
    let statements = serving.statements::<P>(Dialect::Postgres);
    let sql = format!(
        "{} WHERE {}",
        statements.select,
        restricted(key_name::<P>())
    );
    let mut rows = BTreeMap::new();
    for row in transaction.query_typed(&sql, parameters).await? {
        let values = postgres::values::<P>(&row, 0)?;
        if let Some(Value::Text(Some(key))) = values.first() {
            rows.insert(key.clone(), values);
        }
    }
    let sql = format!(
        "{POSTGRES_EVENTS} WHERE e.aggregate_type = '{}' AND {} ORDER BY e.aggregate_id, e.sequence",
        P::STREAM,
        restricted("e.aggregate_id")
    );
    let events = transaction.query_typed(&sql, parameters).await?;
    Ok(Seen {
        serving,
        rows,
        events: events
            .iter()
            .map(postgres_event)
            .collect::<Result<_, _>>()?,
        end,
    })
}
