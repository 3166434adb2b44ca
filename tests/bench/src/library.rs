//! The same through `postgres-es`: `CqrsFramework::execute`, one transaction per command.

use std::sync::Arc;
use std::time::Duration;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

use crate::append::{PAYLOAD, on_new_streams};
use crate::database::connect;

/// Pooled connections; its own default is 10, which is slower here.
const POOL: u32 = 32;

/// The table as `postgres-es` documents it.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS events (
    aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint CHECK (sequence >= 0) NOT NULL,
    event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The URL of a PostgreSQL database of its own.
    #[arg(long)]
    database: String,
    /// How many tasks execute at once.
    #[arg(long)]
    tasks: usize,
    /// For how many seconds.
    #[arg(long)]
    seconds: f64,
}

#[derive(Default, Serialize, Deserialize)]
struct Note;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Noted {
    note: String,
}

impl DomainEvent for Noted {
    fn event_type(&self) -> String {
        "bench.noted".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Note {
    const TYPE: &'static str = "bench";
    type Command = Noted;
    type Event = Noted;
    type Error = Never;
    type Services = ();

    async fn handle(
        &mut self,
        command: Noted,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Never> {
        sink.write(command, self).await;
        Ok(())
    }

    fn apply(&mut self, _: Noted) {}
}

pub(crate) async fn run(arguments: Arguments) {
    connect(&arguments.database)
        .await
        .batch_execute(SCHEMA)
        .await
        .expect("the schema");
    let pool = PgPoolOptions::new()
        .max_connections(POOL)
        .acquire_timeout(Duration::from_mins(1))
        .connect(&arguments.database)
        .await
        .expect("a pool");
    let framework = Arc::new(postgres_es::postgres_cqrs::<Note>(pool, vec![], ()));
    let noted: Noted = serde_json::from_str(PAYLOAD).expect("the event");
    let execute = move |stream: String| {
        let (framework, noted) = (Arc::clone(&framework), noted.clone());
        async move {
            let executed = framework.execute(&stream, noted).await;
            executed.expect("it is executed");
        }
    };
    on_new_streams("postgres-es", arguments.tasks, arguments.seconds, execute).await;
}
