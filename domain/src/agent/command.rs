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
