//! The clients of one node: writers, a tailing reader, subscribers and readers of read models.

use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use nexus_ledger::{Ledger, Subscription};
use nexus_projections::ReadStore;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::journal::{Answer, Glance, Journal, Record, Span, stamp};
use super::rows;
use super::workload::{Choices, any_connection, any_provider};

/// How long a client leaves a database alone that did not answer.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a reader waits at the end of the log before it looks again.
const POLL: Duration = Duration::from_millis(10);

/// What the clients of one node do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The node's number; also in the names of its clients.
    pub node: u64,
    /// What every choice follows from.
    pub seed: u64,
    /// How many write at once.
    pub writers: u64,
    /// How long they write, milliseconds.
    pub millis: u64,
}

impl Plan {
    fn choices(&self, client: u64) -> Rng {
        Rng::with_seed(self.seed ^ (self.node << 32) ^ (client << 16))
    }
}

/// Runs a node's clients: the writers for as long as the plan says, the readers until they have seen all of it.
pub(super) async fn run(ledger: &Ledger, plan: &Plan) -> Vec<Journal> {
    let (end, ending) = watch::channel(None);
    let store = ReadStore::new(ledger.backend());
    let name = |what: &str| Journal::new(format!("node {} {what}", plan.node));
    let mut readers = JoinSet::new();
    readers.spawn(tail(
        ledger.clone(),
        name("tailing reader"),
        plan.choices(1_001),
        ending.clone(),
    ));
    readers.spawn(follow(
        ledger.clone(),
        name("subscriber"),
        plan.choices(1_002),
        ending.clone(),
    ));
    for number in 0..2 {
        readers.spawn(look_up(
            store.clone(),
            name(&format!("row reader {number}")),
            plan.choices(1_003 + number),
            ending.clone(),
        ));
    }
    let deadline = Instant::now() + Duration::from_millis(plan.millis);
    let writers = (0..plan.writers).map(|writer| {
        let choices = Choices::new(plan.node, writer, plan.choices(writer));
        let journal = name(&format!("writer {writer}"));
        tokio::spawn(write(ledger.clone(), journal, choices, deadline))
    });
    let writers: Vec<_> = writers.collect();
    let mut journals: Vec<Journal> = join_all(writers)
        .await
        .into_iter()
        .map(|journal| journal.expect("a writer"))
        .collect();
    end.send_replace(Some(newest(ledger).await));
    journals.extend(readers.join_all().await);
    journals
}

/// How far the log reaches, as soon as the database says.
pub(super) async fn newest(ledger: &Ledger) -> u64 {
    loop {
        match ledger.backend().newest_head().await {
            Ok(head) => return head.position(),
            Err(_) => sleep(AGAIN).await,
        }
    }
}

async fn write(
    ledger: Ledger,
    mut journal: Journal,
    mut choices: Choices,
    deadline: Instant,
) -> Journal {
    while Instant::now() < deadline || choices.is_beginning() {
        let burst: Vec<_> = (0..choices.burst())
            .map(|_| choices.next(ledger.now()))
            .collect();
        let answers = burst.into_iter().map(|(asked, append)| {
            let ledger = ledger.clone();
            async move {
                let invoked = stamp();
                let outcome = ledger.append(append).await;
                let returned = stamp();
                let answer = Answer::of(outcome);
                (Span { invoked, returned }, asked, answer)
            }
        });
        let mut is_away = false;
        for (span, asked, answer) in join_all(answers).await {
            choices.learn(&asked.stream, &answer);
            is_away |= matches!(answer, Answer::NotDone(_) | Answer::Unknown(_));
            journal.records.push(Record::Append {
                span,
                asked: Box::new(asked),
                answer,
            });
        }
        if is_away {
            sleep(AGAIN).await;
        }
    }
    journal
}

/// Reads page after page, and now and then an old one again.
async fn tail(
    ledger: Ledger,
    mut journal: Journal,
    mut rng: Rng,
    ending: watch::Receiver<Option<u64>>,
) -> Journal {
    let mut next = 1;
    while ending.borrow().is_none_or(|end| next <= end) {
        let limit = rng.usize(1..400);
        let from = if rng.u32(0..10) == 0 {
            rng.u64(1..=next)
        } else {
            next
        };
        let invoked = stamp();
        let Ok(events) = ledger.read(from, limit).await else {
            sleep(AGAIN).await;
            continue;
        };
        let returned = stamp();
        next = next.max(from + events.len() as u64);
        if events.is_empty() {
            sleep(POLL).await;
        }
        journal.records.push(Record::Read {
            span: Span { invoked, returned },
            from,
            limit: limit as u64,
            seen: events
                .iter()
                .map(|event| Glance::of(event, returned))
                .collect(),
        });
    }
    journal
}

/// Follows subscriptions that it gives up at any moment, each from where the last one ended.
async fn follow(
    ledger: Ledger,
    mut journal: Journal,
    mut rng: Rng,
    ending: watch::Receiver<Option<u64>>,
) -> Journal {
    let mut next = 1;
    while ending.borrow().is_none_or(|end| next <= end) {
        let mut subscription = ledger.subscribe(next);
        let patience = Duration::from_millis(rng.u64(50..500));
        let seen = deliveries(&mut subscription, rng.usize(1..600), patience).await;
        let from = next;
        next += seen.len() as u64;
        journal.records.push(Record::Followed { from, seen });
    }
    journal
}

async fn deliveries(
    subscription: &mut Subscription,
    count: usize,
    patience: Duration,
) -> Vec<Glance> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match timeout(patience, subscription.next()).await {
            Ok(Ok(event)) => seen.push(Glance::of(&event, stamp())),
            Ok(Err(_)) => sleep(AGAIN).await,
            Err(_) => break,
        }
    }
    seen
}

/// Reads rows, by the read models' own look-up and beside the log in one snapshot.
async fn look_up(
    store: ReadStore,
    mut journal: Journal,
    mut rng: Rng,
    ending: watch::Receiver<Option<u64>>,
) -> Journal {
    while ending.borrow().is_none() {
        let stream = if rng.u32(0..4) == 0 {
            any_provider(&mut rng)
        } else {
            any_connection(&mut rng)
        };
        let invoked = stamp();
        let found = if rng.bool() {
            rows::look_up(&store, &stream).await.map(|row| (row, None))
        } else {
            rows::beside_the_log(store.backend(), &stream).await
        };
        let returned = stamp();
        let Some((row, head)) = found else {
            sleep(AGAIN).await;
            continue;
        };
        journal.records.push(Record::Row {
            span: Span { invoked, returned },
            stream: (stream.stream_type, stream.id),
            row,
            head,
        });
        sleep(Duration::from_millis(1)).await;
    }
    journal
}
