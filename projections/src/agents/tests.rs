use nexus_domain::agent::AgentProfile;
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::NewEvent;

use super::*;
use crate::fixtures::recorded;

fn record(position: u64, event: &AgentEvent) -> RecordedEvent {
    recorded(
        StreamKey::new("agent", "mail-bot"),
        position,
        NewEvent::of(event).unwrap(),
    )
}

fn registered(epoch: u64) -> AgentEvent {
    let profile = AgentProfile {
        allowed_scopes: vec!["read".to_owned()],
        ..AgentProfile::default()
    };
    AgentEvent::Registered { profile, epoch }
}

/// The row after each of these events.
fn rows(events: &[AgentEvent]) -> Vec<AgentRow> {
    let mut row = None;
    let mut after = |(position, event): (u64, &AgentEvent)| {
        row = Agents::apply(row.take(), &record(position, event)).unwrap();
        row.clone().unwrap()
    };
    (1..).zip(events).map(&mut after).collect()
}

#[test]
fn an_agent_is_known_from_its_registration_to_its_end() {
    let ended = AgentEvent::Deregistered { epoch: 2 };
    let rows = rows(&[registered(1), ended, registered(3)]);
    let known = rows.iter().map(AgentRow::is_registered);
    assert!(known.eq([true, false, true]));
    let times = rows.iter().map(|row| (row.created_at, row.updated_at));
    let at = Timestamp::from_seconds;
    assert!(times.eq([(at(1), at(1)), (at(1), at(2)), (at(3), at(3))]));
    assert_eq!(rows[2].state.epoch, 3);
}

#[test]
fn a_row_is_stored_and_read_back() {
    for row in rows(&[registered(1), AgentEvent::Deregistered { epoch: 2 }]) {
        let values = Agents::to_values(&row);
        assert_eq!(values.len(), Agents::COLUMNS.len());
        assert_eq!(Agents::from_values(values), Ok(row));
    }
}

#[test]
fn an_event_that_does_not_decode_is_an_error() {
    let broken = RecordedEvent {
        payload: "{}".to_owned(),
        ..record(1, &registered(1))
    };
    assert!(Agents::apply(None, &broken).is_err());
}
