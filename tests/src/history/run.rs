//! A run: many clients over one log, and what they saw.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::{Database, Ledger, Options};
use nexus_projections::{ReadModels, rebuild};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::journal::{Answer, Entry, History, Journal, Logged, Record, Span, stamp};
use super::node::{self, Plan};
use super::{disturb, rows, wire, workload};
use crate::database::TestDatabase;

/// How many write at once, over all nodes.
const WRITERS: u64 = 64;
/// How many processes share a PostgreSQL database.
const NODES: u64 = 4;
/// How long the readers may go on when the writers have ended.
const FINISH: Duration = Duration::from_mins(2);
/// How many events the last reader asks for at once.
const PAGE: usize = 1_000;

/// What a node is told on its standard input.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    url: String,
    plan: Plan,
}

/// How long writers write, and what all choices follow from.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// How long.
    pub time: Duration,
    /// What every choice follows from.
    pub seed: u64,
}

impl Extent {
    /// As `NEXUS_HISTORY_SECONDS` and `NEXUS_HISTORY_SEED` say: three seconds, and another seed each time.
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever runs the tests says how long, and which run to repeat"
    )]
    pub fn given() -> Extent {
        let number = |name| {
            let given = std::env::var(name).ok()?;
            Some(
                given
                    .parse()
                    .unwrap_or_else(|_| panic!("{name} is no number")),
            )
        };
        Extent {
            time: Duration::from_secs(number("NEXUS_HISTORY_SECONDS").unwrap_or(3)),
            seed: number("NEXUS_HISTORY_SEED").unwrap_or_else(|| stamp() & 0xffff_ffff),
        }
    }

    fn plan(self, node: u64, writers: u64) -> Plan {
        Plan {
            node,
            seed: self.seed,
            writers,
            millis: u64::try_from(self.time.as_millis()).expect("milliseconds"),
        }
    }
}

/// One process, its writers and readers, a database file of its own; other connections hold locks beside it.
pub async fn on_sqlite(extent: Extent) -> History {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("nexus.db");
    let ledger = open(Database::Sqlite { path: path.clone() }).await;
    let first = begin(&ledger).await;
    let disturbances = disturb::sqlite(&path, &ledger, &mut Rng::with_seed(extent.seed));
    let mut journals = in_time(extent, node::run(&ledger, &extent.plan(0, WRITERS))).await;
    drop(disturbances);
    journals.push(first);
    let log = read_all(&ledger).await;
    ledger.stop().await;
    History { journals, log }
}

/// Several processes on one database, each `binary` with its own writers and readers; other sessions hold locks beside
/// them, sessions are cut, and the wire breaks.
pub async fn on_postgres(binary: &Path, extent: Extent) -> History {
    let database = TestDatabase::create(crate::Database::Postgres);
    let url = database.url().expect("a PostgreSQL database");
    let ledger = open(Database::Postgres(options(url))).await;
    let first = begin(&ledger).await;
    let mut rng = Rng::with_seed(extent.seed);
    let disturbances = disturb::postgres(url, &mut rng);
    let (breaking, wire) = wire::to(url, rng).await;
    let nodes = (0..NODES).map(|node| {
        let order = Order {
            url: breaking.clone(),
            plan: extent.plan(node, WRITERS / NODES),
        };
        obey(binary, order)
    });
    let journals = in_time(extent, futures::future::join_all(nodes)).await;
    drop((disturbances, wire));
    let mut journals: Vec<Journal> = journals.into_iter().flatten().collect();
    journals.push(first);
    let log = read_all(&ledger).await;
    ledger.stop().await;
    History { journals, log }
}

/// What a node's process does: takes its orders from standard input, gives its journals to standard output.
pub async fn serve() {
    let order = std::io::read_to_string(std::io::stdin()).expect("standard input");
    let Order { url, plan } = serde_json::from_str(&order).expect("orders");
    let ledger = open(Database::Postgres(options(&url))).await;
    for journal in node::run(&ledger, &plan).await {
        serde_json::to_writer(std::io::stdout().lock(), &journal).expect("standard output");
        println!();
    }
    ledger.stop().await;
}

async fn obey(binary: &Path, order: Order) -> Vec<Journal> {
    let mut child = Command::new(binary)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the node starts");
    let mut orders = child.stdin.take().expect("piped");
    let order = serde_json::to_string(&order).expect("orders serialize");
    orders
        .write_all(order.as_bytes())
        .await
        .expect("orders are taken");
    drop(orders);
    let output = child.wait_with_output().await.expect("the node ends");
    assert!(
        output.status.success(),
        "a node ended with {}",
        output.status
    );
    let said = String::from_utf8(output.stdout).expect("text");
    said.lines()
        .map(|line| serde_json::from_str(line).expect("a journal"))
        .collect()
}

async fn in_time<T>(extent: Extent, run: impl Future<Output = T>) -> T {
    let Ok(done) = timeout(extent.time + FINISH, run).await else {
        panic!("the readers have not seen all of the log {FINISH:?} after the last append");
    };
    done
}

fn options(url: &str) -> PostgresOptions {
    PostgresOptions::parse(url, None, None).expect("a PostgreSQL URL")
}

/// Opens the log; the session that does may be the one that is cut.
async fn open(database: Database) -> Ledger {
    crate::until("the ledger opens", || async {
        let options = Options {
            database: database.clone(),
            projector: Some(Box::new(ReadModels::default())),
            snapshot_every: 50,
            queue_capacity: 4_096,
            node_id: "history".to_owned(),
            checkpoint_key: None,
            origin: "history.test/log".to_owned(),
        };
        Ledger::open(options).await.ok()
    })
    .await
}

/// The read models' tables, and the append before all others.
async fn begin(ledger: &Ledger) -> Journal {
    rebuild::prepare(ledger.backend())
        .await
        .expect("the read models' tables");
    let (asked, append) = workload::first();
    let invoked = stamp();
    let answer = Answer::of(ledger.append(append).await);
    let returned = stamp();
    let mut journal = Journal::new("first");
    journal.records.push(Record::Append {
        span: Span { invoked, returned },
        asked: Box::new(asked),
        answer,
    });
    journal
}

/// The whole log, as a last reader finds it, with the rows that it folds to.
async fn read_all(ledger: &Ledger) -> Vec<Logged> {
    let mut folds = rows::Folds::default();
    let mut log = Vec::new();
    loop {
        let page = crate::until("the log can be read", || async {
            ledger.read(log.len() as u64 + 1, PAGE).await.ok()
        })
        .await;
        if page.is_empty() {
            return log;
        }
        log.extend(page.iter().map(|event| Logged {
            entry: Entry::of(event),
            row: folds.after(event),
        }));
    }
}
