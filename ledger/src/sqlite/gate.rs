//! The gate before the database: readers pass it together; the writer closes it for the moment
//! that recycling the write-ahead log takes, which overlapping readers would put off for ever.

use std::sync::Arc;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Passed by every reader, for as long as its read transaction lasts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<RwLock<()>>);

impl Gate {
    /// Waits while the gate is closed.
    pub(crate) async fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().await
    }

    /// Waits while the gate is closed, on a thread of its own.
    pub(super) fn enter_blocking(&self) -> RwLockReadGuard<'_, ()> {
        self.0.blocking_read()
    }

    /// Closes the gate and waits until everyone inside has left.
    pub(super) async fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().await
    }
}
