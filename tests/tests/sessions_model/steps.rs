//! What may happen, and how often.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::model::{AGENTS, Asked, CUSTOM, OF_PROVIDER, SLOTS, Scopes};

/// What is done to agents and connections.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Register(usize, Scopes),
    Allow(usize, Scopes),
    Activate(usize, bool),
    Deregister(usize),
    /// Connects, or connects anew.
    Connect(usize, Scopes),
    /// Refreshes, which may be granted something else.
    Refresh(usize, Scopes),
    Revoke(usize),
}

/// What is done.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Change(Change),
    Open(Asked),
    /// Through its own door.
    Close(Index),
    /// Through OAuth's.
    RevokeToken(Index),
    /// Until the sessions that last a second are over.
    Wait,
}

/// Openings that happen while things change.
#[derive(Clone, Debug)]
pub(crate) struct Race {
    pub(crate) openings: Vec<Asked>,
    pub(crate) changes: Vec<Change>,
}

/// One thing after the other, some so soon after another that nobody looks between them.
pub(crate) fn walks() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        10 => changes().prop_map(Step::Change),
        10 => asked(weighted_short()).prop_map(Step::Open),
        1 => any::<Index>().prop_map(Step::Close),
        1 => any::<Index>().prop_map(Step::RevokeToken),
        1 => Just(Step::Wait),
    ];
    let begin = (some(all()), some(all()), some(OF_PROVIDER.to_vec()));
    let begin = begin.prop_map(|(first, second, granted)| {
        let changes = [
            Change::Register(0, first),
            Change::Register(1, second),
            Change::Connect(0, granted),
        ];
        changes.map(Step::Change).to_vec()
    });
    let steps = prop_oneof![
        6 => step.prop_map(|step| vec![step]),
        1 => lapses().prop_map(|changes| changes.map(Step::Change).to_vec()),
    ];
    (begin, vec(steps, 1..24)).prop_map(|(begin, steps)| [vec![begin], steps].concat())
}

/// Something is taken back, and given again at once.
fn lapses() -> impl Strategy<Value = [Change; 2]> {
    let everything = || all().into_iter().collect::<Scopes>();
    let granted = || OF_PROVIDER.into_iter().collect::<Scopes>();
    prop_oneof![
        (0..AGENTS).prop_map(|agent| [false, true].map(|active| Change::Activate(agent, active))),
        (0..AGENTS, some(all())).prop_map(move |(agent, less)| {
            [less, everything()].map(|allowed| Change::Allow(agent, allowed))
        }),
        (0..AGENTS).prop_map(move |agent| {
            [
                Change::Deregister(agent),
                Change::Register(agent, everything()),
            ]
        }),
        (0..SLOTS, some(OF_PROVIDER.to_vec())).prop_map(move |(slot, less)| {
            [less, granted()].map(|granted| Change::Refresh(slot, granted))
        }),
    ]
}

/// Openings in a world where everything is allowed, and what changes that.
pub(crate) fn races() -> impl Strategy<Value = Race> {
    let openings = vec(asked(Just(false).boxed()), 4..12);
    (openings, vec(changes(), 1..4)).prop_map(|(openings, changes)| Race { openings, changes })
}

fn all() -> Vec<&'static str> {
    OF_PROVIDER.into_iter().chain(CUSTOM).collect()
}

/// Some of these scopes, most of them.
fn some(of: Vec<&'static str>) -> impl Strategy<Value = Scopes> {
    let most = of.len() - 1..=of.len();
    let any = 1..=of.len();
    prop_oneof![subsequence(of.clone(), most), subsequence(of, any)]
        .prop_map(|scopes| scopes.into_iter().collect())
}

fn weighted_short() -> BoxedStrategy<bool> {
    proptest::bool::weighted(0.1).boxed()
}

fn asked(short: BoxedStrategy<bool>) -> impl Strategy<Value = Asked> {
    let scopes = prop_oneof![
        4 => subsequence(OF_PROVIDER.to_vec(), 1..=2),
        4 => subsequence(CUSTOM.to_vec(), 1..=2),
        1 => subsequence(all(), 1..=3),
    ];
    let scopes = scopes.prop_map(|scopes| scopes.into_iter().collect());
    let slot = option::weighted(0.7, 0..SLOTS);
    let user = option::weighted(0.3, some(all()));
    (0..AGENTS, scopes, slot, user, short).prop_map(|(agent, scopes, slot, user, short)| Asked {
        agent,
        scopes,
        slot,
        user,
        short,
    })
}

fn changes() -> impl Strategy<Value = Change> {
    // A provider may grant what it does not list.
    let granted = || some([OF_PROVIDER.as_slice(), &CUSTOM[..1]].concat());
    prop_oneof![
        2 => (0..AGENTS, some(all())).prop_map(|(agent, scopes)| Change::Register(agent, scopes)),
        4 => (0..AGENTS, some(all())).prop_map(|(agent, scopes)| Change::Allow(agent, scopes)),
        2 => (0..AGENTS, any::<bool>()).prop_map(|(agent, active)| Change::Activate(agent, active)),
        1 => (0..AGENTS).prop_map(Change::Deregister),
        2 => (0..SLOTS, granted()).prop_map(|(slot, scopes)| Change::Connect(slot, scopes)),
        2 => (0..SLOTS, granted()).prop_map(|(slot, scopes)| Change::Refresh(slot, scopes)),
        1 => (0..SLOTS).prop_map(Change::Revoke),
    ]
}
