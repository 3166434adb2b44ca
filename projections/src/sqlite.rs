//! Read models on SQLite.

use std::collections::{BTreeMap, BTreeSet};

use nexus_ledger::{ProjectError, RecordedEvent};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};

use crate::inline::{fold, keys_of};
use crate::outdated::{Undecodable, fold_on_sqlite};
use crate::projection::{FoldError, Projection};
use crate::table::{
    Column, Columns, Dialect, Kind, Serving, Shape, Statements, Value, key_name, table_name,
};

type Result<T, E = rusqlite::Error> = std::result::Result<T, E>;

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Text(value) => ToSqlOutput::Borrowed(
                value
                    .as_ref()
                    .map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes())),
            ),
            Self::Integer(value) => {
                ToSqlOutput::Borrowed(value.map_or(ValueRef::Null, ValueRef::Integer))
            }
            Self::Bytes(value) => ToSqlOutput::Borrowed(
                value
                    .as_ref()
                    .map_or(ValueRef::Null, |bytes| ValueRef::Blob(bytes)),
            ),
        })
    }
}

/// The generation that serves, as this transaction sees it.
pub(crate) fn serving<P: Projection>(connection: &Connection) -> Result<Serving> {
    let mut statement =
        connection.prepare_cached("SELECT generation, version FROM projections WHERE name = ?1")?;
    let (generation, version) =
        statement.query_row([P::NAME], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut serving = Serving::ours::<P>(generation);
    if version != P::VERSION {
        let mut columns = connection.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
        let names = columns
            .query_map([table_name::<P>(generation)], |row| row.get(0))?
            .collect::<Result<Vec<String>>>()?;
        serving.version = version;
        serving.shape = Shape::of::<P>(&names);
    }
    Ok(serving)
}

/// Folds a batch's events into the serving generation.
pub(crate) fn apply_inline<P: Projection>(
    transaction: &Connection,
    events: &[&RecordedEvent],
) -> Result<(), ProjectError<rusqlite::Error>> {
    let Some(keys) = keys_of::<P>(events) else {
        return Ok(());
    };
    let serving = serving::<P>(transaction)?;
    if serving.version > P::VERSION {
        return Err(ProjectError::Newer(P::NAME));
    }
    let statements = serving.statements::<P>(Dialect::Sqlite);
    let first = events.first().map_or(0, |event| event.position);
    let undecodable = Undecodable::before::<P>(&serving, first);
    let rows = by_key::<P>(transaction, &statements.select, &keys, undecodable)?;
    let changes = fold::<P>(rows, events).map_err(crate::inline::Unfoldable::into_error::<P, _>)?;
    let rows = changes.upserts.iter().map(P::to_values);
    write(transaction, &statements.upsert, &serving.shape, rows)?;
    delete(transaction, &statements, &changes.deletes)?;
    let mut drop_blob =
        transaction.prepare_cached("DELETE FROM sealed_blobs WHERE position = ?1")?;
    for position in &changes.superseded {
        drop_blob.execute([position])?;
    }
    Ok(())
}

/// The rows of `keys` in the serving generation.
pub(crate) fn lookup<P: Projection>(
    connection: &Connection,
    columns: Columns,
    keys: &BTreeSet<String>,
) -> Result<BTreeMap<String, P::Row>> {
    let serving = serving::<P>(connection)?;
    let select = format!(
        "SELECT {} FROM {}",
        serving.shape.selected::<P>("", columns, Dialect::Sqlite),
        table_name::<P>(serving.generation),
    );
    by_key::<P>(
        connection,
        &select,
        keys,
        Undecodable::rows_of::<P>(&serving),
    )
}

/// The rows of `keys` that a statement selects; a condition is added to it.
pub(crate) fn by_key<P: Projection>(
    connection: &Connection,
    select: &str,
    keys: &BTreeSet<String>,
    undecodable: Undecodable,
) -> Result<BTreeMap<String, P::Row>> {
    let key = key_name::<P>();
    let mut statement = connection.prepare_cached(&format!("{select} WHERE {key} = ?1"))?;
    let mut rows = BTreeMap::new();
    for key in keys {
        let values = statement.query_row([key], values::<P>).optional()?;
        let row = values.map(|values| decode::<P>(connection, values, undecodable));
        rows.extend(row.transpose()?.flatten().map(|row| (key.clone(), row)));
    }
    Ok(rows)
}

/// The rows that a condition selects.
pub(crate) fn select<P: Projection>(
    connection: &Connection,
    condition: &str,
    parameters: &[Value],
) -> Result<Vec<P::Row>> {
    let serving = serving::<P>(connection)?;
    let (statements, undecodable) = (
        serving.statements::<P>(Dialect::Sqlite),
        Undecodable::rows_of::<P>(&serving),
    );
    let mut statement = connection.prepare_cached(&format!("{} {condition}", statements.select))?;
    let mut found = Vec::new();
    for values in statement.query_map(params_from_iter(parameters), values::<P>)? {
        found.extend(decode::<P>(connection, values?, undecodable)?);
    }
    Ok(found)
}

/// Writes changed rows by an upserting statement.
pub(crate) fn write(
    connection: &Connection,
    upsert: &str,
    shape: &Shape,
    rows: impl IntoIterator<Item = Vec<Value>>,
) -> Result<()> {
    let mut upsert = connection.prepare_cached(upsert)?;
    for row in rows {
        upsert.execute(params_from_iter(shape.values(row)))?;
    }
    Ok(())
}

/// Deletes the rows of keys.
pub(crate) fn delete(
    connection: &Connection,
    statements: &Statements,
    keys: &[String],
) -> Result<()> {
    let mut delete = connection.prepare_cached(&statements.delete)?;
    for key in keys {
        delete.execute([key])?;
    }
    Ok(())
}

fn decode<P: Projection>(
    connection: &Connection,
    values: Vec<Value>,
    undecodable: Undecodable,
) -> Result<Option<P::Row>> {
    let key = match values.first() {
        Some(Value::Text(Some(key))) => key.clone(),
        _ => String::new(),
    };
    match (P::from_values(values), undecodable) {
        (Ok(row), _) => Ok(Some(row)),
        (Err(error), Undecodable::Fails) => Err(self::undecodable(error)),
        (Err(_), Undecodable::FoldedBefore(position)) => {
            fold_on_sqlite::<P>(connection, &key, position)?.map_err(self::undecodable)
        }
    }
}

/// A row's values as they are stored.
pub(crate) fn values<P: Projection>(row: &Row<'_>) -> Result<Vec<Value>> {
    let value = |(index, column): (usize, &Column)| {
        Ok(match column.kind {
            Kind::Text => Value::Text(row.get(index)?),
            Kind::Integer => Value::Integer(row.get(index)?),
            Kind::Bytes => Value::Bytes(row.get(index)?),
        })
    };
    P::COLUMNS.iter().enumerate().map(value).collect()
}

fn undecodable(error: FoldError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}
