//! Callers that wait until a connection changes.
//!
//! Whoever waits costs an entry in a map; one task for all of them asks the log what moved, when the
//! ledger says that it grew, and only while somebody waits.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_domain::reference::ConnectionReference;
use nexus_projections::MovedConnections;
use tokio::sync::{Notify, watch};

use super::Application;

/// The least time between two questions to the log: what moves meanwhile is told together.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// How soon the question is asked again after the database did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Who waits for what.
#[derive(Default)]
pub struct Waiters(Mutex<HashMap<ConnectionReference, Waiting>>);

#[derive(Default)]
struct Waiting {
    moved: Arc<Notify>,
    places: usize,
}

/// A place among those who wait for a connection; given back when it is dropped.
pub(super) struct Place<'a> {
    waiters: &'a Waiters,
    reference: ConnectionReference,
    pub(super) moved: Arc<Notify>,
}

impl Waiters {
    /// A place among those who wait for a connection. What is read after `moved` is listened to is
    /// not older than what wakes.
    pub(super) fn join(&self, reference: ConnectionReference) -> Place<'_> {
        let mut all = self.waiting();
        let waiting = all.entry(reference).or_default();
        waiting.places += 1;
        let moved = Arc::clone(&waiting.moved);
        drop(all);
        Place {
            waiters: self,
            reference,
            moved,
        }
    }

    /// How many connections are waited for.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.waiting().len() as u64
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<ConnectionReference, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, moved: &MovedConnections) {
        let waiting = self.waiting();
        if let Some(references) = &moved.references {
            let woken = references.iter().filter_map(|moved| waiting.get(moved));
            woken.for_each(|waiting| waiting.moved.notify_waiters());
        } else {
            let all = waiting.values();
            all.for_each(|waiting| waiting.moved.notify_waiters());
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut all = self.waiters.waiting();
        if let Entry::Occupied(mut waiting) = all.entry(self.reference) {
            waiting.get_mut().places -= 1;
            if waiting.get().places == 0 {
                waiting.remove();
            }
        }
    }
}

/// Waits until the server stops.
pub async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

impl Application {
    /// Wakes whoever waits for a connection that moved, on whatever node, until told to stop.
    pub async fn wake_waiters(self) {
        let mut stopping = self.stopping.clone();
        let mut head = self.ledger.watch();
        let mut seen = head.borrow_and_update().position();
        loop {
            let grown = async {
                if head.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = stopped(&mut stopping) => return,
                () = grown => {}
            }
            let newest = head.borrow_and_update().position();
            if self.waiters.waiting().is_empty() {
                // Whoever comes now reads what is newer than this.
                seen = newest;
                continue;
            }
            match self.reads.moved_connections(seen).await {
                Ok(moved) => {
                    self.waiters.wake(&moved);
                    seen = moved.head;
                    tokio::time::sleep(ASK_EVERY).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "what moved cannot be told to those who wait");
                    head.mark_changed();
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }
}
