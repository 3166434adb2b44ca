//! A checker of histories, and the run that makes them.
//!
//! Every client keeps a journal of what it asked for, what it was told and what it saw, stamped by one clock. [`check`]
//! decides from the journals alone whether they fit a log with one order. How, and what it cannot see, is in
//! `docs/proofs.md`.

mod appends;
mod bounds;
mod check;
mod disturb;
mod journal;
mod model;
mod node;
mod readers;
mod rows;
mod run;
mod violation;
mod wire;
mod workload;

pub use check::{Findings, check};
pub use journal::{
    Answer, Asked, Entry, Flaw, Glance, History, Journal, Logged, Name, Record, Row, Span, Stamp,
    content, digest, stamp,
};
pub use run::{Extent, on_postgres, on_sqlite, serve};
pub use violation::{Rule, Violation};
