//! The rules a command can break.

use super::{AttentionReason, Status};

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// There is no such connection.
    #[error("the connection does not exist")]
    NotFound,
    /// Another user's connection.
    #[error("the connection belongs to another workspace")]
    WorkspaceMismatch,
    /// Another provider's connection.
    #[error("the connection belongs to another provider")]
    ProviderMismatch,
    /// It is over.
    #[error("the connection is {}", .0.as_str())]
    Ended(Status),
    /// A code is being exchanged for it right now.
    #[error("a consent is being completed")]
    ExchangeInProgress,
    /// The state names no pending consent of this connection.
    #[error("the state names no pending consent")]
    StateUnknown,
    /// The state was spent before.
    #[error("the state was used before")]
    StateUsed,
    /// The state is past its time.
    #[error("the state has expired")]
    StateExpired,
    /// The consent is of the other kind.
    #[error("the consent is not of this kind")]
    WrongConsent,
    /// No exchange of this state is waiting for its outcome.
    #[error("no exchange is waiting for its outcome")]
    NotAwaitingExchange,
    /// The account is another than the one that was connected.
    #[error("the account is another than the one that was connected")]
    AccountMismatch,
    /// Nothing is due to lapse.
    #[error("nothing is due to lapse")]
    NotDue,
    /// The credential was sealed as another version than the next.
    #[error("the next credential is version {expected}")]
    StaleVersion {
        /// The version it must be sealed as.
        expected: u32,
    },
    /// It serves no credential.
    #[error("the connection is {}", .0.as_str())]
    NotActive(Status),
    /// Only the user can mend it.
    #[error("the connection needs its user: {}", .0.as_str())]
    InAttention(AttentionReason),
    /// Its credential is static.
    #[error("the credential is static")]
    StaticCredential,
    /// It has no refresh token.
    #[error("there is no refresh token")]
    NotRefreshable,
    /// Another caller is redeeming the refresh token.
    #[error("attempt {attempt} holds the claim")]
    ClaimHeld {
        /// Its attempt.
        attempt: u64,
    },
    /// No such attempt was started.
    #[error("attempt {attempt} was never started")]
    UnknownAttempt {
        /// The number.
        attempt: u64,
    },
    /// It has not ended: it has to be revoked first.
    #[error("the connection has not ended")]
    NotEnded,
}
