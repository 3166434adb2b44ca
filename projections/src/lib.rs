//! What we can read: folds from events to rows, the queries over them, and rebuilding.
//!
//! A [`Projection`] is a pure fold. The same fold is driven two ways: inside every append
//! transaction ([`inline`]), so that a read model is never behind the log, and by a [`rebuild`]
//! that fills the tables of a new generation from the log and swaps one pointer row.
//!
//! - [`connections`], [`providers`], [`agents`], [`sessions`]: the read models and their queries.
//! - [`audit`]: the one read model that is not a table; the log itself answers.
//! - [`verify`]: whether the rows are what the log says.
//! - [`table`]: how a row is stored, on both databases.

pub mod agents;
pub mod audit;
pub mod connections;
mod crowd;
mod data_keys;
#[cfg(test)]
mod fixtures;
mod freshness;
pub mod inline;
mod kept;
mod log;
mod lookup;
mod outdated;
mod postgres;
pub mod projection;
pub mod providers;
mod reader;
pub mod rebuild;
mod row;
pub mod sessions;
mod sqlite;
mod standings;
pub mod store;
pub mod table;
pub mod verify;

pub use agents::AgentRow;
pub use audit::{AuditEntry, AuditQuery};
pub use connections::{ConnectionRow, Standing};
pub use data_keys::DataKeys;
pub use inline::ReadModels;
pub use projection::{FoldError, Projection};
pub use providers::ProviderRow;
pub use row::StateRow;
pub use sessions::SessionRow;
pub use standings::MovedConnections;
pub use store::{Now, PageEnd, QueryError, ReadStore, SessionsOf};
