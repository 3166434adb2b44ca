//! What tampering is found, and where.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use nexus_ledger::checkpoint::Checkpoint;
use nexus_ledger::verify::{Divergence, Kept, Trust, VerifyError, verify, verify_with};
use nexus_ledger::{Append, Backend, Expected, Ledger, NewEvent, Options};

use super::store::{Store, append, event, key, stream};

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Five events, each a batch of its own and with a blob, and a checkpoint of the last.
async fn filled(store: &Store) -> Ledger {
    let ledger = Ledger::open(Options {
        checkpoint_key: Some(key()),
        ..store.options()
    })
    .await
    .unwrap();
    for index in 0..5 {
        let sealed = NewEvent {
            blob: Some(Arc::from(&[index][..])),
            ..event("a.sealed")
        };
        ledger
            .append(Append::new(stream("a"), Expected::Any, vec![sealed]))
            .await
            .unwrap();
    }
    ledger.stop().await;
    store.open().await
}

async fn divergence(ledger: &Ledger) -> (u64, Divergence) {
    match verify(ledger.backend(), Some(key().verifying_key())).await {
        Err(VerifyError::Divergence { position, what }) => (position, what),
        other => panic!("not found: {other:?}"),
    }
}

pub(crate) async fn a_log_nobody_touched_is_verified(store: &Store) {
    let empty = store.open().await;
    assert_eq!(verify(empty.backend(), None).await.unwrap().size, 0);
    empty.stop().await;

    let ledger = filled(store).await;
    let verified = verify(ledger.backend(), Some(key().verifying_key()))
        .await
        .unwrap();
    assert_eq!(
        (verified.size, verified.root),
        (5, ledger.head().tree.root())
    );
    assert!(verified.checkpoints > 0);
    ledger.append(append("b", Expected::Any)).await.unwrap();
    assert_eq!(verify(ledger.backend(), None).await.unwrap().size, 6);
    ledger.stop().await;
}

pub(crate) async fn a_tampered_payload_is_found_at_its_position(store: &Store) {
    let ledger = filled(store).await;
    store.lift_triggers().await;
    store
        .run_on_both("UPDATE events SET payload = '{ }' WHERE position = 3")
        .await
        .unwrap();
    assert_eq!(divergence(&ledger).await, (3, Divergence::Leaf));
    ledger.stop().await;
}

pub(crate) async fn a_blob_of_another_event_is_found(store: &Store) {
    let ledger = filled(store).await;
    store.lift_triggers().await;
    store.run_on_both("UPDATE sealed_blobs SET blob = (SELECT blob FROM sealed_blobs WHERE position = 1) WHERE position = 4").await.unwrap();
    assert_eq!(divergence(&ledger).await, (4, Divergence::Blob));
    ledger.stop().await;
}

pub(crate) async fn a_rewritten_history_is_found_by_its_checkpoint(store: &Store) {
    let ledger = filled(store).await;
    store.lift_triggers().await;
    let events = ledger.read(5, 1).await.unwrap();
    let forged = nexus_ledger::merkle::LeafInput {
        position: 5,
        stream: &events[0].stream,
        sequence: 5,
        event_type: "a.forged",
        event_version: "1",
        recorded_at: events[0].recorded_at.as_micros(),
        payload: "{}",
        metadata: "{}",
        blob_digest: events[0].blob_digest,
    }
    .hash();
    // A tree of five leaves: the root of the first four, then the fifth.
    let mut frontier = ledger.head().tree.to_bytes();
    frontier.splice(32.., forged);
    let statements = |leaf: String, frontier: String| {
        format!(
            "UPDATE events SET event_type = 'a.forged', leaf = {leaf} WHERE position = 5; UPDATE log_heads SET frontier = {frontier} WHERE size = 5;"
        )
    };
    let sqlite = statements(
        format!("x'{}'", hex(&forged)),
        format!("x'{}'", hex(&frontier)),
    );
    let postgres = statements(
        format!("'\\x{}'", hex(&forged)),
        format!("'\\x{}'", hex(&frontier)),
    );
    store.run(&sqlite, &postgres).await.unwrap();
    let found = divergence(&ledger).await;
    assert!(
        matches!(
            found,
            (
                5,
                Divergence::Checkpoint {
                    kept: Kept::Inside,
                    agreed: 0..5
                }
            )
        ),
        "{found:?}"
    );
    ledger.stop().await;
}

pub(crate) async fn a_log_cut_short_is_found_by_its_checkpoint(store: &Store) {
    let ledger = filled(store).await;
    store.lift_triggers().await;
    store
        .run_on_both("DELETE FROM events WHERE position = 5; DELETE FROM log_heads WHERE size = 5;")
        .await
        .unwrap();
    assert_eq!(
        divergence(&ledger).await,
        (
            5,
            Divergence::Truncated {
                kept: Kept::Inside,
                size: 5
            }
        )
    );
    ledger.stop().await;
}

pub(crate) async fn a_checkpoint_by_another_key_is_found(store: &Store) {
    let ledger = filled(store).await;
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    let outcome = verify(ledger.backend(), Some(other)).await;
    assert!(
        matches!(
            outcome,
            Err(VerifyError::Divergence {
                what: Divergence::Signature,
                ..
            })
        ),
        "{outcome:?}"
    );
    ledger.stop().await;
}

pub(crate) async fn a_checkpoint_kept_outside_is_compared_too(store: &Store) {
    let ledger = filled(store).await;
    let root = ledger.head().tree.root();
    let trusting = |size, root| Trust {
        outside: vec![Checkpoint {
            origin: "kept".into(),
            size,
            root,
        }],
        ..Trust::default()
    };
    let mut seen = Vec::new();
    let trust = trusting(5, root);
    let verified = verify_with(ledger.backend(), &trust, |progress| {
        seen.push((progress.position, progress.head));
    });
    let verified = verified.await.unwrap();
    assert_eq!((verified.outside, verified.signed), (1, 5));
    assert_eq!(seen, [(5, 5)]);
    for (size, root, expected) in [
        (0, root, (0, 0)),
        (3, root, (3, 0)),
        (6, root, (6, 6)),
        (u64::MAX, root, (6, u64::MAX)),
    ] {
        let outcome = verify_with(ledger.backend(), &trusting(size, root), |_| ()).await;
        let found = match outcome {
            Err(VerifyError::Divergence { position, what }) => match what {
                Divergence::Checkpoint {
                    kept: Kept::Outside,
                    agreed,
                } => (position, agreed),
                Divergence::Truncated {
                    kept: Kept::Outside,
                    size,
                } => (position, size),
                other => panic!("{other:?}"),
            },
            other => panic!("not found: {other:?}"),
        };
        assert_eq!(found, expected);
    }
    ledger.stop().await;
}

pub(crate) async fn a_database_opened_read_only_takes_no_write(store: &Store) {
    let ledger = filled(store).await;
    let reading = Backend::open_read_only(&store.options().database)
        .await
        .unwrap();
    ledger.append(append("b", Expected::Any)).await.unwrap();
    assert_eq!(reading.newest_head().await.unwrap(), ledger.head());
    assert_eq!(
        verify(&reading, Some(key().verifying_key()))
            .await
            .unwrap()
            .size,
        6
    );
    reading.put_setting_if_absent("a", "b").await.unwrap_err();
    assert_eq!(ledger.backend().setting("a").await.unwrap(), None);
    ledger.stop().await;
}
