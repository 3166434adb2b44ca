//! The fold from events to the rows of one read model.

use nexus_ledger::RecordedEvent;

use crate::table::{Column, Value};

/// An event or a stored row that does not decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FoldError(pub String);

/// A read model: rows by key, each a pure fold of the events that concern it.
pub trait Projection: Send + Sync + 'static {
    /// The read model's name; its tables are `<name>_g<generation>`.
    const NAME: &'static str;
    /// Raised whenever the fold or the columns change; a rebuild then makes the new rows.
    const VERSION: i64;
    /// The type of the streams whose events make the rows; a stream's id is its row's key.
    const STREAM: &'static str;
    /// The columns; the first is the key, and one is called `position`. While rows of an older
    /// version serve, a column that those do not have reads as NULL: [`Projection::from_values`]
    /// takes NULL for every column that was added.
    const COLUMNS: &'static [Column];
    /// Column lists of further indexes, such as `workspace_id, provider_id`; rows whose first column is NULL are not in them.
    const INDEXES: &'static [&'static str];
    /// A row.
    type Row: Clone + PartialEq + std::fmt::Debug + Send + Sync;

    /// The key of the row that an event concerns, if it concerns one.
    #[must_use]
    fn key(event: &RecordedEvent) -> Option<&str> {
        (event.stream.stream_type == Self::STREAM).then_some(event.stream.id.as_str())
    }

    /// The position of the newest event that was folded into a row.
    fn position(row: &Self::Row) -> u64;

    /// Folds an event into its row; `None` is the absent row.
    ///
    /// # Errors
    /// The event does not decode.
    fn apply(row: Option<Self::Row>, event: &RecordedEvent)
    -> Result<Option<Self::Row>, FoldError>;

    /// The row's key.
    fn row_key(row: &Self::Row) -> &str;

    /// A row's values, in the order of the columns.
    fn to_values(row: &Self::Row) -> Vec<Value>;

    /// A row from its values.
    ///
    /// # Errors
    /// A value has another type, or does not decode.
    fn from_values(values: Vec<Value>) -> Result<Self::Row, FoldError>;

    /// The position of the sealed blob that `old` needed and `new` does not: it is dropped from
    /// the log's side table in the same transaction.
    fn superseded_blob(old: &Self::Row, new: Option<&Self::Row>) -> Option<u64>;
}
