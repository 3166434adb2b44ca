//! Crashes on purpose: load on the real server, SIGKILL, a look at what is left; again and again.
//!
//! [`run`] is one series on one database. The journal holds what clients were told, the trail reads what the log
//! holds, and the two are compared after every restart.

mod chance;
mod journal;
mod load;
mod outage;
mod report;
mod series;
mod trail;
mod wire;

pub use report::Report;
pub use series::{Plan, run};
pub use wire::{Reply as WireReply, Wire as KeepAlive};
