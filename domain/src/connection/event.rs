//! What can happen to a connection.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{AttentionReason, ConsentKind, FailureReason, Outcome};
use crate::provider::{AuthType, ProviderId};
use crate::sealing::SealedRef;
use crate::time::Timestamp;

/// What happened to a connection. The names are stored and frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ConnectionEvent {
    /// A connection, or a new consent for one, was asked for.
    #[serde(rename = "connection.requested")]
    Requested {
        /// The user, as the application names them.
        workspace_id: String,
        /// The provider.
        provider_id: ProviderId,
        /// The provider's name then.
        provider_name: String,
        /// How the provider authenticates.
        auth_type: AuthType,
        /// Whether the user consents at the provider or fills in a form.
        consent: ConsentKind,
        /// The scopes asked for.
        scopes: Vec<String>,
        /// Where the user is sent afterwards.
        return_url: String,
        /// The application's own notes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Map<String, Value>>,
        /// What the application said it was for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action: Option<String>,
        /// SHA-256 of the one-time state, hexadecimal.
        state_digest: String,
        /// When the request lapses.
        expires_at: Timestamp,
        /// The connection's id, sealed.
        sealed_id: SealedRef,
        /// The provider's epoch then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_epoch: Option<u64>,
    },
    /// The user came back with a code; the one-time state is spent.
    #[serde(rename = "connection.consent_returned")]
    ConsentReturned {
        /// The state that was spent.
        state_digest: String,
        /// How long the exchange may take, from when this was recorded; milliseconds.
        deadline_ms: u64,
    },
    /// The code was exchanged for a credential.
    #[serde(rename = "connection.activated")]
    Activated {
        /// The credential, sealed.
        credential: SealedRef,
        /// The scopes granted.
        scopes: Vec<String>,
        /// When the access token expires.
        expires_at: Option<Timestamp>,
        /// A digest of who the account belongs to, when the provider said so.
        account: Option<String>,
        /// Whether there is a refresh token.
        refreshable: bool,
        /// The provider's epoch then.
        provider_epoch: u64,
    },
    /// The user filled in a static credential; the one-time state is spent.
    #[serde(rename = "connection.credential_captured")]
    CredentialCaptured {
        /// The state that was spent.
        state_digest: String,
        /// The credential, sealed.
        credential: SealedRef,
        /// The provider's epoch then.
        provider_epoch: u64,
    },
    /// The pending consent failed.
    #[serde(rename = "connection.failed")]
    Failed {
        /// Why.
        reason: FailureReason,
        /// The provider's error code, when it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The pending consent lapsed.
    #[serde(rename = "connection.expired")]
    Expired {},
    /// One caller claimed the right to redeem the refresh token.
    #[serde(rename = "connection.refresh_started")]
    RefreshStarted {
        /// The attempt's number, counted over the connection's life.
        attempt: u64,
        /// How long the claim holds, from when this was recorded; milliseconds.
        deadline_ms: u64,
        /// The version of the credential that is being refreshed.
        credential_version: u32,
        /// Whether the outcome of an earlier redemption of the same rotating token is unknown.
        repeat: bool,
        /// Whether a caller forced it.
        forced: bool,
        /// When the refresh token was first sent; of providers that take it again for a while after that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_sent_at: Option<Timestamp>,
    },
    /// The provider gave a new credential.
    #[serde(rename = "connection.refreshed")]
    Refreshed {
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
    /// The provider gave none.
    #[serde(rename = "connection.refresh_failed")]
    RefreshFailed {
        /// The attempt.
        attempt: u64,
        /// Whether the provider is known not to have acted.
        outcome: Outcome,
        /// The provider's error code, or ours.
        error: String,
        /// The HTTP status of its answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http_status: Option<u16>,
        /// How long the provider asked to be left alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_seconds: Option<u64>,
    },
    /// Only the user can mend it, by connecting anew.
    #[serde(rename = "connection.attention_required")]
    AttentionRequired {
        /// Why.
        reason: AttentionReason,
        /// The attempt that showed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u64>,
    },
    /// It was ended; its data key is destroyed.
    #[serde(rename = "connection.revoked")]
    Revoked {
        /// Why, as the caller said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The token that is to be revoked at the provider, sealed under a key of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_revocation: Option<SealedRef>,
    },
    /// The provider was told, or will not be; the token that it was to be told is destroyed.
    #[serde(rename = "connection.provider_revocation_ended")]
    ProviderRevocationEnded {
        /// Whether it revoked the token.
        revoked: bool,
        /// Why not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// It was erased from the listings.
    #[serde(rename = "connection.deleted")]
    Deleted {},
}

/// The stored names.
pub const EVENT_TYPES: &[&str] = &[
    "connection.requested",
    "connection.consent_returned",
    "connection.activated",
    "connection.credential_captured",
    "connection.failed",
    "connection.expired",
    "connection.refresh_started",
    "connection.refreshed",
    "connection.refresh_failed",
    "connection.attention_required",
    "connection.revoked",
    "connection.provider_revocation_ended",
    "connection.deleted",
];

impl ConnectionEvent {
    /// The stored name.
    #[must_use]
    pub const fn stored_name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "connection.requested",
            Self::ConsentReturned { .. } => "connection.consent_returned",
            Self::Activated { .. } => "connection.activated",
            Self::CredentialCaptured { .. } => "connection.credential_captured",
            Self::Failed { .. } => "connection.failed",
            Self::Expired {} => "connection.expired",
            Self::RefreshStarted { .. } => "connection.refresh_started",
            Self::Refreshed { .. } => "connection.refreshed",
            Self::RefreshFailed { .. } => "connection.refresh_failed",
            Self::AttentionRequired { .. } => "connection.attention_required",
            Self::Revoked { .. } => "connection.revoked",
            Self::ProviderRevocationEnded { .. } => "connection.provider_revocation_ended",
            Self::Deleted {} => "connection.deleted",
        }
    }
}
