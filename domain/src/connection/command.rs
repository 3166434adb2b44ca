//! What can be asked of a connection. Every fact a decision needs is in the command.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AttentionReason, ConsentKind, FailureReason};
use crate::provider::{AuthType, ProviderId};
use crate::sealing::SealedRef;
use crate::time::Timestamp;

/// What is known of a call whose answer did not bring a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was sent, or a complete answer came.
    Known,
    /// Something may have been sent and no complete answer came.
    Unknown,
}

/// Whether the provider replaces the refresh token when it is redeemed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// It does once any answer brought a new one.
    #[default]
    Auto,
    /// It does.
    Always,
    /// It does not.
    Never,
}

/// A provider that takes a refresh token again for some time after its first use, although it has replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReuseGrace {
    /// The time.
    pub now: Timestamp,
    /// How long after its first use the token is taken again.
    pub lasts: Duration,
}

impl ReuseGrace {
    /// Whether a token that was first sent then is still taken. A clock that went back proves nothing.
    pub(super) fn covers(&self, first_sent_at: Timestamp) -> bool {
        first_sent_at <= self.now && self.now.since(first_sent_at) < self.lasts
    }
}

/// How a refresh failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshFailure {
    /// Whether the provider is known not to have acted.
    pub outcome: Outcome,
    /// The provider's error code, or ours.
    pub error: String,
    /// The HTTP status of its answer.
    pub http_status: Option<u16>,
    /// How long the provider asked to be left alone.
    pub retry_after_seconds: Option<u64>,
}

/// What is asked of a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionCommand {
    /// Asks for a connection, or for a new consent of an existing one.
    Request {
        /// The user, as the application names them.
        workspace_id: String,
        /// The provider.
        provider_id: ProviderId,
        /// Its name.
        provider_name: String,
        /// How it authenticates.
        auth_type: AuthType,
        /// Whether the user consents at the provider or fills in a form.
        consent: ConsentKind,
        /// The scopes asked for.
        scopes: Vec<String>,
        /// Where the user is sent afterwards.
        return_url: String,
        /// The application's own notes.
        metadata: Option<Map<String, Value>>,
        /// What it is for.
        action: Option<String>,
        /// SHA-256 of the one-time state.
        state_digest: String,
        /// When the request lapses.
        expires_at: Timestamp,
        /// The connection's id, sealed.
        sealed_id: SealedRef,
        /// The provider's epoch.
        provider_epoch: u64,
    },
    /// The user came back with a code: spends the one-time state, before the code is exchanged.
    AcceptCallback {
        /// SHA-256 of the state that came back.
        state_digest: String,
        /// The time.
        now: Timestamp,
        /// How long the exchange may take.
        exchange_within_ms: u64,
    },
    /// The exchange gave a credential.
    CompleteConsent {
        /// The state that was spent for it.
        state_digest: String,
        /// The credential, sealed.
        credential: SealedRef,
        /// The scopes granted.
        scopes: Vec<String>,
        /// When the access token expires.
        expires_at: Option<Timestamp>,
        /// A digest of who the account belongs to.
        account: Option<String>,
        /// Whether there is a refresh token.
        refreshable: bool,
        /// The provider's epoch when the code was exchanged.
        provider_epoch: u64,
    },
    /// The user filled in a static credential.
    CaptureCredential {
        /// SHA-256 of the state that came with it.
        state_digest: String,
        /// The time.
        now: Timestamp,
        /// The credential, sealed.
        credential: SealedRef,
        /// The provider's epoch.
        provider_epoch: u64,
    },
    /// The pending consent failed.
    Fail {
        /// The state of the consent that failed.
        state_digest: String,
        /// Why.
        reason: FailureReason,
        /// The provider's error code.
        error: Option<String>,
        /// The time.
        now: Timestamp,
    },
    /// Lets a pending consent lapse that is past its time.
    Expire {
        /// The time.
        now: Timestamp,
        /// Whether an exchange that is under way is past its deadline.
        exchange_deadline_passed: bool,
    },
    /// Claims the right to redeem the refresh token.
    ClaimRefresh {
        /// Whether a caller forces it.
        forced: bool,
        /// How long the claim holds.
        deadline_ms: u64,
        /// The attempt whose claim is past its deadline, when one is taken over.
        takeover: Option<u64>,
        /// Whether the provider rotates refresh tokens.
        rotation: Rotation,
        /// Whether it takes them again for a while.
        reuse_grace: Option<ReuseGrace>,
        /// The provider's epoch.
        provider_epoch: u64,
    },
    /// Records the credential that an attempt brought.
    RecordRefresh {
        /// The attempt.
        attempt: u64,
        /// The new credential, sealed.
        credential: SealedRef,
        /// The scopes granted.
        scopes: Vec<String>,
        /// When the access token expires.
        expires_at: Option<Timestamp>,
        /// Whether a new refresh token came with it.
        rotated: bool,
    },
    /// Records that an attempt brought none.
    RecordRefreshFailure {
        /// The attempt.
        attempt: u64,
        /// How it failed.
        failure: RefreshFailure,
    },
    /// Says that only the user can mend it.
    RequireAttention {
        /// Why.
        reason: AttentionReason,
    },
    /// Ends it.
    Revoke {
        /// Why.
        reason: Option<String>,
        /// The token that is to be revoked at the provider, sealed under a key of its own.
        provider_revocation: Option<SealedRef>,
    },
    /// Records that the provider revoked the token, or will not be asked any more.
    EndProviderRevocation {
        /// Whether it did.
        revoked: bool,
        /// Why not.
        error: Option<String>,
    },
    /// Erases an ended connection from the listings.
    Erase,
}
