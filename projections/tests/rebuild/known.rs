//! Sessions and agents, told from what was looked up before.

use std::sync::Arc;

use nexus_domain::agent::{AgentEvent, AgentId, AgentProfile};
use nexus_domain::session::{CloseReason, Opening, SessionEvent, SessionId};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Append, Expected, Ledger, NewEvent};
use nexus_projections::{AgentRow, ReadStore, SessionRow, SessionsOf};

use super::store::Store;

/// Returns the event's position.
async fn record(ledger: &Ledger, stream: StreamKey, event: NewEvent) -> u64 {
    let append = Append::new(stream, Expected::Any, vec![event]);
    ledger.append(append).await.unwrap().position()
}

fn agent() -> AgentId {
    AgentId::parse("mail-bot").unwrap()
}

fn opened() -> SessionEvent {
    SessionEvent::Opened(Box::new(Opening {
        agent_id: agent(),
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

async fn known(reads: &ReadStore, id: &SessionId) -> Option<Arc<SessionRow>> {
    reads.now().await.unwrap().session(id).await.unwrap()
}

pub(crate) async fn a_session_that_was_looked_up_follows_its_row(store: &Store) {
    let ledger = store.open().await;
    let reads = ReadStore::new(ledger.backend());
    let id = SessionId::new(Timestamp::from_seconds(1), [7; 10], false);
    assert_eq!(known(&reads, &id).await, None);
    let closed = SessionEvent::Closed {
        reason: CloseReason::Closed,
    };
    for event in [opened(), closed] {
        let stream = StreamKey::new("session", id.as_str());
        record(&ledger, stream, NewEvent::of(&event).unwrap()).await;
        let row = reads.session(&id).await.unwrap();
        assert!(row.is_some());
        // The second time it is told from what is kept.
        for _ in 0..2 {
            assert_eq!(known(&reads, &id).await, row);
        }
    }
}

pub(crate) async fn an_agent_that_was_looked_up_follows_its_row(store: &Store) {
    let ledger = store.open().await;
    // Each keeps what it looked up, as two nodes do.
    let nodes = [(); 2].map(|()| ReadStore::new(ledger.backend()));
    for epoch in 1..=3 {
        let event = AgentEvent::Updated {
            profile: AgentProfile::default(),
            epoch,
            changed: Vec::new(),
        };
        let stream = StreamKey::agent(&agent());
        record(&ledger, stream, NewEvent::of(&event).unwrap()).await;
        for reads in nodes.iter().chain(&nodes) {
            let known = reads.agent(&agent()).await.unwrap();
            let known = known.as_deref().map(|row: &AgentRow| row.sequence);
            assert_eq!(known, Some(epoch));
        }
    }
}

pub(crate) async fn a_look_through_open_sessions_leaves_out_those_opened_later(store: &Store) {
    let ledger = store.open().await;
    let reads = ReadStore::new(ledger.backend());
    let mut positions = Vec::new();
    let ids = [1, 2, 3].map(|second| {
        let at = Timestamp::from_seconds(second);
        SessionId::new(at, [7; 10], false)
    });
    for id in &ids {
        let stream = StreamKey::new("session", id.as_str());
        positions.push(record(&ledger, stream, NewEvent::of(&opened()).unwrap()).await);
    }
    let of = SessionsOf::Agent(agent());
    for (until, expected) in positions.into_iter().zip([&ids[..1], &ids[..2], &ids[..]]) {
        let rows = reads.open_sessions(&of, until, "", 10).await.unwrap();
        let found: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let expected: Vec<&str> = expected.iter().map(SessionId::as_str).collect();
        assert_eq!(found, expected);
    }
    let last = reads
        .open_sessions(&of, u64::MAX, ids[1].as_str(), 10)
        .await;
    assert_eq!(last.unwrap().len(), 1);
}
