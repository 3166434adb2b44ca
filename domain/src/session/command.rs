//! What can be asked of a session. Every fact a decision needs is in the command.

use serde::{Deserialize, Serialize};

use super::Opening;
use crate::time::Timestamp;

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Somebody closed it, or revoked its token.
    Closed,
    /// Its agent is deregistered, not active, or may do less than when it was opened.
    AgentNarrowed,
    /// Its connection has ended, or was granted less than when it was opened.
    ConnectionNarrowed,
}

impl CloseReason {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::AgentNarrowed => "agent_narrowed",
            Self::ConnectionNarrowed => "connection_narrowed",
        }
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Before its time.
    Closed(CloseReason),
    /// Its time was over.
    Expired,
}

impl Ended {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed(reason) => reason.as_str(),
            Self::Expired => "expired",
        }
    }
}

/// What is asked of a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionCommand {
    /// Opens it: the gates have let it through.
    Open(Box<Opening>),
    /// Ends it before its time.
    Close {
        /// Why.
        reason: CloseReason,
        /// The database's time.
        now: Timestamp,
    },
    /// Records that its time is over.
    Expire {
        /// The database's time.
        now: Timestamp,
    },
}
