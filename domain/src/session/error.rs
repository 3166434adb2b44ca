//! The rules a command can break.

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is no such session.
    #[error("the session does not exist")]
    NotFound,
    /// The id was used before.
    #[error("the session was opened before")]
    AlreadyOpened,
}
