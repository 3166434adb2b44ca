//! Audit queries against the log they are answered from.

use nexus_domain::time::Timestamp;
use nexus_ledger::{Ledger, RecordedEvent};
use nexus_projections::{AuditEntry, AuditQuery, ReadStore};

use super::history::{a_captured_one, an_ordinary_life, live, log};
use super::store::Store;

async fn lived(store: &Store) -> (Ledger, ReadStore) {
    let ledger = store.open().await;
    let reads = ReadStore::new(ledger.backend());
    live(&ledger, an_ordinary_life(0)).await;
    live(&ledger, a_captured_one(1)).await;
    live(&ledger, an_ordinary_life(2)).await;
    (ledger, reads)
}

/// The newest entries of the log, by hand.
async fn expected(
    ledger: &Ledger,
    limit: usize,
    wanted: impl Fn(&RecordedEvent) -> bool,
) -> Vec<AuditEntry> {
    let events = log(ledger).await;
    let newest = events.iter().rev().filter(|event| wanted(event));
    newest.take(limit).map(AuditEntry::of).collect()
}

fn everything(limit: usize) -> AuditQuery {
    AuditQuery {
        limit,
        ..AuditQuery::default()
    }
}

pub(crate) async fn the_trail_is_the_log_newest_first(store: &Store) {
    let (ledger, reads) = lived(store).await;
    for limit in [0, 1, 7, 1_000] {
        let entries = reads.audit(&everything(limit)).await.unwrap();
        assert_eq!(entries, expected(&ledger, limit, |_| true).await, "{limit}");
    }
    let empty = Vec::<AuditEntry>::new();
    assert_ne!(reads.audit(&everything(1_000)).await.unwrap(), empty);
}

pub(crate) async fn names_select_events_and_older_names_do_too(store: &Store) {
    let (ledger, reads) = lived(store).await;
    let names: [(&str, &[&str]); 6] = [
        ("connection.refreshed", &["connection.refreshed"]),
        (
            "connection.created",
            &["connection.activated", "connection.credential_captured"],
        ),
        ("token_retrieved", &["credential.retrieved"]),
        ("provider.created", &["provider.registered"]),
        ("token_refresh_fatal", &["connection.attention_required"]),
        ("x' OR '1' = '1", &[]),
    ];
    for (filter, stored) in names {
        for limit in [1, 1_000] {
            let query = AuditQuery {
                event_type: Some(filter.to_owned()),
                ..everything(limit)
            };
            let entries = reads.audit(&query).await.unwrap();
            let of_name = |event: &RecordedEvent| stored.contains(&event.event_type.as_str());
            assert_eq!(entries, expected(&ledger, limit, of_name).await, "{filter}");
        }
    }
    let created = AuditQuery {
        event_type: Some("connection.created".to_owned()),
        ..everything(1_000)
    };
    assert_eq!(reads.audit(&created).await.unwrap().len(), 3);
}

pub(crate) async fn since_selects_by_the_time_of_recording(store: &Store) {
    let (ledger, reads) = lived(store).await;
    let recorded: Vec<Timestamp> = log(&ledger)
        .await
        .iter()
        .map(|event| event.recorded_at)
        .collect();
    let later = |since: Timestamp| Timestamp::from_micros(since.as_micros() + 1);
    let mut instants = vec![Timestamp::from_micros(0)];
    instants.extend(recorded.iter().copied());
    instants.extend(recorded.iter().copied().map(later));
    for since in instants {
        for event_type in [None, Some("provider.registered".to_owned())] {
            let query = AuditQuery {
                since: Some(since),
                event_type: event_type.clone(),
                ..everything(1_000)
            };
            let wanted = |event: &RecordedEvent| {
                event.recorded_at >= since
                    && event_type
                        .as_ref()
                        .is_none_or(|name| *name == event.event_type)
            };
            let entries = reads.audit(&query).await.unwrap();
            assert_eq!(entries, expected(&ledger, 1_000, wanted).await, "{since}");
        }
    }
}

pub(crate) async fn an_empty_log_has_an_empty_trail(store: &Store) {
    let ledger = store.open().await;
    let reads = ReadStore::new(ledger.backend());
    let query = AuditQuery {
        since: Some(Timestamp::from_micros(0)),
        ..everything(10)
    };
    assert_eq!(reads.audit(&query).await.unwrap(), []);
}
