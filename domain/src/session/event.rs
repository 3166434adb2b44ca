//! What happened to a session, as it is stored.

use serde::{Deserialize, Serialize};

use super::{CloseReason, Opening};

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum SessionEvent {
    /// It was opened.
    #[serde(rename = "session.opened")]
    Opened(Box<Opening>),
    /// It ended before its time.
    #[serde(rename = "session.closed")]
    Closed {
        /// Why.
        reason: CloseReason,
    },
    /// Its time was over.
    #[serde(rename = "session.expired")]
    Expired {},
}

/// The stored names.
pub const EVENT_TYPES: &[&str] = &["session.opened", "session.closed", "session.expired"];

impl SessionEvent {
    /// The name it is stored under; frozen.
    #[must_use]
    pub const fn stored_name(&self) -> &'static str {
        match self {
            Self::Opened(_) => "session.opened",
            Self::Closed { .. } => "session.closed",
            Self::Expired {} => "session.expired",
        }
    }
}
