//! The `agents` read model. An agent that was deregistered keeps its row: its epoch goes on if it is registered again.

use nexus_domain::agent::{Agent, AgentEvent, AgentId, Status};
use nexus_domain::decider::Decider;
use nexus_domain::time::Timestamp;
use nexus_ledger::RecordedEvent;

use crate::connections::{decode, encode, required, signed, unsigned};
use crate::kept::{Keep, texts};
use crate::projection::{FoldError, Projection};
use crate::table::{Column, Columns, Value, Values};

/// What a row takes beside its texts, bytes, about.
const ROW_BYTES: u64 = 400;

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Its id.
    pub id: String,
    /// The newest sequence of its stream.
    pub sequence: u64,
    /// The position of its newest event.
    pub position: u64,
    /// The folded state.
    pub state: Agent,
    /// When it was registered, the last time.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The fold.
#[derive(Debug)]
pub struct Agents;

impl Projection for Agents {
    const NAME: &'static str = "agents";
    const VERSION: i64 = 1_000 + Agent::STATE_VERSION as i64;
    const STREAM: &'static str = "agent";
    const COLUMNS: &'static [Column] = &[
        Column::text("id"),
        Column::integer("sequence"),
        Column::integer("position"),
        Column::text("registered"),
        Column::text("state"),
        Column::integer("created_at"),
        Column::integer("updated_at"),
    ];
    const INDEXES: &'static [&'static str] = &["registered"];
    type Row = AgentRow;

    fn position(row: &AgentRow) -> u64 {
        row.position
    }

    fn apply(
        row: Option<AgentRow>,
        recorded: &RecordedEvent,
    ) -> Result<Option<AgentRow>, FoldError> {
        let event: AgentEvent = decode(&recorded.payload)?;
        let mut row = row.unwrap_or_else(|| AgentRow::new(recorded));
        row.state.evolve(&event);
        row.sequence = recorded.sequence;
        row.position = recorded.position;
        row.updated_at = recorded.recorded_at;
        match event {
            AgentEvent::Registered { .. } => row.created_at = recorded.recorded_at,
            AgentEvent::Updated { .. } | AgentEvent::Deregistered { .. } => {}
        }
        Ok(Some(row))
    }

    fn row_key(row: &AgentRow) -> &str {
        &row.id
    }

    fn to_values(row: &AgentRow) -> Vec<Value> {
        vec![
            row.id.clone().into(),
            signed(row.sequence).into(),
            signed(row.position).into(),
            row.is_registered().then(|| row.id.clone()).into(),
            encode(&row.state).into(),
            row.created_at.as_micros().into(),
            row.updated_at.as_micros().into(),
        ]
    }

    fn from_values(values: Vec<Value>) -> Result<AgentRow, FoldError> {
        let mut values = Values::new(values);
        let id = required(values.text()?)?;
        let sequence = unsigned(values.integer()?)?;
        let position = unsigned(values.integer()?)?;
        let _registered = values.text()?;
        Ok(AgentRow {
            id,
            sequence,
            position,
            state: decode(&required(values.text()?)?)?,
            created_at: Timestamp::from_micros(required(values.integer()?)?),
            updated_at: Timestamp::from_micros(required(values.integer()?)?),
        })
    }

    fn superseded_blob(_: &AgentRow, _: Option<&AgentRow>) -> Option<u64> {
        None
    }
}

/// Whoever opens sessions or asks about their tokens asks about few agents.
impl Keep for AgentRow {
    type Of = Agents;
    type Key = AgentId;
    const COLUMNS: Columns = Columns::All;
    const MANY: usize = 4_000;
    const BYTES: u64 = 4 << 20;

    fn key(text: &str) -> Option<AgentId> {
        AgentId::parse(text).ok()
    }

    fn of(row: AgentRow) -> Self {
        row
    }

    fn bytes(&self) -> u64 {
        let profile = &self.state.profile;
        ROW_BYTES + profile.description.len() as u64 + texts(&profile.allowed_scopes)
    }
}

impl AgentRow {
    fn new(first: &RecordedEvent) -> Self {
        Self {
            id: first.stream.id.clone(),
            sequence: 0,
            position: 0,
            state: Agent::default(),
            created_at: first.recorded_at,
            updated_at: first.recorded_at,
        }
    }

    /// Whether it is known at present.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.state.status == Status::Registered
    }
}

#[cfg(test)]
mod tests;
