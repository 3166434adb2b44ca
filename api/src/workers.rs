//! What runs beside the requests: the sweep of what has lapsed, rebuilds of read models, and their
//! comparison with the log, the checks of providers.

mod comparisons;
mod health;
mod keys;
mod newest;
mod session_keys;
mod verification;

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_domain::metadata::Metadata;
use nexus_domain::time::Timestamp;
use nexus_domain::vault::{VaultEvent, vault_stream};
use nexus_ledger::{Append, Expected, IndexColumns, Ledger, NewEvent};
use nexus_projections::rebuild::{Progress, RebuildError, Rebuilt, outdated, rebuild};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::application::Application;

use newest::{Newest, Status};

pub use comparisons::{CompareStatus, Comparisons};
pub use health::check_providers;
pub use keys::reload_keys;
pub use newest::AlreadyRunning;
pub use session_keys::keep_session_keys;
pub use verification::{VerificationRunning, VerificationStatus, Verifications};

/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// What refusals are counted by.
const MINUTE: Duration = Duration::from_mins(1);
/// How long recording the last of them may take.
const LAST_DENIALS_WITHIN: Duration = Duration::from_secs(10);
/// Between two tries to tell providers of what was revoked.
const REVOKE_EVERY: Duration = Duration::from_secs(30);

/// Records what has lapsed, consents and sessions, until told to stop.
pub async fn sweep(application: Application, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow_and_update() {
        let swept = [
            application.expire_connections().await,
            application.expire_sessions().await,
        ];
        let mut more = false;
        for outcome in swept {
            match outcome {
                Ok(left) => more |= left,
                Err(error) => tracing::warn!(%error, "what has lapsed could not be recorded"),
            }
        }
        if !more {
            drop(tokio::time::timeout(SWEEP_EVERY, stopping.changed()).await);
        }
    }
}

/// Tells providers to revoke tokens, those that could not be told before, until told to stop.
pub async fn revoke_at_providers(application: Application, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow_and_update() {
        if let Err(error) = application.retry_provider_revocations().await {
            tracing::warn!(%error, "providers could not be told of revoked connections");
        }
        drop(tokio::time::timeout(REVOKE_EVERY, stopping.changed()).await);
    }
}

/// Records who was refused, a minute at a time, until told to stop.
pub async fn record_denials(application: Application, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow_and_update() {
        let now = application.ledger.now();
        let minute_left = MINUTE.saturating_sub(now.since(now.minute()));
        drop(tokio::time::timeout(minute_left, stopping.changed()).await);
        let before = application.ledger.now();
        if let Err(error) = application.record_denials(before).await {
            tracing::warn!(%error, "refusals could not be recorded yet");
        }
    }
}

/// Records who was refused in the minute under way, when nobody will be any more.
pub async fn record_last_denials(application: &Application) {
    let end = Timestamp::from_micros(i64::MAX);
    let recorded = application.record_denials(end);
    let outcome = tokio::time::timeout(LAST_DENIALS_WITHIN, recorded).await;
    if !matches!(outcome, Ok(Ok(()))) {
        tracing::error!("refusals of the last minute could not be recorded");
    }
}

/// Between the first two tries to rebuild what an older version made.
const UPGRADE_AGAIN: Duration = Duration::from_secs(1);
/// The longest time between two of them.
const UPGRADE_AT_LEAST_EVERY: Duration = Duration::from_mins(1);

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
        /// Positions passed per second.
        rate: u64,
        /// What is left at that rate, while there is one.
        seconds_left: Option<u64>,
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
        /// The longest that appends had to wait for it at a stretch, microseconds.
        longest_pause_us: u64,
    },
    /// It stopped; starting it again goes on where it was.
    Failed {
        /// Why.
        message: String,
    },
}

impl Status for RebuildStatus {
    const WHAT: &'static str = "rebuild";

    fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// The rebuilds of this process; clones share them.
#[derive(Clone)]
pub struct Rebuilds {
    newest: Newest<RebuildStatus>,
    stopping: watch::Receiver<bool>,
}

impl Rebuilds {
    /// None yet. Those under way end when `stopping` says so, and go on when they are started again.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>) -> Self {
        Self {
            newest: Newest::default(),
            stopping,
        }
    }

    /// How the newest rebuild of each read model goes or went.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, RebuildStatus> {
        self.newest.all()
    }

    /// Starts a rebuild. The handle ends with it.
    ///
    /// # Errors
    /// [`AlreadyRunning`]
    pub fn start(
        &self,
        application: &Application,
        name: &str,
        metadata: Metadata,
    ) -> Result<JoinHandle<()>, AlreadyRunning> {
        self.newest.begin(name, running(Progress::default()))?;
        let (newest, name, ledger) = (
            self.newest.clone(),
            name.to_owned(),
            application.ledger.clone(),
        );
        let mut stopping = self.stopping.clone();
        Ok(application.tasks.spawn(async move {
            let rebuild = rebuild_and_record(&ledger, &name, metadata, |progress| {
                newest.set(&name, running(progress));
            });
            let status = tokio::select! {
                outcome = rebuild => outcome.map_or_else(failed, |rebuilt| done(&rebuilt)),
                _ = stopping.wait_for(|stopping| *stopping) => failed("the server stops".to_owned()),
            };
            newest.set(&name, status);
        }))
    }

    /// Rebuilds the read models whose rows an older version of their fold made. Those rows serve
    /// meanwhile. Tries again until it is done, or until told to stop.
    pub async fn upgrade(self, application: Application) {
        let mut wait = UPGRADE_AGAIN;
        while !*self.stopping.borrow() {
            match outdated(application.ledger.backend()).await {
                Ok(outdated) if outdated.is_empty() => return,
                Ok(outdated) => {
                    for read_model in outdated {
                        self.upgrade_one(&application, &read_model.name).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "the read models' versions are not known"),
            }
            let mut stopping = self.stopping.clone();
            let stopped = stopping.wait_for(|stopping| *stopping);
            if tokio::time::timeout(wait, stopped).await.is_ok() {
                return;
            }
            wait = (wait * 2).min(UPGRADE_AT_LEAST_EVERY);
        }
    }

    async fn upgrade_one(&self, application: &Application, name: &str) {
        tracing::info!(name, "rebuilding a read model for this version");
        if let Ok(rebuild) = self.start(application, name, upgrade_metadata()) {
            // Its outcome is looked up, and logged where it failed.
            drop(rebuild.await);
        }
    }
}

fn running(progress: Progress) -> RebuildStatus {
    RebuildStatus::Running {
        position: progress.position,
        head: progress.head,
        events: progress.events,
        rate: progress.rate,
        seconds_left: progress.left.map(|left| left.as_secs()),
    }
}

fn done(rebuilt: &Rebuilt) -> RebuildStatus {
    RebuildStatus::Done {
        generation: rebuilt.generation,
        events: rebuilt.events,
        rows: rebuilt.rows,
        differences: rebuilt.differences,
        longest_pause_us: micros(rebuilt.longest_pause),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Who rebuilds after an upgrade.
#[must_use]
pub fn upgrade_metadata() -> Metadata {
    Metadata::of_the_program("upgrade_read_model")
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
        longest_pause_us: Some(micros(rebuilt.longest_pause)),
    };
    record(ledger, &event, metadata).await?;
    Ok(rebuilt)
}

/// Records what was done to the vault.
async fn record(ledger: &Ledger, event: &VaultEvent, metadata: Metadata) -> Result<(), String> {
    let new = NewEvent::of(event).map_err(|error| error.to_string())?;
    let append = Append {
        metadata: metadata.to_json(),
        columns: IndexColumns {
            actor: metadata.actor,
            ..IndexColumns::default()
        },
        ..Append::new(vault_stream(ledger.node_id()), Expected::Any, vec![new])
    };
    let appended = ledger.append(append).await;
    appended.map(drop).map_err(|error| error.to_string())
}
