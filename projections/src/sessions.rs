//! The `sessions` read model. What is open can be found by its agent, by its connection and by when its time is over.

use nexus_domain::decider::Decider;
use nexus_domain::session::{Session, SessionEvent, SessionId, Status};
use nexus_ledger::RecordedEvent;

use crate::connections::decode;
use crate::kept::{Keep, texts};
use crate::projection::{FoldError, Projection};
use crate::row::StateRow;
use crate::table::{Column, Value};

/// What a row takes beside its scopes and permissions, bytes, about.
const ROW_BYTES: u64 = 900;

/// A session.
pub type SessionRow = StateRow<Session>;

/// The fold.
#[derive(Debug)]
pub struct Sessions;

impl Projection for Sessions {
    const NAME: &'static str = "sessions";
    const VERSION: i64 = 1_000 + Session::STATE_VERSION as i64;
    const STREAM: &'static str = "session";
    const COLUMNS: &'static [Column] = &[
        Column::text("id"),
        Column::integer("sequence"),
        Column::integer("position"),
        Column::text("open_agent"),
        Column::text("open_connection"),
        Column::integer("ends_at"),
        Column::text("state"),
        Column::integer("created_at"),
        Column::integer("updated_at"),
    ];
    const INDEXES: &'static [&'static str] = &["open_agent, id", "open_connection, id", "ends_at"];
    type Row = SessionRow;

    fn position(row: &SessionRow) -> u64 {
        row.position
    }

    fn apply(
        row: Option<SessionRow>,
        recorded: &RecordedEvent,
    ) -> Result<Option<SessionRow>, FoldError> {
        let event: SessionEvent = decode(&recorded.payload)?;
        Ok(Some(StateRow::after(row, &event, recorded)))
    }

    fn row_key(row: &SessionRow) -> &str {
        &row.id
    }

    fn to_values(row: &SessionRow) -> Vec<Value> {
        let open = row.state.opening.as_ref();
        let open = open.filter(|_| row.state.status == Status::Open);
        let bound = open.and_then(|open| open.bound.as_ref());
        row.values([
            open.map(|open| open.agent_id.to_string()).into(),
            bound.map(|bound| bound.connection.to_string()).into(),
            open.map(|open| open.expires_at.as_micros()).into(),
        ])
    }

    fn from_values(values: Vec<Value>) -> Result<SessionRow, FoldError> {
        StateRow::read(values, |values| {
            values.text()?;
            values.text()?;
            values.integer().map(drop)
        })
    }

    fn superseded_blob(_: &SessionRow, _: Option<&SessionRow>) -> Option<u64> {
        None
    }
}

/// Whoever is shown a session's token asks about it, again and again.
impl Keep for SessionRow {
    type Key = SessionId;
    const STREAM: &'static str = Sessions::STREAM;
    const MANY: usize = 16_000;
    const BYTES: u64 = 16 << 20;

    fn key(text: &str) -> Option<SessionId> {
        SessionId::parse(text).ok()
    }

    fn bytes(&self) -> u64 {
        let opening = self.state.opening.as_ref();
        let permissions = opening.and_then(|opening| opening.principal.as_ref());
        let permissions = permissions.map_or(0, |user| texts(&user.permissions));
        ROW_BYTES + opening.map_or(0, |opening| texts(&opening.scopes)) + permissions
    }
}

#[cfg(test)]
mod tests {
    use nexus_domain::agent::AgentId;
    use nexus_domain::session::{CloseReason, Opening};
    use nexus_domain::stream::StreamKey;
    use nexus_domain::time::Timestamp;
    use nexus_ledger::NewEvent;

    use super::*;
    use crate::fixtures::recorded;

    fn record(position: u64, event: &SessionEvent) -> RecordedEvent {
        recorded(
            StreamKey::new("session", "sess_1"),
            position,
            NewEvent::of(event).unwrap(),
        )
    }

    fn opened() -> SessionEvent {
        SessionEvent::Opened(Box::new(Opening {
            agent_id: AgentId::parse("mail-bot").unwrap(),
            agent_epoch: 1,
            agent_sequence: 1,
            bound: None,
            scopes: vec!["report".to_owned()],
            provider_scopes: false,
            principal: None,
            expires_at: Timestamp::from_seconds(900),
            inputs: String::new(),
        }))
    }

    #[test]
    fn a_session_is_found_while_it_is_open_and_read_back_always() {
        let closed = SessionEvent::Closed {
            reason: CloseReason::Closed,
        };
        let open = Sessions::apply(None, &record(1, &opened())).unwrap();
        let ended = Sessions::apply(open.clone(), &record(2, &closed)).unwrap();
        for (row, agent) in [(open, Some("mail-bot")), (ended, None)] {
            let values = Sessions::to_values(row.as_ref().unwrap());
            assert_eq!(values.len(), Sessions::COLUMNS.len());
            assert_eq!(values[3], agent.map(str::to_owned).into());
            assert_eq!(Sessions::from_values(values).ok(), row);
        }
    }
}
