//! Where a connection stands: `GET /v1/check-connection/{id}`. Reading it is not a credential read.

use nexus_domain::connection::Status;
use nexus_domain::reference::ConnectionId;
use nexus_domain::time::Timestamp;
use nexus_projections::Standing;
use nexus_projections::connections::Lapse;
use serde::Serialize;

use super::token::health_status;
use super::{Application, Fault};

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
}

impl Application {
    /// Where the connection of an id stands; an id that names none has failed.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn check_connection(&self, id: &str) -> Result<ConnectionStatus, Fault> {
        let standing = match ConnectionId::parse(id) {
            Ok(id) => self.reads.standing(id.reference()).await?,
            Err(_) => None,
        };
        Ok(standing.map_or_else(unknown, |standing| status(&standing, self.ledger.now())))
    }
}

fn unknown() -> ConnectionStatus {
    ConnectionStatus {
        status: "failed",
        reason: Some("connection_not_found".to_owned()),
        provider_name: None,
        health_status: None,
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
    let reason = lapsed
        .map(str::to_owned)
        .or_else(|| standing.reason.clone());
    ConnectionStatus {
        status,
        reason: reason.filter(|_| matches!(status, "attention" | "failed")),
        provider_name: Some(standing.provider_name.clone()),
        health_status: Some(health_status(standing.status, standing.failures)),
    }
}

/// Why a first consent that is still pending in the log has lapsed all the same: the sweep only
/// records it.
pub(super) fn lapsed(lapse: Option<Lapse>, now: Timestamp) -> Option<&'static str> {
    lapse
        .filter(|lapse| lapse.at <= now)
        .map(|lapse| lapse.reason)
}
