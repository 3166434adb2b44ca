//! Events on new streams through the ledger, by so many tasks at once, each waiting for its answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nexus_domain::stream::StreamKey;
use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::{Append, Database, Expected, Ledger, NewEvent, Options};
use nexus_projections::ReadModels;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database: a file, or a URL that begins with `postgres`.
    #[arg(long)]
    database: String,
    /// How many tasks append at once.
    #[arg(long)]
    tasks: usize,
    /// For how many seconds.
    #[arg(long)]
    seconds: f64,
}

/// What both ways of appending store.
pub(crate) const PAYLOAD: &str = r#"{"note":"an event of a hundred bytes or so, as most of those of a connection without a secret are"}"#;

pub(crate) async fn run(arguments: Arguments) {
    let ledger = open(&arguments.database).await;
    let until = Instant::now() + Duration::from_secs_f64(arguments.seconds);
    let run = uuid::Builder::from_u128(unique()).into_uuid();
    let started = Instant::now();
    let tasks = (0..arguments.tasks).map(|task| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let mut appended = 0_u64;
            while Instant::now() < until {
                let stream = StreamKey::new("bench", format!("{run}-{task}-{appended}"));
                ledger
                    .append(Append::new(stream, Expected::At(0), vec![event()]))
                    .await
                    .expect("it is appended");
                appended += 1;
            }
            appended
        })
    });
    let appended: u64 = futures::future::join_all(tasks)
        .await
        .into_iter()
        .map(|task| task.expect("a task"))
        .sum();
    report("ledger", arguments.tasks, appended, started);
    ledger.stop().await;
}

fn event() -> NewEvent {
    NewEvent {
        event_type: "bench.noted".into(),
        event_version: "1".into(),
        payload: PAYLOAD.to_owned(),
        blob: None,
    }
}

/// Differs from run to run, so that a second one also appends to new streams.
pub(crate) fn unique() -> u128 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a name, never recorded as a time"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos()
}

pub(crate) fn report(through: &str, tasks: usize, events: u64, started: Instant) {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = events as f64 / started.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"through": through, "tasks": tasks, "events": events, "per_second": rate.round()})
    );
}

pub(crate) async fn open(database: &str) -> Ledger {
    let database = if database.starts_with("postgres") {
        Database::Postgres(PostgresOptions::parse(database, None, None).expect("a URL"))
    } else {
        Database::Sqlite {
            path: PathBuf::from(database),
        }
    };
    let options = Options {
        database,
        projector: Some(Box::new(ReadModels::default())),
        snapshot_every: 100,
        queue_capacity: 65_536,
        node_id: "bench".to_owned(),
        checkpoint_key: None,
        origin: "bench".to_owned(),
    };
    Ledger::open(options).await.expect("the log opens")
}
