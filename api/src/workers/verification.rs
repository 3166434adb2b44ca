//! Verifications of the log: one at a time, in the background.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nexus_ledger::Ledger;
use nexus_ledger::checkpoint::{Checkpoint, VerifierKey};
use nexus_ledger::verify::{Progress, Trust, Verified, VerifyError, verify_with};
use serde::Serialize;

/// How a verification goes or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum VerificationStatus {
    /// It is under way.
    Running {
        /// Every event up to this position is verified.
        position: u64,
        /// The last position to verify.
        head: u64,
    },
    /// The log is what was recorded.
    Done {
        /// The number of events.
        size: u64,
        /// The root of the tree over them, base64.
        root: String,
        /// How many checkpoints in the database agree.
        checkpoints: u64,
        /// How many checkpoints kept outside agree.
        outside: u64,
        /// Up to which position a checkpoint covers the events.
        signed: u64,
    },
    /// The log is not what was recorded.
    Diverged {
        /// The first position that shows it.
        position: u64,
        /// A sentence.
        message: String,
    },
    /// It could not be found out.
    Failed {
        /// Why.
        message: String,
    },
}

/// A verification is under way.
#[derive(Debug, thiserror::Error)]
#[error("a verification is under way")]
pub struct VerificationRunning;

/// The newest verification of this process; clones share it.
#[derive(Clone, Default)]
pub struct Verifications(Arc<Mutex<Option<VerificationStatus>>>);

impl Verifications {
    /// How the newest one goes or went; `None` when there was none since the start.
    #[must_use]
    pub fn status(&self) -> Option<VerificationStatus> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts one. It is given up when the server stops.
    ///
    /// # Errors
    /// [`VerificationRunning`]
    pub fn start(
        &self,
        ledger: &Ledger,
        key: VerifierKey,
        outside: Vec<Checkpoint>,
    ) -> Result<(), VerificationRunning> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*newest, Some(VerificationStatus::Running { .. })) {
            return Err(VerificationRunning);
        }
        let head = ledger.head().position();
        *newest = Some(running(Progress { position: 0, head }));
        let (all, backend) = (self.clone(), ledger.backend().clone());
        tokio::spawn(async move {
            let trust = Trust::new(key, outside);
            let outcome =
                verify_with(&backend, &trust, |progress| all.set(running(progress))).await;
            all.set(match outcome {
                Ok(verified) => done(&verified),
                Err(error) => failed(&error),
            });
        });
        Ok(())
    }

    fn set(&self, status: VerificationStatus) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

fn running(progress: Progress) -> VerificationStatus {
    VerificationStatus::Running {
        position: progress.position,
        head: progress.head,
    }
}

fn done(verified: &Verified) -> VerificationStatus {
    VerificationStatus::Done {
        size: verified.size,
        root: BASE64.encode(verified.root),
        checkpoints: verified.checkpoints,
        outside: verified.outside,
        signed: verified.signed,
    }
}

fn failed(error: &VerifyError) -> VerificationStatus {
    let message = error.to_string();
    tracing::error!(%message, "the log is not verified");
    match error {
        VerifyError::Divergence { position, .. } => VerificationStatus::Diverged {
            position: *position,
            message,
        },
        VerifyError::Read(_) => VerificationStatus::Failed { message },
    }
}
