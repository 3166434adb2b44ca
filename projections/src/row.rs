//! A row that is its stream's folded state.

use nexus_domain::decider::Decider;
use nexus_domain::time::Timestamp;
use nexus_ledger::RecordedEvent;

use crate::connections::{decode, encode, required, signed, unsigned};
use crate::projection::FoldError;
use crate::table::{Value, Values};

/// The state of a stream, and when it changed.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRow<S> {
    /// The stream's id.
    pub id: String,
    /// The newest sequence of the stream.
    pub sequence: u64,
    /// The position of its newest event.
    pub position: u64,
    /// The folded state.
    pub state: S,
    /// When it came about.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl<S: Decider> StateRow<S> {
    /// The row after an event of its stream.
    pub(crate) fn after(row: Option<Self>, event: &S::Event, recorded: &RecordedEvent) -> Self {
        let mut row = row.unwrap_or_else(|| Self {
            id: recorded.stream.id.clone(),
            sequence: 0,
            position: 0,
            state: S::default(),
            created_at: recorded.recorded_at,
            updated_at: recorded.recorded_at,
        });
        row.state.evolve(event);
        row.sequence = recorded.sequence;
        row.position = recorded.position;
        row.updated_at = recorded.recorded_at;
        row
    }

    /// Its values: id, sequence and position, those that it can be found by, the state and the times.
    pub(crate) fn values(&self, found_by: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let first: [Value; 3] = [
            self.id.clone().into(),
            signed(self.sequence).into(),
            signed(self.position).into(),
        ];
        let last: [Value; 3] = [
            encode(&self.state).into(),
            self.created_at.as_micros().into(),
            self.updated_at.as_micros().into(),
        ];
        first.into_iter().chain(found_by).chain(last).collect()
    }

    /// Reads what [`StateRow::values`] wrote, `skip` passing over those that it can be found by.
    pub(crate) fn read(
        values: Vec<Value>,
        skip: impl FnOnce(&mut Values) -> Result<(), FoldError>,
    ) -> Result<Self, FoldError> {
        let mut values = Values::new(values);
        let id = required(values.text()?)?;
        let sequence = unsigned(values.integer()?)?;
        let position = unsigned(values.integer()?)?;
        skip(&mut values)?;
        Ok(Self {
            id,
            sequence,
            position,
            state: decode(&required(values.text()?)?)?,
            created_at: Timestamp::from_micros(required(values.integer()?)?),
            updated_at: Timestamp::from_micros(required(values.integer()?)?),
        })
    }
}
