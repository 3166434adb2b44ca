//! Where a connection stands: `GET /v1/check-connection/{id}`. Reading it is not a credential read.

use std::pin::pin;
use std::time::Duration;

use nexus_domain::connection::Status;
use nexus_domain::metadata::Metadata;
use nexus_domain::reference::{ConnectionId, ConnectionReference};
use nexus_domain::time::Timestamp;
use nexus_projections::Standing;
use nexus_projections::connections::Lapse;
use serde::Serialize;
use tokio::time::Instant;

use super::token::health_status;
use super::waiters::stopped;
use super::{Application, Fault, is_of_subject};

/// Where a connection stands, as clients poll it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionStatus {
    /// `pending`, `active`, `attention` or `failed`.
    pub status: &'static str,
    /// Why it is not active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The provider's name, for known ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<String>,
    /// How it fares, for known ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_status: Option<&'static str>,
    /// What tells this answer from the ones before and after it; `None` for an id that names none.
    #[serde(skip)]
    pub version: Option<String>,
    /// How long until it lapses unless somebody consents.
    #[serde(skip)]
    pub lapses_in: Option<Duration>,
}

impl Application {
    /// Where the connection of an id stands; an id that names none,
    /// or somebody else's, has failed. While it is pending,
    /// the answer waits for a change, at most for `wait`.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn check_connection(
        &self,
        id: &str,
        metadata: &Metadata,
        wait: Duration,
    ) -> Result<ConnectionStatus, Fault> {
        let Ok(id) = ConnectionId::parse(id) else {
            return Ok(unknown());
        };
        let reference = id.reference();
        if wait.is_zero() {
            return self.status_of(reference, metadata).await;
        }
        let give_up = Instant::now() + wait;
        let place = self.waiters.join(reference);
        let mut stopping = self.stopping.clone();
        loop {
            let mut moved = pin!(place.moved.notified());
            moved.as_mut().enable();
            let status = self.status_of(reference, metadata).await?;
            if status.status != "pending" || Instant::now() >= give_up || *stopping.borrow() {
                return Ok(status);
            }
            let lapses = status.lapses_in.map(|left| Instant::now() + left);
            let until = lapses.map_or(give_up, |lapses| lapses.min(give_up));
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep_until(until) => {}
                () = stopped(&mut stopping) => {}
            }
        }
    }

    async fn status_of(
        &self,
        reference: ConnectionReference,
        metadata: &Metadata,
    ) -> Result<ConnectionStatus, Fault> {
        let standing = self.reads.standing(reference).await?;
        let standing = standing.filter(|standing| is_of_subject(&standing.workspace_id, metadata));
        Ok(standing.map_or_else(unknown, |standing| status(&standing, self.ledger.now())))
    }
}

fn unknown() -> ConnectionStatus {
    ConnectionStatus {
        status: "failed",
        reason: Some("connection_not_found".to_owned()),
        provider_name: None,
        health_status: None,
        version: None,
        lapses_in: None,
    }
}

fn status(standing: &Standing, now: Timestamp) -> ConnectionStatus {
    let lapsed = lapsed(standing.lapse, now);
    let status = match standing.status {
        Status::Pending if lapsed.is_some() => "failed",
        Status::Pending => "pending",
        Status::Active => "active",
        Status::Attention => "attention",
        Status::Absent | Status::Failed | Status::Revoked | Status::Deleted => "failed",
    };
    let ahead = standing.lapse.filter(|_| lapsed.is_none());
    let reason = lapsed
        .map(str::to_owned)
        .or_else(|| standing.reason.clone());
    ConnectionStatus {
        status,
        reason: reason.filter(|_| matches!(status, "attention" | "failed")),
        provider_name: Some(standing.provider_name.clone()),
        health_status: Some(health_status(standing.status, standing.failures)),
        // A lapse changes the answer before it is recorded.
        version: Some(match lapsed {
            None => standing.sequence.to_string(),
            Some(_) => format!("{}.lapsed", standing.sequence),
        }),
        lapses_in: ahead.map(|lapse| lapse.at.since(now)),
    }
}

/// Why a first consent that is still pending in the log has lapsed all the same: the sweep only
/// records it.
pub(super) fn lapsed(lapse: Option<Lapse>, now: Timestamp) -> Option<&'static str> {
    lapse
        .filter(|lapse| lapse.at <= now)
        .map(|lapse| lapse.reason)
}
