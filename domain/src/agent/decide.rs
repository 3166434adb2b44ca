//! What each command causes, state by state.

use super::state::STATE_VERSION;
use super::{Agent, AgentCommand, AgentError, AgentEvent, AgentProfile, Status};
use crate::decider::{Decider, aggregate};
use crate::scope::tidy;
use crate::sealing::SealedRef;

type Decision = Result<Vec<AgentEvent>, AgentError>;

aggregate!(Agent, "agent", AgentCommand, AgentEvent, AgentError);

impl Decider for Agent {
    const STATE_VERSION: u32 = STATE_VERSION;

    fn decide(&self, command: AgentCommand) -> Decision {
        match command {
            AgentCommand::Register { profile } => self.register(profile),
            AgentCommand::Update {
                description,
                allowed_scopes,
                active,
            } => {
                let before = &self.profile;
                self.update(AgentProfile {
                    description: description.unwrap_or_else(|| before.description.clone()),
                    allowed_scopes: allowed_scopes.unwrap_or_else(|| before.allowed_scopes.clone()),
                    active: active.unwrap_or(before.active),
                })
            }
            AgentCommand::Deregister => self.deregister(),
        }
    }

    fn evolve(&mut self, event: &AgentEvent) {
        self.fold(event);
    }

    /// An agent has no secrets.
    fn sealed(event: &AgentEvent) -> Option<&SealedRef> {
        match event {
            AgentEvent::Registered { .. }
            | AgentEvent::Updated { .. }
            | AgentEvent::Deregistered { .. } => None,
        }
    }
}

impl Agent {
    fn register(&self, profile: AgentProfile) -> Decision {
        if self.status == Status::Registered {
            return Err(AgentError::AlreadyRegistered);
        }
        Ok(vec![AgentEvent::Registered {
            profile: tidied(profile)?,
            epoch: self.epoch + 1,
        }])
    }

    fn update(&self, profile: AgentProfile) -> Decision {
        if self.status != Status::Registered {
            return Err(AgentError::NotFound);
        }
        let profile = tidied(profile)?;
        let changed = profile.differences(&self.profile);
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let epoch = self.epoch + u64::from(profile.narrows(&self.profile));
        Ok(vec![AgentEvent::Updated {
            profile,
            epoch,
            changed,
        }])
    }

    fn deregister(&self) -> Decision {
        if self.status != Status::Registered {
            return Err(AgentError::NotFound);
        }
        Ok(vec![AgentEvent::Deregistered {
            epoch: self.epoch + 1,
        }])
    }
}

/// `profile` as it is recorded.
fn tidied(profile: AgentProfile) -> Result<AgentProfile, AgentError> {
    Ok(AgentProfile {
        allowed_scopes: tidy(&profile.allowed_scopes)?,
        ..profile
    })
}

#[cfg(test)]
mod tests;
