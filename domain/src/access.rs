//! Who was given which credential: a stream per node and day, without a state and without conflicts.

use serde::{Deserialize, Serialize};

use crate::agent::AgentId;
use crate::decider::domain_event;
use crate::reference::{ConnectionReference, ProviderId};
use crate::stream::StreamKey;
use crate::time::Timestamp;

/// The type of these streams.
pub const STREAM_TYPE: &str = "access";

/// What happened at a door that hands out credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AccessEvent {
    /// A caller was given a connection's credential.
    #[serde(rename = "credential.retrieved")]
    CredentialRetrieved {
        /// Whose credential.
        connection: ConnectionReference,
        /// At which provider.
        provider_id: ProviderId,
        /// The provider's name at that time.
        provider_name: String,
        /// The door it left through.
        door: String,
        /// Which one of the connection's credentials.
        credential_version: u32,
        /// The agent session it was for.
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<String>,
    },
    /// Callers were refused, counted per source, reason and minute.
    #[serde(rename = "credential.denied")]
    CredentialDenied {
        /// The connection asked for, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        connection: Option<ConnectionReference>,
        /// Why.
        reason: String,
        /// The door.
        door: String,
        /// How often within the minute.
        count: u64,
        /// When that minute began.
        minute: Timestamp,
    },
    /// An agent was refused a session. In a stream without conflicts, so that refusals hold up nothing.
    #[serde(rename = "agent.session_denied")]
    SessionDenied {
        /// The agent.
        agent_id: AgentId,
        /// What it asked for.
        scopes: Vec<String>,
        /// The code it was told.
        reason: String,
        /// The scope that was too much.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        /// The connection, if one was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connection: Option<ConnectionReference>,
        /// Whom it was for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acting_for: Option<String>,
    },
}

/// The stored names.
pub const EVENT_TYPES: &[&str] = &[
    "credential.retrieved",
    "credential.denied",
    "agent.session_denied",
];

impl AccessEvent {
    /// The name it is stored under; frozen.
    #[must_use]
    pub const fn stored_name(&self) -> &'static str {
        match self {
            Self::CredentialRetrieved { .. } => "credential.retrieved",
            Self::CredentialDenied { .. } => "credential.denied",
            Self::SessionDenied { .. } => "agent.session_denied",
        }
    }
}

domain_event!(AccessEvent);

/// The stream in which the node `node_id` records the UTC day of `day`: `2026-11-24/<node>`, so
/// that a day can be pruned.
#[must_use]
pub fn access_stream(day: Timestamp, node_id: &str) -> StreamKey {
    StreamKey::new(STREAM_TYPE, format!("{}/{node_id}", day.date()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_a_node_is_one_stream() {
        let noon = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        assert_eq!(
            access_stream(noon, "n1"),
            StreamKey::new("access", "2026-11-24/n1")
        );
    }

    #[test]
    fn every_event_has_a_fixture_that_decodes_and_encodes_equal() {
        crate::fixtures::check::<AccessEvent>(EVENT_TYPES);
    }
}
