//! What can be asked of an agent. Every fact a decision needs is in the command.

use super::AgentProfile;

/// What is asked of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentCommand {
    /// Makes it known; an id may be registered again after it was deregistered.
    Register {
        /// What it is and may do.
        profile: AgentProfile,
    },
    /// Changes it.
    Update {
        /// What it is since; `None` leaves it.
        description: Option<String>,
        /// What it may do since; `None` leaves it.
        allowed_scopes: Option<Vec<String>>,
        /// Whether it may do anything since; `None` leaves it.
        active: Option<bool>,
    },
    /// Ends it.
    Deregister,
}

impl AgentCommand {
    /// Whether something that was allowed may be no longer.
    #[must_use]
    pub const fn may_narrow(&self) -> bool {
        match self {
            Self::Register { .. } => false,
            Self::Update {
                allowed_scopes,
                active,
                description: _,
            } => allowed_scopes.is_some() || matches!(active, Some(false)),
            Self::Deregister => true,
        }
    }
}
