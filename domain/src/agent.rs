//! The agent: a program that acts, and the scopes beyond which it never does.

mod command;
mod decide;
mod error;
mod event;
mod id;
mod state;

pub use command::AgentCommand;
pub use error::AgentError;
pub use event::{AgentEvent, EVENT_TYPES};
pub use id::{AgentId, InvalidAgentId};
pub use state::{Agent, AgentProfile, Status};
