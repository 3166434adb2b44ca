//! What each command causes, state by state.

use super::state::STATE_VERSION;
use super::{
    Provider, ProviderCommand, ProviderError, ProviderEvent, ProviderProfile, SecretChange, Status,
};
use crate::decider::{Decider, aggregate};
use crate::sealing::SealedRef;

type Decision = Result<Vec<ProviderEvent>, ProviderError>;

aggregate!(
    Provider,
    "provider",
    ProviderCommand,
    ProviderEvent,
    ProviderError
);

impl Decider for Provider {
    const STATE_VERSION: u32 = STATE_VERSION;

    fn decide(&self, command: ProviderCommand) -> Decision {
        match command {
            ProviderCommand::Register { profile, secret } => self.register(profile, secret),
            ProviderCommand::Update { profile, secret } => self.update(profile, secret),
            ProviderCommand::Delete => self.delete(),
        }
    }

    fn evolve(&mut self, event: &ProviderEvent) {
        self.fold(event);
    }

    fn sealed(event: &ProviderEvent) -> Option<&SealedRef> {
        match event {
            ProviderEvent::Registered { secret, .. } => secret.as_ref(),
            ProviderEvent::Updated {
                secret: SecretChange::Set(sealed),
                ..
            } => Some(sealed),
            ProviderEvent::Updated {
                secret: SecretChange::Keep | SecretChange::Clear,
                ..
            }
            | ProviderEvent::Deleted {} => None,
        }
    }
}

impl Provider {
    fn register(&self, profile: ProviderProfile, secret: Option<SealedRef>) -> Decision {
        if self.status != Status::Absent {
            return Err(ProviderError::AlreadyRegistered);
        }
        let has_client_secret = secret.is_some() && profile.has_client_secret;
        let profile = accepted(profile, has_client_secret)?;
        secret
            .as_ref()
            .map_or(Ok(()), |sealed| self.next_version(sealed))?;
        Ok(vec![ProviderEvent::Registered {
            profile,
            secret,
            epoch: 1,
        }])
    }

    fn update(&self, profile: ProviderProfile, secret: SecretChange) -> Decision {
        if self.status != Status::Registered {
            return Err(ProviderError::NotFound);
        }
        let has_client_secret = match &secret {
            SecretChange::Keep => self.profile.has_client_secret,
            SecretChange::Set(_) => profile.has_client_secret,
            SecretChange::Clear => false,
        };
        let profile = accepted(profile, has_client_secret)?;
        let epoch = self.next_epoch(&profile, &secret)?;
        let mut changed = self.profile.differences(&profile);
        match &secret {
            SecretChange::Set(sealed) => self.next_version(sealed)?,
            SecretChange::Clear if self.secret.is_some() => {}
            SecretChange::Keep | SecretChange::Clear if changed.is_empty() => return Ok(Vec::new()),
            SecretChange::Keep | SecretChange::Clear => {
                return Ok(vec![ProviderEvent::Updated {
                    profile,
                    secret: SecretChange::Keep,
                    epoch,
                    changed,
                }]);
            }
        }
        changed.push("secret".to_owned());
        Ok(vec![ProviderEvent::Updated {
            profile,
            secret,
            epoch,
            changed,
        }])
    }

    /// The epoch after a change: it rises with every newly entrusted host.
    fn next_epoch(
        &self,
        profile: &ProviderProfile,
        secret: &SecretChange,
    ) -> Result<u64, ProviderError> {
        let Some(field) = self.profile.changed_host(profile) else {
            return Ok(self.epoch);
        };
        if self.secret.is_some() && !matches!(secret, SecretChange::Set(_)) {
            return Err(ProviderError::HostChangeNeedsSecret { field });
        }
        Ok(self.epoch + 1)
    }

    fn delete(&self) -> Decision {
        match self.status {
            Status::Absent => Err(ProviderError::NotFound),
            Status::Registered => Ok(vec![ProviderEvent::Deleted {}]),
            Status::Deleted => Ok(Vec::new()),
        }
    }

    fn next_version(&self, sealed: &SealedRef) -> Result<(), ProviderError> {
        let expected = self.secret_version + 1;
        if sealed.version == expected {
            Ok(())
        } else {
            Err(ProviderError::StaleVersion { expected })
        }
    }
}

/// `profile` as it is recorded.
fn accepted(
    mut profile: ProviderProfile,
    has_client_secret: bool,
) -> Result<ProviderProfile, ProviderError> {
    profile.has_client_secret = has_client_secret;
    profile.validate(has_client_secret)?;
    profile.name = profile.name.trim().to_owned();
    Ok(profile)
}

#[cfg(test)]
mod tests;
