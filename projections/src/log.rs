//! The queries over the log itself.

use nexus_domain::time::Timestamp;
use nexus_ledger::{Backend, ReadError, RecordedEvent, postgres, sqlite};
use rusqlite::{OptionalExtension, params};
use tokio_postgres::types::Type;

use crate::connections::signed;

/// Events from position `from` on that changed a state, in order: at most `limit`. Credential
/// reads are skipped by an index, so that they cost nothing here.
pub(crate) async fn changes(
    backend: &Backend,
    from: u64,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let (from, limit) = (signed(from), signed(limit as u64));
    match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| sqlite_changes(connection, from, limit))
                .await
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            postgres_changes(&client, from, limit)
                .await
                .map_err(unavailable)
        }
    }
}

pub(crate) fn sqlite_changes(
    connection: &rusqlite::Connection,
    from: i64,
    limit: i64,
) -> rusqlite::Result<Vec<RecordedEvent>> {
    let condition = "WHERE aggregate_type <> 'access' AND events.position >= ?1 ORDER BY events.position LIMIT ?2";
    sqlite::select_events(connection, condition, params![from, limit])
}

pub(crate) async fn postgres_changes(
    client: &tokio_postgres::Client,
    from: i64,
    limit: i64,
) -> Result<Vec<RecordedEvent>, tokio_postgres::Error> {
    let condition =
        "WHERE e.aggregate_type <> 'access' AND e.position >= $1 ORDER BY e.position LIMIT $2";
    postgres::select_events(
        client,
        condition,
        &[(&from, Type::INT8), (&limit, Type::INT8)],
    )
    .await
}

/// The newest events from position `from` on, newest first: at most `limit`, of one stored name if given.
pub(crate) async fn newest(
    backend: &Backend,
    from: u64,
    event_type: Option<String>,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let (from, limit) = (signed(from), signed(limit as u64));
    match backend {
        Backend::Sqlite(database) => {
            let read = move |connection: &rusqlite::Connection| match event_type {
                None => sqlite::select_events(
                    connection,
                    "WHERE events.position >= ?1 ORDER BY events.position DESC LIMIT ?2",
                    params![from, limit],
                ),
                Some(name) => {
                    let condition = format!(
                        "WHERE event_type = {} AND events.position >= ?1 ORDER BY events.position DESC LIMIT ?2",
                        literal(&name)
                    );
                    sqlite::select_events(connection, &condition, params![from, limit])
                }
            };
            database.read(read).await
        }
        Backend::Postgres(database) => {
            let filter = event_type.map_or_else(String::new, |name| {
                format!("e.event_type = {} AND", literal(&name))
            });
            let condition =
                format!("WHERE {filter} e.position >= $1 ORDER BY e.position DESC LIMIT $2");
            let client = database.client().await?;
            postgres::select_events(
                &client,
                &condition,
                &[(&from, Type::INT8), (&limit, Type::INT8)],
            )
            .await
            .map_err(unavailable)
        }
    }
}

/// A stored name as an SQL literal: with a parameter instead, the planner could not prove that the
/// partial index on names holds it. Stored names are lower-case letters, dots and underscores;
/// anything else is reduced to what no event is called.
fn literal(name: &str) -> String {
    let known = name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'));
    if known {
        format!("'{name}'")
    } else {
        "''".to_owned()
    }
}

/// The first and the newest position; `None` for an empty log.
pub(crate) async fn bounds(backend: &Backend) -> Result<Option<(u64, u64)>, ReadError> {
    let sql = "SELECT min(position), max(position) FROM events";
    let bounds: (Option<i64>, Option<i64>) = match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| {
                    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
                })
                .await?
        }
        Backend::Postgres(database) => {
            let row = database
                .client()
                .await?
                .query_typed_one(sql, &[])
                .await
                .map_err(unavailable)?;
            (row.get(0), row.get(1))
        }
    };
    Ok(bounds
        .0
        .zip(bounds.1)
        .map(|(first, last)| (first.cast_unsigned(), last.cast_unsigned())))
}

/// When the event at a position was recorded.
pub(crate) async fn recorded_at(
    backend: &Backend,
    position: u64,
) -> Result<Option<Timestamp>, ReadError> {
    let position = signed(position);
    let micros: Option<i64> = match backend {
        Backend::Sqlite(database) => {
            let read = move |connection: &rusqlite::Connection| {
                connection
                    .query_row(
                        "SELECT recorded_at FROM events WHERE position = ?1",
                        [position],
                        |row| row.get(0),
                    )
                    .optional()
            };
            database.read(read).await?
        }
        Backend::Postgres(database) => {
            let client = database.client().await?;
            let row = client
                .query_typed_opt(
                    "SELECT recorded_at FROM events WHERE position = $1",
                    &[(&position, Type::INT8)],
                )
                .await
                .map_err(unavailable)?;
            row.map(|row| row.get(0))
        }
    };
    Ok(micros.map(Timestamp::from_micros))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function of map_err"
)]
pub(crate) fn unavailable(error: tokio_postgres::Error) -> ReadError {
    ReadError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_event_has_cannot_leave_its_literal() {
        assert_eq!(literal("connection.refreshed"), "'connection.refreshed'");
        assert_eq!(literal("x' OR '1' = '1"), "''");
    }
}
