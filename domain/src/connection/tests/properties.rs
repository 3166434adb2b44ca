//! What holds for every history.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::{EVENT_TYPES, Status};
use super::*;
use crate::fixtures;

/// A command before it is fitted to the state, so that many of them succeed.
#[derive(Clone, Debug)]
enum Wish {
    Plain(Box<Command>),
    /// As the newest attempt less this.
    Refreshed {
        back: u64,
        rotated: bool,
    },
    Failed {
        back: u64,
        outcome: Outcome,
        error: &'static str,
    },
    Complete {
        state: &'static str,
        account: Option<&'static str>,
    },
    Capture {
        state: &'static str,
    },
    TakeOver(Rotation),
    TakeOverInGrace(i64),
}

fn plain(command: Command) -> Wish {
    Wish::Plain(Box::new(command))
}

impl Wish {
    fn fitted_to(self, connection: &Connection) -> Command {
        let next = connection.credential_version + 1;
        let attempt = |back| connection.refresh.attempts.saturating_sub(back);
        match self {
            Self::Plain(command) => *command,
            Self::Refreshed {
                back,
                rotated: true,
            } => rotated(attempt(back), next),
            Self::Refreshed {
                back,
                rotated: false,
            } => refreshed(attempt(back), next),
            Self::Failed {
                back,
                outcome,
                error,
            } => failed(attempt(back), outcome, error),
            Self::Complete { state, account } => complete_as(state, next, account),
            Self::Capture { state } => capture(state, next),
            Self::TakeOver(rotation) => {
                claim(rotation, connection.refresh.claim.map(|held| held.attempt))
            }
            Self::TakeOverInGrace(second) => {
                claim_in_grace(second, connection.refresh.claim.map(|held| held.attempt))
            }
        }
    }
}

fn rotations() -> impl Strategy<Value = Rotation> {
    select(vec![Rotation::Auto, Rotation::Always, Rotation::Never])
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    select(vec![Outcome::Known, Outcome::Unknown])
}

fn wishes() -> impl Strategy<Value = Wish> {
    let state = || select(vec!["s1", "s2", "s3"]);
    let consent = select(vec![
        ConsentKind::Oauth2,
        ConsentKind::Oauth2,
        ConsentKind::Static,
    ]);
    let reason = select(vec![
        FailureReason::ConsentDenied,
        FailureReason::ExchangeFailed,
    ]);
    prop_oneof![
        3 => (state(), consent).prop_map(|(state, consent)| plain(request(state, consent))),
        3 => state().prop_map(|state| plain(accept(state))),
        3 => (state(), select(vec![Some("ada"), Some("eve"), None])).prop_map(|(state, account)| Wish::Complete { state, account }),
        2 => state().prop_map(|state| Wish::Capture { state }),
        1 => (state(), reason).prop_map(|(state, reason)| plain(fail(state, reason))),
        1 => any::<bool>().prop_map(|exchange_deadline_passed| plain(Command::Expire { now: LAPSES, exchange_deadline_passed })),
        4 => rotations().prop_map(|rotation| plain(claim(rotation, None))),
        2 => rotations().prop_map(Wish::TakeOver),
        4 => (0..100_i64).prop_map(|second| plain(claim_in_grace(second, None))),
        2 => (0..100_i64).prop_map(Wish::TakeOverInGrace),
        4 => (0..3_u64, any::<bool>()).prop_map(|(back, rotated)| Wish::Refreshed { back, rotated }),
        4 => (0..3_u64, outcomes(), select(vec!["timeout", "invalid_grant", "status_503"])).prop_map(|(back, outcome, error)| Wish::Failed { back, outcome, error }),
        1 => Just(plain(Command::RequireAttention { reason: AttentionReason::ProviderRevoked })),
        1 => Just(plain(revoke())),
        1 => Just(plain(Command::Erase)),
    ]
}

/// Carries the wishes out and returns the state before and after each event, and the events.
fn carry_out(wishes: Vec<Wish>) -> (Vec<Connection>, Vec<Event>) {
    let (mut states, mut history) = (vec![Connection::default()], Vec::new());
    for wish in wishes {
        let now = states.last().unwrap().clone();
        for event in now.decide(wish.fitted_to(&now)).unwrap_or_default() {
            let mut next = states.last().unwrap().clone();
            next.evolve(&event);
            states.push(next);
            history.push(event);
        }
    }
    (states, history)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_replayed_state_is_the_live_state(wishes in vec(wishes(), 0..40)) {
        let (states, history) = carry_out(wishes);
        let stored: Vec<String> = history.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let read: Vec<Event> = stored.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        prop_assert_eq!(&read, &history);
        prop_assert_eq!(&given(&read), states.last().unwrap());
    }

    #[test]
    fn a_state_reads_back_from_its_snapshot(wishes in vec(wishes(), 0..40)) {
        let state = carry_out(wishes).0.pop().unwrap();
        let stored = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<Connection>(&stored).unwrap(), state);
    }

    #[test]
    fn versions_and_attempts_only_rise_by_one(wishes in vec(wishes(), 0..40)) {
        let (states, _) = carry_out(wishes);
        for pair in states.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            prop_assert!(after.credential_version - before.credential_version <= 1);
            prop_assert!(after.refresh.attempts - before.refresh.attempts <= 1);
        }
    }

    #[test]
    fn a_claim_is_always_the_newest_attempt(wishes in vec(wishes(), 0..40)) {
        for state in carry_out(wishes).0 {
            if let Some(claim) = state.refresh.claim {
                prop_assert_eq!(claim.attempt, state.refresh.attempts);
                prop_assert_eq!(state.status, Status::Active);
            }
        }
    }

    #[test]
    fn no_rotating_token_is_redeemed_a_third_time(wishes in vec(wishes(), 0..60)) {
        let (states, history) = carry_out(wishes);
        for (state, event) in states.iter().zip(&history) {
            if let Event::RefreshStarted { credential_version, repeat: true, .. } = event {
                let unknown = state.refresh.claim.or(state.refresh.unknown).unwrap();
                prop_assert!(!unknown.repeat);
                prop_assert_eq!(unknown.credential_version, *credential_version);
            }
        }
    }

    #[test]
    fn the_first_send_of_a_token_is_remembered_until_it_is_replaced(wishes in vec(wishes(), 0..60)) {
        let (states, history) = carry_out(wishes);
        for (state, event) in states.iter().zip(&history) {
            if let Event::RefreshStarted { credential_version, first_sent_at: Some(first), .. } = event
                && let Some(earlier) = state.refresh.claim.or(state.refresh.unknown)
                && earlier.credential_version == *credential_version
            {
                prop_assert_eq!(earlier.first_sent_at, Some(*first));
            }
        }
    }

    #[test]
    fn who_serves_a_credential_has_one_and_who_ended_has_none(wishes in vec(wishes(), 0..40)) {
        for state in carry_out(wishes).0 {
            let serves = matches!(state.status, Status::Active | Status::Attention);
            prop_assert_eq!(state.credential.is_some(), serves, "{:?}", state.status);
        }
    }

    #[test]
    fn what_has_ended_stays_ended(wishes in vec(wishes(), 0..40)) {
        for pair in carry_out(wishes).0.windows(2) {
            match pair[0].status {
                Status::Deleted => prop_assert_eq!(pair[1].status, Status::Deleted),
                Status::Revoked => prop_assert!(matches!(pair[1].status, Status::Revoked | Status::Deleted)),
                Status::Absent | Status::Pending | Status::Active | Status::Attention | Status::Failed => prop_assert_ne!(pair[1].status, Status::Absent),
            }
        }
    }

    #[test]
    fn any_order_of_stored_events_folds(names in vec(select(EVENT_TYPES), 0..30)) {
        let history: Vec<Event> = names.into_iter().map(fixtures::read).collect();
        let state = given(&history);
        prop_assert_eq!(serde_json::from_str::<Connection>(&serde_json::to_string(&state).unwrap()).unwrap(), state);
    }
}

#[tokio::test]
async fn the_shim_decides_and_folds_alike() {
    let (mut connection, sink) = (Connection::default(), EventSink::default());
    for command in [
        request("s1", ConsentKind::Oauth2),
        accept("s1"),
        complete("s1", 1),
    ] {
        connection.handle(command, &(), &sink).await.unwrap();
    }
    assert_eq!(connection, active());
    assert_eq!(given(&sink.collect().await), active());
    assert_eq!(
        connection
            .handle(accept("s1"), &(), &EventSink::default())
            .await,
        Err(Error::StateUsed)
    );
}
