//! Who keeps what was read hears of every move before anybody can see it.
//!
//! Only this process writes the file, so whoever hears of all of its commits needs not ask the file what has changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::append::RecordedEvent;

/// Keeps what was read of streams while it holds.
pub trait Watcher: Send + Sync {
    /// These events are about to be committed: what is read of their streams from now on, until [`Self::settled`],
    /// may or may not show them, and is not to be kept.
    fn moving(&self, events: &[&RecordedEvent]);

    /// The commit is over; what is read from now on shows whatever it made of them.
    fn settled(&self);
}

/// Those who hear of moves.
#[derive(Clone, Default)]
pub(super) struct Moves(Arc<Mutex<Vec<Weak<dyn Watcher>>>>);

impl Moves {
    /// From the next commit on `watcher` hears of each; waits for one that is under way.
    pub(super) fn tell(&self, watcher: Weak<dyn Watcher>) {
        self.watchers().push(watcher);
    }

    /// Tells everybody of a commit; it is over when the answer is dropped.
    pub(super) fn announce(&self, events: &[&RecordedEvent]) -> Announced<'_> {
        let mut watchers = self.watchers();
        watchers.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                watcher.moving(events);
                true
            }
            None => false,
        });
        Announced(watchers)
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Weak<dyn Watcher>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A commit that everybody has heard of.
pub(super) struct Announced<'a>(MutexGuard<'a, Vec<Weak<dyn Watcher>>>);

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        for watcher in self.0.iter().filter_map(Weak::upgrade) {
            watcher.settled();
        }
    }
}
