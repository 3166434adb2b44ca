//! The log's clock: the database's time, carried between batches by this process's monotonic one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nexus_domain::time::Timestamp;

/// An estimate of the time that the database would record now. A node whose own clock is wrong
/// agrees with the other nodes all the same.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// Database time minus monotonic time, microseconds.
    offset: AtomicI64,
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
    /// A clock that agrees with the wall clock until it is told better.
    #[must_use]
    pub fn new() -> Self {
        let clock = Self {
            started: Instant::now(),
            offset: AtomicI64::new(0),
        };
        clock.observe(wall_clock());
        clock
    }

    /// Takes the database's time, microseconds since the Unix epoch.
    pub fn observe(&self, database: i64) {
        self.offset
            .store(database - self.elapsed(), Ordering::Relaxed);
    }

    /// The time the database would record now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.elapsed() + self.offset.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
