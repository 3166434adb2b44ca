//! What is stored with an event and beside it.

use std::sync::Arc;

use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_ledger::{Append, Expected, IndexColumns, KeyChange, NewEvent};

use super::store::{Store, append, event, log, stream};

fn key(id: &str) -> WrappedKey {
    WrappedKey {
        key_id: KeyId::parse(id).unwrap(),
        stream: stream("a"),
        kek_id: "0123456789abcdef".into(),
        bytes: vec![1, 2, 3],
    }
}

const ONE: &str = "6fa459ea-ee8a-4ca4-894e-db77e160355e";
const OTHER: &str = "7fa459ea-ee8a-4ca4-894e-db77e160355e";

fn changing(key: KeyChange, expected: Expected) -> Append {
    Append {
        keys: vec![key],
        ..append("a", expected)
    }
}

pub(crate) async fn a_data_key_comes_with_its_event_and_is_gone_once_shredded(store: &Store) {
    let ledger = store.open().await;
    let key = key(ONE);
    assert!(
        ledger
            .backend()
            .data_key(key.key_id)
            .await
            .unwrap()
            .is_none()
    );
    ledger
        .append(changing(KeyChange::Put(key.clone()), Expected::At(0)))
        .await
        .unwrap();

    let read = ledger
        .backend()
        .data_key(key.key_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (read.key_id, read.stream, read.kek_id, read.bytes),
        (key.key_id, stream("a"), key.kek_id, key.bytes)
    );

    ledger
        .append(changing(KeyChange::Shred(key.key_id), Expected::At(1)))
        .await
        .unwrap();
    assert!(
        ledger
            .backend()
            .data_key(key.key_id)
            .await
            .unwrap()
            .is_none()
    );
    ledger
        .append(changing(KeyChange::Shred(key.key_id), Expected::At(2)))
        .await
        .unwrap();
    ledger.stop().await;
}

pub(crate) async fn a_refused_append_stores_no_key(store: &Store) {
    let ledger = store.open().await;
    ledger
        .append(changing(KeyChange::Put(key(OTHER)), Expected::At(5)))
        .await
        .unwrap_err();
    assert_eq!(store.count("SELECT count(*) FROM data_keys").await, 0);

    ledger
        .append(changing(KeyChange::Put(key(ONE)), Expected::At(0)))
        .await
        .unwrap();
    let replaced = WrappedKey {
        bytes: vec![9],
        ..key(ONE)
    };
    ledger
        .append(changing(KeyChange::Put(replaced), Expected::Any))
        .await
        .unwrap_err();
    assert_eq!(
        ledger
            .backend()
            .data_key(key(ONE).key_id)
            .await
            .unwrap()
            .unwrap()
            .bytes,
        [1, 2, 3]
    );
    assert_eq!(log(&ledger).await.len(), 1);
    ledger.stop().await;
}

pub(crate) async fn a_blob_rides_beside_its_event_and_can_be_dropped(store: &Store) {
    let ledger = store.open().await;
    let blob: Arc<[u8]> = Arc::from(&[0, 255, 7][..]);
    let sealed = NewEvent {
        blob: Some(Arc::clone(&blob)),
        ..event("a.sealed")
    };
    ledger
        .append(Append::new(
            stream("a"),
            Expected::At(0),
            vec![event("a.plain"), sealed],
        ))
        .await
        .unwrap();

    let events = log(&ledger).await;
    assert_eq!(
        (events[0].blob.clone(), events[0].blob_digest),
        (None, None)
    );
    assert_eq!(events[1].blob.as_deref(), Some(&*blob));
    assert_eq!(
        events[1].blob_digest,
        Some(nexus_ledger::merkle::digest(&blob))
    );

    store
        .run_on_both("DELETE FROM sealed_blobs WHERE position = 2")
        .await
        .unwrap();
    let after = log(&ledger).await;
    assert_eq!(
        (after[1].blob.clone(), after[1].blob_digest, after[1].leaf),
        (None, events[1].blob_digest, events[1].leaf)
    );
    nexus_ledger::verify::verify(ledger.backend(), None)
        .await
        .unwrap();
    ledger.stop().await;
}

pub(crate) async fn typed_columns_are_stored_beside_the_event(store: &Store) {
    let ledger = store.open().await;
    let columns = IndexColumns {
        connection: Some("c".into()),
        actor: Some("me".into()),
        agent: None,
    };
    ledger
        .append(Append {
            columns,
            ..append("a", Expected::Any)
        })
        .await
        .unwrap();
    ledger.append(append("a", Expected::Any)).await.unwrap();
    let named = store
        .count(
            "SELECT position FROM events WHERE connection = 'c' AND actor = 'me' AND agent IS NULL",
        )
        .await;
    assert_eq!(named, 1);
    assert_eq!(
        store
            .count("SELECT position FROM events WHERE connection IS NULL AND actor IS NULL")
            .await,
        2
    );
    ledger.stop().await;
}

pub(crate) async fn the_first_value_of_a_setting_stays(store: &Store) {
    let ledger = store.open().await;
    assert_eq!(ledger.backend().setting("kek").await.unwrap(), None);
    assert_eq!(
        ledger
            .backend()
            .put_setting_if_absent("kek", "one")
            .await
            .unwrap(),
        "one"
    );
    assert_eq!(
        ledger
            .backend()
            .put_setting_if_absent("kek", "two")
            .await
            .unwrap(),
        "one"
    );
    assert_eq!(
        ledger.backend().setting("kek").await.unwrap().as_deref(),
        Some("one")
    );
    ledger.stop().await;
}
