//! What each command causes, state by state.

use super::state::STATE_VERSION;
use super::{Provider, ProviderCommand, ProviderError, ProviderEvent, ProviderProfile, SecretChange, Status};
use crate::decider::{Decider, aggregate};
use crate::sealing::SealedRef;

type Decision = Result<Vec<ProviderEvent>, ProviderError>;

aggregate!(Provider, "provider", ProviderCommand, ProviderEvent, ProviderError);

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
            ProviderEvent::Updated { secret: SecretChange::Set(sealed), .. } => Some(sealed),
            ProviderEvent::Updated { secret: SecretChange::Keep | SecretChange::Clear, .. } | ProviderEvent::Deleted {} => None,
        }
    }
}
