//! Whether a session may be opened: one gate after the other, each narrowing what the one before let through.

use super::Principal;
use crate::agent::{self, Agent};
use crate::connection::{Connection, Status};
use crate::provider::{AuthType, ProviderProfile};

/// Why a session is not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such agent.
    #[error("the agent does not exist")]
    AgentNotFound,
    /// The agent may do nothing at present.
    #[error("the agent is not active")]
    AgentInactive,
    /// A scope is beyond what the agent is registered for.
    #[error("the agent is not registered for the scope {0}")]
    ScopeNotAllowed(String),
    /// On behalf of a user, a scope is beyond what the agent is registered for.
    #[error("the agent is not registered for the scope {0}, for whomever it acts")]
    ScopeNotPermitted(String),
    /// A scope is beyond what the user may do.
    #[error("the user may not do what the scope {0} permits")]
    UserNotAuthorized(String),
    /// Some scopes are a provider's and some are not.
    #[error("the scope {0} is none of the provider's, others are")]
    MixedScopes(String),
    /// Scopes of a provider, and no connection named to use there.
    #[error("scopes of a provider need a connection")]
    MissingSelector,
    /// What names the connection is no id.
    #[error("the connection's id is none")]
    InvalidConnectionId,
    /// The connection is at another provider than was named.
    #[error("the connection is at another provider")]
    ProviderMismatch,
    /// There is no such connection, or it is not the user's.
    #[error("the connection does not exist")]
    ConnectionNotFound,
    /// Several connections fit.
    #[error("several connections fit")]
    ConnectionAmbiguous,
    /// The connection does not serve a credential.
    #[error("the connection is {0}")]
    ConnectionNotActive(&'static str),
    /// The provider gives no access tokens.
    #[error("the provider gives no access tokens")]
    UnsupportedProvider,
    /// A scope is beyond what the connection was granted.
    #[error("the connection was not granted the scope {0}")]
    ScopeNotGranted(String),
}

/// What was named for a session to use.
#[derive(Clone, Debug)]
pub enum Selection<'a> {
    /// Nothing, or too little to tell.
    Nothing {
        /// The provider, if one was named.
        provider: Option<&'a ProviderProfile>,
    },
    /// Something that names no one connection.
    Refused(Refusal),
    /// A connection.
    One(Selected<'a>),
}

/// A connection, as it is when the session is opened.
#[derive(Clone, Debug)]
pub struct Selected<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// Its provider.
    pub provider: &'a ProviderProfile,
}

/// What the gates let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Whether the scopes are the provider's.
    pub provider_scopes: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Gates<'a> {
    /// The scopes, tidied and not empty.
    pub scopes: &'a [String],
    /// Whether it is for a user.
    pub on_behalf: bool,
}

impl Gates<'_> {
    /// The agent's gate.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn agent(&self, agent: Option<&Agent>) -> Result<(), Refusal> {
        let registered = agent.filter(|agent| agent.status == agent::Status::Registered);
        let profile = &registered.ok_or(Refusal::AgentNotFound)?.profile;
        if !profile.active {
            return Err(Refusal::AgentInactive);
        }
        let refusal = if self.on_behalf {
            Refusal::ScopeNotPermitted
        } else {
            Refusal::ScopeNotAllowed
        };
        self.all_in(&profile.allowed_scopes, refusal)
    }

    /// The user's gate.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn user(&self, principal: &Principal) -> Result<(), Refusal> {
        self.all_in(&principal.permissions, Refusal::UserNotAuthorized)
    }

    /// The connection's gate. `is_anywhere` says of a scope whether it is some provider's, which counts while no
    /// provider is named.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn connection(
        &self,
        selection: &Selection<'_>,
        is_anywhere: impl Fn(&str) -> bool,
    ) -> Result<Granted, Refusal> {
        let provider_scopes = match selection {
            Selection::Refused(refusal) => return Err(refusal.clone()),
            Selection::Nothing { provider: None } => self.all_or_none(is_anywhere)?,
            Selection::Nothing {
                provider: Some(provider),
            } => self.all_or_none(|scope| has(&provider.scopes, scope))?,
            Selection::One(selected) => self.all_or_none(|scope| selected.knows(scope))?,
        };
        match selection {
            Selection::Nothing { .. } if provider_scopes => Err(Refusal::MissingSelector),
            Selection::One(selected) => {
                selected.serves()?;
                if provider_scopes {
                    selected.gives_access_tokens()?;
                    let granted = &selected.connection.scopes;
                    self.all_in(granted, Refusal::ScopeNotGranted)?;
                }
                Ok(Granted { provider_scopes })
            }
            Selection::Nothing { .. } | Selection::Refused(_) => Ok(Granted { provider_scopes }),
        }
    }

    fn all_in(&self, allowed: &[String], refusal: fn(String) -> Refusal) -> Result<(), Refusal> {
        let beyond = self.scopes.iter().find(|scope| !has(allowed, scope));
        beyond.map_or(Ok(()), |scope| Err(refusal(scope.clone())))
    }

    /// Whether the scopes are a provider's: all of them, or none.
    fn all_or_none(&self, is_providers: impl Fn(&str) -> bool) -> Result<bool, Refusal> {
        let custom = self.scopes.iter().find(|scope| !is_providers(scope));
        match custom {
            None => Ok(true),
            Some(custom) if self.scopes.iter().any(|scope| is_providers(scope)) => {
                Err(Refusal::MixedScopes(custom.clone()))
            }
            Some(_) => Ok(false),
        }
    }
}

impl Selected<'_> {
    fn knows(&self, scope: &str) -> bool {
        has(&self.provider.scopes, scope) || has(&self.connection.scopes, scope)
    }

    fn serves(&self) -> Result<(), Refusal> {
        match self.connection.status {
            Status::Active => Ok(()),
            Status::Absent | Status::Deleted => Err(Refusal::ConnectionNotFound),
            status @ (Status::Pending | Status::Attention | Status::Failed | Status::Revoked) => {
                Err(Refusal::ConnectionNotActive(status.as_str()))
            }
        }
    }

    fn gives_access_tokens(&self) -> Result<(), Refusal> {
        if self.provider.auth_type == AuthType::Oauth2 {
            Ok(())
        } else {
            Err(Refusal::UnsupportedProvider)
        }
    }
}

fn has(scopes: &[String], scope: &str) -> bool {
    scopes.iter().any(|known| known == scope)
}

#[cfg(test)]
mod tests;
