//! What an opening is decided on, so that an auditor can decide again.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Principal;
use crate::agent::{AgentId, AgentProfile};
use crate::reference::ConnectionReference;
use crate::sealing::hex;

/// Everything that an opening is decided on. All of it is in the log: the agent, the connection and its provider as their
/// streams tell of them before the opening, the rest in the opening itself. Without a connection the scopes of every provider
/// count, too, as they were read just before: those are not among these, as a provider may be registered meanwhile.
#[derive(Debug, Serialize)]
pub struct Inputs<'a> {
    /// The agent.
    pub agent_id: &'a AgentId,
    /// The newest sequence of its stream.
    pub agent_sequence: u64,
    /// What it is registered for.
    pub agent: &'a AgentProfile,
    /// The scopes that were asked for.
    pub scopes: &'a [String],
    /// The connection, when there is one.
    pub connection: Option<ConnectionInputs<'a>>,
    /// The user, with those permissions that were needed.
    pub principal: Option<&'a Principal>,
}

/// What is decided on of a connection.
#[derive(Debug, Serialize)]
pub struct ConnectionInputs<'a> {
    /// Which.
    pub reference: ConnectionReference,
    /// The newest sequence of its stream.
    pub sequence: u64,
    /// What it was granted.
    pub scopes: &'a [String],
    /// What its provider knows.
    pub provider_scopes: &'a [String],
}

impl Inputs<'_> {
    /// SHA-256 of their JSON, in lower-case hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        // Texts and numbers always serialize.
        let json = serde_json::to_vec(self).unwrap_or_default();
        hex(&Sha256::digest(json))
    }
}
