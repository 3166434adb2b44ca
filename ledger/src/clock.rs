//! The log's clock: the database's time. On a server it is carried between batches by this process's
//! monotonic clock; embedded, the process's own clock is the database's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nexus_domain::time::Timestamp;

/// An estimate of the time that the database would record now. A node whose own clock is wrong
/// agrees with the other nodes all the same.
#[derive(Debug)]
pub struct Clock(Kind);

#[derive(Debug)]
enum Kind {
    /// The process's wall clock, asked each time: the monotonic one stands still while the machine
    /// sleeps, and nobody would tell us.
    Process,
    /// A server's, as it told last.
    Server {
        started: Instant,
        /// Database time minus monotonic time, microseconds.
        offset: AtomicI64,
    },
}

/// The process's own wall clock, microseconds since the Unix epoch: what SQLite's transactions record.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where time enters the process"
)]
pub(crate) fn wall_clock() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        })
}

impl Clock {
    /// The clock of a database inside this process.
    #[must_use]
    pub fn process() -> Self {
        Self(Kind::Process)
    }

    /// The clock of a server; it agrees with the wall clock until it is told better.
    #[must_use]
    pub fn server() -> Self {
        let started = Instant::now();
        Self(Kind::Server {
            started,
            offset: AtomicI64::new(wall_clock() - elapsed(started)),
        })
    }

    /// Takes the server's time, microseconds since the Unix epoch.
    pub fn observe(&self, database: i64) {
        if let Kind::Server { started, offset } = &self.0 {
            offset.store(database - elapsed(*started), Ordering::Relaxed);
        }
    }

    /// The time the database would record now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(match &self.0 {
            Kind::Process => wall_clock(),
            Kind::Server { started, offset } => elapsed(*started) + offset.load(Ordering::Relaxed),
        })
    }
}

fn elapsed(started: Instant) -> i64 {
    i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX)
}
