//! Rows that another version of the fold made, while they serve.

use nexus_domain::connection::{Connection, ConnectionCommand};
use nexus_ledger::{AppendError, Context, ExecuteError, Ledger};
use nexus_projections::ReadStore;
use nexus_projections::rebuild::{Outdated, outdated, pointers, rebuild};

use super::history::{a_captured_one, an_ordinary_life, implied, live, reference, stored};
use super::store::{Store, contents, run};

/// Every version of this program numbers its folds from 1,000 on.
const OLDER: &str = "UPDATE projections SET version = 999 WHERE name = 'connections'";
const NEWER: &str = "UPDATE projections SET version = 999999 WHERE name = 'connections'";

async fn outdated_one(ledger: &Ledger, newer: bool) {
    let name = "connections".to_owned();
    let expected = vec![Outdated { name, newer }];
    assert_eq!(outdated(ledger.backend()).await.unwrap(), expected);
}

/// Reads and appends are as good as ever, and a rebuild makes the rows that should be.
async fn serves_until_rebuilt(ledger: &Ledger) {
    outdated_one(ledger, false).await;
    let reads = ReadStore::new(ledger.backend());
    assert_eq!(stored(ledger, &reads).await, implied(ledger).await);
    live(ledger, an_ordinary_life(2)).await;
    live(ledger, a_captured_one(0)).await;
    live(ledger, a_captured_one(1)).await;
    let implied = implied(ledger).await;
    assert_eq!(stored(ledger, &reads).await.connections.len(), 3);
    let rebuilt = rebuild(ledger.backend(), "connections", |_| ())
        .await
        .unwrap();
    assert_eq!((rebuilt.generation, rebuilt.differences), (2, 0));
    assert_eq!(stored(ledger, &reads).await, implied);
    assert_eq!(outdated(ledger.backend()).await.unwrap(), vec![]);
}

pub(crate) async fn rows_of_an_older_version_serve_and_are_kept_until_they_are_rebuilt(
    store: &Store,
) {
    let ledger = store.open().await;
    for which in 0..2 {
        live(&ledger, a_captured_one(which)).await;
    }
    // The older version had no such column, but one that is not known any more.
    let shape = "ALTER TABLE connections_g1 DROP COLUMN retry_at; ALTER TABLE connections_g1 ADD COLUMN colour text";
    run(ledger.backend(), &format!("{OLDER}; {shape}")).await;
    serves_until_rebuilt(&ledger).await;
}

pub(crate) async fn rows_that_do_not_decode_any_more_are_folded_from_the_log(store: &Store) {
    let ledger = store.open().await;
    for which in 0..2 {
        live(&ledger, an_ordinary_life(which)).await;
    }
    let states = "UPDATE connections_g1 SET state = '{\"state_version\":0}'";
    run(ledger.backend(), &format!("{OLDER}; {states}")).await;
    serves_until_rebuilt(&ledger).await;
}

pub(crate) async fn rows_of_a_newer_version_are_not_written(store: &Store) {
    let ledger = store.open().await;
    live(&ledger, an_ordinary_life(0)).await;
    run(ledger.backend(), NEWER).await;
    outdated_one(&ledger, true).await;
    let before = contents(ledger.backend(), "connections_g1").await;
    let revoke = ConnectionCommand::Revoke {
        reason: None,
        provider_revocation: None,
    };
    let context = Context::default();
    let outcome = ledger
        .execute::<Connection>(&reference(0), revoke, context)
        .await;
    let Err(ExecuteError::Append(AppendError::Refused(cause))) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(cause.contains("a newer version of this program"), "{cause}");
    assert_eq!(contents(ledger.backend(), "connections_g1").await, before);
    rebuild(ledger.backend(), "connections", |_| ())
        .await
        .unwrap();
    let serving = pointers(ledger.backend()).await.unwrap();
    let of_connections = serving.iter().find(|pointer| pointer.name == "connections");
    assert_eq!(of_connections.unwrap().generation, 2);
    assert_eq!(contents(ledger.backend(), "connections_g2").await, before);
}
