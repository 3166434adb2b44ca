//! The append-only event log: what happened, in one global order, provably.
//!
//! Every event enters through one writer per process ([`Ledger::append`], and [`Ledger::execute`]
//! for aggregates), which commits many callers' events in one database transaction, together with
//! the read-model rows they imply and the new head of a Merkle tree over the whole log.
//!
//! ```text
//! execute: load ─ decide ─┐                      ┌─ verdict per caller
//!                         ├─ queue ─ batch ─ tx ─┤
//! append ─────────────────┘                      └─ watch: head moved → subscriptions
//! ```
//!
//! - [`append`]: what a caller asks for and what comes back.
//! - [`admission`]: which members of a batch are accepted; pure, shared by both databases.
//! - [`merkle`]: leaves, frontier and root (RFC 6962).
//! - [`checkpoint`]: signed tree heads (C2SP signed note, Ed25519).
//! - [`fault`]: places where a test can hold a process still and kill it.
//! - [`bus`]: the command bus over aggregates; streams load through `sqlite-es` and `postgres-es`.
//! - [`sqlite`], [`postgres`]: the two adapters.

pub mod admission;
pub mod append;
mod backend;
pub mod bus;
pub mod checkpoint;
mod clock;
pub mod fault;
mod ledger;
pub mod merkle;
mod migrate;
pub mod postgres;
mod repository;
pub mod sqlite;
mod subscription;
mod validate;
pub mod verify;
mod writer;

pub use admission::Head;
pub use append::{
    Append, AppendError, Appended, Expected, Guard, IndexColumns, KeyChange, NameChange, NewEvent,
    NewSnapshot, RecordedEvent,
};
pub use backend::{Backend, ReadError, StoredCheckpoint};
pub use bus::{Context, ExecuteError, Executed, LoadError, Loaded};
pub use clock::Clock;
pub use ledger::{Database, Ledger, OpenError, Options, ProjectError, Projector, Writes};
pub use migrate::MigrateError;
pub use subscription::Subscription;
