//! What can be asked of a provider. Every fact a decision needs is in the command.

use serde::{Deserialize, Serialize};

use super::ProviderProfile;
use crate::sealing::SealedRef;

/// What becomes of the sealed secrets when a provider is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretChange {
    /// They stay.
    Keep,
    /// These replace them.
    Set(SealedRef),
    /// There are none any more.
    Clear,
}

/// What is asked of a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum ProviderCommand {
    /// Makes it known; its id is never used twice.
    Register {
        /// Its public settings.
        profile: ProviderProfile,
        /// Its secrets, sealed as version 1.
        secret: Option<SealedRef>,
    },
    /// Changes it.
    Update {
        /// All of its public settings, the unchanged ones included.
        profile: ProviderProfile,
        /// What becomes of its secrets. New ones are sealed as the version after the newest ever.
        secret: SecretChange,
    },
    /// Ends it for new connections; those made before survive.
    Delete,
}
