//! What is true of a session after its events.

use serde::{Deserialize, Serialize};

use super::{CloseReason, SessionEvent};
use crate::agent::AgentId;
use crate::decider::StateVersion;
use crate::reference::{ConnectionReference, ProviderId};
use crate::time::Timestamp;

/// The version of the stored state.
pub(super) const STATE_VERSION: u32 = 1;

/// Whom a session acts for, fixed when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The user.
    pub acting_for: String,
    /// The user's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// How far the user is trusted, in the words of whoever vouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clearance_level: Option<String>,
    /// What the user may do; of a session that was opened, what it needed.
    pub permissions: Vec<String>,
}

/// The connection a session is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Which.
    pub connection: ConnectionReference,
    /// The connection's epoch when it was opened.
    pub epoch: u64,
    /// The newest sequence of the connection that was decided on.
    pub sequence: u64,
    /// The provider.
    pub provider_id: ProviderId,
}

/// A session as it is opened: what was decided, and on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The agent.
    pub agent_id: AgentId,
    /// The agent's epoch.
    pub agent_epoch: u64,
    /// The newest sequence of the agent that was decided on.
    pub agent_sequence: u64,
    /// The connection, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether the scopes are the provider's: the agent is given the connection's access token, else a token of the
    /// vault's.
    pub provider_scopes: bool,
    /// Whom it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// The digest of everything that was decided on: [`Inputs`](super::Inputs).
    pub inputs: String,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was never opened.
    #[default]
    Absent,
    /// It is open, unless its time is over or an epoch has risen.
    Open,
    /// It ended before its time.
    Closed,
    /// Its time was over.
    Expired,
}

/// What an agent may do for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    state_version: StateVersion<STATE_VERSION>,
    /// Where it stands.
    pub status: Status,
    /// Why it ended before its time.
    pub reason: Option<CloseReason>,
    /// How it was opened.
    pub opening: Option<Opening>,
}

impl Session {
    pub(super) fn fold(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Opened(opening) => {
                self.status = Status::Open;
                self.opening = Some((**opening).clone());
            }
            SessionEvent::Closed { reason } => {
                self.status = Status::Closed;
                self.reason = Some(*reason);
            }
            SessionEvent::Expired {} => self.status = Status::Expired,
        }
    }
}
