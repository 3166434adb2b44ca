//! What holds for every history.

use nexus_projections::ReadStore;
use nexus_projections::rebuild::{NAMES, rebuild};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use super::history::{Step, implied, live, log, steps, stored};
use super::store::Store;

/// Every row that serves is what the log says, before and after a rebuild, which changes none.
async fn check(store: &Store, history: Vec<Step>) {
    let ledger = store.open().await;
    let reads = ReadStore::new(ledger.backend());
    live(&ledger, history).await;
    let before = stored(&ledger, &reads).await;
    assert_eq!(before, implied(&ledger).await);
    for name in NAMES {
        let rebuilt = rebuild(ledger.backend(), name, |_| ()).await.unwrap();
        let (rows, stream_type) = match *name {
            "connections" => (before.connections.len(), "connection"),
            "agents" => (before.agents.len(), "agent"),
            "sessions" => (before.sessions.len(), "session"),
            _ => (before.providers.len(), "provider"),
        };
        let events = log(&ledger).await;
        let own = events
            .iter()
            .filter(|event| event.stream.stream_type == stream_type);
        assert_eq!(
            (rebuilt.differences, rebuilt.rows, rebuilt.events),
            (0, rows as u64, own.count() as u64)
        );
        assert_eq!(rebuilt.generation, 2);
    }
    assert_eq!(stored(&ledger, &reads).await, before);
    ledger.stop().await;
}

fn for_histories(cases: u32, check: impl Fn(&Runtime, Vec<Step>)) {
    let runtime = Runtime::new().unwrap();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&vec(steps(), 0..60), |history| {
        check(&runtime, history);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_rebuild_equals_the_live_rows_on_sqlite() {
    for_histories(24, |runtime, history| {
        runtime.block_on(async { check(&Store::sqlite().await, history).await });
    });
}

#[test]
fn a_rebuild_equals_the_live_rows_on_postgres() {
    for_histories(12, |runtime, history| {
        runtime.block_on(async { check(&Store::postgres().await, history).await });
    });
}
