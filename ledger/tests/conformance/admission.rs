//! Which appends are accepted.

use std::time::Duration;

use nexus_ledger::{Append, AppendError, Appended, Expected, Guard, NameChange, NewEvent};

use super::store::{Store, append, event, log, stream};

fn conflict(actual: u64) -> AppendError {
    AppendError::Conflict { actual }
}

fn guarded(id: &str, on: &str, at: u64) -> Append {
    Append {
        guards: vec![Guard {
            stream: stream(on),
            at,
        }],
        ..append(id, Expected::Any)
    }
}

fn moved() -> AppendError {
    AppendError::GuardMoved {
        stream_type: "thing".into(),
    }
}

fn sequences(outcomes: &[Result<Appended, AppendError>]) -> Vec<Option<u64>> {
    outcomes
        .iter()
        .map(|outcome| {
            outcome
                .as_ref()
                .ok()
                .map(|appended| appended.events[0].sequence)
        })
        .collect()
}

pub(crate) async fn an_expectation_that_does_not_hold_is_a_conflict(store: &Store) {
    let ledger = store.open().await;
    assert_eq!(
        ledger.append(append("a", Expected::At(1))).await.err(),
        Some(conflict(0))
    );
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    assert_eq!(
        ledger.append(append("a", Expected::At(0))).await.err(),
        Some(conflict(1))
    );
    assert_eq!(
        ledger.append(append("a", Expected::At(2))).await.err(),
        Some(conflict(1))
    );
    ledger.append(append("a", Expected::Any)).await.unwrap();
    ledger.append(append("a", Expected::At(2))).await.unwrap();
    assert_eq!(log(&ledger).await.len(), 3, "what conflicted left nothing");
    ledger.stop().await;
}

pub(crate) async fn of_two_claims_in_one_batch_the_first_wins(store: &Store) {
    let (ledger, mut hold) = store.open_holding(64).await;
    let outcomes = hold
        .one_batch(
            &ledger,
            vec![
                append("a", Expected::At(0)),
                append("a", Expected::At(0)),
                append("a", Expected::At(1)),
            ],
        )
        .await;
    assert_eq!(sequences(&outcomes), [Some(1), None, Some(2)]);
    assert_eq!(outcomes[1].as_ref().err().cloned(), Some(conflict(1)));
    assert_eq!(hold.batches(), [1, 2], "they were one batch");
    ledger.stop().await;
}

pub(crate) async fn a_guard_on_a_stream_that_moved_refuses(store: &Store) {
    let ledger = store.open().await;
    ledger.append(guarded("b", "a", 0)).await.unwrap();
    ledger.append(append("a", Expected::At(0))).await.unwrap();
    assert_eq!(
        ledger.append(guarded("b", "a", 0)).await.err(),
        Some(moved())
    );
    assert_eq!(
        ledger.append(guarded("b", "a", 2)).await.err(),
        Some(moved())
    );
    ledger.append(guarded("b", "a", 1)).await.unwrap();
    ledger.stop().await;
}

pub(crate) async fn a_guard_sees_a_move_earlier_in_its_batch(store: &Store) {
    let (ledger, mut hold) = store.open_holding(64).await;
    let members = vec![
        guarded("x", "a", 0),
        append("a", Expected::At(0)),
        guarded("y", "a", 0),
        guarded("z", "a", 1),
    ];
    let outcomes = hold.one_batch(&ledger, members).await;
    assert_eq!(sequences(&outcomes), [Some(1), Some(1), None, Some(1)]);
    assert_eq!(outcomes[2].as_ref().err().cloned(), Some(moved()));
    assert_eq!(hold.batches(), [1, 3], "they were one batch");
    ledger.stop().await;
}

pub(crate) async fn a_member_the_database_refuses_hurts_nobody(store: &Store) {
    let (ledger, mut hold) = store.open_holding(64).await;
    let refuse = (
        "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.event_type = 'test.bad' BEGIN SELECT RAISE(ABORT, 'refused'); END",
        "ALTER TABLE events ADD CONSTRAINT refuse CHECK (event_type <> 'test.bad')",
    );
    store.run(refuse.0, refuse.1).await.unwrap();
    let members = (0..9).map(|index| match index {
        3 | 7 => Append::new(stream("bad"), Expected::Any, vec![event("test.bad")]),
        _ => append("good", Expected::Any),
    });
    let outcomes = hold.one_batch(&ledger, members.collect()).await;
    assert_eq!(
        sequences(&outcomes),
        [
            Some(1),
            Some(2),
            Some(3),
            None,
            Some(4),
            Some(5),
            Some(6),
            None,
            Some(7)
        ],
        "in the order they queued"
    );
    for bad in [3, 7] {
        assert!(
            matches!(outcomes[bad], Err(AppendError::Refused(_))),
            "{:?}",
            outcomes[bad]
        );
    }
    let positions: Vec<u64> = log(&ledger)
        .await
        .iter()
        .map(|event| event.position)
        .collect();
    assert_eq!(
        positions,
        (1..=8).collect::<Vec<_>>(),
        "the held event and seven good ones, without a gap"
    );
    ledger.stop().await;
}

pub(crate) async fn a_name_has_one_holder_until_it_is_released(store: &Store) {
    let ledger = store.open().await;
    let name = |id: &str, change: fn(String, String) -> NameChange| Append {
        names: vec![change("thing".into(), "n".into())],
        ..append(id, Expected::Any)
    };
    let take = |scope, name| NameChange::Take { scope, name };
    let release = |scope, name| NameChange::Release { scope, name };
    let taken = |owner: &str| {
        Some(AppendError::NameTaken {
            scope: "thing".into(),
            owner: owner.into(),
        })
    };

    ledger.append(name("a", take)).await.unwrap();
    ledger.append(name("a", take)).await.unwrap();
    assert_eq!(ledger.append(name("b", take)).await.err(), taken("a"));
    let elsewhere = NameChange::Take {
        scope: "other".into(),
        name: "n".into(),
    };
    ledger
        .append(Append {
            names: vec![elsewhere],
            ..append("b", Expected::Any)
        })
        .await
        .unwrap();
    ledger.append(name("b", release)).await.unwrap();
    assert_eq!(
        ledger.append(name("b", take)).await.err(),
        taken("a"),
        "nobody gives back what is another's"
    );
    ledger.append(name("a", release)).await.unwrap();
    ledger.append(name("b", take)).await.unwrap();
    assert_eq!(ledger.append(name("a", take)).await.err(), taken("b"));
    assert_eq!(store.count("SELECT count(*) FROM unique_names").await, 2);
    ledger.stop().await;
}

pub(crate) async fn a_deadline_is_judged_by_the_databases_clock(store: &Store) {
    let ledger = store.open().await;
    let before = ledger
        .append(append("a", Expected::Any))
        .await
        .unwrap()
        .events[0]
        .recorded_at;
    let not_before = before.plus(Duration::from_hours(1));
    let early = Append {
        not_before: Some(not_before),
        ..append("a", Expected::Any)
    };
    let Err(AppendError::TooEarly {
        not_before: waits_for,
        now,
    }) = ledger.append(early).await
    else {
        panic!("an hour has not passed");
    };
    assert_eq!(waits_for, not_before);
    assert!(now >= before && now < not_before);
    assert!(
        ledger.now() >= before,
        "the ledger's clock follows the database's"
    );

    let due = Append {
        not_before: Some(now),
        ..append("a", Expected::Any)
    };
    assert!(ledger.append(due).await.unwrap().events[0].recorded_at >= now);
    ledger.stop().await;
}

pub(crate) async fn what_could_not_be_loaded_again_is_not_appended(store: &Store) {
    let ledger = store.open().await;
    for payload in ["", "{", r#"{"a":"\u0000"}"#] {
        let new = NewEvent {
            payload: payload.into(),
            ..event("a.b")
        };
        let outcome = ledger
            .append(Append::new(stream("a"), Expected::Any, vec![new]))
            .await;
        assert!(
            matches!(outcome, Err(AppendError::Invalid(_))),
            "{payload:?}: {outcome:?}"
        );
    }
    let empty = ledger
        .append(Append::new(stream("a"), Expected::Any, Vec::new()))
        .await;
    assert!(matches!(empty, Err(AppendError::Invalid(_))), "{empty:?}");
    assert_eq!(log(&ledger).await, []);
    ledger.stop().await;
}
