use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::agent::EVENT_TYPES;
use crate::fixtures;
use crate::scope::InvalidScope;

type Command = AgentCommand;
type Event = AgentEvent;

fn profile(scopes: &[&str]) -> AgentProfile {
    AgentProfile {
        description: "Reads mail".to_owned(),
        allowed_scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        active: true,
    }
}

fn registered(scopes: &[&str], epoch: u64) -> Event {
    Event::Registered {
        profile: profile(scopes),
        epoch,
    }
}

fn register(scopes: &[&str]) -> Command {
    Command::Register {
        profile: profile(scopes),
    }
}

fn allow(scopes: &[&str]) -> Command {
    Command::Update {
        description: None,
        allowed_scopes: Some(scopes.iter().map(|&scope| scope.to_owned()).collect()),
        active: None,
    }
}

fn activate(active: bool) -> Command {
    Command::Update {
        description: None,
        allowed_scopes: None,
        active: Some(active),
    }
}

fn given(history: &[Event]) -> Agent {
    let mut agent = Agent::default();
    for event in history {
        agent.evolve(event);
    }
    agent
}

fn epochs(history: &[Event], command: Command) -> (u64, u64) {
    let mut agent = given(history);
    let before = agent.epoch;
    for event in agent.decide(command).unwrap() {
        agent.evolve(&event);
    }
    (before, agent.epoch)
}

#[test]
fn registering_records_what_it_may_do_tidied() {
    let decision = given(&[]).decide(register(&[" read", "write", "read"]));
    assert_eq!(decision, Ok(vec![registered(&["read", "write"], 1)]));
}

#[test]
fn registering_a_registered_agent_is_refused() {
    let decision = given(&[registered(&["read"], 1)]).decide(register(&["read"]));
    assert_eq!(decision, Err(AgentError::AlreadyRegistered));
}

#[test]
fn an_ended_agent_may_be_registered_again_under_a_new_epoch() {
    let history = [registered(&["read"], 1), Event::Deregistered { epoch: 2 }];
    let decision = given(&history).decide(register(&["write"]));
    assert_eq!(decision, Ok(vec![registered(&["write"], 3)]));
}

#[test]
fn a_scope_that_is_none_is_refused() {
    let refused = Err(AgentError::InvalidScope(InvalidScope));
    assert_eq!(given(&[]).decide(register(&["read", " "])), refused);
    let agent = given(&[registered(&["read"], 1)]);
    assert_eq!(agent.decide(allow(&["two words"])), refused);
}

#[test]
fn an_update_names_what_differs_and_leaves_the_rest() {
    let change = Command::Update {
        description: Some("Writes mail".to_owned()),
        allowed_scopes: Some(vec!["read".to_owned(), "write".to_owned()]),
        active: None,
    };
    let decision = given(&[registered(&["read"], 1)]).decide(change);
    let expected = Event::Updated {
        profile: AgentProfile {
            description: "Writes mail".to_owned(),
            ..profile(&["read", "write"])
        },
        epoch: 1,
        changed: ["allowed_scopes", "description"]
            .map(str::to_owned)
            .to_vec(),
    };
    assert_eq!(decision, Ok(vec![expected]));
}

#[test]
fn an_update_that_changes_nothing_is_no_event() {
    let agent = given(&[registered(&["read"], 1)]);
    assert_eq!(agent.decide(allow(&["read ", "read"])), Ok(Vec::new()));
    assert_eq!(agent.decide(activate(true)), Ok(Vec::new()));
}

#[test]
fn the_epoch_rises_when_something_is_no_longer_allowed() {
    let both = [registered(&["read", "write"], 1)];
    assert_eq!(epochs(&both, allow(&["write"])), (1, 2));
    assert_eq!(epochs(&both, allow(&["write", "read"])), (1, 1));
    assert_eq!(epochs(&both, allow(&["read", "write", "send"])), (1, 1));
    assert_eq!(epochs(&both, activate(false)), (1, 2));
    assert_eq!(epochs(&both, Command::Deregister), (1, 2));
}

#[test]
fn the_epoch_stays_while_an_agent_that_may_do_nothing_changes() {
    let idle = Event::Updated {
        profile: AgentProfile {
            active: false,
            ..profile(&["read", "write"])
        },
        epoch: 2,
        changed: vec!["active".to_owned()],
    };
    let history = [registered(&["read", "write"], 1), idle];
    assert_eq!(epochs(&history, activate(true)), (2, 2));
    assert_eq!(epochs(&history, allow(&["read"])), (2, 2));
}

#[test]
fn an_unknown_or_ended_agent_is_neither_changed_nor_ended() {
    let ended = [registered(&["read"], 1), Event::Deregistered { epoch: 2 }];
    for history in [&[][..], &ended] {
        let agent = given(history);
        assert_eq!(agent.decide(activate(false)), Err(AgentError::NotFound));
        assert_eq!(agent.decide(Command::Deregister), Err(AgentError::NotFound));
    }
}

#[test]
fn every_event_has_its_stored_form() {
    fixtures::check::<Event>(EVENT_TYPES);
}

fn commands() -> impl Strategy<Value = Command> {
    let scopes = || subsequence(vec!["read", "write", "send"], 0..=3);
    prop_oneof![
        scopes().prop_map(|scopes| register(&scopes)),
        scopes().prop_map(|scopes| allow(&scopes)),
        select(vec![true, false]).prop_map(activate),
        Just(Command::Deregister),
    ]
}

/// What the agent may do.
fn reach(agent: &Agent) -> Vec<String> {
    let reaches = agent.status == Status::Registered && agent.profile.active;
    let scopes = agent.profile.allowed_scopes.iter();
    scopes.filter(|_| reaches).cloned().collect()
}

proptest! {
    /// What was opened under an epoch that still holds exceeds nothing that is allowed now.
    #[test]
    fn within_an_epoch_what_may_be_done_only_grows(commands in vec(commands(), 0..20)) {
        let mut agent = Agent::default();
        for command in commands {
            let (before, narrows) = (agent.clone(), command.may_narrow());
            for event in agent.decide(command).unwrap_or_default() {
                agent.evolve(&event);
            }
            prop_assert!(agent.epoch >= before.epoch);
            prop_assert!(narrows || before.status != Status::Registered || agent.epoch == before.epoch);
            if agent.epoch == before.epoch {
                let now = reach(&agent);
                prop_assert!(reach(&before).iter().all(|scope| now.contains(scope)));
            }
        }
    }

    #[test]
    fn a_state_is_stored_and_read_back(commands in vec(commands(), 0..10)) {
        let mut agent = Agent::default();
        for command in commands {
            agent.decide(command).unwrap_or_default().iter().for_each(|event| agent.evolve(event));
        }
        let stored = serde_json::to_string(&agent).unwrap();
        prop_assert_eq!(serde_json::from_str::<Agent>(&stored).unwrap(), agent);
    }
}
