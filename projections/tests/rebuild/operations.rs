//! Rebuilds among other things that happen.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nexus_domain::connection::Connection;
use nexus_domain::stream::StreamKey;
use nexus_ledger::{Append, Expected, Ledger, NewEvent};
use nexus_projections::ReadStore;
use nexus_projections::rebuild::{NAMES, RebuildError, pointers, rebuild};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::history::{a_captured_one, an_ordinary_life, implied, live, log, reference, stored};
use super::store::{Store, contents, has_table, run};

/// More events than are folded before the database remembers it.
const MANY: u64 = 26_000;
/// Where the database remembers some of them.
const MIDDLE: u64 = 18_500;

/// Appends until told to stop.
pub(crate) async fn go_on_appending(ledger: &Ledger, which: u8, rebuilt: &AtomicBool) {
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
    // A row cannot hide behind a position of its own.
    let forged = "UPDATE connections_g2 SET position = position + 1000000, status = 'revoked'";
    run(ledger.backend(), forged).await;
    let again = rebuild(ledger.backend(), "connections", |_| ())
        .await
        .unwrap();
    assert_eq!(again.differences, 3);
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

    let middle = Notify::new();
    tokio::select! {
        biased;
        () = middle.notified() => {}
        outcome = rebuild(ledger.backend(), "connections", |progress| {
            if progress.position > MIDDLE {
                middle.notify_one();
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
    assert!(first.into_inner() >= 16_000, "it began anew");
    let own = log(&ledger)
        .await
        .into_iter()
        .filter(|event| event.stream.stream_type == "connection");
    assert_eq!(rebuilt.events, own.count() as u64);
    assert_eq!((rebuilt.differences, rebuilt.generation), (0, 2));
    assert_eq!(stored(&ledger, &reads).await, before);
}

pub(crate) async fn a_rebuilt_table_is_the_live_one_byte_for_byte(store: &Store) {
    let ledger = store.open().await;
    for which in 0..3 {
        live(&ledger, an_ordinary_life(which)).await;
        live(&ledger, a_captured_one(which + 10)).await;
    }
    for name in NAMES {
        let live = contents(ledger.backend(), &format!("{name}_g1")).await;
        assert!(live.len() > 2, "{live:?}");
        rebuild(ledger.backend(), name, |_| ()).await.unwrap();
        let rebuilt = contents(ledger.backend(), &format!("{name}_g2")).await;
        assert_eq!(rebuilt, live);
    }
}

pub(crate) async fn a_rebuild_that_was_overtaken_says_so_and_does_no_harm(store: &Store) {
    let ledger = store.open().await;
    claim_often(&ledger).await;
    let before = contents(ledger.backend(), "connections_g1").await;
    let overtaken = AtomicBool::new(false);
    let outcome = rebuild(ledger.backend(), "connections", |progress| {
        if progress.position > MIDDLE && !overtaken.swap(true, Ordering::Relaxed) {
            // Another process goes on from where this one is, and comes to the end.
            let other = rebuild(ledger.backend(), "connections", |_| ());
            let other = tokio::task::block_in_place(|| Handle::current().block_on(other));
            assert_eq!(other.unwrap().generation, 2);
        }
    });
    let error = outcome.await.unwrap_err();
    assert!(
        matches!(error, RebuildError::Overtaken(name) if name == "connections"),
        "{error}"
    );
    assert_eq!(contents(ledger.backend(), "connections_g2").await, before);
    let again = rebuild(ledger.backend(), "connections", |_| ())
        .await
        .unwrap();
    assert_eq!((again.generation, again.differences), (3, 0));
}

pub(crate) async fn a_rebuild_tells_its_rate_and_how_long_appends_waited(store: &Store) {
    let ledger = store.open().await;
    claim_often(&ledger).await;
    let rates = std::sync::Mutex::new(Vec::new());
    let rebuilt = rebuild(ledger.backend(), "connections", |progress| {
        rates
            .lock()
            .unwrap()
            .push((progress.position, progress.rate, progress.left));
    });
    let rebuilt = rebuilt.await.unwrap();
    assert!(rebuilt.longest_pause > Duration::ZERO);
    let rates = rates.into_inner().unwrap();
    let (position, rate, left) = rates[1];
    assert!(position > 0 && rate > 0 && left.is_some(), "{rates:?}");
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

/// Makes the first event of a name undecodable; returns its position.
pub(crate) async fn spoil(store: &Store, ledger: &Ledger, event_type: &str) -> u64 {
    let events = log(ledger).await;
    let bad = events
        .iter()
        .find(|event| event.event_type == event_type)
        .unwrap();
    let drop_trigger = match store {
        Store::Sqlite(_) => "DROP TRIGGER events_are_not_updated",
        Store::Postgres(_) => "ALTER TABLE events DISABLE TRIGGER USER",
    };
    run(ledger.backend(), drop_trigger).await;
    let sql = format!(
        "UPDATE events SET payload = '{{}}' WHERE position = {}",
        bad.position
    );
    run(ledger.backend(), &sql).await;
    bad.position
}

pub(crate) async fn an_undecodable_event_stops_a_rebuild_with_its_position(store: &Store) {
    let ledger = store.open().await;
    live(&ledger, an_ordinary_life(0)).await;
    let bad = spoil(store, &ledger, "provider.updated").await;
    let outcome = rebuild(ledger.backend(), "providers", |_| ()).await;
    let Err(RebuildError::Undecodable { name, position, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((name, position), ("providers", bad));
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
