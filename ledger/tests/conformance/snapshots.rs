//! Loading aggregates, and commands over them.

use nexus_domain::stream::StreamKey;
use nexus_ledger::{
    Append, AppendError, Context, ExecuteError, Expected, Ledger, LoadError, Loaded, NewEvent,
};

use super::aggregate::{AlreadyEven, Count, Counted, Tally};
use super::store::{Store, event, log};

async fn add(ledger: &Ledger, numbers: &[u64]) {
    ledger
        .execute::<Tally<1>>("a", Count::Add(numbers.to_vec()), Context::default())
        .await
        .unwrap();
}

/// The fold over every event of the log, without the loading crates.
async fn replayed(ledger: &Ledger) -> u64 {
    let payloads = log(ledger)
        .await
        .into_iter()
        .map(|event| serde_json::from_str(&event.payload).unwrap());
    payloads.map(|Counted::Added { by }| by).sum()
}

/// Makes it visible when a state comes from its snapshot.
async fn mark_snapshot(store: &Store, version: u32, total: u64) {
    let payload = format!(r#"{{"state_version":{version},"total":{total},"events":5}}"#);
    store
        .run_on_both(&format!("UPDATE snapshots SET payload = '{payload}'"))
        .await
        .unwrap();
}

pub(crate) async fn loading_from_snapshots_equals_replaying_everything(store: &Store) {
    let ledger = store.open().await;
    assert_eq!(ledger.load::<Tally<1>>("a").await.unwrap().sequence, 0);
    for round in 1..=13 {
        add(&ledger, &[round]).await;
        let loaded = ledger.load::<Tally<1>>("a").await.unwrap();
        assert_eq!(
            (loaded.sequence, loaded.state.events, loaded.state.total),
            (round, round, replayed(&ledger).await)
        );
        let snapshot = store
            .count("SELECT coalesce(max(last_sequence), 0) FROM snapshots")
            .await;
        assert_eq!(
            snapshot,
            i64::try_from(round / 5 * 5).unwrap(),
            "one every five events"
        );
    }
    add(&ledger, &[1, 1, 1, 1, 1, 1, 1]).await;
    assert_eq!(
        store
            .count("SELECT max(last_sequence) FROM snapshots")
            .await,
        20,
        "of the state after the append"
    );
    assert_eq!(
        ledger.load::<Tally<1>>("a").await.unwrap().state.total,
        replayed(&ledger).await
    );

    add(&ledger, &[1]).await;
    mark_snapshot(store, 1, 1_000).await;
    assert_eq!(
        ledger.load::<Tally<1>>("a").await.unwrap().state.total,
        1_001,
        "the snapshot and the one event after it"
    );
    ledger.stop().await;
}

pub(crate) async fn a_snapshot_of_another_state_version_is_ignored(store: &Store) {
    let ledger = store.open().await;
    for round in 1..=7 {
        add(&ledger, &[round]).await;
    }
    mark_snapshot(store, 1, 1_000).await;
    let loaded = ledger.load::<Tally<2>>("a").await.unwrap();
    assert_eq!(
        (loaded.sequence, loaded.state.total, loaded.state.events),
        (7, 28, 7)
    );

    for round in 8..=10 {
        ledger
            .execute::<Tally<2>>("a", Count::Add(vec![round]), Context::default())
            .await
            .unwrap();
    }
    mark_snapshot(store, 2, 2_000).await;
    assert_eq!(
        ledger.load::<Tally<2>>("a").await.unwrap().state.total,
        2_000,
        "now there is one of its version"
    );
    ledger.stop().await;
}

pub(crate) async fn a_command_is_decided_anew_when_its_stream_moved(store: &Store) {
    let ledger = store.open().await;
    add(&ledger, &[1]).await;
    let commands =
        (0..8).map(|_| ledger.execute::<Tally<1>>("a", Count::MakeEven, Context::default()));
    let outcomes = futures::future::join_all(commands).await;
    let decided = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(executed) if executed.state.total == 2));
    assert_eq!(decided.count(), 1, "{outcomes:?}");
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(ExecuteError::Decision(AlreadyEven))));
    assert_eq!(refused.count(), 7, "{outcomes:?}");

    for at in [0, 1] {
        let moved = Context {
            only_at: Some(at),
            ..Context::default()
        };
        let outcome = ledger
            .execute::<Tally<1>>("a", Count::Add(vec![1]), moved)
            .await;
        assert!(
            matches!(
                outcome,
                Err(ExecuteError::Append(AppendError::Conflict { actual: 2 }))
            ),
            "{outcome:?}"
        );
    }
    let stale = Loaded::<Tally<1>>::default();
    let outcome = ledger
        .execute_on("a", stale, Count::Add(vec![1]), &Context::default())
        .await;
    assert!(
        matches!(
            outcome,
            Err(ExecuteError::Append(AppendError::Conflict { actual: 2 }))
        ),
        "{outcome:?}"
    );
    let known = ledger.load::<Tally<1>>("a").await.unwrap();
    let nothing = ledger
        .execute_on("a", known, Count::Add(vec![]), &Context::default())
        .await
        .unwrap();
    assert_eq!(
        (
            nothing.events.len(),
            nothing.sequence,
            log(&ledger).await.len()
        ),
        (0, 2, 2)
    );
    ledger.stop().await;
}

pub(crate) async fn a_stream_that_cannot_be_decoded_is_named(store: &Store) {
    let ledger = store.open().await;
    let foreign = NewEvent {
        payload: r#"{"type":"tally.unknown"}"#.into(),
        ..event("tally.unknown")
    };
    let stream = StreamKey::new("tally", "broken");
    ledger
        .append(Append::new(stream, Expected::Any, vec![foreign]))
        .await
        .unwrap();
    let outcome = ledger.load::<Tally<1>>("broken").await;
    let Err(LoadError::Undecodable { stream_type, id }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((stream_type.as_str(), id.as_str()), ("tally", "broken"));
    assert_eq!(ledger.load::<Tally<1>>("whole").await.unwrap().sequence, 0);
    ledger.stop().await;
}
