//! What operators and the program itself did to the vault: a stream per node, without a state, and one stream of all
//! nodes, which is the [keys of session tokens](SessionKeys).

use serde::{Deserialize, Serialize};

use crate::decider::domain_event;
use crate::sealing::KeyId;
use crate::stream::StreamKey;

mod session_keys;

pub use session_keys::{
    PUBLISHED_FOR, SessionKey, SessionKeyState, SessionKeys, session_key_stream,
};

/// The type of these streams.
pub const STREAM_TYPE: &str = "vault";

/// What happened to the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum VaultEvent {
    /// A read model was rebuilt from the log.
    #[serde(rename = "vault.projection_rebuilt")]
    ProjectionRebuilt {
        /// Which one.
        name: String,
        /// The version of its fold.
        version: i64,
        /// The generation that serves since.
        generation: i64,
        /// How many rows it has.
        rows: u64,
        /// How many rows differed from the generation before.
        differences: u64,
        /// How many events were folded.
        events: u64,
        /// The longest that appends had to wait for it at a stretch, microseconds; absent in older events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        longest_pause_us: Option<u64>,
    },
    /// Admin keys came into force or went out of it while the server ran.
    #[serde(rename = "vault.api_keys_changed")]
    ApiKeysChanged {
        /// The names of those that are new.
        added: Vec<String>,
        /// The names of those that open nothing any more.
        removed: Vec<String>,
    },
    /// A key that signs session tokens was made; the data key of this id is stored with it.
    #[serde(rename = "vault.session_key_created")]
    SessionKeyCreated {
        /// The key's id, in tokens too.
        kid: KeyId,
    },
    /// A key that signed session tokens was destroyed, and what it signed is no longer believed.
    #[serde(rename = "vault.session_key_retired")]
    SessionKeyRetired {
        /// The key's id.
        kid: KeyId,
        /// Why.
        reason: RetireReason,
    },
}

/// Why a key that signed session tokens is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetireReason {
    /// Another one signs, and everything this one signed is over.
    Superseded,
    /// Somebody else may have it.
    Compromised,
}

/// The stored names.
pub const EVENT_TYPES: &[&str] = &[
    "vault.projection_rebuilt",
    "vault.api_keys_changed",
    "vault.session_key_created",
    "vault.session_key_retired",
];

impl VaultEvent {
    /// The name it is stored under; frozen.
    #[must_use]
    pub const fn stored_name(&self) -> &'static str {
        match self {
            Self::ProjectionRebuilt { .. } => "vault.projection_rebuilt",
            Self::ApiKeysChanged { .. } => "vault.api_keys_changed",
            Self::SessionKeyCreated { .. } => "vault.session_key_created",
            Self::SessionKeyRetired { .. } => "vault.session_key_retired",
        }
    }
}

domain_event!(VaultEvent);

/// The stream in which the node `node_id` records what was done to the vault.
#[must_use]
pub fn vault_stream(node_id: &str) -> StreamKey {
    StreamKey::new(STREAM_TYPE, node_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_stream() {
        assert_eq!(vault_stream("n1"), StreamKey::new("vault", "n1"));
    }

    #[test]
    fn every_event_has_a_fixture_that_decodes_and_encodes_equal() {
        crate::fixtures::check::<VaultEvent>(EVENT_TYPES);
    }
}
