//! What each command causes, state by state.

use super::state::STATE_VERSION;
use super::{
    Bound, CloseReason, Ended, Opening, Session, SessionCommand, SessionError, SessionEvent, Status,
};
use crate::agent::Agent;
use crate::connection::Connection;
use crate::decider::{Decider, aggregate};
use crate::sealing::SealedRef;
use crate::time::Timestamp;

type Decision = Result<Vec<SessionEvent>, SessionError>;

aggregate!(
    Session,
    "session",
    SessionCommand,
    SessionEvent,
    SessionError
);

impl Decider for Session {
    const STATE_VERSION: u32 = STATE_VERSION;

    fn decide(&self, command: SessionCommand) -> Decision {
        match command {
            SessionCommand::Open(opening) => self.open(opening),
            SessionCommand::Close { reason, now } => self.close(reason, now),
            SessionCommand::Expire { now } => self.expire(now),
        }
    }

    fn evolve(&mut self, event: &SessionEvent) {
        self.fold(event);
    }

    /// A session has no secrets.
    fn sealed(event: &SessionEvent) -> Option<&SealedRef> {
        match event {
            SessionEvent::Opened(_) | SessionEvent::Closed { .. } | SessionEvent::Expired {} => {
                None
            }
        }
    }
}

impl Session {
    fn open(&self, opening: Box<Opening>) -> Decision {
        if self.status != Status::Absent {
            return Err(SessionError::AlreadyOpened);
        }
        Ok(vec![SessionEvent::Opened(opening)])
    }

    /// Closing what has ended is harmless; what has ended by itself was not closed. What was narrower before its time was
    /// over ended then, however late that is recorded.
    fn close(&self, reason: CloseReason, now: Timestamp) -> Decision {
        match self.status {
            Status::Absent => Err(SessionError::NotFound),
            Status::Open if reason == CloseReason::Closed && self.is_over(now) => {
                Ok(vec![SessionEvent::Expired {}])
            }
            Status::Open => Ok(vec![SessionEvent::Closed { reason }]),
            Status::Closed | Status::Expired => Ok(Vec::new()),
        }
    }

    fn expire(&self, now: Timestamp) -> Decision {
        match self.status {
            Status::Absent => Err(SessionError::NotFound),
            Status::Open if self.is_over(now) => Ok(vec![SessionEvent::Expired {}]),
            Status::Open | Status::Closed | Status::Expired => Ok(Vec::new()),
        }
    }

    /// Why it is dead, if it is: its agent and its connection are as they are now.
    #[must_use]
    pub fn ended(
        &self,
        agent: Option<&Agent>,
        connection: Option<&Connection>,
        now: Timestamp,
    ) -> Option<Ended> {
        let opening = self.opening.as_ref()?;
        match self.status {
            Status::Absent => return None,
            Status::Expired => return Some(Ended::Expired),
            Status::Closed => return Some(Ended::Closed(self.reason?)),
            Status::Open => {}
        }
        let allows = |agent: &Agent| agent.still_allows(&opening.scopes, opening.agent_epoch);
        let bound = opening.bound.as_ref();
        let grants = |bound: &Bound| {
            connection.is_some_and(|connection| {
                if opening.provider_scopes {
                    connection.still_grants(&opening.scopes, bound.epoch)
                } else {
                    connection.is_there()
                }
            })
        };
        if !agent.is_some_and(allows) {
            Some(Ended::Closed(CloseReason::AgentNarrowed))
        } else if !bound.is_none_or(grants) {
            Some(Ended::Closed(CloseReason::ConnectionNarrowed))
        } else {
            self.is_over(now).then_some(Ended::Expired)
        }
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        let opening = self.opening.as_ref();
        opening.is_some_and(|opening| opening.expires_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{AgentCommand, AgentId, AgentProfile};
    use crate::fixtures;
    use crate::session::{EVENT_TYPES, Principal};

    const OPENED: i64 = 1_000;
    const OVER: i64 = 1_900;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn opening() -> Box<Opening> {
        Box::new(Opening {
            agent_id: AgentId::parse("mail-bot").unwrap(),
            agent_epoch: 1,
            agent_sequence: 1,
            bound: None,
            scopes: vec!["report.write".to_owned()],
            provider_scopes: false,
            principal: Some(Principal {
                acting_for: "ann".to_owned(),
                tenant_id: None,
                clearance_level: None,
                permissions: vec!["report.write".to_owned()],
            }),
            expires_at: at(OVER),
            inputs: "ab".repeat(32),
        })
    }

    fn opened() -> SessionEvent {
        SessionEvent::Opened(opening())
    }

    fn closed(reason: CloseReason) -> SessionEvent {
        SessionEvent::Closed { reason }
    }

    fn given(history: &[SessionEvent]) -> Session {
        let mut session = Session::default();
        for event in history {
            session.evolve(event);
        }
        session
    }

    fn close(seconds: i64) -> SessionCommand {
        let (reason, now) = (CloseReason::AgentNarrowed, at(seconds));
        SessionCommand::Close { reason, now }
    }

    fn expire(seconds: i64) -> SessionCommand {
        SessionCommand::Expire { now: at(seconds) }
    }

    #[test]
    fn a_session_is_opened_once() {
        let open = || SessionCommand::Open(opening());
        assert_eq!(given(&[]).decide(open()), Ok(vec![opened()]));
        for history in [vec![opened()], vec![opened(), SessionEvent::Expired {}]] {
            assert_eq!(
                given(&history).decide(open()),
                Err(SessionError::AlreadyOpened)
            );
        }
    }

    #[test]
    fn an_open_session_is_closed_once_and_for_its_first_reason() {
        let session = given(&[opened()]);
        let expected = closed(CloseReason::AgentNarrowed);
        assert_eq!(session.decide(close(OPENED)), Ok(vec![expected]));
        let ended = given(&[opened(), closed(CloseReason::Closed)]);
        assert_eq!(ended.decide(close(OPENED)), Ok(Vec::new()));
        assert_eq!(ended.reason, Some(CloseReason::Closed));
    }

    #[test]
    fn a_session_whose_time_is_over_has_expired_whatever_is_asked() {
        let session = given(&[opened()]);
        let close = |seconds| SessionCommand::Close {
            reason: CloseReason::Closed,
            now: at(seconds),
        };
        for command in [close(OVER), expire(OVER)] {
            assert_eq!(session.decide(command), Ok(vec![SessionEvent::Expired {}]));
        }
        assert_eq!(session.decide(expire(OVER - 1)), Ok(Vec::new()));
        let ended = given(&[opened(), SessionEvent::Expired {}]);
        for command in [close(OVER), expire(OVER)] {
            assert_eq!(ended.decide(command), Ok(Vec::new()));
        }
    }

    #[test]
    fn what_was_never_opened_does_not_end() {
        for command in [close(OPENED), expire(OPENED)] {
            assert_eq!(given(&[]).decide(command), Err(SessionError::NotFound));
        }
    }

    #[test]
    fn what_was_narrower_before_its_time_was_over_was_closed_by_that() {
        let expected = closed(CloseReason::AgentNarrowed);
        assert_eq!(given(&[opened()]).decide(close(OVER)), Ok(vec![expected]));
    }

    fn agent(commands: &[AgentCommand]) -> Agent {
        let mut agent = Agent::default();
        for command in commands {
            let events = agent.decide(command.clone()).unwrap();
            for event in &events {
                agent.evolve(event);
            }
        }
        agent
    }

    fn registered() -> AgentCommand {
        AgentCommand::Register {
            profile: AgentProfile {
                allowed_scopes: vec!["report.write".to_owned(), "other".to_owned()],
                ..AgentProfile::default()
            },
        }
    }

    fn allowed(scopes: &[&str]) -> AgentCommand {
        AgentCommand::Update {
            description: None,
            allowed_scopes: Some(scopes.iter().map(|&scope| scope.to_owned()).collect()),
            active: None,
        }
    }

    fn activated(active: bool) -> AgentCommand {
        AgentCommand::Update {
            description: None,
            allowed_scopes: None,
            active: Some(active),
        }
    }

    #[test]
    fn a_session_lives_while_its_agent_may_do_all_of_it_without_a_break() {
        let session = given(&[opened()]);
        let narrowed = Some(Ended::Closed(CloseReason::AgentNarrowed));
        for (commands, ended) in [
            (vec![registered()], None),
            (vec![registered(), allowed(&["report.write"])], None),
            (vec![registered(), allowed(&["other"])], narrowed),
            (
                vec![
                    registered(),
                    allowed(&["other"]),
                    allowed(&["report.write"]),
                ],
                narrowed,
            ),
            (vec![registered(), activated(false)], narrowed),
            (
                vec![registered(), activated(false), activated(true)],
                narrowed,
            ),
            (vec![registered(), AgentCommand::Deregister], narrowed),
            (
                vec![registered(), AgentCommand::Deregister, registered()],
                narrowed,
            ),
        ] {
            let agent = agent(&commands);
            let found = session.ended(Some(&agent), None, at(OPENED));
            assert_eq!(found, ended, "{commands:?}");
        }
        assert_eq!(session.ended(None, None, at(OPENED)), narrowed);
        let agent = agent(&[registered()]);
        assert_eq!(
            session.ended(Some(&agent), None, at(OVER)),
            Some(Ended::Expired)
        );
    }

    #[test]
    fn a_state_is_stored_and_read_back() {
        let session = given(&[opened(), closed(CloseReason::ConnectionNarrowed)]);
        let stored = serde_json::to_string(&session).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&stored).unwrap(), session);
    }

    #[test]
    fn every_event_has_its_stored_form() {
        fixtures::check::<SessionEvent>(EVENT_TYPES);
    }
}
