//! Comparing the rows that serve with the log.

use std::sync::atomic::{AtomicBool, Ordering};

use nexus_projections::rebuild::{NAMES, RebuildError, rebuild};
use nexus_projections::verify::{Difference, Fault, Verified, verify};

use super::history::{an_ordinary_life, live, log, provider_id, reference};
use super::operations::{go_on_appending, spoil};
use super::store::{Store, contents, run};

async fn verified(ledger: &nexus_ledger::Ledger, name: &str) -> Verified {
    verify(ledger.backend(), name, |_| ()).await.unwrap()
}

pub(crate) async fn rows_that_are_what_the_log_says_are_clean(store: &Store) {
    let ledger = store.open().await;
    assert_eq!(verified(&ledger, "connections").await, Verified::default());
    for which in 0..3 {
        live(&ledger, an_ordinary_life(which)).await;
    }
    let found = verified(&ledger, "connections").await;
    let own = log(&ledger).await;
    let own = own
        .iter()
        .filter(|event| event.stream.stream_type == "connection");
    assert_eq!((found.rows, found.events), (3, own.count() as u64));
    assert_eq!((found.differences(), found.first), (0, vec![]));
    assert_eq!(verified(&ledger, "providers").await.rows, 3);
    let error = verify(ledger.backend(), "all", |_| ()).await.unwrap_err();
    assert!(matches!(error, RebuildError::UnknownName(name) if name == "all"));
}

pub(crate) async fn altered_missing_and_invented_rows_are_found_and_left_alone(store: &Store) {
    let ledger = store.open().await;
    for which in 0..4 {
        live(&ledger, an_ordinary_life(which)).await;
    }
    let tampering = format!(
        "INSERT INTO providers_g1 (id, sequence, position, state, created_at, updated_at) SELECT 'zz-invented', sequence, position, state, created_at, updated_at FROM providers_g1 WHERE id = '{0}'; \
         UPDATE providers_g1 SET secret_blob = NULL WHERE id = '{0}'; DELETE FROM providers_g1 WHERE id = '{1}'",
        provider_id(0),
        provider_id(1)
    );
    run(ledger.backend(), &tampering).await;
    let before = contents(ledger.backend(), "providers_g1").await;
    let found = verified(&ledger, "providers").await;
    assert_eq!((found.altered, found.missing, found.invented), (1, 1, 1));
    let named = |key: &str, fault| Difference {
        key: key.to_owned(),
        fault,
    };
    let expected = vec![
        named(&provider_id(0), Fault::Altered),
        named(&provider_id(1), Fault::Missing),
        named("zz-invented", Fault::Invented),
    ];
    assert_eq!((found.rows, found.first), (5, expected));
    assert_eq!(contents(ledger.backend(), "providers_g1").await, before);
    assert_eq!(verified(&ledger, "connections").await.differences(), 0);
    let rebuilt = rebuild(ledger.backend(), "providers", |_| ())
        .await
        .unwrap();
    assert_eq!(rebuilt.differences, 3);
    assert_eq!(verified(&ledger, "providers").await.differences(), 0);
}

pub(crate) async fn what_a_row_says_of_itself_does_not_hide_it(store: &Store) {
    let ledger = store.open().await;
    for which in 0..2 {
        live(&ledger, an_ordinary_life(which)).await;
    }
    let (newer, derived) = (reference(0), reference(1));
    let tampering = format!(
        "UPDATE connections_g1 SET position = position + 1000000, sequence = sequence + 1000 WHERE reference = '{newer}'; \
         UPDATE connections_g1 SET due_at = 1 WHERE reference = '{derived}'"
    );
    run(ledger.backend(), &tampering).await;
    assert_eq!(verified(&ledger, "connections").await.altered, 2);
}

pub(crate) async fn appends_that_go_on_are_no_differences(store: &Store) {
    let ledger = store.open().await;
    let done = AtomicBool::new(false);
    let verifications = async {
        for _ in 0..5 {
            for name in NAMES {
                assert_eq!(verified(&ledger, name).await.first, vec![]);
            }
            assert_eq!(
                rebuild(ledger.backend(), "connections", |_| ())
                    .await
                    .unwrap()
                    .differences,
                0
            );
        }
        done.store(true, Ordering::Relaxed);
    };
    let appends = (0..4).map(|which| go_on_appending(&ledger, which, &done));
    futures::join!(verifications, futures::future::join_all(appends));
}

pub(crate) async fn rows_of_another_version_are_not_compared(store: &Store) {
    let ledger = store.open().await;
    run(ledger.backend(), "UPDATE projections SET version = 999").await;
    let error = verify(ledger.backend(), "connections", |_| ())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rows of connections are of version 999 and cannot be compared; rebuild it first"
    );
}

pub(crate) async fn an_undecodable_event_stops_a_verification_with_its_position(store: &Store) {
    let ledger = store.open().await;
    live(&ledger, an_ordinary_life(0)).await;
    let bad = spoil(store, &ledger, "provider.updated").await;
    let outcome = verify(ledger.backend(), "providers", |_| ()).await;
    let Err(RebuildError::Undecodable { position, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(position, bad);
}
