//! Rows that another version of the program made and this one cannot read. Until they are rebuilt,
//! such a row is folded from its stream.

use nexus_ledger::RecordedEvent;
use tokio_postgres::types::Type;

use crate::log::{POSTGRES_EVENTS, SQLITE_EVENTS, postgres_event, sqlite_event};
use crate::postgres::SelectError;
use crate::projection::{FoldError, Projection};
use crate::table::Serving;

/// Whether rows that do not decode are folded from the log instead, and from which part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undecodable {
    /// They are an error.
    Fails,
    /// They are folded from their stream's events before a position.
    FoldedBefore(u64),
}

impl Undecodable {
    /// For rows of a generation that serves, read to be shown.
    pub(crate) fn rows_of<P: Projection>(serving: &Serving) -> Self {
        Self::before::<P>(serving, u64::MAX)
    }

    /// For rows of a generation that serves, to fold the events from a position on into them.
    pub(crate) fn before<P: Projection>(serving: &Serving, position: u64) -> Self {
        if serving.version == P::VERSION {
            Self::Fails
        } else {
            Self::FoldedBefore(position)
        }
    }
}

fn fold<P: Projection>(
    events: impl IntoIterator<Item = RecordedEvent>,
) -> Result<Option<P::Row>, FoldError> {
    let mut row = None;
    for event in events {
        row = P::apply(row, &event)?;
    }
    Ok(row)
}

/// A row from its stream's events before a position.
pub(crate) fn fold_on_sqlite<P: Projection>(
    connection: &rusqlite::Connection,
    key: &str,
    before: u64,
) -> rusqlite::Result<Result<Option<P::Row>, FoldError>> {
    let mut statement = connection.prepare_cached(&format!(
        "{SQLITE_EVENTS} WHERE aggregate_type = ?1 AND aggregate_id = ?2 AND +position < ?3 ORDER BY sequence"
    ))?;
    let before = crate::connections::signed(before);
    let events = statement
        .query_map(rusqlite::params![P::STREAM, key, before], sqlite_event)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(fold::<P>(events))
}

/// A row from its stream's events before a position.
pub(crate) async fn fold_on_postgres<P: Projection>(
    client: &tokio_postgres::Client,
    key: &str,
    before: u64,
) -> Result<Option<P::Row>, SelectError> {
    let sql = format!(
        "{POSTGRES_EVENTS} WHERE e.aggregate_type = $1 AND e.aggregate_id = $2 AND e.position + 0 < $3 ORDER BY e.sequence"
    );
    let before = crate::connections::signed(before);
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
        (&P::STREAM, Type::TEXT),
        (&key, Type::TEXT),
        (&before, Type::INT8),
    ];
    let rows = client.query_typed(&sql, &parameters).await?;
    let events = rows
        .iter()
        .map(postgres_event)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(fold::<P>(events)?)
}
