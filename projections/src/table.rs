//! How the rows of a read model are stored: columns, values, and the statements over them.

use crate::projection::{FoldError, Projection};

/// The type of a column; every column may be NULL except the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A 64-bit integer.
    Integer,
    /// Bytes.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

impl Column {
    /// A text column.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Text,
        }
    }

    /// An integer column.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Integer,
        }
    }

    /// A column of bytes.
    #[must_use]
    pub const fn bytes(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Bytes,
        }
    }
}

/// A value of a row; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of a text column.
    Text(Option<String>),
    /// Of an integer column.
    Integer(Option<i64>),
    /// Of a column of bytes.
    Bytes(Option<Vec<u8>>),
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}

/// Takes a row's values one after another, each as the type its column has.
#[derive(Debug)]
pub struct Values(std::vec::IntoIter<Value>);

impl Values {
    /// Reads `values` from the first on.
    #[must_use]
    pub fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// The next value, of a text column.
    ///
    /// # Errors
    /// It has another type.
    pub fn text(&mut self) -> Result<Option<String>, FoldError> {
        match self.0.next() {
            Some(Value::Text(value)) => Ok(value),
            other => Err(unexpected(other.as_ref())),
        }
    }

    /// The next value, of an integer column.
    ///
    /// # Errors
    /// It has another type.
    pub fn integer(&mut self) -> Result<Option<i64>, FoldError> {
        match self.0.next() {
            Some(Value::Integer(value)) => Ok(value),
            other => Err(unexpected(other.as_ref())),
        }
    }

    /// The next value, of a column of bytes.
    ///
    /// # Errors
    /// It has another type.
    pub fn bytes(&mut self) -> Result<Option<Vec<u8>>, FoldError> {
        match self.0.next() {
            Some(Value::Bytes(value)) => Ok(value),
            other => Err(unexpected(other.as_ref())),
        }
    }
}

fn unexpected(value: Option<&Value>) -> FoldError {
    FoldError(match value {
        None => "the row has too few columns".to_owned(),
        Some(_) => "a column of the row has another type".to_owned(),
    })
}

/// The databases' SQL dialects, where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// The statements over one generation of a read model.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    /// Creates the table and its indexes.
    pub(crate) create: String,
    /// Drops the table.
    pub(crate) drop: String,
    /// Selects the columns of every row; a WHERE clause may follow.
    pub(crate) select: String,
    /// Inserts rows or replaces those with the same key.
    pub(crate) upsert: String,
    /// Deletes the row of a key (SQLite) or of each key (PostgreSQL).
    pub(crate) delete: String,
}

/// The name of a generation's table.
pub(crate) fn table_name<P: Projection>(generation: i64) -> String {
    format!("{}_g{generation}", P::NAME)
}

/// Which columns are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    All,
    /// NULL stands for the columns of bytes.
    WithoutBytes,
}

/// The columns, comma-separated.
pub(crate) fn column_list<P: Projection>(
    prefix: &str,
    columns: Columns,
    dialect: Dialect,
) -> String {
    P::COLUMNS
        .iter()
        .map(|column| match (columns, column.kind, dialect) {
            (Columns::WithoutBytes, Kind::Bytes, Dialect::Sqlite) => "NULL".to_owned(),
            (Columns::WithoutBytes, Kind::Bytes, Dialect::Postgres) => "NULL::bytea".to_owned(),
            _ => format!("{prefix}{}", column.name),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

impl Statements {
    pub(crate) fn of<P: Projection>(generation: i64, dialect: Dialect) -> Self {
        let table = table_name::<P>(generation);
        let columns = column_list::<P>("", Columns::All, dialect);
        let key = P::COLUMNS.first().map_or("", |column| column.name);
        let updates = P::COLUMNS
            .iter()
            .skip(1)
            .map(|column| format!("{0} = excluded.{0}", column.name))
            .collect::<Vec<_>>()
            .join(", ");
        let source = match dialect {
            Dialect::Sqlite => format!("VALUES ({})", vec!["?"; P::COLUMNS.len()].join(", ")),
            Dialect::Postgres => format!("SELECT * FROM unnest({})", unnest_parameters::<P>()),
        };
        Self {
            create: create::<P>(generation, dialect),
            drop: format!("DROP TABLE IF EXISTS {table}"),
            select: format!("SELECT {columns} FROM {table}"),
            upsert: format!(
                "INSERT INTO {table} ({columns}) {source} ON CONFLICT ({key}) DO UPDATE SET {updates}"
            ),
            delete: match dialect {
                Dialect::Sqlite => format!("DELETE FROM {table} WHERE {key} = ?1"),
                Dialect::Postgres => format!("DELETE FROM {table} WHERE {key} = ANY($1::text[])"),
            },
        }
    }
}

fn unnest_parameters<P: Projection>() -> String {
    P::COLUMNS
        .iter()
        .enumerate()
        .map(|(index, column)| {
            format!(
                "${}::{}[]",
                index + 1,
                type_name(column.kind, Dialect::Postgres)
            )
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn create<P: Projection>(generation: i64, dialect: Dialect) -> String {
    let table = table_name::<P>(generation);
    let column = |(index, column): (usize, &Column)| {
        let key = if index == 0 {
            " PRIMARY KEY NOT NULL"
        } else {
            ""
        };
        format!("{} {}{key}", column.name, type_name(column.kind, dialect))
    };
    let columns: Vec<String> = P::COLUMNS.iter().enumerate().map(column).collect();
    // A row is about 3 kB, sealed fields included. Without a row id SQLite compares keys inside such rows, overflow
    // pages and all; and PostgreSQL would move the ciphertext out of a row larger than a quarter of a page.
    let options = match dialect {
        Dialect::Sqlite => " STRICT",
        Dialect::Postgres => " WITH (toast_tuple_target = 8160)",
    };
    let index = |(index, columns): (usize, &&str)| {
        format!("CREATE INDEX IF NOT EXISTS {table}_i{index} ON {table} ({columns});")
    };
    let indexes: String = P::INDEXES.iter().enumerate().map(index).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {table} ({}){options};{indexes}",
        columns.join(", ")
    )
}

fn type_name(kind: Kind, dialect: Dialect) -> &'static str {
    match (kind, dialect) {
        (Kind::Text, Dialect::Sqlite) => "TEXT",
        (Kind::Integer, Dialect::Sqlite) => "INTEGER",
        (Kind::Bytes, Dialect::Sqlite) => "BLOB",
        (Kind::Text, Dialect::Postgres) => "text",
        (Kind::Integer, Dialect::Postgres) => "bigint",
        (Kind::Bytes, Dialect::Postgres) => "bytea",
    }
}
