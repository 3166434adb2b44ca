//! The `connections` read model: every connection as its stream tells it, with its deadlines and
//! the ciphertext that serves it.

use std::time::Duration;

use nexus_domain::connection::{Connection, ConnectionEvent, FailureReason, Status};
use nexus_domain::decider::Decider;
use nexus_domain::sealing::SealedRef;
use nexus_domain::time::Timestamp;
use nexus_ledger::RecordedEvent;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::projection::{FoldError, Projection};
use crate::table::{Column, Value, Values};

/// The longest wait after failed refreshes.
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// How long a token is kept that is to be revoked at its provider.
const REVOKE_FOR: Duration = Duration::from_hours(24);

/// A connection.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRow {
    /// Its reference, the id of its stream.
    pub reference: String,
    /// The newest sequence of its stream: what a guard names.
    pub sequence: u64,
    /// The position of its newest event.
    pub position: u64,
    /// The folded state.
    pub state: Connection,
    /// When it was first requested.
    pub created_at: Timestamp,
    /// When its newest event was recorded.
    pub updated_at: Timestamp,
    /// When an exchange of a code that is under way counts as lost.
    pub exchange_deadline: Option<Timestamp>,
    /// When the refresh claim that is held may be taken over.
    pub claim_deadline: Option<Timestamp>,
    /// When a refresh that nobody forces is tried again after failures.
    pub retry_at: Option<Timestamp>,
    /// The connection's id, sealed.
    pub id: Option<SealedField>,
    /// The newest credential, sealed.
    pub credential: Option<SealedField>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Until when a token that is still to be revoked at the provider is kept.
    pub revoking_until: Option<Timestamp>,
    /// That token, sealed.
    pub revocation: Option<SealedField>,
}

/// How a connection stands: all that a poll tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The newest sequence of its stream.
    pub sequence: u64,
    /// The user.
    pub workspace_id: String,
    /// Where it stands in the log.
    pub status: Status,
    /// Why it failed, needs attention or was revoked.
    pub reason: Option<String>,
    /// The provider's name when it was requested.
    pub provider_name: String,
    /// Refreshes that failed since the last success.
    pub failures: u32,
    /// When its first consent lapses, and as what, whether or not that is recorded by then.
    pub lapse: Option<Lapse>,
}

/// The end of a consent that nobody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// When.
    pub at: Timestamp,
    /// The reason it is given.
    pub reason: &'static str,
}

impl Standing {
    /// How the connection of a row stands.
    #[must_use]
    pub fn of(row: &ConnectionRow) -> Self {
        Self {
            sequence: row.sequence,
            workspace_id: row.state.workspace_id.clone(),
            status: row.state.status,
            reason: row.state.reason.clone(),
            provider_name: row.state.provider_name.clone(),
            failures: row.state.refresh.failures,
            lapse: row.lapse(),
        }
    }
}

/// Ciphertext and what is needed to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedField {
    /// Digest, key and version as the event names them.
    pub sealed: SealedRef,
    /// The position of the event that it rides beside.
    pub position: u64,
    /// The ciphertext; `None` when it was dropped since.
    pub blob: Option<Vec<u8>>,
}

/// The fold.
#[derive(Debug)]
pub struct Connections;

impl Projection for Connections {
    const NAME: &'static str = "connections";
    const VERSION: i64 = 1_000 + Connection::STATE_VERSION as i64;
    const STREAM: &'static str = "connection";
    const COLUMNS: &'static [Column] = &[
        Column::text("reference"),
        Column::integer("sequence"),
        Column::integer("position"),
        Column::text("status").spare(),
        Column::text("workspace_id").spare(),
        Column::text("provider_id").spare(),
        Column::integer("due_at").spare(),
        Column::text("state"),
        Column::integer("created_at"),
        Column::integer("updated_at"),
        Column::integer("exchange_deadline"),
        Column::integer("claim_deadline"),
        Column::integer("retry_at"),
        Column::text("id_sealed").spare(),
        Column::integer("id_position").spare(),
        Column::bytes("id_blob").spare(),
        Column::text("credential_sealed").spare(),
        Column::integer("credential_position").spare(),
        Column::bytes("credential_blob").spare(),
        Column::integer("revoked_at").spare(),
        Column::integer("revoking_until").spare(),
        Column::text("revocation_sealed").spare(),
        Column::integer("revocation_position").spare(),
        Column::bytes("revocation_blob").spare(),
    ];
    const INDEXES: &'static [&'static str] =
        &["workspace_id, provider_id", "due_at", "revoking_until"];
    type Row = ConnectionRow;

    fn position(row: &Self::Row) -> u64 {
        row.position
    }

    fn apply(
        row: Option<ConnectionRow>,
        recorded: &RecordedEvent,
    ) -> Result<Option<ConnectionRow>, FoldError> {
        let event: ConnectionEvent = decode(&recorded.payload)?;
        let mut row = row.unwrap_or_else(|| ConnectionRow::new(recorded));
        row.state.evolve(&event);
        row.sequence = recorded.sequence;
        row.position = recorded.position;
        row.updated_at = recorded.recorded_at;
        row.keep_deadlines(&event, recorded.recorded_at);
        row.keep_ciphertext(&event, recorded);
        Ok(Some(row))
    }

    fn row_key(row: &ConnectionRow) -> &str {
        &row.reference
    }

    fn to_values(row: &ConnectionRow) -> Vec<Value> {
        let mut values = vec![
            row.reference.clone().into(),
            signed(row.sequence).into(),
            signed(row.position).into(),
            row.state.status.as_str().to_owned().into(),
            Some(row.state.workspace_id.clone()).into(),
            row.state.provider_id.map(|id| id.to_string()).into(),
            row.due_at().map(Timestamp::as_micros).into(),
            encode(&row.state).into(),
            row.created_at.as_micros().into(),
            row.updated_at.as_micros().into(),
            row.exchange_deadline.map(Timestamp::as_micros).into(),
            row.claim_deadline.map(Timestamp::as_micros).into(),
            row.retry_at.map(Timestamp::as_micros).into(),
        ];
        push_sealed(&mut values, row.id.as_ref());
        push_sealed(&mut values, row.credential.as_ref());
        values.push(row.revoked_at.map(Timestamp::as_micros).into());
        values.push(row.revoking_until.map(Timestamp::as_micros).into());
        push_sealed(&mut values, row.revocation.as_ref());
        values
    }

    fn from_values(values: Vec<Value>) -> Result<ConnectionRow, FoldError> {
        let mut values = Values::new(values);
        let reference = required(values.text()?)?;
        let sequence = unsigned(values.integer()?)?;
        let position = unsigned(values.integer()?)?;
        for _derived in ["status", "workspace_id", "provider_id"] {
            values.text()?;
        }
        let _due_at = values.integer()?;
        Ok(ConnectionRow {
            reference,
            sequence,
            position,
            state: decode(&required(values.text()?)?)?,
            created_at: Timestamp::from_micros(required(values.integer()?)?),
            updated_at: Timestamp::from_micros(required(values.integer()?)?),
            exchange_deadline: values.integer()?.map(Timestamp::from_micros),
            claim_deadline: values.integer()?.map(Timestamp::from_micros),
            retry_at: values.integer()?.map(Timestamp::from_micros),
            id: sealed_field(&mut values)?,
            credential: sealed_field(&mut values)?,
            revoked_at: values.integer()?.map(Timestamp::from_micros),
            revoking_until: values.integer()?.map(Timestamp::from_micros),
            revocation: sealed_field(&mut values)?,
        })
    }

    fn superseded_blob(old: &ConnectionRow, new: Option<&ConnectionRow>) -> Option<u64> {
        let kept = |field: fn(&ConnectionRow) -> Option<&SealedField>| {
            let position = field(old)?.position;
            let still = new.and_then(field).map(|field| field.position);
            (still != Some(position)).then_some(position)
        };
        // No event ends both.
        kept(|row| row.credential.as_ref()).or_else(|| kept(|row| row.revocation.as_ref()))
    }
}

impl ConnectionRow {
    fn new(first: &RecordedEvent) -> Self {
        Self {
            reference: first.stream.id.clone(),
            sequence: 0,
            position: 0,
            state: Connection::default(),
            created_at: first.recorded_at,
            updated_at: first.recorded_at,
            exchange_deadline: None,
            claim_deadline: None,
            retry_at: None,
            id: None,
            credential: None,
            revoked_at: None,
            revoking_until: None,
            revocation: None,
        }
    }

    /// When a consent that is pending has to be looked at again: it expires, or its exchange is lost.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        let pending = self.state.pending.as_ref()?;
        Some(self.exchange_deadline.unwrap_or(pending.expires_at))
    }

    /// When a first consent that is pending lapses.
    #[must_use]
    pub fn lapse(&self) -> Option<Lapse> {
        let at = self
            .due_at()
            .filter(|_| self.state.status == Status::Pending)?;
        let reason = match self.exchange_deadline {
            Some(_) => FailureReason::ExchangeOutcomeUnknown.as_str(),
            None => "pending_expired",
        };
        Some(Lapse { at, reason })
    }

    fn keep_deadlines(&mut self, event: &ConnectionEvent, recorded_at: Timestamp) {
        match event {
            ConnectionEvent::ConsentReturned { deadline_ms, .. } => {
                self.exchange_deadline =
                    Some(recorded_at.plus(Duration::from_millis(*deadline_ms)));
            }
            ConnectionEvent::RefreshStarted { deadline_ms, .. } => {
                self.claim_deadline = Some(recorded_at.plus(Duration::from_millis(*deadline_ms)));
            }
            ConnectionEvent::RefreshFailed {
                retry_after_seconds,
                ..
            } => {
                let asked = Duration::from_secs(retry_after_seconds.unwrap_or(0));
                self.retry_at =
                    Some(recorded_at.plus(backoff(self.state.refresh.failures).max(asked)));
            }
            ConnectionEvent::Requested { .. }
            | ConnectionEvent::Activated { .. }
            | ConnectionEvent::CredentialCaptured { .. }
            | ConnectionEvent::Failed { .. }
            | ConnectionEvent::Expired { .. }
            | ConnectionEvent::Refreshed { .. }
            | ConnectionEvent::AttentionRequired { .. }
            | ConnectionEvent::Revoked { .. }
            | ConnectionEvent::ProviderRevocationEnded { .. }
            | ConnectionEvent::Deleted { .. } => {}
        }
        if matches!(event, ConnectionEvent::Revoked { .. }) {
            self.revoked_at = Some(recorded_at);
        }
        self.revoking_until = match event {
            ConnectionEvent::Revoked {
                provider_revocation: Some(_),
                ..
            } => Some(recorded_at.plus(REVOKE_FOR)),
            _ => self
                .revoking_until
                .filter(|_| self.state.provider_revocation.is_some()),
        };
        if self
            .state
            .pending
            .as_ref()
            .is_none_or(|pending| pending.returned.is_none())
        {
            self.exchange_deadline = None;
        }
        if self.state.refresh.claim.is_none() {
            self.claim_deadline = None;
        }
        if self.state.refresh.failures == 0 {
            self.retry_at = None;
        }
    }

    fn keep_ciphertext(&mut self, event: &ConnectionEvent, recorded: &RecordedEvent) {
        let field = |sealed: &SealedRef| {
            let blob = recorded.blob.as_deref().map(<[u8]>::to_vec);
            Some(SealedField {
                sealed: sealed.clone(),
                position: recorded.position,
                blob,
            })
        };
        match event {
            ConnectionEvent::Requested { sealed_id, .. } => self.id = field(sealed_id),
            ConnectionEvent::Activated { credential, .. }
            | ConnectionEvent::CredentialCaptured { credential, .. }
            | ConnectionEvent::Refreshed { credential, .. } => self.credential = field(credential),
            ConnectionEvent::Revoked {
                provider_revocation,
                ..
            } => {
                self.id = None;
                self.credential = None;
                self.revocation = provider_revocation.as_ref().and_then(field);
            }
            ConnectionEvent::Deleted { .. } => {
                self.id = None;
                self.credential = None;
                self.revocation = None;
            }
            ConnectionEvent::ProviderRevocationEnded { .. } => self.revocation = None,
            ConnectionEvent::ConsentReturned { .. }
            | ConnectionEvent::Failed { .. }
            | ConnectionEvent::Expired { .. }
            | ConnectionEvent::RefreshStarted { .. }
            | ConnectionEvent::RefreshFailed { .. }
            | ConnectionEvent::AttentionRequired { .. } => {}
        }
    }

    /// Whether the connection has a credential to serve.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.state.status == Status::Active && self.credential.is_some()
    }
}

/// Doubles with each failure in a row, from one second.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(MAX_BACKOFF)
}

/// The three values of a sealed field.
fn push_sealed(values: &mut Vec<Value>, field: Option<&SealedField>) {
    values.push(field.map(|field| encode(&field.sealed)).into());
    values.push(field.map(|field| signed(field.position)).into());
    values.push(field.and_then(|field| field.blob.clone()).into());
}

pub(crate) fn sealed_field(values: &mut Values) -> Result<Option<SealedField>, FoldError> {
    let (sealed, position, blob) = (values.text()?, values.integer()?, values.bytes()?);
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    Ok(Some(SealedField {
        sealed: decode(&sealed)?,
        position: unsigned(position)?,
        blob,
    }))
}

pub(crate) fn decode<T: DeserializeOwned>(json: &str) -> Result<T, FoldError> {
    serde_json::from_str(json).map_err(|error| {
        FoldError(format!(
            "line {} column {} does not decode",
            error.line(),
            error.column()
        ))
    })
}

/// Our own states and references serialize; a row that held nothing would not decode.
pub(crate) fn encode<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(crate) fn required<T>(value: Option<T>) -> Result<T, FoldError> {
    value.ok_or_else(|| FoldError("a required column is NULL".to_owned()))
}

pub(crate) fn unsigned(value: Option<i64>) -> Result<u64, FoldError> {
    u64::try_from(required(value)?).map_err(|_| FoldError("a count is negative".to_owned()))
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
