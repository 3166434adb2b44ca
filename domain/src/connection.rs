//! The connection: an account that a user connected, from the first request to its end.
//!
//! The stream's id is the connection's *reference*; its id, a bearer secret, is never in an event.

mod command;
mod decide;
mod error;
mod event;
mod failure;
mod state;

pub use command::{ConnectionCommand, Outcome, RefreshFailure, ReuseGrace, Rotation};
pub use error::ConnectionError;
pub use event::{ConnectionEvent, EVENT_TYPES};
pub use failure::{AttentionReason, FailureReason, RefreshVerdict, classify};
pub use state::{
    Claim, Connection, ConsentKind, CredentialState, LastFailure, PendingConsent, RefreshState,
    Status,
};

#[cfg(test)]
mod tests;
