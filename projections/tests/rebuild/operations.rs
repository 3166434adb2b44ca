//! Rebuilds among other things that happen.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nexus_domain::connection::Connection;
use nexus_domain::stream::StreamKey;
use nexus_ledger::{Append, Expected, Ledger, NewEvent};
use nexus_projections::ReadStore;
use nexus_projections::rebuild::{NAMES, RebuildError, pointers, rebuild};
use tokio::sync::Notify;

use super::history::{an_ordinary_life, implied, live, log, reference, stored};
use super::store::{Store, has_table, run};

/// More events than are folded at once.
const MANY: u64 = 2_500;

/// Appends until told to stop.
async fn go_on_appending(ledger: &Ledger, which: u8, rebuilt: &AtomicBool) {
    while !rebuilt.load(Ordering::Relaxed) {
        live(ledger, an_ordinary_life(which)).await;
    }
}

pub(crate) async fn a_rebuild_while_appends_go_on_loses_nothing(store: &Store) {
    let ledger = store.open().await;
    let rebuilt = AtomicBool::new(false);
    let rebuilds = async {
        for _ in 0..3 {
            for name in NAMES {
                let outcome = rebuild(ledger.backend(), name, |_| ()).await.unwrap();
                assert_eq!(outcome.differences, 0);
            }
        }
        rebuilt.store(true, Ordering::Relaxed);
    };
    let appends = (0..4).map(|which| go_on_appending(&ledger, which, &rebuilt));
    futures::join!(rebuilds, futures::future::join_all(appends));
    let reads = ReadStore::new(ledger.backend());
    let rows = stored(&ledger, &reads).await;
    assert_eq!(rows, implied(&ledger).await);
    assert_eq!((rows.connections.len(), rows.providers.len()), (4, 4));
}

pub(crate) async fn tampered_rows_are_counted_and_repaired(store: &Store) {
    let ledger = store.open().await;
    let reads = ReadStore::new(ledger.backend());
    for which in 0..3 {
        live(&ledger, an_ordinary_life(which)).await;
    }
    let before = stored(&ledger, &reads).await;
    let invented = "INSERT INTO connections_g1 (reference, sequence, position, status, state, created_at, updated_at) \
        SELECT 'invented', sequence, position, status, state, created_at, updated_at FROM connections_g1 WHERE reference = ";
    let tampering = format!(
        "{invented}'{2}'; UPDATE connections_g1 SET credential_blob = NULL WHERE reference = '{0}'; DELETE FROM connections_g1 WHERE reference = '{1}'",
        reference(0),
        reference(1),
        reference(2)
    );
    run(ledger.backend(), &tampering).await;
    assert_ne!(stored(&ledger, &reads).await, before);
    let rebuilt = rebuild(ledger.backend(), "connections", |_| ())
        .await
        .unwrap();
    assert_eq!((rebuilt.differences, rebuilt.rows), (3, 3));
    assert_eq!(stored(&ledger, &reads).await, before);
    assert_eq!(reads.connection("invented").await.unwrap(), None);
    let again = rebuild(ledger.backend(), "connections", |_| ())
        .await
        .unwrap();
    assert_eq!(again.differences, 0);
}

/// Many claims of one connection, each taking over the one before.
async fn claim_often(ledger: &Ledger) {
    live(ledger, an_ordinary_life(0)).await;
    let loaded = ledger.load::<Connection>(&reference(0)).await.unwrap();
    let claim = |attempt: u64| NewEvent {
        event_type: "connection.refresh_started".into(),
        event_version: "1".into(),
        payload: format!(
            r#"{{"type":"connection.refresh_started","attempt":{attempt},"deadline_ms":1000,"credential_version":2,"repeat":false,"forced":false}}"#
        ),
        blob: None,
    };
    let mut sequence = loaded.sequence;
    for first in (0..MANY).step_by(500) {
        let claims: Vec<NewEvent> = (first..first + 500)
            .map(|number| claim(number + 3))
            .collect();
        let stream = StreamKey::new("connection", reference(0));
        let appended = ledger
            .append(Append::new(stream, Expected::At(sequence), claims))
            .await
            .unwrap();
        sequence += appended.events.len() as u64;
    }
}

pub(crate) async fn an_interrupted_rebuild_goes_on_where_it_was(store: &Store) {
    let ledger = store.open().await;
    claim_often(&ledger).await;
    let reads = ReadStore::new(ledger.backend());
    let before = stored(&ledger, &reads).await;
    let serving = pointers(ledger.backend()).await.unwrap();

    let second_chunk = Notify::new();
    tokio::select! {
        biased;
        () = second_chunk.notified() => {}
        outcome = rebuild(ledger.backend(), "connections", |progress| {
            if progress.position > 0 {
                second_chunk.notify_one();
            }
        }) => panic!("it was not interrupted: {outcome:?}"),
    }
    assert_eq!(pointers(ledger.backend()).await.unwrap(), serving);
    assert_eq!(stored(&ledger, &reads).await, before);

    let first = AtomicU64::new(u64::MAX);
    let progress = |progress: nexus_projections::rebuild::Progress| {
        first.fetch_min(progress.position, Ordering::Relaxed);
    };
    let rebuilt = rebuild(ledger.backend(), "connections", progress)
        .await
        .unwrap();
    assert!(first.into_inner() >= 2_000, "it began anew");
    let own = log(&ledger)
        .await
        .into_iter()
        .filter(|event| event.stream.stream_type == "connection");
    assert_eq!(rebuilt.events, own.count() as u64);
    assert_eq!((rebuilt.differences, rebuilt.generation), (0, 2));
    assert_eq!(stored(&ledger, &reads).await, before);
}

pub(crate) async fn the_generation_before_is_dropped(store: &Store) {
    let ledger = store.open().await;
    live(&ledger, an_ordinary_life(0)).await;
    for serving in 2..4 {
        rebuild(ledger.backend(), "providers", |_| ())
            .await
            .unwrap();
        let before = format!("providers_g{}", serving - 1);
        assert!(!has_table(ledger.backend(), &before).await, "{before}");
        assert!(has_table(ledger.backend(), &format!("providers_g{serving}")).await);
    }
    assert!(has_table(ledger.backend(), "connections_g1").await);
}

pub(crate) async fn an_undecodable_event_stops_a_rebuild_with_its_position(store: &Store) {
    let ledger = store.open().await;
    live(&ledger, an_ordinary_life(0)).await;
    let events = log(&ledger).await;
    let bad = events
        .iter()
        .find(|event| event.event_type == "provider.updated")
        .unwrap();
    let drop_trigger = match store {
        Store::Sqlite(_) => "DROP TRIGGER events_are_not_updated",
        Store::Postgres(_) => "ALTER TABLE events DISABLE TRIGGER USER",
    };
    run(ledger.backend(), drop_trigger).await;
    run(
        ledger.backend(),
        &format!(
            "UPDATE events SET payload = '{{}}' WHERE position = {}",
            bad.position
        ),
    )
    .await;
    let outcome = rebuild(ledger.backend(), "providers", |_| ()).await;
    let Err(RebuildError::Undecodable { name, position, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((name, position), ("providers", bad.position));
    let pointer = pointers(ledger.backend()).await.unwrap();
    assert!(pointer.iter().all(|pointer| pointer.generation == 1));
}

pub(crate) async fn an_unknown_read_model_is_refused(store: &Store) {
    let ledger = store.open().await;
    let error = rebuild(ledger.backend(), "everything", |_| ())
        .await
        .unwrap_err();
    assert!(matches!(error, RebuildError::UnknownName(name) if name == "everything"));
}
