//! Whether the rows that serve were what the log says, before they are replaced.

use nexus_ledger::{Backend, ReadError};
use rusqlite::{OptionalExtension, params};
use tokio_postgres::types::Type;

use super::RebuildError;
use crate::log::unavailable;
use crate::projection::Projection;
use crate::table::{key_name, table_name};
use crate::verify;
use crate::{postgres, sqlite};

/// So many rows are compared in one statement. SQLite's readers hold up the recycling of its log.
const ROWS_POSTGRES: i64 = 10_000;
const ROWS_SQLITE: i64 = 1_000;

/// How many rows of the serving generation the log does not bear out: changed, missing or invented
/// ones. Rows that differ are looked at again, since appends go on: in one snapshot, the row
/// against its whole stream.
pub(super) async fn differences<P: Projection>(
    backend: &Backend,
    rebuilt: i64,
) -> Result<u64, RebuildError> {
    let mut after = None;
    let mut differences = 0;
    loop {
        let Some((keys, end)) = differing::<P>(backend, rebuilt, after).await? else {
            return Ok(0);
        };
        if !keys.is_empty() {
            differences += verify::differing_of::<P>(backend, keys).await?;
        }
        if end.is_none() {
            return Ok(differences);
        }
        after = end;
    }
}

/// The rows of a generation.
pub(super) async fn count<P: Projection>(
    backend: &Backend,
    generation: i64,
) -> Result<u64, ReadError> {
    let sql = format!("SELECT count(*) FROM {}", table_name::<P>(generation));
    let count: i64 = match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| connection.query_row(&sql, [], |row| row.get(0)))
                .await?
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            let row = client.query_typed_one(&sql, &[]).await;
            row.map_err(unavailable)?.get(0)
        }
    };
    Ok(count.cast_unsigned())
}

/// Keys whose rows differ, and the key that was reached; `None` at the end.
type Differing = (Vec<String>, Option<String>);

/// Compares the rows behind a key; `None` when the rows that serve are of another version.
async fn differing<P: Projection>(
    backend: &Backend,
    rebuilt: i64,
    after: Option<String>,
) -> Result<Option<Differing>, ReadError> {
    match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| on_sqlite::<P>(connection, rebuilt, after.as_deref()))
                .await
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            on_postgres::<P>(&mut client, rebuilt, after.as_deref())
                .await
                .map_err(unavailable)
        }
    }
}

fn on_sqlite<P: Projection>(
    connection: &rusqlite::Connection,
    rebuilt: i64,
    after: Option<&str>,
) -> rusqlite::Result<Option<Differing>> {
    let serving = sqlite::serving::<P>(connection)?;
    if serving.version != P::VERSION {
        return Ok(None);
    }
    // Every key is at least the empty text.
    let (behind, from) = after.map_or((">=", ""), |after| (">", after));
    let sql = end_of::<P>(rebuilt, |key| format!("{key} {behind} ?1"), "?2");
    let end: Option<String> = connection
        .prepare_cached(&sql)?
        .query_row(params![from, ROWS_SQLITE - 1], |row| row.get(0))
        .optional()?;
    // A condition on `end` that holds for every key when there is none.
    let until = if end.is_some() { "<= ?2" } else { "IS NOT ?2" };
    let between = |key: &str| format!("{key} {behind} ?1 AND {key} {until}");
    let sql = comparison::<P>(serving.generation, rebuilt, "IS NOT", between);
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = statement.query_map(params![from, end], |row| row.get(0))?;
    Ok(Some((keys.collect::<rusqlite::Result<_>>()?, end)))
}

async fn on_postgres<P: Projection>(
    client: &mut tokio_postgres::Client,
    rebuilt: i64,
    after: Option<&str>,
) -> Result<Option<Differing>, tokio_postgres::Error> {
    let transaction = verify::snapshot(client).await?;
    let serving = postgres::serving::<P>(transaction.client()).await?;
    if serving.version != P::VERSION {
        return Ok(None);
    }
    let behind = |key: &str| format!("($1::text IS NULL OR {key} > $1::text)");
    let sql = end_of::<P>(rebuilt, behind, "$2");
    let last = ROWS_POSTGRES - 1;
    let end = transaction
        .query_typed_opt(&sql, &[(&after, Type::TEXT), (&last, Type::INT8)])
        .await?;
    let end: Option<String> = end.map(|row| row.get(0));
    let between = |key: &str| {
        format!(
            "{} AND ($2::text IS NULL OR {key} <= $2::text)",
            behind(key)
        )
    };
    let sql = comparison::<P>(serving.generation, rebuilt, "IS DISTINCT FROM", between);
    let keys = transaction
        .query_typed(&sql, &[(&after, Type::TEXT), (&end, Type::TEXT)])
        .await?;
    Ok(Some((keys.iter().map(|row| row.get(0)).collect(), end)))
}

/// The last key of so many rows behind a key; none when there are fewer.
fn end_of<P: Projection>(rebuilt: i64, behind: impl Fn(&str) -> String, offset: &str) -> String {
    let (table, key) = (table_name::<P>(rebuilt), key_name::<P>());
    let behind = behind(key);
    format!("SELECT {key} FROM {table} WHERE {behind} ORDER BY {key} LIMIT 1 OFFSET {offset}")
}

/// The keys among some whose rows are not the same in both generations.
fn comparison<P: Projection>(
    serving: i64,
    rebuilt: i64,
    differs: &str,
    among: impl Fn(&str) -> String,
) -> String {
    let (live, new, key) = (
        table_name::<P>(serving),
        table_name::<P>(rebuilt),
        key_name::<P>(),
    );
    let changed = P::COLUMNS
        .iter()
        .map(|column| format!("l.{0} {differs} n.{0}", column.name))
        .collect::<Vec<_>>()
        .join(" OR ");
    let (of_live, of_new) = (among(&format!("l.{key}")), among(&format!("n.{key}")));
    format!(
        "SELECT l.{key} FROM {live} l LEFT JOIN {new} n ON n.{key} = l.{key} WHERE {of_live} AND ({changed}) \
         UNION ALL SELECT n.{key} FROM {new} n LEFT JOIN {live} l ON l.{key} = n.{key} WHERE {of_new} AND l.{key} IS NULL"
    )
}
