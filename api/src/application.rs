//! The use cases: what the doors do, without HTTP.
//!
//! A use case reads the read models, talks to the upstream between two commands, never inside
//! one, and answers with a value or its own error. The doors turn both into HTTP.

use std::sync::Arc;
use std::time::Duration;

use nexus_domain::metadata::Metadata;
use nexus_domain::reference::ConnectionReference;
use nexus_ledger::{AppendError, ExecuteError, Ledger, LoadError};
use nexus_projections::{QueryError, ReadStore};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::keys::{StateKey, StateToken};
use crate::random::{RandomnessUnavailable, make_uuid};
use crate::return_url::ReturnUrlPolicy;
use crate::session_tokens::SessionTokens;
use crate::upstream::{CallFailure, Fresh, Upstream};
use crate::user_context::UserContexts;

pub mod capture_credential;
pub mod check_connection;
mod check_credential;
pub mod complete_consent;
pub mod connect;
pub mod denials;
pub mod expire_connections;
pub mod introspect;
pub mod keyring;
pub mod list_connections;
pub mod manage_agents;
pub mod manage_providers;
pub mod open_session;
mod patience;
pub mod pending;
pub mod provider_health;
pub mod read_token;
pub mod recent;
mod record_credential;
pub mod refresh_connection;
pub mod revoke_connection;
pub mod session_keys;
pub mod sessions;
pub mod token;
pub mod waiters;

pub use keyring::Keyring;

/// What the use cases share; clones share it.
#[derive(Clone)]
pub struct Application(Arc<Parts>);

/// The parts of an [`Application`].
pub struct Parts {
    /// The event log.
    pub ledger: Ledger,
    /// The read models.
    pub reads: ReadStore,
    /// The client of OAuth and OpenID providers.
    pub upstream: Upstream,
    /// Rows that were read a moment ago.
    pub recent: recent::Recent,
    /// Seals and opens secrets.
    pub keyring: Keyring,
    /// Signs and verifies session tokens.
    pub session_tokens: SessionTokens,
    /// Makes and checks one-time states.
    pub state_key: StateKey,
    /// Who vouches for users that agents act for.
    pub user_contexts: UserContexts,
    /// Where users may be sent back to.
    pub return_urls: ReturnUrlPolicy,
    /// What is configured.
    pub policy: Policy,
    /// Work that outlives the request that began it.
    pub tasks: TaskTracker,
    /// Refusals that are not recorded yet.
    pub denials: denials::Denials,
    /// Consents that were asked for and are pending.
    pub pending: pending::Pending,
    /// Who waits for a connection to change.
    pub waiters: waiters::Waiters,
    /// What was last seen of each provider.
    pub provider_health: provider_health::ProvidersHealth,
    /// Becomes true when the server stops: nobody waits any more.
    pub stopping: watch::Receiver<bool>,
}

/// What is configured of the use cases.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The public URL of the browser doors, without a trailing slash.
    pub base_url: String,
    /// The path of the callback.
    pub redirect_path: String,
    /// How long a consent may take.
    pub state_ttl: Duration,
    /// How long before its end an access token is refreshed.
    pub refresh_skew: Duration,
    /// How long a call to a provider may take.
    pub upstream_timeout: Duration,
    /// Where users are sent back to when the application does not say.
    pub default_return_url: Option<url::Url>,
    /// How a token's end is written.
    pub expires_as: token::ExpiresAs,
    /// Which provider URLs may be plain HTTP.
    pub upstreams: crate::config::UpstreamRules,
}

impl Policy {
    /// Where providers send users back to.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        format!("{}{}", self.base_url, self.redirect_path)
    }

    /// How long a claim holds: the call's time limit and ample time to record its answer.
    #[must_use]
    pub fn claim_deadline_ms(&self) -> u64 {
        let deadline = self.upstream_timeout + Duration::from_secs(5);
        u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Application {
    /// The use cases over `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Waits for work that outlives its requests, then stops the ledger.
    pub async fn stop(&self, within: Duration) {
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::error!("calls to providers were still under way at the end");
        }
        self.ledger.stop().await;
    }
}

impl Application {
    /// A one-time state that was made here, and the connection it is of.
    fn known_state(&self, state: &str) -> Option<(StateToken, ConnectionReference)> {
        let (reference, _) = self.state_key.verify(state)?;
        Some((self.state_key.token(state)?, reference))
    }
}

impl Application {
    /// What makes a call to a provider one of its kind.
    fn fresh(&self) -> Result<Fresh, CallFailure> {
        let id = make_uuid().map_err(|_| CallFailure::unsent("no_randomness"))?;
        Ok(Fresh {
            now: self.ledger.now(),
            id,
        })
    }
}

/// Whether a workspace's connection is the caller's: when it says for whom it calls, it must be the
/// workspace.
fn is_of_subject(workspace_id: &str, metadata: &Metadata) -> bool {
    let subject = metadata.subject.as_deref();
    subject.is_none_or(|subject| subject == workspace_id)
}

impl std::ops::Deref for Application {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What goes wrong without being anybody's mistake; part of every use case's error.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Too much is waiting.
    #[error("too many appends are waiting")]
    Overloaded,
    /// The database cannot be reached, or its answer is unknown.
    #[error("the database is unavailable: {0}")]
    Database(String),
    /// The thing kept changing underneath.
    #[error("the stream kept changing")]
    Conflict,
    /// A sealed secret does not open: its data key is gone or does not unwrap, or the ciphertext is
    /// altered or out of place. The text names no secret.
    #[error("{0}")]
    Unreadable(String),
    /// A defect, or damaged data; the text names no secret.
    #[error("{0}")]
    Internal(String),
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Unavailable(cause) => Self::Database(cause),
            QueryError::Undecodable(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(cause) => Self::Database(cause),
            LoadError::Undecodable { .. } => Self::Internal(error.to_string()),
        }
    }
}

impl From<AppendError> for Fault {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Overloaded => Self::Overloaded,
            AppendError::Conflict { .. }
            | AppendError::GuardMoved { .. }
            | AppendError::TooEarly { .. } => Self::Conflict,
            AppendError::Unavailable(_) | AppendError::OutcomeUnknown(_) | AppendError::Stopped => {
                Self::Database(error.to_string())
            }
            AppendError::NameTaken { .. } | AppendError::Invalid(_) | AppendError::Refused(_) => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// A fault of a command that no state of its aggregate should refuse.
fn fault_of<E: std::fmt::Display>(error: ExecuteError<E>) -> Fault {
    match error {
        ExecuteError::Decision(error) => Fault::Internal(error.to_string()),
        ExecuteError::Load(error) => error.into(),
        ExecuteError::Append(error) => error.into(),
    }
}

impl From<nexus_ledger::ReadError> for Fault {
    fn from(error: nexus_ledger::ReadError) -> Self {
        match error {
            nexus_ledger::ReadError::Unavailable(cause) => Self::Database(cause),
        }
    }
}

impl From<RandomnessUnavailable> for Fault {
    fn from(error: RandomnessUnavailable) -> Self {
        Self::Internal(error.to_string())
    }
}
