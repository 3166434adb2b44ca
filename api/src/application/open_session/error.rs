//! Why no session is opened, and what is on record of it.

use std::fmt;

use nexus_domain::scope::InvalidScope;
use nexus_domain::session::Refusal;
use nexus_domain::time::Timestamp;

use crate::application::Fault;
use crate::application::read_token::ReadTokenError;
use crate::user_context::UserContextError;

/// A connection that fits.
pub struct Choice {
    /// Its id.
    pub connection_id: String,
    /// Its provider.
    pub provider_name: String,
    /// When it was requested.
    pub created_at: Timestamp,
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice")
            .field("provider_name", &self.provider_name)
            .finish_non_exhaustive()
    }
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenSessionError {
    /// No agent is named.
    #[error("no agent is named")]
    MissingAgentId,
    /// No scope is asked for.
    #[error("no scope is asked for")]
    MissingScopes,
    /// A scope is none, or there are too many.
    #[error(transparent)]
    InvalidScope(#[from] InvalidScope),
    /// It would last too long, or not at all.
    #[error("a session lasts at most {0} seconds")]
    InvalidTtl(u64),
    /// Nobody vouches for the user.
    #[error("the user's token is missing")]
    MissingUserContextToken,
    /// The named provider is not registered.
    #[error("the provider does not exist")]
    ProviderNotFound(String),
    /// A gate did not let it through.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Several connections fit.
    #[error("several connections fit")]
    Ambiguous(Vec<Choice>),
    /// The user's token is not believed, or nobody could tell.
    #[error(transparent)]
    UserContext(#[from] UserContextError),
    /// The connection's credential is not to be had.
    #[error(transparent)]
    Read(#[from] ReadTokenError),
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl OpenSessionError {
    /// The code of a refusal that is on record.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Refused(Refusal::AgentNotFound) => None,
            Self::Refused(refusal) => Some(code(refusal)),
            Self::Ambiguous(_) => Some("connection_ambiguous"),
            Self::ProviderNotFound(_) => Some("provider_not_found"),
            Self::UserContext(UserContextError::Refused(_)) => Some("invalid_user_context_token"),
            Self::MissingAgentId
            | Self::MissingScopes
            | Self::InvalidScope(_)
            | Self::InvalidTtl(_)
            | Self::MissingUserContextToken
            | Self::UserContext(_)
            | Self::Read(_)
            | Self::Fault(_) => None,
        }
    }

    /// The scope that was too much.
    pub(super) fn scope(&self) -> Option<&str> {
        match self {
            Self::Refused(
                Refusal::ScopeNotAllowed(scope)
                | Refusal::ScopeNotPermitted(scope)
                | Refusal::UserNotAuthorized(scope)
                | Refusal::MixedScopes(scope)
                | Refusal::ScopeNotGranted(scope),
            ) => Some(scope),
            _ => None,
        }
    }
}

/// What a refusal is called on the wire.
fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::AgentNotFound => "agent_not_found",
        Refusal::AgentInactive => "agent_inactive",
        Refusal::ScopeNotAllowed(_) => "scope_not_allowed",
        Refusal::ScopeNotPermitted(_) => "scope_not_permitted_for_agent",
        Refusal::UserNotAuthorized(_) => "user_not_authorized_for_scope",
        Refusal::MixedScopes(_) => "mixed_scopes",
        Refusal::MissingSelector => "missing_connection_selector",
        Refusal::InvalidConnectionId => "invalid_connection_id",
        Refusal::ProviderMismatch => "provider_mismatch",
        Refusal::ConnectionNotFound => "connection_not_found",
        Refusal::ConnectionAmbiguous => "connection_ambiguous",
        Refusal::ConnectionNotActive(_) => "connection_not_active",
        Refusal::UnsupportedProvider => "unsupported_agent_session_provider",
        Refusal::ScopeNotGranted(_) => "scope_not_granted",
    }
}
