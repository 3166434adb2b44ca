//! Where a connection stands: `GET /v1/check-connection/{id}`. Reading it is not a credential read.

use nexus_domain::connection::{FailureReason, Status};
use nexus_domain::reference::ConnectionId;
use nexus_domain::time::Timestamp;
use nexus_projections::ConnectionRow;

use super::token::health_status;
use super::{Application, Fault};

/// Where a connection stands, as clients poll it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `pending`, `active`, `attention` or `failed`.
    pub status: &'static str,
    /// Why it is not active.
    pub reason: Option<String>,
    /// The provider's name, for known ids.
    pub provider_name: Option<String>,
    /// How it fares, for known ids.
    pub health_status: Option<&'static str>,
}

impl Application {
    /// Where the connection of an id stands; an id that names none has failed.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn check_connection(&self, id: &str) -> Result<Standing, Fault> {
        let row = match ConnectionId::parse(id) {
            Ok(id) => self.reads.standing(&id.reference().to_string()).await?,
            Err(_) => None,
        };
        Ok(row.map_or_else(unknown, |row| standing(&row, self.ledger.now())))
    }
}

fn unknown() -> Standing {
    Standing {
        status: "failed",
        reason: Some("connection_not_found".to_owned()),
        provider_name: None,
        health_status: None,
    }
}

fn standing(row: &ConnectionRow, now: Timestamp) -> Standing {
    let status = match row.state.status {
        Status::Pending if lapsed(row, now).is_some() => "failed",
        Status::Pending => "pending",
        Status::Active => "active",
        Status::Attention => "attention",
        Status::Absent | Status::Failed | Status::Revoked | Status::Deleted => "failed",
    };
    let reason = lapsed(row, now)
        .map(str::to_owned)
        .or_else(|| row.state.reason.clone());
    Standing {
        status,
        reason: reason.filter(|_| matches!(status, "attention" | "failed")),
        provider_name: Some(row.state.provider_name.clone()),
        health_status: Some(health_status(row)),
    }
}

/// Why a first consent that is still pending in the log has lapsed all the same: the sweep only
/// records it.
pub(super) fn lapsed(row: &ConnectionRow, now: Timestamp) -> Option<&'static str> {
    if row.state.status != Status::Pending || row.due_at().is_none_or(|due_at| now < due_at) {
        return None;
    }
    Some(match row.exchange_deadline {
        Some(_) => FailureReason::ExchangeOutcomeUnknown.as_str(),
        None => "pending_expired",
    })
}
