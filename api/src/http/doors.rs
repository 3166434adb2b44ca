//! The doors, one file per use case, and the surfaces that mount them.

use crate::application::{Application, Fault};
use crate::config::SubjectBinding;
use crate::http::error::ApiError;
use crate::keys::ApiKeys;
use crate::metrics::Metrics;

mod agent_sessions;
mod agents;
mod audit;
mod audit_proof;
mod callback;
mod caller;
mod capture;
mod capture_form;
mod check_connection;
mod connections;
mod docs;
mod health;
mod jwks;
mod metrics;
mod projections;
mod providers;
mod refresh;
mod request_connection;
mod revoke;
mod session_keys;
mod surfaces;
mod token;

pub use surfaces::{Access, broker, gateway};

/// What the doors share; clones share it.
#[derive(Clone)]
pub struct Doors {
    /// The use cases.
    pub application: Application,
    /// Who may call.
    pub keys: ApiKeys,
    /// Whether doors that need a key ask for it.
    pub require_key: bool,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether callers say for whom they call.
    pub subject_binding: SubjectBinding,
    /// Whether resolving asks for a key.
    pub resolve_needs_key: bool,
    /// Rebuilds that are under way or done.
    pub rebuilds: crate::workers::Rebuilds,
    /// Comparisons of read models with the log, likewise.
    pub comparisons: crate::workers::Comparisons,
    /// The newest verification of the log.
    pub verifications: crate::workers::Verifications,
}

/// The one place where a fault becomes an answer.
impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Overloaded => Self::overloaded().retry_after(1),
            Fault::Database(cause) => {
                tracing::error!(%cause, "the database is unavailable");
                Self::database_unavailable().retry_after(1)
            }
            Fault::Conflict => {
                Self::conflict("It kept changing while it was being changed; try again.")
            }
            Fault::Unreadable(cause) => {
                tracing::error!(%cause, "a secret cannot be opened");
                Self::secret_unreadable()
            }
            Fault::Internal(cause) => {
                tracing::error!(%cause, "a request failed");
                Self::internal()
            }
        }
    }
}
