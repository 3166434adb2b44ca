//! Comparing read models with the log.

use std::collections::BTreeMap;

use nexus_projections::verify::{Fault, Verified, verify};
use serde::Serialize;
use tokio::sync::watch;

use super::newest::{AlreadyRunning, Newest, Status};
use crate::application::Application;

/// How a comparison goes or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CompareStatus {
    /// It is under way.
    Running {
        /// Rows compared.
        rows: u64,
        /// Events folded.
        events: u64,
    },
    /// It is done.
    Done {
        /// Rows compared.
        rows: u64,
        /// Events folded.
        events: u64,
        /// Rows that are not what the log says.
        altered: u64,
        /// Rows that are not there.
        missing: u64,
        /// Rows that nothing in the log made.
        invented: u64,
        /// The first of these.
        first: Vec<Found>,
    },
    /// It stopped.
    Failed {
        /// Why.
        message: String,
    },
}

impl Status for CompareStatus {
    const WHAT: &'static str = "verification";

    fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    key: String,
    fault: &'static str,
}

/// The comparisons of this process; clones share them.
#[derive(Clone)]
pub struct Comparisons {
    newest: Newest<CompareStatus>,
    stopping: watch::Receiver<bool>,
}

impl Comparisons {
    /// None yet. Those under way end when `stopping` says so.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>) -> Self {
        Self {
            newest: Newest::default(),
            stopping,
        }
    }

    /// How the newest comparison of each read model goes or went.
    #[must_use]
    pub fn status(&self) -> BTreeMap<String, CompareStatus> {
        self.newest.all()
    }

    /// Starts a comparison.
    ///
    /// # Errors
    /// [`AlreadyRunning`]
    pub fn start(&self, application: &Application, name: &str) -> Result<(), AlreadyRunning> {
        self.newest.begin(name, running(&Verified::default()))?;
        let (newest, name) = (self.newest.clone(), name.to_owned());
        let backend = application.ledger.backend().clone();
        let mut stopping = self.stopping.clone();
        application.tasks.spawn(async move {
            let verify = verify(&backend, &name, |found| newest.set(&name, running(found)));
            let status = tokio::select! {
                outcome = verify => match outcome {
                    Ok(verified) => done(&name, verified),
                    Err(error) => failed(error.to_string()),
                },
                _ = stopping.wait_for(|stopping| *stopping) => failed("the server stops".to_owned()),
            };
            newest.set(&name, status);
        });
        Ok(())
    }
}

fn running(found: &Verified) -> CompareStatus {
    CompareStatus::Running {
        rows: found.rows,
        events: found.events,
    }
}

fn done(name: &str, verified: Verified) -> CompareStatus {
    if verified.differences() > 0 {
        let (altered, missing) = (verified.altered, verified.missing);
        let invented = verified.invented;
        tracing::error!(
            name,
            altered,
            missing,
            invented,
            "rows are not what the log says"
        );
    }
    let found = |difference: nexus_projections::verify::Difference| Found {
        key: difference.key,
        fault: match difference.fault {
            Fault::Altered => "altered",
            Fault::Missing => "missing",
            Fault::Invented => "invented",
        },
    };
    CompareStatus::Done {
        rows: verified.rows,
        events: verified.events,
        altered: verified.altered,
        missing: verified.missing,
        invented: verified.invented,
        first: verified.first.into_iter().map(found).collect(),
    }
}

fn failed(message: String) -> CompareStatus {
    tracing::error!(%message, "a read model could not be verified");
    CompareStatus::Failed { message }
}
