//! The log as a `cqrs-es` event repository: loading goes through `sqlite-es` and `postgres-es`,
//! appending through the writer.

use std::sync::Arc;

use cqrs_es::Aggregate;
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use sqlite_es::SqliteEventRepository;

use crate::sqlite::Gate;

/// Loads single streams.
#[derive(Clone)]
pub(crate) struct Repository(pub(crate) Arc<Source>);

/// Where the streams are.
pub(crate) enum Source {
    /// Over a read-only pool; every load passes the checkpoint gate.
    Sqlite(SqliteEventRepository, Gate),
    /// Over a pool of its own.
    Postgres(PostgresEventRepository),
}

/// Appends never come this way: they would miss the global order, the tree and the read models.
fn not_here<T>() -> Result<T, PersistenceError> {
    Err(PersistenceError::UnknownError(
        "events are appended by the ledger's writer".into(),
    ))
}

impl PersistedEventRepository for Repository {
    async fn get_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        match &*self.0 {
            Source::Sqlite(repository, gate) => {
                let _pass = gate.enter().await;
                repository.get_events::<A>(aggregate_id).await
            }
            Source::Postgres(repository) => repository.get_events::<A>(aggregate_id).await,
        }
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        match &*self.0 {
            Source::Sqlite(repository, gate) => {
                let _pass = gate.enter().await;
                repository
                    .get_last_events::<A>(aggregate_id, last_sequence)
                    .await
            }
            Source::Postgres(repository) => {
                repository
                    .get_last_events::<A>(aggregate_id, last_sequence)
                    .await
            }
        }
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        match &*self.0 {
            Source::Sqlite(repository, gate) => {
                let _pass = gate.enter().await;
                repository.get_snapshot::<A>(aggregate_id).await
            }
            Source::Postgres(repository) => repository.get_snapshot::<A>(aggregate_id).await,
        }
    }

    async fn persist<A: Aggregate>(
        &self,
        _events: &[SerializedEvent],
        _snapshot: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        not_here()
    }

    async fn stream_events<A: Aggregate>(
        &self,
        _aggregate_id: &str,
    ) -> Result<ReplayStream, PersistenceError> {
        not_here()
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        not_here()
    }
}
