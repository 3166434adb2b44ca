//! Order and completeness: what many clients saw at once fits a log with one order.

use std::path::Path;

use nexus_tests::history::{Extent, Findings, History, check, on_postgres, on_sqlite};

mod history {
    mod hand_made;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_one_process_see_one_order_on_sqlite() {
    let extent = Extent::given();
    let findings = judge(extent, &on_sqlite(extent).await);
    assert_eq!(findings.unknown, 0, "no answer was lost: {findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_several_processes_see_one_order_on_postgres() {
    let extent = Extent::given();
    let node = Path::new(env!("CARGO_BIN_EXE_history-node"));
    judge(extent, &on_postgres(node, extent).await);
}

/// The verdict; what a run did not show, it did not prove.
fn judge(extent: Extent, history: &History) -> Findings {
    println!("{extent:?}");
    let findings = match check(history) {
        Ok(findings) => findings,
        Err(violation) => panic!("{violation}\nto repeat: NEXUS_HISTORY_SEED={}", extent.seed),
    };
    println!("{findings:#?}");
    let shown = [
        findings.events,
        findings.recorded,
        findings.conflicts,
        findings.guards,
        findings.early,
        findings.names,
        findings.refused,
        findings.seen,
        findings.subscriptions,
        findings.rows,
    ];
    assert!(shown.iter().all(|count| *count > 0), "{findings:?}");
    findings
}
