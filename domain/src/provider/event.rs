//! What happened to a provider, as it is stored.

use serde::{Deserialize, Serialize};

use super::{ProviderProfile, SecretChange};
use crate::sealing::SealedRef;

/// What happened to a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ProviderEvent {
    /// It became known.
    #[serde(rename = "provider.registered")]
    Registered {
        /// Its public settings.
        profile: ProviderProfile,
        /// Its secrets, sealed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<SealedRef>,
        /// 1: see [`Provider::epoch`](super::Provider::epoch).
        epoch: u64,
    },
    /// It was changed.
    #[serde(rename = "provider.updated")]
    Updated {
        /// All of its public settings since.
        profile: ProviderProfile,
        /// What became of its secrets.
        secret: SecretChange,
        /// Since: see [`Provider::epoch`](super::Provider::epoch).
        epoch: u64,
        /// The names of the fields that differ from before; `secret` for its secrets.
        changed: Vec<String>,
    },
    /// It was ended.
    #[serde(rename = "provider.deleted")]
    Deleted {},
}

/// The stored names.
pub const EVENT_TYPES: &[&str] = &[
    "provider.registered",
    "provider.updated",
    "provider.deleted",
];

impl ProviderEvent {
    /// The name it is stored under; frozen.
    #[must_use]
    pub const fn stored_name(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "provider.registered",
            Self::Updated { .. } => "provider.updated",
            Self::Deleted {} => "provider.deleted",
        }
    }
}
