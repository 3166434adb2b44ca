//! What happened to an agent, as it is stored.

use serde::{Deserialize, Serialize};

use super::AgentProfile;

/// What happened to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AgentEvent {
    /// It became known, or known again.
    #[serde(rename = "agent.registered")]
    Registered {
        /// What it is and may do.
        #[serde(flatten)]
        profile: AgentProfile,
        /// See [`Agent::epoch`](super::Agent::epoch).
        epoch: u64,
    },
    /// It was changed.
    #[serde(rename = "agent.updated")]
    Updated {
        /// What it is and may do since.
        #[serde(flatten)]
        profile: AgentProfile,
        /// Since: see [`Agent::epoch`](super::Agent::epoch).
        epoch: u64,
        /// The names of the fields that differ from before.
        changed: Vec<String>,
    },
    /// It was ended.
    #[serde(rename = "agent.deregistered")]
    Deregistered {
        /// Since: see [`Agent::epoch`](super::Agent::epoch).
        epoch: u64,
    },
}

/// The stored names.
pub const EVENT_TYPES: &[&str] = &["agent.registered", "agent.updated", "agent.deregistered"];

impl AgentEvent {
    /// The name it is stored under; frozen.
    #[must_use]
    pub const fn stored_name(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "agent.registered",
            Self::Updated { .. } => "agent.updated",
            Self::Deregistered { .. } => "agent.deregistered",
        }
    }
}
