//! Whether providers are there, as this node last saw.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_domain::time::Timestamp;
use nexus_projections::ProviderRow;
use serde::Serialize;

use super::{Application, Fault};
use crate::upstream::{ProbeError, ProbeTarget};

/// What is said of a provider with no URL that can be asked.
const NOTHING_TO_CHECK: &str = "There is no URL to check.";

/// How a provider is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// It was there.
    Healthy,
    /// It was not.
    Unhealthy,
}

/// What was last seen of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How it was.
    #[serde(rename = "health_status")]
    pub status: HealthStatus,
    /// When somebody looked.
    #[serde(rename = "last_health_check_at")]
    pub at: Option<Timestamp>,
    /// Why it is not healthy: one of few sentences.
    #[serde(rename = "health_message")]
    pub message: Option<String>,
}

/// A provider and what was last seen of it.
#[derive(Debug, Serialize)]
pub struct ProviderHealth {
    id: String,
    name: String,
    #[serde(flatten)]
    checked: Checked,
}

/// What this node last saw of every provider; clones share it.
#[derive(Clone, Debug, Default)]
pub struct ProvidersHealth(Arc<Mutex<HashMap<String, Checked>>>);

impl ProvidersHealth {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Checked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was last seen of a provider.
    #[must_use]
    pub fn of(&self, id: &str) -> Checked {
        self.known().get(id).cloned().unwrap_or_default()
    }

    /// Forgets every provider but these.
    pub fn keep(&self, is_known: impl Fn(&str) -> bool) {
        self.known().retain(|id, _| is_known(id));
    }

    /// How many providers were last seen like this.
    #[must_use]
    pub fn count(&self, status: HealthStatus) -> u64 {
        let known = self.known();
        let alike = known.values().filter(|checked| checked.status == status);
        u64::try_from(alike.count()).unwrap_or(u64::MAX)
    }

    fn set(&self, id: &str, checked: Checked) {
        self.known().insert(id.to_owned(), checked);
    }
}

impl Application {
    /// Looks whether a provider is there, and remembers what was seen.
    pub async fn check_provider(&self, row: &ProviderRow) {
        let checked = match ProbeTarget::of(&row.state.profile) {
            Some(target) => {
                let seen = self.upstream.probe(&target).await;
                seen_at(self.ledger.now(), seen)
            }
            None => Checked {
                message: Some(NOTHING_TO_CHECK.to_owned()),
                ..Checked::default()
            },
        };
        if checked.status != self.provider_health.of(&row.id).status {
            let (status, message) = (checked.status, checked.message.as_deref());
            tracing::info!(provider = row.id, ?status, message, "a provider's health");
        }
        self.provider_health.set(&row.id, checked);
    }

    /// What this node last saw of every registered provider, by name.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn list_provider_health(&self) -> Result<Vec<ProviderHealth>, Fault> {
        let rows = self.reads.providers().await?;
        let with_health = rows.into_iter().map(|row| ProviderHealth {
            checked: self.provider_health.of(&row.id),
            id: row.id,
            name: row.state.profile.name,
        });
        Ok(with_health.collect())
    }
}

fn seen_at(now: Timestamp, seen: Result<(), ProbeError>) -> Checked {
    Checked {
        status: match seen {
            Ok(()) => HealthStatus::Healthy,
            Err(_) => HealthStatus::Unhealthy,
        },
        at: Some(now),
        message: seen.err().map(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_was_not_looked_at_is_unknown_and_who_is_gone_is_forgotten() {
        let health = ProvidersHealth::default();
        let now = Timestamp::from_seconds(0);
        health.set("a", seen_at(now, Ok(())));
        health.set("b", seen_at(now, Err(ProbeError::Status(503))));
        assert_eq!(health.of("c"), Checked::default());
        assert_eq!(health.count(HealthStatus::Healthy), 1);
        assert_eq!(health.count(HealthStatus::Unhealthy), 1);
        health.keep(|id| id == "a");
        assert_eq!(health.of("b"), Checked::default());
        assert_eq!(health.count(HealthStatus::Unhealthy), 0);
    }

    #[test]
    fn what_was_seen_is_written_under_the_names_of_the_wire() {
        let now = Timestamp::from_seconds(0);
        let row = ProviderHealth {
            id: "1".to_owned(),
            name: "google".to_owned(),
            checked: seen_at(now, Err(ProbeError::Name)),
        };
        assert_eq!(
            serde_json::to_value(row).unwrap(),
            json!({
                "id": "1", "name": "google", "health_status": "unhealthy",
                "last_health_check_at": "1970-01-01T00:00:00.000000Z",
                "health_message": "The name could not be resolved.",
            })
        );
    }
}
