//! The append queue: full, stopped, opened again.

use nexus_ledger::checkpoint::Checkpoint;
use nexus_ledger::{Append, AppendError, Expected, Ledger, Options};

use super::store::{Store, UNPROJECTABLE, append, event, key, log, stream};

async fn signing(store: &Store) -> Ledger {
    Ledger::open(Options {
        checkpoint_key: Some(key()),
        ..store.options()
    })
    .await
    .unwrap()
}

pub(crate) async fn a_full_queue_is_overloaded_and_loses_nothing_it_accepted(store: &Store) {
    let (ledger, mut hold) = store.open_holding(3).await;
    let members = (0..5)
        .map(|index| append(&index.to_string(), Expected::At(0)))
        .collect();
    let outcomes = hold.one_batch(&ledger, members).await;
    let accepted: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, true, true, false, false]);
    assert_eq!(outcomes[3].as_ref().err(), Some(&AppendError::Overloaded));
    assert_eq!(log(&ledger).await.len(), 4);
    ledger.append(append("3", Expected::At(0))).await.unwrap();
    ledger.stop().await;
}

pub(crate) async fn a_stop_commits_what_was_accepted_and_signs_a_checkpoint(store: &Store) {
    let ledger = signing(store).await;
    let appends = (0..50).map(|index| ledger.append(append(&index.to_string(), Expected::At(0))));
    // Polled in this order: everything is queued before the stop.
    let (outcomes, ()) = futures::join!(futures::future::join_all(appends), ledger.stop());
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(
        ledger.append(append("late", Expected::At(0))).await.err(),
        Some(AppendError::Stopped)
    );
    ledger.stop().await;

    let head = ledger.head();
    let newest = ledger
        .backend()
        .checkpoints(0, 100)
        .await
        .unwrap()
        .pop()
        .unwrap();
    let checkpoint = Checkpoint::verify(&newest.note, &key().verifying_key()).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (50, head.tree.root()));
    assert_eq!(checkpoint.origin, "test.example/log");
}

pub(crate) async fn a_growing_log_is_signed(store: &Store) {
    let ledger = signing(store).await;
    for size in 1..=2 {
        ledger.append(append("a", Expected::Any)).await.unwrap();
        while ledger
            .backend()
            .checkpoints(size - 1, 1)
            .await
            .unwrap()
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    }
    ledger.stop().await;
    assert_eq!(
        ledger.backend().checkpoints(0, 10).await.unwrap().len(),
        2,
        "the log did not grow since"
    );
}

pub(crate) async fn a_reopened_log_continues_its_tree(store: &Store) {
    let ledger = store.open().await;
    for _ in 0..5 {
        ledger.append(append("a", Expected::Any)).await.unwrap();
    }
    let before = ledger.head();
    ledger.stop().await;

    let ledger = store.open().await;
    assert_eq!(ledger.head(), before);
    let appended = ledger.append(append("a", Expected::At(5))).await.unwrap();
    assert_eq!(appended.position(), 6);
    let mut tree = before.tree;
    tree.push(appended.events[0].leaf);
    assert_eq!(ledger.head().tree, tree);
    assert_eq!(
        nexus_ledger::verify::verify(ledger.backend(), None)
            .await
            .unwrap()
            .root,
        tree.root()
    );
    ledger.stop().await;
}

pub(crate) async fn a_projector_that_fails_rolls_its_batch_back(store: &Store) {
    let (ledger, mut hold) = store.open_holding(64).await;
    let members = vec![
        append("a", Expected::At(0)),
        Append::new(stream("b"), Expected::At(0), vec![event(UNPROJECTABLE)]),
        append("c", Expected::At(0)),
    ];
    let outcomes = hold.one_batch(&ledger, members).await;
    assert!(
        matches!(outcomes[1], Err(AppendError::Refused(_))),
        "{outcomes:?}"
    );
    let streams: Vec<String> = log(&ledger)
        .await
        .into_iter()
        .map(|event| event.stream.id)
        .collect();
    assert_eq!(streams, ["hold", "a", "c"]);
    nexus_ledger::verify::verify(ledger.backend(), None)
        .await
        .unwrap();
    ledger.stop().await;
}
