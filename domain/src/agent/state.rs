//! What is true of an agent after its events.

use serde::{Deserialize, Serialize};

use super::AgentEvent;
use crate::decider::StateVersion;
use crate::scope::Since;

/// The version of the stored state.
pub(super) const STATE_VERSION: u32 = 1;

/// Where an agent stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was never registered.
    #[default]
    Absent,
    /// It is known.
    Registered,
    /// It is known no more.
    Deregistered,
}

/// What an agent is and may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProfile {
    /// What people call it.
    pub description: String,
    /// The most it may ever be granted.
    pub allowed_scopes: Vec<String>,
    /// Whether it may do anything at present.
    pub active: bool,
}

impl Default for AgentProfile {
    fn default() -> Self {
        Self {
            description: String::new(),
            allowed_scopes: Vec::new(),
            active: true,
        }
    }
}

impl AgentProfile {
    /// Whether something that was allowed before is no longer.
    pub(super) fn narrows(&self, before: &Self) -> bool {
        let mut had = before.allowed_scopes.iter();
        before.active && (!self.active || had.any(|scope| !self.allowed_scopes.contains(scope)))
    }

    /// The names of the fields in which it differs.
    pub(super) fn differences(&self, before: &Self) -> Vec<String> {
        let fields = [
            ("active", self.active != before.active),
            (
                "allowed_scopes",
                self.allowed_scopes != before.allowed_scopes,
            ),
            ("description", self.description != before.description),
        ];
        let changed = fields.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(name, _)| name.to_owned()).collect()
    }
}

/// A program that acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    state_version: StateVersion<STATE_VERSION>,
    /// Where it stands.
    pub status: Status,
    /// What it is and may do; what it last was, after its end.
    pub profile: AgentProfile,
    /// 1 at first; rises whenever something that was allowed is no longer, and with every end.
    pub epoch: u64,
    /// Since which epoch it has been active.
    active_since: u64,
    /// Since which epoch each scope has been allowed.
    allowed_since: Since,
}

impl Agent {
    pub(super) fn fold(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::Registered { profile, epoch } => {
                self.status = Status::Registered;
                self.epoch = *epoch;
                self.active_since = *epoch;
                self.allowed_since = Since::default();
                self.become_like(profile);
            }
            AgentEvent::Updated {
                profile,
                epoch,
                changed: _,
            } => {
                self.epoch = *epoch;
                if !self.profile.active {
                    self.active_since = *epoch;
                }
                self.become_like(profile);
            }
            AgentEvent::Deregistered { epoch } => {
                self.status = Status::Deregistered;
                self.epoch = *epoch;
            }
        }
    }

    fn become_like(&mut self, profile: &AgentProfile) {
        self.allowed_since
            .update(&profile.allowed_scopes, self.epoch);
        self.profile.clone_from(profile);
    }

    /// Whether it has been allowed these scopes without a break since `epoch`.
    #[must_use]
    pub fn still_allows(&self, scopes: &[String], epoch: u64) -> bool {
        self.status == Status::Registered
            && self.profile.active
            && self.active_since <= epoch
            && self.allowed_since.holds(scopes, epoch)
    }
}
