//! What each command causes, state by state.

use super::state::STATE_VERSION;
use super::{CloseReason, Opening, Session, SessionCommand, SessionError, SessionEvent, Status};
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

    /// Closing what has ended is harmless; what has ended by itself was not closed.
    fn close(&self, reason: CloseReason, now: Timestamp) -> Decision {
        match self.status {
            Status::Absent => Err(SessionError::NotFound),
            Status::Open if self.is_over(now) => Ok(vec![SessionEvent::Expired {}]),
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
    use crate::agent::AgentId;
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
