//! Following the log while it grows.

use std::time::Duration;

use nexus_ledger::{Expected, Ledger};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::store::{Store, append};

const EVENTS: u64 = 400;
/// Far longer than any of this takes: a test that waits so long has failed.
const LONG: Duration = Duration::from_mins(1);

fn write_concurrently(ledger: &Ledger) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let ledger = ledger.clone();
        writers.spawn(async move {
            for _ in 0..EVENTS / 8 {
                ledger
                    .append(append(&writer.to_string(), Expected::Any))
                    .await
                    .unwrap();
            }
        });
    }
    writers
}

pub(crate) async fn a_subscriber_misses_nothing_and_repeats_nothing(store: &Store) {
    let ledger = store.open().await;
    let mut subscription = ledger.subscribe(1);
    let writers = write_concurrently(&ledger);
    for position in 1..=EVENTS {
        let event = timeout(LONG, subscription.next()).await.unwrap().unwrap();
        assert_eq!(event.position, position);
    }
    writers.join_all().await;
    assert_eq!(subscription.position(), EVENTS + 1);
    ledger.stop().await;
}

pub(crate) async fn a_subscriber_that_reconnects_goes_on_where_it_stopped(store: &Store) {
    let ledger = store.open().await;
    let writers = write_concurrently(&ledger);
    let mut subscription = ledger.subscribe(1);
    let mut seen = Vec::new();
    while subscription.position() <= EVENTS {
        // A wait that is given up loses nothing.
        let given_up = timeout(Duration::ZERO, subscription.next()).await;
        seen.extend(given_up.map(|event| event.unwrap().position));
        if subscription.position() <= EVENTS {
            let event = timeout(LONG, subscription.next()).await;
            seen.push(event.unwrap().unwrap().position);
        }
        if seen.len().is_multiple_of(7) {
            subscription = ledger.subscribe(subscription.position());
        }
    }
    assert_eq!(seen, (1..=EVENTS).collect::<Vec<_>>());
    writers.join_all().await;
    ledger.stop().await;
}

pub(crate) async fn a_waiting_subscriber_is_woken(store: &Store) {
    let ledger = store.open().await;
    ledger.append(append("a", Expected::Any)).await.unwrap();
    let mut subscription = ledger.subscribe(2);
    let waiting = tokio::spawn(async move { subscription.next().await.unwrap().position });
    tokio::task::yield_now().await;
    ledger.append(append("a", Expected::Any)).await.unwrap();
    assert_eq!(timeout(LONG, waiting).await.unwrap().unwrap(), 2);
    ledger.stop().await;
}
