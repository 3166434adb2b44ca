//! The session: what an agent may do for a while, and for whom.
//!
//! A session is no wider than what its agent is registered for, what its connection was granted, what its user may do
//! and what it asked for: see [`Gates`]. It is dead as soon as any of these is narrower, which epochs tell.

mod command;
mod decide;
mod error;
mod event;
mod gates;
mod id;
mod inputs;
mod state;

pub use command::{CloseReason, Ended, SessionCommand};
pub use error::SessionError;
pub use event::{EVENT_TYPES, SessionEvent};
pub use gates::{Gates, Granted, Refusal, Selected, Selection};
pub use id::{InvalidSessionId, SessionId};
pub use inputs::{ConnectionInputs, Inputs};
pub use state::{Bound, Opening, Principal, Session, Status};
