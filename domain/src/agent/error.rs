//! The rules a command can break.

use crate::scope::InvalidScope;

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// There is no such agent.
    #[error("the agent does not exist")]
    NotFound,
    /// It is registered.
    #[error("the agent is registered")]
    AlreadyRegistered,
    /// A scope is none.
    #[error(transparent)]
    InvalidScope(#[from] InvalidScope),
}
