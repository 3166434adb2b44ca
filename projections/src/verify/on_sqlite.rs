//! Rows and their streams in one snapshot, on SQLite.

use std::collections::BTreeMap;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Result};

use super::{Seen, Which};
use crate::log::{SQLITE_EVENTS, sqlite_event};
use crate::projection::Projection;
use crate::sqlite;
use crate::table::{Dialect, Value, key_name};

/// So many streams are folded in one snapshot: readers hold up the recycling of the log.
const STREAMS: i64 = 200;

pub(super) fn see<P: Projection>(connection: &Connection, which: Which) -> Result<Seen> {
    match which {
        Which::These(keys) => {
            let keys: Vec<Option<String>> = keys.into_iter().map(Some).collect();
            let (mut rows, mut events) = (BTreeMap::new(), Vec::new());
            let mut serving = None;
            for key in &keys {
                let seen = select::<P>(connection, &["= ?1"], &[key], None)?;
                rows.extend(seen.rows);
                events.extend(seen.events);
                serving = Some(seen.serving);
            }
            let serving = serving.map_or_else(|| sqlite::serving::<P>(connection), Ok)?;
            Ok(Seen {
                serving,
                rows,
                events,
                end: None,
            })
        }
        Which::Behind(after) => {
            let end = end_of::<P>(connection, after.as_deref())?;
            match (&after, &end) {
                (None, None) => select::<P>(connection, &[], &[], None),
                (None, Some(_)) => select::<P>(connection, &["<= ?1"], &[&end], end.clone()),
                (Some(_), None) => select::<P>(connection, &["> ?1"], &[&after], None),
                (Some(_), Some(_)) => {
                    select::<P>(connection, &["> ?1", "<= ?2"], &[&after, &end], end.clone())
                }
            }
        }
    }
}

/// The id of the last stream of so many behind a key; none when there are fewer.
fn end_of<P: Projection>(connection: &Connection, after: Option<&str>) -> Result<Option<String>> {
    // Every id is at least the empty text.
    let (behind, after) = after.map_or((">=", ""), |after| (">", after));
    let sql = format!(
        "SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = '{}' AND aggregate_id {behind} ?1
         ORDER BY aggregate_id LIMIT 1 OFFSET ?2",
        P::STREAM
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement
        .query_row(rusqlite::params![after, STREAMS - 1], |row| row.get(0))
        .optional()
}

fn select<P: Projection>(
    connection: &Connection,
    conditions: &[&str],
    parameters: &[&dyn ToSql],
    end: Option<String>,
) -> Result<Seen> {
    let serving = sqlite::serving::<P>(connection)?;
    let statements = serving.statements::<P>(Dialect::Sqlite);
    let restricted = |column: &str| {
        let each = conditions.iter().map(|one| format!(" AND {column} {one}"));
        each.collect::<String>()
    };
    let mut statement = connection.prepare_cached(&format!(
        "{} WHERE true{}",
        statements.select,
        restricted(key_name::<P>())
    ))?;
    let mut rows = BTreeMap::new();
    for values in statement.query_map(parameters, |row| sqlite::values::<P>(row))? {
        let values = values?;
        if let Some(Value::Text(Some(key))) = values.first() {
            rows.insert(key.clone(), values);
        }
    }
    let mut statement = connection.prepare_cached(&format!(
        "{SQLITE_EVENTS} WHERE aggregate_type = '{}'{} ORDER BY aggregate_id, sequence",
        P::STREAM,
        restricted("aggregate_id")
    ))?;
    let events = statement
        .query_map(parameters, sqlite_event)?
        .collect::<Result<_>>()?;
    Ok(Seen {
        serving,
        rows,
        events,
        end,
    })
}
