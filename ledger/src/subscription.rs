//! Subscriptions: every event from a position on, exactly once and in order.
//!
//! A subscription reads the log by position; being woken is only a hint to look. Positions have
//! no gaps and become visible in order, so what it has read it never needs to look at again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;

use crate::admission::Head;
use crate::append::RecordedEvent;
use crate::backend::{Backend, ReadError};

/// How many events are read at once.
const PAGE: usize = 500;
/// How long it waits before it looks unasked: a wake-up from another node may have been lost.
const POLL: Duration = Duration::from_secs(1);

/// Every event from a position on. Dropping it ends it; a new one may start where it stopped.
pub struct Subscription {
    backend: Backend,
    head: watch::Receiver<Head>,
    next: u64,
    page: VecDeque<RecordedEvent>,
}

impl Subscription {
    pub(crate) fn new(backend: Backend, head: watch::Receiver<Head>, from: u64) -> Self {
        Self {
            backend,
            head,
            next: from.max(1),
            page: VecDeque::new(),
        }
    }

    /// The position of the event that [`next`](Self::next) returns next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next event; waits until there is one. Safe to cancel: nothing is lost.
    ///
    /// # Errors
    /// [`ReadError`] when the database cannot be read; calling again goes on at the same position.
    pub async fn next(&mut self) -> Result<RecordedEvent, ReadError> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.next = event.position + 1;
                return Ok(event);
            }
            // Seen before the read, so that a head that moves during it wakes the wait below.
            self.head.mark_unchanged();
            self.page = self.backend.read(self.next, PAGE).await?.into();
            if self.page.is_empty() {
                self.wait().await;
            }
        }
    }

    /// Until the head moves, at most [`POLL`]. A stopped ledger wakes nobody.
    async fn wait(&mut self) {
        if let Ok(Err(_)) = tokio::time::timeout(POLL, self.head.changed()).await {
            tokio::time::sleep(POLL).await;
        }
    }
}
