//! A read model rebuilt from a log of which a tenth changes a state.

use std::time::Instant;

use nexus_projections::rebuild::{prepare, rebuild};
use nexus_projections::verify::verify;
use serde_json::json;

use crate::append::{open, per_second};
use crate::fill::{Arguments, fill};

/// Fills the log unless it holds as much already, and rebuilds.
pub(crate) async fn run(arguments: Arguments) {
    let ledger = open(&arguments.database).await;
    prepare(ledger.backend()).await.expect("the tables");
    if ledger.head().position() < arguments.events / 2 {
        fill(&ledger, arguments.events).await;
    }
    let events = ledger.head().position();
    let started = Instant::now();
    let rebuilt = rebuild(ledger.backend(), "connections", |_| ())
        .await
        .expect("it is rebuilt");
    let rate = per_second(events, started);
    assert_eq!(
        rebuilt.differences, 0,
        "the live rows are what the log says"
    );
    let started = Instant::now();
    let verified = verify(ledger.backend(), "connections", |_| ())
        .await
        .expect("it is verified");
    assert_eq!(verified.differences(), 0);
    println!(
        "{}",
        json!({
            "through": "nexus", "events": events, "folded": rebuilt.events, "rows": rebuilt.rows, "per_second": rate,
            "longest_pause_ms": rebuilt.longest_pause.as_secs_f64() * 1_000.0,
            "verified_per_second": per_second(events, started),
        })
    );
    ledger.stop().await;
}
