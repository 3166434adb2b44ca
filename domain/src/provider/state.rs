//! What is true of a provider after its events.

use serde::{Deserialize, Serialize};

use super::{ProviderEvent, ProviderProfile, SecretChange};
use crate::decider::StateVersion;
use crate::sealing::SealedRef;

/// The version of the stored state.
pub(super) const STATE_VERSION: u32 = 1;

/// Where a provider stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was never registered.
    #[default]
    Absent,
    /// Connections can be made with it.
    Registered,
    /// No new connections; those made before are refreshed with its last settings.
    Deleted,
}

/// Whom to connect to, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    state_version: StateVersion<STATE_VERSION>,
    /// Where it stands.
    pub status: Status,
    /// Its public settings.
    pub profile: ProviderProfile,
    /// Its secrets, sealed.
    pub secret: Option<SealedRef>,
    /// The version of the newest secrets it ever had; 0 before the first. The next are sealed as
    /// the one after it.
    pub secret_version: u32,
    /// 1 at first; rises whenever the hosts that are sent its connections' tokens change.
    pub epoch: u64,
}

impl Provider {
    pub(super) fn fold(&mut self, event: &ProviderEvent) {
        match event {
            ProviderEvent::Registered {
                profile,
                secret,
                epoch,
            } => {
                self.status = Status::Registered;
                self.profile.clone_from(profile);
                self.epoch = *epoch;
                self.hold(secret.as_ref());
            }
            ProviderEvent::Updated {
                profile,
                secret,
                epoch,
                changed: _,
            } => {
                self.profile.clone_from(profile);
                self.epoch = *epoch;
                match secret {
                    SecretChange::Keep => {}
                    SecretChange::Set(sealed) => self.hold(Some(sealed)),
                    SecretChange::Clear => self.hold(None),
                }
            }
            ProviderEvent::Deleted {} => self.status = Status::Deleted,
        }
    }

    fn hold(&mut self, secret: Option<&SealedRef>) {
        self.secret = secret.cloned();
        self.secret_version = secret.map_or(self.secret_version, |sealed| sealed.version);
    }
}
