//! Comparing a read model with the log.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};

use super::{LOOK_EVERY, RebuildError, counted};
use crate::broker::{Broker, Comparison, Found, Verified};

impl Verified {
    /// Whether every row is what the log says.
    pub(crate) fn is_clean(&self) -> bool {
        self.altered + self.missing + self.invented == 0
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, events) = (counted(self.rows, "row"), counted(self.events, "event"));
        if self.is_clean() {
            return write!(f, "{rows} from {events}; every row is what the log says");
        }
        write!(
            f,
            "{rows} from {events}; {} altered, {} missing, {} invented",
            self.altered, self.missing, self.invented
        )?;
        for Found { key, fault } in &self.first {
            write!(f, "\n  {fault} {key}")?;
        }
        Ok(())
    }
}

/// Compares a read model with the log, or joins the comparison that is under way, and waits for its end.
pub(crate) async fn verify(broker: &Broker, name: &str) -> Result<Verified, RebuildError> {
    broker.start_comparison(name).await?;
    let spinner = Spinner::new(name);
    loop {
        match look(broker, name).await? {
            Comparison::Running { rows } => spinner.show(rows),
            Comparison::Done(verified) => return Ok(verified),
            Comparison::Failed { message } => {
                return Err(RebuildError::VerificationFailed {
                    name: name.to_owned(),
                    message,
                });
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How many rows were compared, on standard error, when that is a terminal; cleared at the end.
struct Spinner(ProgressBar);

impl Spinner {
    fn new(name: &str) -> Self {
        let spinner = ProgressBar::new_spinner().with_prefix(name.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{prefix} {pos} rows compared") {
            spinner.set_style(style);
        }
        Self(spinner)
    }

    fn show(&self, rows: u64) {
        self.0.set_position(rows);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn look(broker: &Broker, name: &str) -> Result<Comparison, RebuildError> {
    let listing = broker.projections().await?;
    let found = listing.projections.into_iter().find(|one| one.name == name);
    found
        .and_then(|one| one.comparison)
        .ok_or_else(|| RebuildError::VerificationForgotten(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::broker::scripted::{Scripted, broker_at};

    async fn verified(verification: serde_json::Value) -> Result<Verified, RebuildError> {
        let body = json!({"head": 40, "projections": [{"name": "connections", "version": 1001, "generation": 1, "rebuild": null, "verification": verification}]});
        let answers = vec![(202, "{}".to_owned()), (200, body.to_string())];
        let scripted = Scripted::serve(answers);
        let outcome = verify(&broker_at(&scripted.url, "key"), "connections").await;
        let requests = scripted.requests();
        assert!(
            requests[0].starts_with("POST /admin/v1/projections/connections/verify "),
            "{requests:?}"
        );
        outcome
    }

    #[tokio::test]
    async fn rows_that_differ_are_counted_and_named() {
        let done = json!({"state": "done", "rows": 3, "events": 9, "altered": 1, "missing": 1, "invented": 0,
            "first": [{"key": "r1", "fault": "altered"}, {"key": "r2", "fault": "missing"}]});
        let verified = verified(done).await.unwrap();
        assert!(!verified.is_clean());
        assert_eq!(
            verified.to_string(),
            "3 rows from 9 events; 1 altered, 1 missing, 0 invented\n  altered r1\n  missing r2"
        );
    }

    #[tokio::test]
    async fn rows_that_are_what_the_log_says_are_clean() {
        let done = json!({"state": "done", "rows": 1, "events": 9, "altered": 0, "missing": 0, "invented": 0, "first": []});
        let verified = verified(done).await.unwrap();
        assert!(verified.is_clean());
        assert_eq!(
            verified.to_string(),
            "1 row from 9 events; every row is what the log says"
        );
    }

    #[tokio::test]
    async fn a_comparison_that_failed_or_was_forgotten_is_a_failure() {
        let failed = json!({"state": "failed", "message": "the database is unavailable"});
        assert_eq!(
            verified(failed).await.unwrap_err().to_string(),
            "the verification of connections failed: the database is unavailable"
        );
        let forgotten = verified(serde_json::Value::Null).await;
        assert!(
            matches!(forgotten, Err(RebuildError::VerificationForgotten(name)) if name == "connections")
        );
    }
}
