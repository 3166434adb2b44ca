//! Read models on PostgreSQL. Statements are sent with their parameter types, so each takes one
//! round trip on whatever connection it comes.

use std::collections::{BTreeMap, BTreeSet};

use nexus_ledger::postgres::DedicatedClient;
use nexus_ledger::{ProjectError, RecordedEvent};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use crate::inline::{Unfoldable, fold, keys_of};
use crate::outdated::{Undecodable, fold_on_postgres};
use crate::projection::{FoldError, Projection};
use crate::table::{
    Column, Columns, Dialect, Kind, Serving, Shape, Statements, Value, key_name, table_name,
};

/// Which generations serve.
pub(crate) const POINTERS: &str = "SELECT name, generation, version FROM projections";

const DROP_BLOBS: &str = "DELETE FROM sealed_blobs WHERE position = ANY($1)";

/// The generations last seen to serve, by read model: a guess that saves a round trip, checked
/// by every statement that uses it.
#[derive(Debug, Default)]
pub(crate) struct Generations(BTreeMap<&'static str, Serving>);

impl Generations {
    pub(crate) fn guess<P: Projection>(&self) -> Serving {
        let known = self.0.get(P::NAME).cloned();
        known.unwrap_or_else(|| Serving::ours::<P>(1))
    }

    pub(crate) fn observe<P: Projection>(&mut self, serving: Serving) {
        self.0.insert(P::NAME, serving);
    }
}

/// What reading rows by a guessed generation came to.
pub(crate) enum Selected<R> {
    /// The guess was right.
    Rows(Vec<R>),
    /// Another generation serves, or its table has other columns.
    Moved(Serving),
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error(transparent)]
    Fold(#[from] FoldError),
}

/// A statement that writes what a batch's events change in a read model, still to be sent.
pub(crate) struct Write {
    statement: Statement,
    parameters: Transposed,
}

impl Write {
    /// Sends it when this is first polled.
    pub(crate) async fn send(self, client: &DedicatedClient) -> Result<(), Error> {
        let parameters = self.parameters.parameters().into_iter();
        let values: Vec<_> = parameters.map(|(value, _)| value).collect();
        client.execute(&self.statement, &values).await.map(drop)
    }
}

/// Folds a batch's events into rows of the serving generation; `pointers` are what [`POINTERS`] found.
pub(crate) async fn apply_inline<P: Projection>(
    client: &DedicatedClient,
    pointers: &[Row],
    events: &[&RecordedEvent],
    generations: &mut Generations,
) -> Result<Vec<Write>, ProjectError<Error>> {
    let Some(keys) = keys_of::<P>(events) else {
        return Ok(Vec::new());
    };
    // Under the head lock no rebuild can swap: the pointers hold until the commit.
    let current = current::<P>(client, pointers, &mut generations.0).await?;
    if current.version > P::VERSION {
        return Err(ProjectError::Newer(P::NAME));
    }
    let statements = current.statements::<P>(Dialect::Postgres);
    let first = events.first().map_or(0, |event| event.position);
    let undecodable = Undecodable::before::<P>(current, first);
    let rows = match stored::<P>(client, &statements, &keys, undecodable).await {
        Ok(rows) => rows,
        Err(SelectError::Database(error)) => return Err(error.into()),
        Err(SelectError::Fold(_)) => {
            return Err(ProjectError::Fold {
                projection: P::NAME,
                position: first,
            });
        }
    };
    let changes = fold::<P>(rows, events).map_err(Unfoldable::into_error::<P, _>)?;
    let rows = changes.upserts.iter().map(P::to_values);
    let superseded = changes.superseded.into_iter().map(Some).collect();
    let deletes = changes.deletes.into_iter().map(Some).collect();
    let mut writes = Vec::new();
    for (sql, parameters) in [
        (
            statements.upsert.as_str(),
            Transposed::of::<P>(&current.shape, rows),
        ),
        (&statements.delete, Transposed(vec![Array::Text(deletes)])),
        (DROP_BLOBS, Transposed(vec![Array::Integer(superseded)])),
    ] {
        if !parameters.is_empty() {
            let statement = client.prepare_cached(sql).await?;
            writes.push(Write {
                statement,
                parameters,
            });
        }
    }
    Ok(writes)
}

/// The stored rows of `keys`, by a statement that stays prepared.
async fn stored<P: Projection>(
    client: &DedicatedClient,
    statements: &Statements,
    keys: &BTreeSet<String>,
    undecodable: Undecodable,
) -> Result<BTreeMap<String, P::Row>, SelectError> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let statement = client.prepare_cached(&by_keys::<P>(statements)).await?;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let rows = client.query(&statement, &[&keys]).await?;
    keyed_rows::<P>(client, &rows, undecodable).await
}

/// The generation that serves, its table's columns looked up once.
async fn current<'a, P: Projection>(
    client: &DedicatedClient,
    pointers: &[Row],
    known: &'a mut BTreeMap<&'static str, Serving>,
) -> Result<&'a Serving, Error> {
    let (generation, version) = pointed::<P>(pointers)?;
    let same = |known: &Serving| (known.generation, known.version) == (generation, version);
    if !known.get(P::NAME).is_some_and(same) {
        let serving = shaped::<P>(client, generation, version).await?;
        known.insert(P::NAME, serving);
    }
    Ok(known
        .entry(P::NAME)
        .or_insert_with(|| Serving::ours::<P>(generation)))
}

/// The generation that serves, and the version of the fold that made it.
fn pointed<P: Projection>(pointers: &[Row]) -> Result<(i64, i64), Error> {
    for row in pointers {
        if row.try_get::<_, &str>(0)? == P::NAME {
            return Ok((row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok((1, P::VERSION))
}

async fn shaped<P: Projection>(
    client: &Client,
    generation: i64,
    version: i64,
) -> Result<Serving, Error> {
    let mut serving = Serving::ours::<P>(generation);
    if version != P::VERSION {
        let sql = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
        let table = table_name::<P>(generation);
        let rows = client.query_typed(sql, &[(&table, Type::TEXT)]).await?;
        let names: Vec<String> = rows
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        serving.version = version;
        serving.shape = Shape::of::<P>(&names);
    }
    Ok(serving)
}

/// The generation that serves.
pub(crate) async fn serving<P: Projection>(client: &Client) -> Result<Serving, Error> {
    let pointers = client.query_typed(POINTERS, &[]).await?;
    let (generation, version) = pointed::<P>(&pointers)?;
    shaped::<P>(client, generation, version).await
}

/// Rows of the guessed generation that `condition` selects (columns named `t.…`, parameters from `$2` on), and in the same
/// statement, so of the same snapshot, whether that generation serves.
pub(crate) async fn select<P: Projection>(
    client: &Client,
    guess: &Serving,
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
    guess: &Serving,
    columns: Columns,
    keys: &[String],
) -> Result<Selected<P::Row>, SelectError> {
    let key = key_name::<P>();
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

fn selection<P: Projection>(
    guess: &Serving,
    columns: Columns,
    condition: &str,
    order: &str,
) -> String {
    let table = table_name::<P>(guess.generation);
    let columns = guess.shape.selected::<P>("t.", columns, Dialect::Postgres);
    format!(
        "SELECT p.generation, {columns} FROM projections p LEFT JOIN {table} t ON {condition} WHERE p.name = $1 {order}"
    )
}

/// What a statement of [`selection`] found.
async fn selected<P: Projection>(
    client: &Client,
    guess: &Serving,
    rows: Result<Vec<Row>, Error>,
) -> Result<Selected<P::Row>, SelectError> {
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) if misguessed(&error) => {
            return Ok(Selected::Moved(serving::<P>(client).await?));
        }
        Err(error) => return Err(error.into()),
    };
    let current: i64 = rows
        .first()
        .map_or(Ok(guess.generation), |row| row.try_get(0))?;
    if current != guess.generation {
        return Ok(Selected::Moved(serving::<P>(client).await?));
    }
    match decode_all::<P>(client, guess, &rows).await {
        Err(SelectError::Fold(error)) => match serving::<P>(client).await? {
            // The rows are another version's than was thought.
            other if other != *guess => Ok(Selected::Moved(other)),
            _ => Err(error.into()),
        },
        decoded => decoded.map(Selected::Rows),
    }
}

async fn decode_all<P: Projection>(
    client: &Client,
    serving: &Serving,
    rows: &[Row],
) -> Result<Vec<P::Row>, SelectError> {
    let undecodable = Undecodable::rows_of::<P>(serving);
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        // The pointer's row comes back alone, beside NULLs, when nothing was selected.
        if row.try_get::<_, Option<&str>>(1)?.is_some() {
            found.extend(decode::<P>(client, row, 1, undecodable).await?);
        }
    }
    Ok(found)
}

/// Whether the table is gone, or has other columns than was thought.
fn misguessed(error: &Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::UNDEFINED_TABLE) || code == Some(&SqlState::UNDEFINED_COLUMN)
}

/// Rows by their key.
pub(crate) fn keyed<P: Projection>(rows: Vec<P::Row>) -> BTreeMap<String, P::Row> {
    rows.into_iter()
        .map(|row| (P::row_key(&row).to_owned(), row))
        .collect()
}

/// The stored rows of `keys` in a generation.
pub(crate) async fn rows_of<P: Projection>(
    client: &Client,
    statements: &Statements,
    keys: &BTreeSet<String>,
    undecodable: Undecodable,
) -> Result<BTreeMap<String, P::Row>, SelectError> {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let rows = client
        .query_typed(&by_keys::<P>(statements), &[(&keys, Type::TEXT_ARRAY)])
        .await?;
    keyed_rows::<P>(client, &rows, undecodable).await
}

fn by_keys<P: Projection>(statements: &Statements) -> String {
    format!("{} WHERE {} = ANY($1)", statements.select, key_name::<P>())
}

async fn keyed_rows<P: Projection>(
    client: &Client,
    rows: &[Row],
    undecodable: Undecodable,
) -> Result<BTreeMap<String, P::Row>, SelectError> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.extend(decode::<P>(client, row, 0, undecodable).await?);
    }
    Ok(keyed::<P>(found))
}

/// Writes changed rows by an upserting statement, set-wise.
pub(crate) async fn write(client: &Client, upsert: &str, rows: &Transposed) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    client
        .query_typed(upsert, &rows.parameters())
        .await
        .map(drop)
}

/// Deletes the rows of keys.
pub(crate) async fn delete(
    client: &Client,
    statements: &Statements,
    keys: &[String],
) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    client
        .query_typed(&statements.delete, &[(&keys, Type::TEXT_ARRAY)])
        .await
        .map(drop)
}

/// Rows as columns, for `unnest`.
pub(crate) struct Transposed(Vec<Array>);

enum Array {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Transposed {
    /// The columns that `shape` has.
    pub(crate) fn of<P: Projection>(
        shape: &Shape,
        rows: impl IntoIterator<Item = Vec<Value>>,
    ) -> Self {
        let empty = |column: &Column| match column.kind {
            Kind::Text => Array::Text(Vec::new()),
            Kind::Integer => Array::Integer(Vec::new()),
            Kind::Bytes => Array::Bytes(Vec::new()),
        };
        let mut arrays: Vec<Array> = shape.columns::<P>().map(empty).collect();
        for row in rows {
            for (array, value) in arrays.iter_mut().zip(shape.values(row)) {
                array.push(value);
            }
        }
        Self(arrays)
    }

    fn is_empty(&self) -> bool {
        self.0.first().is_none_or(|array| match array {
            Array::Text(values) => values.is_empty(),
            Array::Integer(values) => values.is_empty(),
            Array::Bytes(values) => values.is_empty(),
        })
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

async fn decode<P: Projection>(
    client: &Client,
    row: &Row,
    first: usize,
    undecodable: Undecodable,
) -> Result<Option<P::Row>, SelectError> {
    match (P::from_values(values::<P>(row, first)?), undecodable) {
        (Ok(row), _) => Ok(Some(row)),
        (Err(error), Undecodable::Fails) => Err(error.into()),
        (Err(_), Undecodable::FoldedBefore(position)) => {
            fold_on_postgres::<P>(client, row.try_get(first)?, position).await
        }
    }
}

/// A row's values as they are stored, from column `first` on.
pub(crate) fn values<P: Projection>(row: &Row, first: usize) -> Result<Vec<Value>, Error> {
    let value = |(index, column): (usize, &Column)| {
        Ok(match column.kind {
            Kind::Text => Value::Text(row.try_get(first + index)?),
            Kind::Integer => Value::Integer(row.try_get(first + index)?),
            Kind::Bytes => Value::Bytes(row.try_get(first + index)?),
        })
    };
    P::COLUMNS.iter().enumerate().map(value).collect()
}

/// A value as a parameter.
pub(crate) fn parameter(value: &Value) -> (&(dyn ToSql + Sync), Type) {
    match value {
        Value::Text(value) => (value, Type::TEXT),
        Value::Integer(value) => (value, Type::INT8),
        Value::Bytes(value) => (value, Type::BYTEA),
    }
}
