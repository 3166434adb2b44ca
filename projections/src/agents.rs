//! The `agents` read model. An agent that was deregistered keeps its row: its epoch goes on if it is registered again.

use nexus_domain::agent::{Agent, AgentEvent, AgentId, Status};
use nexus_domain::decider::Decider;
use nexus_ledger::RecordedEvent;

use crate::connections::decode;
use crate::kept::{Keep, texts};
use crate::projection::{FoldError, Projection};
use crate::row::StateRow;
use crate::table::{Column, Value};

/// What a row takes beside its texts, bytes, about.
const ROW_BYTES: u64 = 400;

/// An agent; it came about when it was registered, the last time.
pub type AgentRow = StateRow<Agent>;

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
        let mut row = StateRow::after(row, &event, recorded);
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
        row.values([row.is_registered().then(|| row.id.clone()).into()])
    }

    fn from_values(values: Vec<Value>) -> Result<AgentRow, FoldError> {
        StateRow::read(values, |values| values.text().map(drop))
    }

    fn superseded_blob(_: &AgentRow, _: Option<&AgentRow>) -> Option<u64> {
        None
    }
}

/// Whoever opens sessions or asks about their tokens asks about few agents.
impl Keep for AgentRow {
    type Key = AgentId;
    const STREAM: &'static str = Agents::STREAM;
    const MANY: usize = 4_000;
    const BYTES: u64 = 4 << 20;

    fn key(text: &str) -> Option<AgentId> {
        AgentId::parse(text).ok()
    }

    fn bytes(&self) -> u64 {
        let profile = &self.state.profile;
        ROW_BYTES + profile.description.len() as u64 + texts(&profile.allowed_scopes)
    }
}

impl AgentRow {
    /// Whether it is known at present.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.state.status == Status::Registered
    }
}

#[cfg(test)]
mod tests;
