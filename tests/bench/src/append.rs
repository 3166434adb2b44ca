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
    let appending = ledger.clone();
    let append = move |stream: String| {
        let ledger = appending.clone();
        async move {
            let stream = StreamKey::new("bench", stream);
            let append = Append::new(stream, Expected::At(0), vec![event()]);
            ledger.append(append).await.expect("it is appended");
        }
    };
    on_new_streams("ledger", arguments.tasks, arguments.seconds, append).await;
    ledger.stop().await;
}

/// Has so many tasks do `work` for so many seconds, each time on a stream that is new, and reports how often it was done.
pub(crate) async fn on_new_streams<F>(
    through: &str,
    tasks: usize,
    seconds: f64,
    work: impl Fn(String) -> F + Clone + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let run = unique();
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(seconds);
    let running = (0..tasks).map(|task| {
        let work = work.clone();
        tokio::spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < until {
                work(format!("{run}-{task}-{done}")).await;
                done += 1;
            }
            done
        })
    });
    let done: u64 = futures::future::join_all(running)
        .await
        .into_iter()
        .map(|task| task.expect("a task"))
        .sum();
    report(through, tasks, done, started);
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
    let rate = per_second(events, started);
    println!(
        "{}",
        json!({"through": through, "tasks": tasks, "events": events, "per_second": rate})
    );
}

/// How many events a second a stretch of time makes, whole.
pub(crate) fn per_second(events: u64, started: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = events as f64 / started.elapsed().as_secs_f64();
    rate.round()
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
