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
    /// Whether a row without it still says how things stand: what is sealed, and what is only there to be searched for.
    pub spare: bool,
}

impl Column {
    /// The same, of no use to whoever asks how things stand.
    #[must_use]
    pub const fn spare(self) -> Self {
        Self {
            spare: true,
            ..self
        }
    }

    /// A text column.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Text,
            spare: false,
        }
    }

    /// An integer column.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Integer,
            spare: false,
        }
    }

    /// A column of bytes.
    #[must_use]
    pub const fn bytes(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Bytes,
            spare: false,
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

/// Which columns are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    All,
    /// NULL stands for those that are spare.
    Needed,
}

/// Which of a read model's columns a generation's table has: all of them, unless another version
/// of the program made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape(Vec<bool>);

impl Shape {
    /// Every column.
    pub(crate) fn whole<P: Projection>() -> Self {
        Self(vec![true; P::COLUMNS.len()])
    }

    /// The columns among `names`.
    pub(crate) fn of<P: Projection>(names: &[String]) -> Self {
        let has = |column: &Column| names.iter().any(|name| name == column.name);
        Self(P::COLUMNS.iter().map(has).collect())
    }

    /// The columns that the table has.
    pub(crate) fn columns<P: Projection>(&self) -> impl Iterator<Item = &'static Column> {
        let present = P::COLUMNS.iter().zip(&self.0);
        present.filter(|(_, has)| **has).map(|(column, _)| column)
    }

    /// The values of the columns that the table has.
    pub(crate) fn values(&self, values: Vec<Value>) -> impl Iterator<Item = Value> {
        let present = values.into_iter().zip(&self.0);
        present.filter(|(_, has)| **has).map(|(value, _)| value)
    }

    /// Every column in a SELECT list, one that the table has not or that is not asked for as NULL.
    pub(crate) fn selected<P: Projection>(
        &self,
        prefix: &str,
        columns: Columns,
        dialect: Dialect,
    ) -> String {
        let one = |(column, has): (&Column, &bool)| {
            let skipped = columns == Columns::Needed && column.spare;
            match (*has && !skipped, dialect) {
                (true, _) => format!("{prefix}{}", column.name),
                (false, Dialect::Sqlite) => "NULL".to_owned(),
                (false, Dialect::Postgres) => format!("NULL::{}", type_name(column.kind, dialect)),
            }
        };
        let columns: Vec<String> = P::COLUMNS.iter().zip(&self.0).map(one).collect();
        columns.join(", ")
    }
}

/// The generation that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Serving {
    pub(crate) generation: i64,
    /// The version of the fold that made its rows.
    pub(crate) version: i64,
    pub(crate) shape: Shape,
}

impl Serving {
    /// A generation that this version made.
    pub(crate) fn ours<P: Projection>(generation: i64) -> Self {
        Self {
            generation,
            version: P::VERSION,
            shape: Shape::whole::<P>(),
        }
    }

    pub(crate) fn statements<P: Projection>(&self, dialect: Dialect) -> Statements {
        Statements::over::<P>(self.generation, dialect, &self.shape)
    }
}

/// The statements over one generation of a read model.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    /// Creates the table.
    pub(crate) create: String,
    /// Creates its indexes.
    pub(crate) index: String,
    /// Drops the table.
    pub(crate) drop: String,
    /// Selects the columns of every row; a WHERE clause may follow.
    pub(crate) select: String,
    /// Inserts rows or replaces those with the same key.
    pub(crate) upsert: String,
    /// The same, where the row there is not of a later position.
    pub(crate) advance: String,
    /// Deletes the row of a key (SQLite) or of each key (PostgreSQL).
    pub(crate) delete: String,
}

/// The name of a generation's table.
pub(crate) fn table_name<P: Projection>(generation: i64) -> String {
    format!("{}_g{generation}", P::NAME)
}

/// The name of the key's column.
pub(crate) fn key_name<P: Projection>() -> &'static str {
    P::COLUMNS.first().map_or("", |column| column.name)
}

impl Statements {
    pub(crate) fn of<P: Projection>(generation: i64, dialect: Dialect) -> Self {
        Self::over::<P>(generation, dialect, &Shape::whole::<P>())
    }

    fn over<P: Projection>(generation: i64, dialect: Dialect, shape: &Shape) -> Self {
        let table = table_name::<P>(generation);
        let names: Vec<&str> = shape.columns::<P>().map(|column| column.name).collect();
        let columns = names.join(", ");
        let selected = shape.selected::<P>("", Columns::All, dialect);
        let key = key_name::<P>();
        let updates = names
            .iter()
            .filter(|name| **name != key)
            .map(|name| format!("{name} = excluded.{name}"))
            .collect::<Vec<_>>()
            .join(", ");
        let source = match dialect {
            Dialect::Sqlite => format!("VALUES ({})", vec!["?"; names.len()].join(", ")),
            Dialect::Postgres => format!("SELECT * FROM unnest({})", unnest::<P>(shape)),
        };
        let upsert = format!(
            "INSERT INTO {table} ({columns}) {source} ON CONFLICT ({key}) DO UPDATE SET {updates}"
        );
        Self {
            create: create::<P>(&table, dialect),
            index: indexes::<P>(&table),
            drop: format!("DROP TABLE IF EXISTS {table}"),
            select: format!("SELECT {selected} FROM {table}"),
            advance: format!("{upsert} WHERE excluded.position >= {table}.position"),
            upsert,
            delete: match dialect {
                Dialect::Sqlite => format!("DELETE FROM {table} WHERE {key} = ?1"),
                Dialect::Postgres => format!("DELETE FROM {table} WHERE {key} = ANY($1::text[])"),
            },
        }
    }
}

fn unnest<P: Projection>(shape: &Shape) -> String {
    let parameter = |(index, column): (usize, &Column)| {
        let kind = type_name(column.kind, Dialect::Postgres);
        format!("${}::{kind}[]", index + 1)
    };
    let parameters: Vec<String> = shape.columns::<P>().enumerate().map(parameter).collect();
    parameters.join(", ")
}

fn create<P: Projection>(table: &str, dialect: Dialect) -> String {
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
    format!(
        "CREATE TABLE IF NOT EXISTS {table} ({}){options};",
        columns.join(", ")
    )
}

fn indexes<P: Projection>(table: &str) -> String {
    // Nobody looks for rows that have nothing there, so these cost no entry.
    let index = |(index, columns): (usize, &&str)| {
        let first = columns.split(',').next().unwrap_or(columns);
        format!(
            "CREATE INDEX IF NOT EXISTS {table}_i{index} ON {table} ({columns}) WHERE {first} IS NOT NULL;"
        )
    };
    P::INDEXES.iter().enumerate().map(index).collect()
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
