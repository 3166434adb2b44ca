//! What happens to a provider's answer while the database is away: it is kept and tried again, and
//! whoever waits for it is told so at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Application, Fault};

/// How long an answer that cannot be recorded is held and tried again.
const HOLD_FOR: Duration = Duration::from_mins(10);
/// Between two tries.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// How long something is tried that only the database is in the way of.
#[derive(Clone)]
pub(super) struct Patience {
    limit: Duration,
    waits: Arc<Notify>,
}

impl Patience {
    /// It is tried once.
    pub(super) fn none() -> Self {
        Self::of(Duration::ZERO)
    }

    fn of(limit: Duration) -> Self {
        Self {
            limit,
            waits: Arc::default(),
        }
    }

    /// Waits before the next try of what is tried since `began`.
    ///
    /// # Errors
    /// The fault, when trying again is of no use, or patience is at its end.
    pub(super) async fn pause(&self, fault: Fault, began: Instant) -> Result<(), Fault> {
        match fault {
            Fault::Overloaded | Fault::Database(_) | Fault::Conflict
                if began.elapsed() < self.limit =>
            {
                tracing::warn!(%fault, "an answer cannot be recorded yet");
                // Losing to others is over in a moment; an outage is not.
                if !matches!(fault, Fault::Conflict) {
                    self.waits.notify_one();
                }
                tokio::time::sleep(TRY_EVERY).await;
                Ok(())
            }
            fault => Err(fault),
        }
    }
}

impl Application {
    /// Runs work that ends in a record, in a task that outlives its caller.
    ///
    /// # Errors
    /// [`Fault::Database`] when the record has to wait for the database, which the work goes on to do.
    pub(super) async fn outlive<T, W>(&self, work: impl FnOnce(Patience) -> W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let patience = Patience::of(HOLD_FOR);
        let waits = Arc::clone(&patience.waits);
        let task = self.tasks.spawn(work(patience));
        tokio::select! {
            biased;
            done = task => {
                done.map_err(|error| Fault::Internal(format!("work was cut short: {error}")))
            }
            () = waits.notified() => Err(Fault::Database(
                "the provider's answer is kept until it can be recorded".to_owned(),
            )),
        }
    }
}
