//! What is true of a connection after its events.

use serde::{Deserialize, Serialize};

use super::{AttentionReason, ConnectionEvent, FailureReason, Outcome};
use crate::decider::StateVersion;
use crate::provider::{AuthType, ProviderId};
use crate::scope::Since;
use crate::sealing::SealedRef;
use crate::time::Timestamp;

/// The version of the stored state.
pub(super) const STATE_VERSION: u32 = 3;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was never requested.
    #[default]
    Absent,
    /// Its first consent is pending.
    Pending,
    /// It serves a credential.
    Active,
    /// Only its user can mend it.
    Attention,
    /// Its first consent failed or lapsed.
    Failed,
    /// It was ended.
    Revoked,
    /// It was erased.
    Deleted,
}

impl Status {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Attention => "attention",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
        }
    }
}

/// How a user connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentKind {
    /// By consent at the provider.
    Oauth2,
    /// By filling in a form.
    Static,
}

/// A consent that was asked for and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingConsent {
    /// SHA-256 of the one-time state.
    pub state_digest: String,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// Where the user is sent afterwards.
    pub return_url: String,
    /// How the user connects.
    pub consent: ConsentKind,
    /// The provider's epoch when it was asked for, if that was noted.
    pub provider_epoch: Option<u64>,
    /// Set once the user came back: how long the exchange may take, milliseconds.
    pub returned: Option<u64>,
}

/// The credential that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialState {
    /// Its ciphertext.
    pub sealed: SealedRef,
    /// When the access token expires.
    pub expires_at: Option<Timestamp>,
    /// Whether there is a refresh token.
    pub refreshable: bool,
    /// A digest of who the account belongs to.
    pub account: Option<String>,
    /// The provider's epoch when it was issued.
    pub provider_epoch: u64,
    /// Every attempt up to this one is older than it.
    pub attempt: u64,
}

/// A right to redeem the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The attempt.
    pub attempt: u64,
    /// Whether an earlier redemption of the same rotating token has an unknown outcome.
    pub repeat: bool,
    /// The version of the credential that is being refreshed.
    pub credential_version: u32,
    /// When its refresh token was first sent, where the provider takes it again for a while after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sent_at: Option<Timestamp>,
}

/// How refreshing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshState {
    /// How many attempts were ever started.
    pub attempts: u64,
    /// The attempt under way.
    pub claim: Option<Claim>,
    /// The newest attempt whose outcome is unknown, since the credential was last replaced.
    pub unknown: Option<Claim>,
    /// Whether an answer ever brought a new refresh token.
    pub ever_rotated: bool,
    /// Failures since the last success.
    pub failures: u32,
    /// The newest failure since the last success.
    pub last_failure: Option<LastFailure>,
}

/// How the newest attempt failed: what those who waited for it are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// The attempt.
    pub attempt: u64,
    /// The provider's error code, or ours.
    pub error: String,
    /// The HTTP status of its answer.
    pub http_status: Option<u16>,
    /// How long the provider asked to be left alone.
    pub retry_after_seconds: Option<u64>,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    state_version: StateVersion<STATE_VERSION>,
    /// Where it stands.
    pub status: Status,
    /// Why it failed, needs attention or was revoked.
    pub reason: Option<String>,
    /// Why it needs attention.
    pub attention: Option<AttentionReason>,
    /// The user.
    pub workspace_id: String,
    /// The provider.
    pub provider_id: Option<ProviderId>,
    /// The provider's name when it was requested.
    pub provider_name: String,
    /// How the provider authenticates.
    pub auth_type: Option<AuthType>,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// Rises whenever something that was granted is no longer, and with the end.
    pub epoch: u64,
    /// Since which epoch each scope has been granted.
    granted_since: Since,
    /// The application's own notes.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// The consent that is pending.
    pub pending: Option<PendingConsent>,
    /// The state that was spent last.
    pub spent_state: Option<String>,
    /// A spent state whose exchange has no outcome yet; outlives a lapse, so that a late answer counts.
    pub unsettled_state: Option<String>,
    /// The credential that is served.
    pub credential: Option<CredentialState>,
    /// The version of the newest credential; 0 before the first.
    pub credential_version: u32,
    /// How refreshing goes.
    pub refresh: RefreshState,
    /// The token that is still to be revoked at the provider.
    pub provider_revocation: Option<SealedRef>,
}

impl Connection {
    pub(super) fn fold(&mut self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::Requested { .. } => self.on_requested(event),
            ConnectionEvent::ConsentReturned {
                state_digest,
                deadline_ms,
            } => {
                if let Some(pending) = &mut self.pending {
                    pending.returned = Some(*deadline_ms);
                }
                self.spent_state = Some(state_digest.clone());
                self.unsettled_state = Some(state_digest.clone());
            }
            ConnectionEvent::Activated {
                credential,
                scopes,
                expires_at,
                account,
                refreshable,
                provider_epoch,
            } => {
                self.on_granted(scopes);
                self.on_connected(CredentialState {
                    sealed: credential.clone(),
                    expires_at: *expires_at,
                    refreshable: *refreshable,
                    account: account.clone(),
                    provider_epoch: *provider_epoch,
                    attempt: self.refresh.attempts,
                });
            }
            ConnectionEvent::CredentialCaptured {
                state_digest,
                credential,
                provider_epoch,
            } => {
                self.spent_state = Some(state_digest.clone());
                self.on_connected(CredentialState {
                    sealed: credential.clone(),
                    expires_at: None,
                    refreshable: false,
                    account: None,
                    provider_epoch: *provider_epoch,
                    attempt: self.refresh.attempts,
                });
            }
            ConnectionEvent::Failed { reason, .. } => self.on_failed(*reason),
            ConnectionEvent::Expired {} => self.on_expired(),
            ConnectionEvent::RefreshStarted {
                attempt,
                credential_version,
                repeat,
                first_sent_at,
                ..
            } => {
                self.on_refresh_started(Claim {
                    attempt: *attempt,
                    repeat: *repeat,
                    credential_version: *credential_version,
                    first_sent_at: *first_sent_at,
                });
            }
            ConnectionEvent::Refreshed {
                attempt,
                credential,
                scopes,
                expires_at,
                rotated,
            } => {
                self.on_granted(scopes);
                self.on_refreshed(*attempt, credential, *expires_at, *rotated);
            }
            ConnectionEvent::RefreshFailed {
                attempt,
                outcome,
                error,
                http_status,
                retry_after_seconds,
            } => {
                self.on_refresh_failed(*attempt, *outcome);
                self.refresh.last_failure = Some(LastFailure {
                    attempt: *attempt,
                    error: error.clone(),
                    http_status: *http_status,
                    retry_after_seconds: *retry_after_seconds,
                });
            }
            ConnectionEvent::AttentionRequired { reason, .. } => {
                self.status = Status::Attention;
                self.attention = Some(*reason);
                self.reason = Some(reason.as_str().to_owned());
                self.refresh.claim = None;
            }
            ConnectionEvent::Revoked {
                provider_revocation,
                ..
            } => self.on_revoked(provider_revocation.clone()),
            ConnectionEvent::ProviderRevocationEnded { .. } => self.provider_revocation = None,
            ConnectionEvent::Deleted {} => self.on_deleted(),
        }
    }

    fn on_revoked(&mut self, provider_revocation: Option<SealedRef>) {
        self.end(Status::Revoked, "revoked");
        self.provider_revocation = provider_revocation;
    }

    fn on_deleted(&mut self) {
        self.end(Status::Deleted, "deleted");
        self.metadata = None;
        self.provider_revocation = None;
    }

    fn on_requested(&mut self, event: &ConnectionEvent) {
        let ConnectionEvent::Requested {
            workspace_id,
            provider_id,
            provider_name,
            auth_type,
            consent,
            scopes,
            return_url,
            metadata,
            state_digest,
            expires_at,
            provider_epoch,
            ..
        } = event
        else {
            return;
        };
        self.workspace_id.clone_from(workspace_id);
        self.provider_id = Some(*provider_id);
        self.provider_name.clone_from(provider_name);
        self.auth_type = Some(*auth_type);
        self.metadata.clone_from(metadata);
        // Whatever an exchange that was given up on still brings, this request replaces it.
        self.unsettled_state = None;
        self.pending = Some(PendingConsent {
            state_digest: state_digest.clone(),
            expires_at: *expires_at,
            scopes: scopes.clone(),
            return_url: return_url.clone(),
            consent: *consent,
            provider_epoch: *provider_epoch,
            returned: None,
        });
        if matches!(self.status, Status::Absent | Status::Failed) {
            self.status = Status::Pending;
            self.reason = None;
        }
    }

    fn on_granted(&mut self, scopes: &[String]) {
        let narrower = self.scopes.iter().any(|scope| !scopes.contains(scope));
        self.epoch += u64::from(narrower);
        self.granted_since.update(scopes, self.epoch);
        scopes.clone_into(&mut self.scopes);
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self.status {
            Status::Pending | Status::Active | Status::Attention | Status::Failed => true,
            Status::Absent | Status::Revoked | Status::Deleted => false,
        }
    }

    /// Whether it has been granted these scopes without a break since `epoch`.
    #[must_use]
    pub fn still_grants(&self, scopes: &[String], epoch: u64) -> bool {
        self.is_there() && self.granted_since.holds(scopes, epoch)
    }

    fn on_connected(&mut self, credential: CredentialState) {
        self.credential_version = credential.sealed.version;
        self.credential = Some(credential);
        self.status = Status::Active;
        self.reason = None;
        self.attention = None;
        self.pending = None;
        self.unsettled_state = None;
        self.refresh.claim = None;
        self.refresh.unknown = None;
        self.refresh.failures = 0;
        self.refresh.last_failure = None;
    }

    fn on_failed(&mut self, reason: FailureReason) {
        self.spent_state = self
            .pending
            .take()
            .map(|pending| pending.state_digest)
            .or_else(|| self.spent_state.take());
        self.unsettled_state = None;
        self.fail_first_consent(reason.as_str());
    }

    fn on_expired(&mut self) {
        let exchange_lost = self
            .pending
            .take()
            .is_some_and(|pending| pending.returned.is_some());
        self.fail_first_consent(if exchange_lost {
            FailureReason::ExchangeOutcomeUnknown.as_str()
        } else {
            "pending_expired"
        });
    }

    /// While reconnecting, the old credential keeps serving.
    fn fail_first_consent(&mut self, reason: &str) {
        if self.status == Status::Pending {
            self.status = Status::Failed;
            self.reason = Some(reason.to_owned());
        }
    }

    fn on_refresh_started(&mut self, claim: Claim) {
        // A claim that is still held was taken over: nobody knows what became of it.
        self.refresh.unknown = self.refresh.claim.take().or(self.refresh.unknown);
        self.refresh.attempts = claim.attempt;
        self.refresh.claim = Some(claim);
    }

    fn on_refreshed(
        &mut self,
        attempt: u64,
        sealed: &SealedRef,
        expires_at: Option<Timestamp>,
        rotated: bool,
    ) {
        if let Some(credential) = &mut self.credential {
            credential.sealed = sealed.clone();
            credential.expires_at = expires_at;
            credential.attempt = attempt;
        }
        self.credential_version = sealed.version;
        self.status = Status::Active;
        self.reason = None;
        self.attention = None;
        self.refresh.claim = self.refresh.claim.filter(|claim| claim.attempt > attempt);
        self.refresh.unknown = self
            .refresh
            .unknown
            .filter(|unknown| unknown.attempt > attempt);
        self.refresh.ever_rotated |= rotated;
        self.refresh.failures = 0;
        self.refresh.last_failure = None;
    }

    fn on_refresh_failed(&mut self, attempt: u64, outcome: Outcome) {
        self.refresh.failures = self.refresh.failures.saturating_add(1);
        if let Some(claim) = self.refresh.claim.take_if(|claim| claim.attempt == attempt)
            && outcome == Outcome::Unknown
        {
            self.refresh.unknown = Some(claim);
        }
    }

    fn end(&mut self, status: Status, reason: &str) {
        self.status = status;
        self.epoch += 1;
        self.reason = Some(reason.to_owned());
        self.attention = None;
        self.credential = None;
        self.pending = None;
        self.unsettled_state = None;
        self.refresh.claim = None;
    }
}
