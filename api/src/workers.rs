//! What runs beside the requests: the sweep of lapsed consents, and rebuilds of read models.

mod verification;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_domain::metadata::Metadata;
use nexus_domain::vault::{VaultEvent, vault_stream};
use nexus_ledger::{Append, Expected, IndexColumns, Ledger, NewEvent};
use nexus_projections::rebuild::{Progress, RebuildError, Rebuilt, rebuild};
use serde::Serialize;
use tokio::sync::watch;

use crate::application::Application;

pub use verification::{VerificationRunning, VerificationStatus, Verifications};

/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Records lapsed consents until told to stop.
pub async fn sweep(application: Application, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow_and_update() {
        if let Err(error) = application.expire_connections().await {
            tracing::warn!(%error, "lapsed consents could not be recorded");
        }
        drop(tokio::time::timeout(SWEEP_EVERY, stopping.changed()).await);
    }
}

/// How a rebuild goes or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RebuildStatus {
    /// It is under way.
    Running {
        /// Every event up to this position is folded or skipped.
        position: u64,
        /// The newest position.
        head: u64,
        /// Events folded.
        events: u64,
    },
    /// It is done.
    Done {
        /// The generation that serves since.
        generation: i64,
        /// Events folded.
        events: u64,
        /// Rows that serve.
        rows: u64,
        /// Rows of the old generation that were not what the log says.
        differences: u64,
    },
    /// It stopped; starting it again goes on where it was.
    Failed {
        /// Why.
        message: String,
    },
}

/// A rebuild of this read model is under way.
#[derive(Debug, thiserror::Error)]
#[error("a rebuild of {0} is under way")]
pub struct AlreadyRunning(pub String);

/// The rebuilds of this process; clones share them.
#[derive(Clone, Default)]
pub struct Rebuilds(Arc<Mutex<BTreeMap<String, RebuildStatus>>>);

impl Rebuilds {
    /// How the newest rebuild of each read model goes or went.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, RebuildStatus> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts a rebuild.
    ///
    /// # Errors
    /// [`AlreadyRunning`]
    pub fn start(
        &self,
        application: &Application,
        name: &str,
        metadata: Metadata,
    ) -> Result<(), AlreadyRunning> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(all.get(name), Some(RebuildStatus::Running { .. })) {
            return Err(AlreadyRunning(name.to_owned()));
        }
        all.insert(name.to_owned(), running(Progress::default()));
        let (rebuilds, name, ledger) = (self.clone(), name.to_owned(), application.ledger.clone());
        application.tasks.spawn(async move {
            let outcome = rebuild_and_record(&ledger, &name, metadata, |progress| {
                rebuilds.set(&name, running(progress));
            })
            .await;
            rebuilds.set(&name, outcome.map_or_else(failed, |rebuilt| done(&rebuilt)));
        });
        Ok(())
    }

    fn set(&self, name: &str, status: RebuildStatus) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), status);
    }
}

fn running(progress: Progress) -> RebuildStatus {
    RebuildStatus::Running {
        position: progress.position,
        head: progress.head,
        events: progress.events,
    }
}

fn done(rebuilt: &Rebuilt) -> RebuildStatus {
    RebuildStatus::Done {
        generation: rebuilt.generation,
        events: rebuilt.events,
        rows: rebuilt.rows,
        differences: rebuilt.differences,
    }
}

fn failed(message: String) -> RebuildStatus {
    tracing::error!(%message, "a rebuild failed");
    RebuildStatus::Failed { message }
}

/// Rebuilds a read model and records that it was.
///
/// # Errors
/// A sentence that says what went wrong.
pub async fn rebuild_and_record(
    ledger: &Ledger,
    name: &str,
    metadata: Metadata,
    progress: impl Fn(Progress),
) -> Result<Rebuilt, String> {
    let rebuilt = rebuild(ledger.backend(), name, progress)
        .await
        .map_err(|error: RebuildError| error.to_string())?;
    let event = VaultEvent::ProjectionRebuilt {
        name: rebuilt.name.clone(),
        version: rebuilt.version,
        generation: rebuilt.generation,
        rows: rebuilt.rows,
        differences: rebuilt.differences,
        events: rebuilt.events,
    };
    let new = NewEvent::of(&event).map_err(|error| error.to_string())?;
    let append = Append {
        metadata: metadata.to_json(),
        columns: IndexColumns {
            actor: metadata.actor,
            ..IndexColumns::default()
        },
        ..Append::new(vault_stream(ledger.node_id()), Expected::Any, vec![new])
    };
    ledger
        .append(append)
        .await
        .map_err(|error| error.to_string())?;
    Ok(rebuilt)
}
