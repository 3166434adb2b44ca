//! Read models on PostgreSQL. Statements are sent with their parameter types, so each takes one
//! round trip on whatever connection it comes.

use std::collections::{BTreeMap, BTreeSet};

use nexus_ledger::postgres::DedicatedClient;
use nexus_ledger::{ProjectError, RecordedEvent};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row};

use crate::inline::{Changes, Unfoldable, fold, keys_of};
use crate::projection::{FoldError, Projection};
use crate::table::{Columns, Dialect, Kind, Statements, Value, column_list, table_name};

/// The generations last seen to serve, by read model: a guess that saves a round trip, checked
/// by every statement that uses it.
#[derive(Debug, Default)]
pub(crate) struct Generations(BTreeMap<&'static str, i64>);

impl Generations {
    pub(crate) fn guess<P: Projection>(&self) -> i64 {
        self.0.get(P::NAME).copied().unwrap_or(1)
    }

    pub(crate) fn observe<P: Projection>(&mut self, generation: i64) {
        self.0.insert(P::NAME, generation);
    }
}

/// What reading rows by a guessed generation came to.
pub(crate) enum Selected<R> {
    /// The guess was right.
    Rows(Vec<R>),
    /// Another generation serves.
    Moved(i64),
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// Folds a batch's events into the serving generation.
pub(crate) async fn apply_inline<P: Projection>(
    client: &Client,
    events: &[&RecordedEvent],
    generations: &mut Generations,
) -> Result<(), ProjectError<Error>> {
    let keys = keys_of::<P>(events);
    if keys.is_empty() {
        return Ok(());
    }
    let first = events.first().map_or(0, |event| event.position);
    let rows = loop {
        let guess = generations.guess::<P>();
        // Under the head lock no rebuild can swap: the pointer that is read here holds until the commit.
        let current = generation::<P>(client).await?;
        if current != guess {
            generations.observe::<P>(current);
        }
        match by_key::<P>(client, current, &keys).await {
            Ok(Selected::Rows(rows)) => break rows,
            Ok(Selected::Moved(_)) => {}
            Err(SelectError::Database(error)) => return Err(error.into()),
            Err(SelectError::Fold(_)) => {
                return Err(ProjectError::Fold {
                    projection: P::NAME,
                    position: first,
                });
            }
        }
    };
    let changes = fold::<P>(keyed::<P>(rows), events).map_err(Unfoldable::into_error::<P, _>)?;
    write(
        client,
        &Statements::of::<P>(generations.guess::<P>(), Dialect::Postgres),
        &changes,
    )
    .await?;
    drop_blobs(client, &changes.superseded).await?;
    Ok(())
}

/// The generation that serves.
pub(crate) async fn generation<P: Projection>(client: &Client) -> Result<i64, Error> {
    let rows = client
        .query_typed(
            "SELECT generation FROM projections WHERE name = $1",
            &[(&P::NAME, Type::TEXT)],
        )
        .await?;
    rows.first().map_or(Ok(1), |row| row.try_get(0))
}

async fn by_key<P: Projection>(
    client: &Client,
    generation: i64,
    keys: &BTreeSet<String>,
) -> Result<Selected<P::Row>, SelectError> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let key = P::COLUMNS.first().map_or("", |column| column.name);
    select::<P>(
        client,
        generation,
        &format!("t.{key} = ANY($2)"),
        "",
        &[(&keys, Type::TEXT_ARRAY)],
    )
    .await
}

/// Rows of the guessed generation that `condition` selects (columns named `t.…`, parameters from `$2` on), and in the same
/// statement, so of the same snapshot, whether that generation serves.
pub(crate) async fn select<P: Projection>(
    client: &Client,
    guess: i64,
    condition: &str,
    order: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Selected<P::Row>, SelectError> {
    let sql = selection::<P>(guess, Columns::All, condition, order);
    let mut all: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&P::NAME, Type::TEXT)];
    all.extend(parameters.iter().cloned());
    selected::<P>(client, guess, client.query_typed(&sql, &all).await).await
}

/// The rows of `keys`, by a statement that stays prepared on its connection.
pub(crate) async fn lookup<P: Projection>(
    client: &DedicatedClient,
    guess: i64,
    columns: Columns,
    keys: &[String],
) -> Result<Selected<P::Row>, SelectError> {
    let key = P::COLUMNS.first().map_or("", |column| column.name);
    let sql = selection::<P>(guess, columns, &format!("t.{key} = ANY($2)"), "");
    let rows = match client
        .prepare_typed_cached(&sql, &[Type::TEXT, Type::TEXT_ARRAY])
        .await
    {
        Ok(statement) => client.query(&statement, &[&P::NAME, &keys]).await,
        Err(error) => Err(error),
    };
    selected::<P>(client, guess, rows).await
}

fn selection<P: Projection>(guess: i64, columns: Columns, condition: &str, order: &str) -> String {
    let (table, columns) = (
        table_name::<P>(guess),
        column_list::<P>("t.", columns, Dialect::Postgres),
    );
    format!(
        "SELECT p.generation, {columns} FROM projections p LEFT JOIN {table} t ON {condition} WHERE p.name = $1 {order}"
    )
}

/// What a statement of [`selection`] found.
async fn selected<P: Projection>(
    client: &Client,
    guess: i64,
    rows: Result<Vec<Row>, Error>,
) -> Result<Selected<P::Row>, SelectError> {
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE) => {
            return Ok(Selected::Moved(generation::<P>(client).await?));
        }
        Err(error) => return Err(error.into()),
    };
    let current: i64 = rows.first().map_or(Ok(guess), |row| row.try_get(0))?;
    if current != guess {
        return Ok(Selected::Moved(current));
    }
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        // The pointer's row comes back alone, beside NULLs, when nothing was selected.
        if row.try_get::<_, Option<&str>>(1)?.is_some() {
            found.push(decode::<P>(row)?);
        }
    }
    Ok(Selected::Rows(found))
}

/// Rows by their key.
pub(crate) fn keyed<P: Projection>(rows: Vec<P::Row>) -> BTreeMap<String, P::Row> {
    rows.into_iter()
        .map(|row| (P::row_key(&row).to_owned(), row))
        .collect()
}

/// The stored rows of `keys` in a generation that does not serve yet.
pub(crate) async fn rows_of<P: Projection>(
    client: &Client,
    statements: &Statements,
    keys: &BTreeSet<String>,
) -> Result<BTreeMap<String, P::Row>, SelectError> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let key = P::COLUMNS.first().map_or("", |column| column.name);
    let rows = client
        .query_typed(
            &format!("{} WHERE {key} = ANY($1)", statements.select),
            &[(&keys, Type::TEXT_ARRAY)],
        )
        .await?;
    let rows = rows
        .iter()
        .map(|row| decode_from::<P>(row, 0))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(keyed::<P>(rows))
}

/// Writes changed rows, set-wise.
pub(crate) async fn write<P: Projection>(
    client: &Client,
    statements: &Statements,
    changes: &Changes<P>,
) -> Result<(), Error> {
    if !changes.upserts.is_empty() {
        let columns = Transposed::of::<P>(&changes.upserts);
        client
            .query_typed(&statements.upsert, &columns.parameters())
            .await?;
    }
    if !changes.deletes.is_empty() {
        client
            .query_typed(&statements.delete, &[(&changes.deletes, Type::TEXT_ARRAY)])
            .await?;
    }
    Ok(())
}

async fn drop_blobs(client: &Client, positions: &[i64]) -> Result<(), Error> {
    if positions.is_empty() {
        return Ok(());
    }
    client
        .query_typed(
            "DELETE FROM sealed_blobs WHERE position = ANY($1)",
            &[(&positions, Type::INT8_ARRAY)],
        )
        .await
        .map(drop)
}

/// Rows as columns, for `unnest`.
struct Transposed(Vec<Array>);

enum Array {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Transposed {
    fn of<P: Projection>(rows: &[P::Row]) -> Self {
        let mut arrays: Vec<Array> = P::COLUMNS
            .iter()
            .map(|column| match column.kind {
                Kind::Text => Array::Text(Vec::with_capacity(rows.len())),
                Kind::Integer => Array::Integer(Vec::with_capacity(rows.len())),
                Kind::Bytes => Array::Bytes(Vec::with_capacity(rows.len())),
            })
            .collect();
        for row in rows {
            for (array, value) in arrays.iter_mut().zip(P::to_values(row)) {
                array.push(value);
            }
        }
        Self(arrays)
    }

    fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.0
            .iter()
            .map(|array| match array {
                Array::Text(values) => (values as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
                Array::Integer(values) => (values as _, Type::INT8_ARRAY),
                Array::Bytes(values) => (values as _, Type::BYTEA_ARRAY),
            })
            .collect()
    }
}

impl Array {
    /// A value of another kind than its column's cannot be stored: the column stays NULL.
    fn push(&mut self, value: Value) {
        match (self, value) {
            (Self::Text(values), Value::Text(value)) => values.push(value),
            (Self::Integer(values), Value::Integer(value)) => values.push(value),
            (Self::Bytes(values), Value::Bytes(value)) => values.push(value),
            (Self::Text(values), _) => values.push(None),
            (Self::Integer(values), _) => values.push(None),
            (Self::Bytes(values), _) => values.push(None),
        }
    }
}

fn decode<P: Projection>(row: &Row) -> Result<P::Row, SelectError> {
    decode_from::<P>(row, 1)
}

fn decode_from<P: Projection>(row: &Row, first: usize) -> Result<P::Row, SelectError> {
    let mut values = Vec::with_capacity(P::COLUMNS.len());
    for (index, column) in P::COLUMNS.iter().enumerate() {
        values.push(match column.kind {
            Kind::Text => Value::Text(row.try_get(first + index)?),
            Kind::Integer => Value::Integer(row.try_get(first + index)?),
            Kind::Bytes => Value::Bytes(row.try_get(first + index)?),
        });
    }
    Ok(P::from_values(values)?)
}

/// A value as a parameter.
pub(crate) fn parameter(value: &Value) -> (&(dyn ToSql + Sync), Type) {
    match value {
        Value::Text(value) => (value, Type::TEXT),
        Value::Integer(value) => (value, Type::INT8),
        Value::Bytes(value) => (value, Type::BYTEA),
    }
}
