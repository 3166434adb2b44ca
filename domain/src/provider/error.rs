//! The rules a command can break.

use std::borrow::Cow;

/// A profile breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct InvalidProfile {
    /// The field, as it is named on the wire; of a member of `params`, `params.<name>`.
    pub field: Cow<'static, str>,
    /// What must be true of it: the end of a sentence that begins with its name.
    pub message: Cow<'static, str>,
}

impl InvalidProfile {
    /// Of a field, by what must be true of it.
    pub(crate) const fn new(field: &'static str, message: &'static str) -> Self {
        Self {
            field: Cow::Borrowed(field),
            message: Cow::Borrowed(message),
        }
    }
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// There is no such provider.
    #[error("the provider does not exist")]
    NotFound,
    /// It was registered before; also when it was deleted since.
    #[error("the provider was registered before")]
    AlreadyRegistered,
    /// The profile breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidProfile),
    /// Else whoever may edit a provider could have its secrets and every refresh token sent elsewhere.
    #[error("changing the host of `{field}` needs its secrets again")]
    HostChangeNeedsSecret {
        /// The field whose host changes.
        field: &'static str,
    },
    /// The secrets were sealed as another version than the next.
    #[error("the next secrets are version {expected}")]
    StaleVersion {
        /// The version they must be sealed as.
        expected: u32,
    },
}
