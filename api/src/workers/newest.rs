//! The newest piece of work of a kind on each read model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Work on this read model is under way.
#[derive(Debug, thiserror::Error)]
#[error("a {what} of {name} is under way")]
pub struct AlreadyRunning {
    /// What kind of work.
    pub what: &'static str,
    /// The read model.
    pub name: String,
}

/// How work of one kind goes or went.
pub(super) trait Status: Clone {
    /// What the work is called.
    const WHAT: &'static str;

    /// Whether it is under way.
    fn is_running(&self) -> bool;
}

/// The newest status by read model; clones share them.
#[derive(Clone)]
pub(super) struct Newest<S>(Arc<Mutex<BTreeMap<String, S>>>);

impl<S> Default for Newest<S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<S: Status> Newest<S> {
    /// Every status.
    pub(super) fn all(&self) -> BTreeMap<String, S> {
        self.lock().clone()
    }

    /// Notes that work begins, unless some is under way.
    pub(super) fn begin(&self, name: &str, running: S) -> Result<(), AlreadyRunning> {
        let mut all = self.lock();
        if all.get(name).is_some_and(Status::is_running) {
            return Err(AlreadyRunning {
                what: S::WHAT,
                name: name.to_owned(),
            });
        }
        all.insert(name.to_owned(), running);
        Ok(())
    }

    /// Notes how it goes.
    pub(super) fn set(&self, name: &str, status: S) {
        self.lock().insert(name.to_owned(), status);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
