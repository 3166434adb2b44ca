//! What ought to be true, in sets and flags alone.

use std::collections::BTreeSet;

use super::steps::Change;

/// How many agents there are, and how many connections at a time.
pub(crate) const AGENTS: usize = 2;
/// See [`AGENTS`].
pub(crate) const SLOTS: usize = 2;

/// What the provider registers.
pub(crate) const OF_PROVIDER: [&str; 3] = ["read", "write", "send"];
/// What no provider registers.
pub(crate) const CUSTOM: [&str; 2] = ["report", "audit"];

pub(crate) type Scopes = BTreeSet<&'static str>;

/// A session that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) agent: usize,
    pub(crate) scopes: Scopes,
    /// With which connection.
    pub(crate) slot: Option<usize>,
    /// On behalf of the connections' user, who may do this.
    pub(crate) user: Option<Scopes>,
    /// Whether it lasts a second.
    pub(crate) short: bool,
}

#[derive(Clone, Debug)]
struct Agent {
    allowed: Scopes,
    active: bool,
}

/// A session that was opened.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) asked: Asked,
    /// Whether it uses the connection's own token.
    pub(crate) by_provider: bool,
    pub(crate) alive: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    agents: [Option<Agent>; AGENTS],
    /// What each connection was granted.
    granted: [Option<Scopes>; SLOTS],
    pub(crate) sessions: Vec<Session>,
}

impl Model {
    /// Changes agents and connections; whether that was possible.
    pub(crate) fn apply(&mut self, change: Change) -> bool {
        let done = match change {
            Change::Register(agent, allowed) => self.register(agent, allowed),
            Change::Allow(agent, allowed) => self.change(agent, |agent| agent.allowed = allowed),
            Change::Activate(agent, active) => self.change(agent, |agent| agent.active = active),
            Change::Deregister(agent) => self.agents[agent].take().is_some(),
            Change::Connect(slot, granted) => {
                self.granted[slot] = Some(granted);
                true
            }
            Change::Refresh(slot, granted) => {
                let connected = self.granted[slot].as_mut();
                connected.map(|before| *before = granted).is_some()
            }
            Change::Revoke(slot) => self.granted[slot].take().is_some(),
        };
        self.bury();
        done
    }

    fn register(&mut self, agent: usize, allowed: Scopes) -> bool {
        let free = self.agents[agent].is_none();
        if free {
            self.agents[agent] = Some(Agent {
                allowed,
                active: true,
            });
        }
        free
    }

    fn change(&mut self, agent: usize, change: impl FnOnce(&mut Agent)) -> bool {
        self.agents[agent].as_mut().map(change).is_some()
    }

    /// A session has been closed.
    pub(crate) fn close(&mut self, session: usize) {
        self.sessions[session].alive = false;
    }

    /// The time of all that last a second is over.
    pub(crate) fn expire(&mut self) {
        for session in &mut self.sessions {
            session.alive &= !session.asked.short;
        }
    }

    /// Whether a session is opened: `None` is refused, else whether it uses the connection's own token.
    pub(crate) fn permits(&self, asked: &Asked) -> Option<bool> {
        let user = asked.user.as_ref();
        let may = self.agent_allows(asked) && user.is_none_or(|user| asked.scopes.is_subset(user));
        let granted = match asked.slot {
            None => Scopes::new(),
            Some(slot) => self.granted[slot].clone()?,
        };
        let is_providers =
            |scope: &&&str| OF_PROVIDER.contains(*scope) || granted.contains(**scope);
        let by_provider = match asked.scopes.iter().filter(is_providers).count() {
            0 => false,
            all if all == asked.scopes.len() && asked.scopes.is_subset(&granted) => true,
            _ => return None,
        };
        may.then_some(by_provider)
    }

    /// A session was opened; it is the last.
    pub(crate) fn opened(&mut self, asked: Asked, by_provider: bool) {
        self.sessions.push(Session {
            asked,
            by_provider,
            alive: true,
        });
    }

    /// Whether everything that a session needs is there at this moment.
    pub(crate) fn allows(&self, asked: &Asked, by_provider: bool) -> bool {
        let granted = asked.slot.map(|slot| self.granted[slot].as_ref());
        let connected = granted.is_none_or(|granted| {
            granted.is_some_and(|granted| !by_provider || asked.scopes.is_subset(granted))
        });
        self.agent_allows(asked) && connected
    }

    fn agent_allows(&self, asked: &Asked) -> bool {
        let agent = self.agents[asked.agent].as_ref();
        agent.is_some_and(|agent| agent.active && asked.scopes.is_subset(&agent.allowed))
    }

    /// What has lost something that it needs is dead, and stays so.
    fn bury(&mut self) {
        let mut sessions = std::mem::take(&mut self.sessions);
        for session in &mut sessions {
            session.alive &= self.allows(&session.asked, session.by_provider);
        }
        self.sessions = sessions;
    }
}
