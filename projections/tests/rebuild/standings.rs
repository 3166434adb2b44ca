//! How connections stand, told from what was looked up before.

use nexus_domain::connection::ConnectionEvent;
use nexus_domain::reference::ConnectionReference;
use nexus_domain::stream::StreamKey;
use nexus_ledger::{Append, Expected, Ledger, NewEvent};
use nexus_projections::{ReadStore, Standing};

use super::history::{Step, a_captured_one, an_ordinary_life, live, reference};
use super::store::Store;

/// More than are sorted out one by one.
const CROWD: usize = 1_500;

async fn assert_current(reads: &ReadStore, which: u8) {
    let reference = reference(which);
    let row = reads.connection(&reference).await.unwrap();
    let asked = ConnectionReference::parse(&reference).unwrap();
    let standing = reads.standing(asked).await.unwrap();
    assert_eq!(
        standing.as_deref().cloned(),
        row.as_deref().map(Standing::of)
    );
}

fn lives() -> Vec<Step> {
    let (first, second) = (an_ordinary_life(0), a_captured_one(1));
    let third = an_ordinary_life(2);
    let mut steps = Vec::new();
    for index in 0..first.len() {
        steps.extend([&first, &second, &third].map(|life| life.get(index).copied()));
    }
    steps.into_iter().flatten().collect()
}

pub(crate) async fn a_standing_follows_its_connection(store: &Store) {
    let ledger = store.open().await;
    // Each keeps what it looked up, as two nodes do; one of them is asked seldom.
    let (often, seldom) = (
        ReadStore::new(ledger.backend()),
        ReadStore::new(ledger.backend()),
    );
    for (index, step) in lives().into_iter().enumerate() {
        live(&ledger, [step]).await;
        for which in 0..3 {
            assert_current(&often, which).await;
            if index % 5 == 0 {
                assert_current(&seldom, which).await;
            }
        }
    }
}

pub(crate) async fn a_standing_survives_more_changes_than_are_sorted_out(store: &Store) {
    let ledger = store.open().await;
    let reads = ReadStore::new(ledger.backend());
    live(&ledger, an_ordinary_life(0)).await;
    live(&ledger, a_captured_one(1)).await;
    assert_current(&reads, 0).await;
    assert_current(&reads, 1).await;
    crowd(&ledger).await;
    live(&ledger, a_captured_one(0)).await;
    assert_current(&reads, 0).await;
    assert_current(&reads, 1).await;
}

/// Many changes of one connection.
async fn crowd(ledger: &Ledger) {
    let event = NewEvent::of(&ConnectionEvent::Expired {}).unwrap();
    let stream = StreamKey::new("connection", reference(9));
    for _ in 0..CROWD / 100 {
        let events = vec![event.clone(); 100];
        let append = Append::new(stream.clone(), Expected::Any, events);
        ledger.append(append).await.unwrap();
    }
}
