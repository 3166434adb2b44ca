//! Where events are kept: each belongs to one stream.

use serde::{Deserialize, Serialize};

use crate::agent::{Agent, AgentId};
use crate::provider::Provider;
use crate::reference::{ConnectionReference, ProviderId};
use crate::session::{Session, SessionId};

/// The name of a stream: the type of what happens in it, and which one of that type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamKey {
    /// An aggregate's `TYPE`, or the name of a stream without a state.
    pub stream_type: String,
    /// Unique within the type.
    pub id: String,
}

impl StreamKey {
    /// The stream `id` of type `stream_type`.
    #[must_use]
    pub fn new(stream_type: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            stream_type: stream_type.into(),
            id: id.into(),
        }
    }

    /// The stream of a connection.
    #[must_use]
    pub fn connection(reference: ConnectionReference) -> Self {
        Self::new(
            <crate::connection::Connection as cqrs_es::Aggregate>::TYPE,
            reference.to_string(),
        )
    }

    /// The stream of a provider.
    #[must_use]
    pub fn provider(id: ProviderId) -> Self {
        Self::new(<Provider as cqrs_es::Aggregate>::TYPE, id.to_string())
    }

    /// The stream of an agent.
    #[must_use]
    pub fn agent(id: &AgentId) -> Self {
        Self::new(<Agent as cqrs_es::Aggregate>::TYPE, id.as_str())
    }

    /// The stream of a session.
    #[must_use]
    pub fn session(id: &SessionId) -> Self {
        Self::new(<Session as cqrs_es::Aggregate>::TYPE, id.as_str())
    }
}
