//! Why consents fail and connections need attention, and what a provider's error means: as data.

use serde::{Deserialize, Serialize};

use super::Outcome;

/// Why a pending consent failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The user or the provider said no.
    ConsentDenied,
    /// The provider refused the code, or its answer made no sense.
    ExchangeFailed,
    /// Nobody knows whether the provider redeemed the code: it is not sent twice.
    ExchangeOutcomeUnknown,
    /// The id token did not verify.
    InvalidIdToken,
    /// Another account came back than the one that was connected.
    AccountMismatch,
    /// The provider changed or went away meanwhile.
    ProviderChanged,
}

impl FailureReason {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsentDenied => "consent_denied",
            Self::ExchangeFailed => "exchange_failed",
            Self::ExchangeOutcomeUnknown => "exchange_outcome_unknown",
            Self::InvalidIdToken => "invalid_id_token",
            Self::AccountMismatch => "account_mismatch",
            Self::ProviderChanged => "provider_changed",
        }
    }
}

/// Why a connection needs its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionReason {
    /// The provider does not accept the refresh token any more.
    RefreshTokenInvalid,
    /// The user withdrew the grant at the provider.
    ProviderRevoked,
    /// A rotating refresh token was redeemed twice without an answer.
    RefreshOutcomeUnknown,
    /// The credential expired and there is no refresh token.
    CredentialExpired,
    /// The provider's host changed: its tokens are not sent there.
    ProviderChanged,
}

impl AttentionReason {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefreshTokenInvalid => "refresh_token_invalid",
            Self::ProviderRevoked => "provider_revoked",
            Self::RefreshOutcomeUnknown => "refresh_outcome_unknown",
            Self::CredentialExpired => "credential_expired",
            Self::ProviderChanged => "provider_changed",
        }
    }
}

/// What a failed refresh means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshVerdict {
    /// It may work later; the connection stays as it is.
    Transient,
    /// The grant is gone: only the user can mend it.
    GrantGone(AttentionReason),
}

/// Error codes (RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6) by which a provider says
/// that the grant is gone. Every other failure is transient: the operator's (`invalid_client`,
/// `unauthorized_client`), the provider's (5xx, 429, nonsense) or the network's.
const GRANT_GONE: &[(&str, AttentionReason)] = &[
    ("invalid_grant", AttentionReason::RefreshTokenInvalid),
    ("interaction_required", AttentionReason::RefreshTokenInvalid),
    ("login_required", AttentionReason::RefreshTokenInvalid),
    ("consent_required", AttentionReason::RefreshTokenInvalid),
    (
        "account_selection_required",
        AttentionReason::RefreshTokenInvalid,
    ),
    ("access_denied", AttentionReason::ProviderRevoked),
];

/// What a provider's error code on refresh means. An unknown outcome never ends a grant.
#[must_use]
pub fn classify(outcome: Outcome, error: &str) -> RefreshVerdict {
    match GRANT_GONE.iter().find(|(code, _)| *code == error) {
        Some((_, reason)) if outcome == Outcome::Known => RefreshVerdict::GrantGone(*reason),
        _ => RefreshVerdict::Transient,
    }
}
