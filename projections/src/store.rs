//! The queries over the read models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use nexus_domain::time::Timestamp;
use nexus_ledger::{Backend, ReadError};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::types::Type;

use crate::connections::{ConnectionRow, Connections};
use crate::postgres::{self, SelectError, Selected};
use crate::projection::Projection;
use crate::providers::{ProviderRow, Providers};
use crate::sqlite;
use crate::table::{Dialect, Statements, Value};

/// The most keys of one look-up.
const MAX_KEYS: usize = 512;
/// How many callers may wait for a look-up.
const WAITING: usize = 65_536;

/// Why a query has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// The database cannot be reached.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A stored row does not decode.
    #[error("a row of {0} does not decode")]
    Undecodable(&'static str),
}

impl From<ReadError> for QueryError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}

impl QueryError {
    pub(crate) fn of<P: Projection>(error: SelectError) -> Self {
        match error {
            SelectError::Database(error) => Self::Unavailable(error.to_string()),
            SelectError::Fold(_) => Self::Undecodable(P::NAME),
        }
    }
}

/// Reads the read models; clones share it.
#[derive(Clone)]
pub struct ReadStore {
    backend: Backend,
    connections: Lookup<Connections>,
    providers: Lookup<Providers>,
}

impl ReadStore {
    /// A store over the ledger's database. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(backend: &Backend) -> Self {
        Self {
            backend: backend.clone(),
            connections: Lookup::start(backend),
            providers: Lookup::start(backend),
        }
    }

    /// The connection of a reference.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn connection(&self, reference: &str) -> Result<Option<ConnectionRow>, QueryError> {
        self.connections.get(reference).await
    }

    /// Connections whose pending consent is due to be looked at, the earliest first.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn connections_due(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ConnectionRow>, QueryError> {
        let condition = Condition::new(
            "due_at <= ? ORDER BY due_at LIMIT ?",
            vec![now.as_micros().into(), i64::from(limit).into()],
        );
        self.connections.select(condition).await
    }

    /// A provider, also a deleted one.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn provider(&self, id: &str) -> Result<Option<ProviderRow>, QueryError> {
        self.providers.get(id).await
    }

    /// The registered provider of a folded name.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn provider_by_name(
        &self,
        name_key: &str,
    ) -> Result<Option<ProviderRow>, QueryError> {
        let condition = Condition::new(
            "name_key = ? LIMIT ?",
            vec![name_key.to_owned().into(), 1.into()],
        );
        Ok(self.providers.select(condition).await?.into_iter().next())
    }

    /// Every registered provider, by name.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn providers(&self) -> Result<Vec<ProviderRow>, QueryError> {
        self.providers
            .select(Condition::new(
                "name_key IS NOT NULL ORDER BY name_key LIMIT ?",
                vec![i64::MAX.into()],
            ))
            .await
    }

    /// The database.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.backend
    }
}

/// A condition on a read model's columns; `?` stands for each parameter in turn.
struct Condition {
    sql: &'static str,
    parameters: Vec<Value>,
}

impl Condition {
    fn new(sql: &'static str, parameters: Vec<Value>) -> Self {
        Self { sql, parameters }
    }

    /// The condition with numbered parameters, from `$2` on.
    fn numbered(&self) -> String {
        let mut parts = self.sql.split('?');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.enumerate().fold(first, |sql, (index, part)| {
            format!("{sql}${}{part}", index + 2)
        })
    }
}

type Waiting<P> = (
    String,
    oneshot::Sender<Result<Option<<P as Projection>::Row>, QueryError>>,
);

/// Looks rows up by key: whatever callers are waiting share one statement, and the next
/// statement's callers gather while it runs.
struct Lookup<P: Projection> {
    queue: mpsc::Sender<Waiting<P>>,
    reader: Arc<Reader>,
}

impl<P: Projection> Clone for Lookup<P> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            reader: Arc::clone(&self.reader),
        }
    }
}

impl<P: Projection> Lookup<P> {
    fn start(backend: &Backend) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting<P>>(WAITING);
        let reader = Arc::new(Reader {
            backend: backend.clone(),
            generation: AtomicI64::new(1),
        });
        let shared = Arc::clone(&reader);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, MAX_KEYS).await > 0 {
                answer::<P>(&shared, &mut batch).await;
            }
        });
        Self { queue, reader }
    }

    async fn get(&self, key: &str) -> Result<Option<P::Row>, QueryError> {
        let (reply, answer) = oneshot::channel();
        let gone = || QueryError::Unavailable("the reader has stopped".to_owned());
        self.queue
            .send((key.to_owned(), reply))
            .await
            .map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn select(&self, condition: Condition) -> Result<Vec<P::Row>, QueryError> {
        self.reader.select::<P>(condition).await
    }
}

async fn answer<P: Projection>(reader: &Reader, batch: &mut Vec<Waiting<P>>) {
    let keys = batch.iter().map(|(key, _)| key.clone()).collect();
    let rows = reader.by_key::<P>(keys).await;
    for (key, reply) in batch.drain(..) {
        // A caller that went away does not want its answer.
        drop(
            reply.send(
                rows.as_ref()
                    .map(|rows| rows.get(&key).cloned())
                    .map_err(Clone::clone),
            ),
        );
    }
}

struct Reader {
    backend: Backend,
    /// The generation last seen to serve, on PostgreSQL.
    generation: AtomicI64,
}

impl Reader {
    async fn by_key<P: Projection>(
        &self,
        keys: std::collections::BTreeSet<String>,
    ) -> Result<BTreeMap<String, P::Row>, QueryError> {
        match &self.backend {
            Backend::Sqlite(database) => {
                let rows = database.read(move |connection| {
                    let statements =
                        Statements::of::<P>(sqlite::generation::<P>(connection)?, Dialect::Sqlite);
                    sqlite::by_key::<P>(connection, &statements, &keys)
                });
                Ok(rows.await?)
            }
            Backend::Postgres(_) => {
                let keys: Vec<String> = keys.into_iter().collect();
                let key = P::COLUMNS.first().map_or("", |column| column.name);
                let rows = self
                    .select_postgres::<P>(
                        &format!("t.{key} = ANY($2)"),
                        "",
                        &[(&keys, Type::TEXT_ARRAY)],
                    )
                    .await?;
                Ok(postgres::keyed::<P>(rows))
            }
        }
    }

    async fn select<P: Projection>(&self, condition: Condition) -> Result<Vec<P::Row>, QueryError> {
        match &self.backend {
            Backend::Sqlite(database) => {
                let rows = database.read(move |connection| {
                    sqlite::select::<P>(
                        connection,
                        &format!("WHERE {}", condition.sql),
                        &condition.parameters,
                    )
                });
                Ok(rows.await?)
            }
            Backend::Postgres(_) => {
                let numbered = condition.numbered();
                let (filter, order) = split_order(&numbered);
                let parameters: Vec<_> = condition
                    .parameters
                    .iter()
                    .map(postgres::parameter)
                    .collect();
                self.select_postgres::<P>(filter, order, &parameters).await
            }
        }
    }

    async fn select_postgres<P: Projection>(
        &self,
        condition: &str,
        order: &str,
        parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
    ) -> Result<Vec<P::Row>, QueryError> {
        let Backend::Postgres(database) = &self.backend else {
            return Ok(Vec::new());
        };
        let client = database.client().await?;
        loop {
            let guess = self.generation.load(Ordering::Relaxed);
            match postgres::select::<P>(&client, guess, condition, order, parameters).await {
                Ok(Selected::Rows(rows)) => return Ok(rows),
                Ok(Selected::Moved(generation)) => {
                    self.generation.store(generation, Ordering::Relaxed);
                }
                Err(error) => return Err(QueryError::of::<P>(error)),
            }
        }
    }
}

/// The filter of a condition, and what follows it.
fn split_order(condition: &str) -> (&str, &str) {
    let end = condition
        .find(" ORDER BY")
        .or_else(|| condition.find(" LIMIT"))
        .unwrap_or(condition.len());
    condition.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_numbers_its_parameters_after_the_read_models_name() {
        let condition = Condition::new("a <= ? ORDER BY a LIMIT ?", vec![1.into(), 2.into()]);
        let numbered = condition.numbered();
        assert_eq!(numbered, "a <= $2 ORDER BY a LIMIT $3");
        assert_eq!(split_order(&numbered), ("a <= $2", " ORDER BY a LIMIT $3"));
    }
}
