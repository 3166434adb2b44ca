//! Read models on SQLite.

use std::collections::{BTreeMap, BTreeSet};

use nexus_ledger::{ProjectError, RecordedEvent};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};

use crate::inline::{Changes, fold, keys_of};
use crate::projection::{FoldError, Projection};
use crate::table::{Columns, Dialect, Kind, Statements, Value, column_list, table_name};

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
pub(crate) fn generation<P: Projection>(connection: &Connection) -> Result<i64> {
    let mut statement =
        connection.prepare_cached("SELECT generation FROM projections WHERE name = ?1")?;
    statement.query_row([P::NAME], |row| row.get(0))
}

/// Folds a batch's events into the serving generation.
pub(crate) fn apply_inline<P: Projection>(
    transaction: &Connection,
    events: &[&RecordedEvent],
) -> Result<(), ProjectError<rusqlite::Error>> {
    let keys = keys_of::<P>(events);
    if keys.is_empty() {
        return Ok(());
    }
    let statements = Statements::of::<P>(generation::<P>(transaction)?, Dialect::Sqlite);
    let rows = by_key::<P>(transaction, &statements, &keys)?;
    let changes = fold::<P>(rows, events).map_err(crate::inline::Unfoldable::into_error::<P, _>)?;
    write(transaction, &statements, &changes)?;
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
) -> Result<Vec<P::Row>> {
    let (table, columns) = (
        table_name::<P>(generation::<P>(connection)?),
        column_list::<P>("", columns, Dialect::Sqlite),
    );
    let key = P::COLUMNS.first().map_or("", |column| column.name);
    let sql = format!("SELECT {columns} FROM {table} WHERE {key} = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        rows.extend(statement.query_row([key], decode::<P>).optional()?);
    }
    Ok(rows)
}

/// The stored rows of `keys`.
pub(crate) fn by_key<P: Projection>(
    connection: &Connection,
    statements: &Statements,
    keys: &BTreeSet<String>,
) -> Result<BTreeMap<String, P::Row>> {
    let key = P::COLUMNS.first().map_or("", |column| column.name);
    let mut statement =
        connection.prepare_cached(&format!("{} WHERE {key} = ?1", statements.select))?;
    let mut rows = BTreeMap::new();
    for key in keys {
        if let Some(row) = statement.query_row([key], decode::<P>).optional()? {
            rows.insert(key.clone(), row);
        }
    }
    Ok(rows)
}

/// The rows that a condition selects.
pub(crate) fn select<P: Projection>(
    connection: &Connection,
    condition: &str,
    parameters: &[Value],
) -> Result<Vec<P::Row>> {
    let statements = Statements::of::<P>(generation::<P>(connection)?, Dialect::Sqlite);
    let mut statement = connection.prepare_cached(&format!("{} {condition}", statements.select))?;
    statement
        .query_map(params_from_iter(parameters), decode::<P>)?
        .collect()
}

/// Writes changed rows.
pub(crate) fn write<P: Projection>(
    connection: &Connection,
    statements: &Statements,
    changes: &Changes<P>,
) -> Result<()> {
    let mut upsert = connection.prepare_cached(&statements.upsert)?;
    for row in &changes.upserts {
        upsert.execute(params_from_iter(P::to_values(row)))?;
    }
    let mut delete = connection.prepare_cached(&statements.delete)?;
    for key in &changes.deletes {
        delete.execute([key])?;
    }
    Ok(())
}

fn decode<P: Projection>(row: &Row<'_>) -> Result<P::Row> {
    let mut values = Vec::with_capacity(P::COLUMNS.len());
    for (index, column) in P::COLUMNS.iter().enumerate() {
        values.push(match column.kind {
            Kind::Text => Value::Text(row.get(index)?),
            Kind::Integer => Value::Integer(row.get(index)?),
            Kind::Bytes => Value::Bytes(row.get(index)?),
        });
    }
    P::from_values(values).map_err(undecodable)
}

fn undecodable(error: FoldError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}
