//! The same through `cqrs-es`: `QueryReplay` into a view repository, an event at a time.

use std::time::Instant;

use cqrs_es::EventEnvelope;
#[expect(
    clippy::disallowed_types,
    reason = "it is what a rebuild is measured against"
)]
use cqrs_es::persist::{GenericQuery, PersistedEventRepository, QueryReplay, ViewRepository};
use cqrs_es::{Aggregate, View};
use nexus_domain::connection::Connection;
use nexus_domain::decider::Decider;
use nexus_projections::rebuild::prepare;
use postgres_es::{PostgresEventRepository, PostgresViewRepository};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlite_es::{SqliteEventRepository, SqliteViewRepository};

use crate::append::{open, per_second};
use crate::fill::{Arguments, fill};

const VIEWS: &str =
    "CREATE TABLE bench_view (view_id text PRIMARY KEY, version bigint NOT NULL, payload ";

/// What the `connections` read model folds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Folded {
    state: Connection,
}

impl View<Connection> for Folded {
    fn update(&mut self, event: &EventEnvelope<Connection>) {
        self.state.evolve(&event.payload);
    }
}

/// Fills an empty log and replays it.
pub(crate) async fn run(arguments: Arguments) {
    let ledger = open(&arguments.database).await;
    prepare(ledger.backend()).await.expect("the tables");
    let events = fill(&ledger, arguments.events).await;
    // SQLite has one owner at a time.
    ledger.stop().await;
    drop(ledger);
    let started = Instant::now();
    if arguments.database.starts_with("postgres") {
        let pool = postgres_es::default_postgress_pool(&arguments.database).await;
        let create = format!("{VIEWS} json NOT NULL)");
        sqlx::query(&create).execute(&pool).await.expect("a table");
        let views = PostgresViewRepository::<Folded, Connection>::new("bench_view", pool.clone());
        replay(PostgresEventRepository::new(pool), views).await;
    } else {
        let url = format!("sqlite://{}", arguments.database);
        let pool = sqlite_es::default_sqlite_pool(&url).await;
        let create = format!("{VIEWS} text NOT NULL)");
        sqlx::query(&create).execute(&pool).await.expect("a table");
        let views = SqliteViewRepository::<Folded, Connection>::new("bench_view", pool.clone());
        replay(SqliteEventRepository::new(pool), views).await;
    }
    let rate = per_second(events, started);
    println!(
        "{}",
        json!({"through": "QueryReplay", "events": events, "per_second": rate})
    );
}

#[expect(
    clippy::disallowed_types,
    reason = "it is what a rebuild is measured against"
)]
async fn replay<E, V>(events: E, views: V)
where
    E: PersistedEventRepository,
    V: ViewRepository<Folded, Connection>,
{
    let mut query = GenericQuery::new(std::sync::Arc::new(views));
    query.use_error_handler(Box::new(|error| panic!("{}: {error}", Connection::TYPE)));
    let mut replay = QueryReplay::new(events, query);
    replay.use_error_handler(Box::new(|error| panic!("{}: {error}", Connection::TYPE)));
    replay.replay_all().await.expect("it is replayed");
}
