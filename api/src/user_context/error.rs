//! Why nobody vouches for a user.

use crate::upstream::{SendError, UpstreamError};

/// Why nobody vouches for a user. Its sentences and their sources hold nothing of the token and nothing that was
/// answered.
#[derive(Debug, thiserror::Error)]
pub enum UserContextError {
    /// Neither a backend nor an issuer is set.
    #[error("nobody is set who vouches for users")]
    NotConfigured,
    /// The token does not stand for a user.
    #[error("the user's token is refused")]
    Refused(#[from] Refusal),
    /// Whether it does cannot be found out now.
    #[error("the user's token cannot be verified now")]
    Unavailable(#[from] Unavailable),
}

/// What is wrong with a user's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The backend says no, with this status.
    #[error("the backend refused it with status {0}")]
    Backend(u16),
    /// It is not a signed JWT with the claims of a user's token.
    #[error("it is not a signed JWT that says who the user is and what the user may do")]
    Malformed,
    /// It is not signed, or with an algorithm that is not allowed.
    #[error("it is not signed with an algorithm that is allowed")]
    Algorithm,
    /// `iss` is another issuer.
    #[error("it is another issuer's")]
    Issuer,
    /// `aud` does not name us.
    #[error("it is for somebody else")]
    Audience,
    /// `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` is to come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// The issuer has no such key.
    #[error("no key of the issuer's can have signed it")]
    UnknownKey,
    /// The key did not make the signature.
    #[error("its signature is not valid")]
    Signature,
    /// It asks for something that is not supported, encryption for instance.
    #[error("it is of an unsupported kind")]
    Unsupported,
}

/// Why a user's token cannot be judged now.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The backend gave no complete answer.
    #[error("the backend gave no complete answer")]
    Unreachable(#[from] SendError),
    /// The backend answered with a status that says neither yes nor no.
    #[error("the backend answered with status {0}")]
    Status(u16),
    /// The backend said yes in a form that cannot be relied on.
    #[error("the backend's answer does not say who the user is and what the user may do")]
    Malformed,
    /// The backend's URL cannot be called.
    #[error("the backend's URL cannot be called")]
    Url,
    /// The issuer's keys are not to be had.
    #[error("the issuer's keys could not be fetched")]
    Keys(#[from] UpstreamError),
}
