//! What the database refuses to whoever goes around the ledger.

use std::sync::Arc;

use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_ledger::{Append, Expected, KeyChange, Ledger, NewEvent, Options};

use super::store::{Store, append, event, key, log, stream};

async fn filled(store: &Store) -> Ledger {
    let ledger = Ledger::open(Options {
        checkpoint_key: Some(key()),
        ..store.options()
    })
    .await
    .unwrap();
    let key_id = KeyId::parse("6fa459ea-ee8a-4ca4-894e-db77e160355e").unwrap();
    let wrapped = WrappedKey {
        key_id,
        stream: stream("a"),
        kek_id: "k".into(),
        bytes: vec![1],
    };
    let sealed = NewEvent {
        blob: Some(Arc::from(&[1][..])),
        ..event("a.sealed")
    };
    let first = Append {
        keys: vec![KeyChange::Put(wrapped)],
        ..Append::new(stream("a"), Expected::At(0), vec![sealed])
    };
    ledger.append(first).await.unwrap();
    ledger.append(append("a", Expected::At(1))).await.unwrap();
    ledger.stop().await;
    store.open().await
}

const REFUSED_BY_BOTH: &[&str] = &[
    "UPDATE events SET actor = 'x'",
    "UPDATE events SET payload = '[]' WHERE position = 1",
    "DELETE FROM events WHERE position = 2",
    "UPDATE sealed_blobs SET position = 9",
    "UPDATE data_keys SET kek_id = 'x'",
    "UPDATE log_heads SET recorded_at = 0",
    "DELETE FROM log_heads WHERE size = 2",
    "UPDATE checkpoints SET note = 'x'",
    "DELETE FROM checkpoints",
    "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at, leaf)
     SELECT position, 'thing', 'new', 1, event_type, event_version, payload, metadata, recorded_at, leaf FROM events WHERE position = 1",
    "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at, leaf)
     SELECT 3, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at, leaf FROM events WHERE position = 1",
];

const REFUSED_BY_SQLITE: &[&str] = &[
    "REPLACE INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at, leaf)
     SELECT position, 'thing', 'new', 1, event_type, event_version, payload, metadata, recorded_at, leaf FROM events WHERE position = 1",
    "REPLACE INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at, leaf)
     SELECT 3, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at, leaf FROM events WHERE position = 1",
    "INSERT OR REPLACE INTO sealed_blobs (position, blob) VALUES (1, x'00')",
    "INSERT OR REPLACE INTO data_keys SELECT key_id, stream_type, stream_id, 'x', wrapped, created_at FROM data_keys",
    "INSERT OR REPLACE INTO log_heads SELECT size, x'00', recorded_at FROM log_heads",
    "INSERT OR REPLACE INTO checkpoints SELECT size, 'x' FROM checkpoints",
    "UPDATE OR REPLACE events SET position = 1 WHERE position = 2",
];

const REFUSED_BY_POSTGRES: &[&str] = &[
    "TRUNCATE events",
    "TRUNCATE sealed_blobs",
    "TRUNCATE data_keys",
    "TRUNCATE log_heads",
    "TRUNCATE checkpoints",
    "TRUNCATE events CASCADE",
];

pub(crate) async fn the_log_refuses_to_be_changed(store: &Store) {
    let ledger = filled(store).await;
    let before = log(&ledger).await;
    let own = match store {
        Store::Sqlite(_) => REFUSED_BY_SQLITE,
        Store::Postgres { .. } => REFUSED_BY_POSTGRES,
    };
    for statement in REFUSED_BY_BOTH.iter().chain(own) {
        assert!(
            store.run_on_both(statement).await.is_err(),
            "not refused: {statement}"
        );
    }
    assert_eq!(log(&ledger).await, before);
    let verified = nexus_ledger::verify::verify(ledger.backend(), Some(key().verifying_key()))
        .await
        .unwrap();
    assert!(verified.checkpoints > 0);
    ledger.append(append("a", Expected::At(2))).await.unwrap();
    ledger.stop().await;
}

pub(crate) async fn what_may_be_forgotten_can_be_deleted(store: &Store) {
    let ledger = filled(store).await;
    for statement in [
        "DELETE FROM sealed_blobs",
        "DELETE FROM data_keys",
        "DELETE FROM log_heads WHERE size = 1",
        "DELETE FROM snapshots",
    ] {
        store.run_on_both(statement).await.unwrap();
    }
    nexus_ledger::verify::verify(ledger.backend(), Some(key().verifying_key()))
        .await
        .unwrap();
    ledger.append(append("a", Expected::At(2))).await.unwrap();
    ledger.stop().await;
}
