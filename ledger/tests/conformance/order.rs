//! The global order.

use std::collections::HashMap;

use nexus_ledger::{Append, Expected, NewEvent};

use super::store::{Store, append, event, log, stream};

pub(crate) async fn sixty_four_writers_get_gapless_positions_in_the_order_of_their_commits(
    store: &Store,
) {
    let ledger = store.open().await;
    let writers = (0..64).map(|writer| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let mut positions = Vec::new();
            for round in 0..5 {
                positions.push(
                    ledger
                        .append(append(&format!("own-{writer}"), Expected::At(round)))
                        .await
                        .unwrap()
                        .position(),
                );
                positions.push(
                    ledger
                        .append(append("shared", Expected::Any))
                        .await
                        .unwrap()
                        .position(),
                );
            }
            positions
        })
    });
    let positions: Vec<Vec<u64>> = futures::future::try_join_all(writers).await.unwrap();
    for own in &positions {
        assert!(
            own.is_sorted(),
            "a caller's later append comes later: {own:?}"
        );
    }

    let events = log(&ledger).await;
    assert_eq!(
        events
            .iter()
            .map(|event| event.position)
            .collect::<Vec<_>>(),
        (1..=640).collect::<Vec<_>>()
    );
    let mut answered = positions.concat();
    answered.sort_unstable();
    assert_eq!(answered, (1..=640).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|event| event.recorded_at));
    let mut sequences = HashMap::new();
    for event in &events {
        let newest = sequences.entry(&event.stream).or_insert(0);
        *newest += 1;
        assert_eq!(event.sequence, *newest, "{:?}", event.stream);
    }
    assert_eq!(ledger.head().position(), 640);
    ledger.stop().await;
}

pub(crate) async fn what_is_appended_is_what_is_read(store: &Store) {
    let ledger = store.open().await;
    let payload = r#"{ "b": 1.0,  "a":[null,"ü\n\ud83d\ude00"], "a": 1e2 }"#;
    let new = NewEvent {
        payload: payload.into(),
        event_version: "7".into(),
        ..event("thing.said")
    };
    let metadata = r#"{"actor":"söme one"}"#;
    let appended = ledger
        .append(Append {
            metadata: metadata.into(),
            ..Append::new(stream("a"), Expected::At(0), vec![new])
        })
        .await
        .unwrap();

    let read = log(&ledger).await;
    assert_eq!(read, appended.events);
    assert_eq!(read[0].payload, payload, "byte for byte");
    assert_eq!(read[0].metadata, metadata);
    assert_eq!(
        (
            read[0].event_type.as_str(),
            read[0].event_version.as_str(),
            read[0].sequence
        ),
        ("thing.said", "7", 1)
    );
    assert_eq!(ledger.read(2, 10).await.unwrap(), []);
    ledger.stop().await;
}

pub(crate) async fn the_events_of_one_append_stand_together(store: &Store) {
    let ledger = store.open().await;
    let three = |id: &str| {
        Append::new(
            stream(id),
            Expected::At(0),
            vec![event("a.one"), event("a.two"), event("a.three")],
        )
    };
    let ids: Vec<String> = (0..20).map(|index| index.to_string()).collect();
    let appends = ids.iter().map(|id| ledger.append(three(id)));
    for appended in futures::future::try_join_all(appends).await.unwrap() {
        let first = appended.events[0].position;
        let places: Vec<_> = appended
            .events
            .iter()
            .map(|event| (event.position - first, event.sequence))
            .collect();
        assert_eq!(places, [(0, 1), (1, 2), (2, 3)]);
    }
    assert_eq!(
        ledger
            .read(2, 3)
            .await
            .unwrap()
            .iter()
            .map(|event| event.position)
            .collect::<Vec<_>>(),
        [2, 3, 4]
    );
    ledger.stop().await;
}
