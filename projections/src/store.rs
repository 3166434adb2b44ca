//! The queries over the read models.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_domain::agent::AgentId;
use nexus_domain::reference::ConnectionReference;
use nexus_domain::session::SessionId;
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Backend, ReadError, RecordedEvent};
use tokio_postgres::types::Type;

use crate::agents::{AgentRow, Agents};
use crate::connections::{ConnectionRow, Connections, Standing, signed};
use crate::crowd::{Answers, Crowd};
use crate::freshness::{Freshness, ProviderScopes, Shelves};
use crate::log;
use crate::lookup::Lookup;
use crate::postgres::{self, Generations, SelectError, Selected};
use crate::projection::Projection;
use crate::providers::{ProviderRow, Providers};
use crate::sessions::{SessionRow, Sessions};
use crate::sqlite;
use crate::standings::MovedConnections;
use crate::table::{Columns, Value};

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

/// How often a statement is written for the generation that serves by now.
pub(crate) const ASK_AGAIN: u32 = 10;

impl QueryError {
    /// The rows that serve are an older version's, and have no column that was asked for.
    pub(crate) fn not_there<P: Projection>() -> Self {
        Self::Unavailable(format!(
            "the rows of {} that serve have other columns",
            P::NAME
        ))
    }

    pub(crate) fn of<P: Projection>(error: SelectError) -> Self {
        match error {
            SelectError::Database(error) => Self::Unavailable(error.to_string()),
            SelectError::Fold(_) => Self::Undecodable(P::NAME),
        }
    }
}

/// The connection that a page ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageEnd {
    /// When it was first requested.
    pub created_at: Timestamp,
    /// Its reference.
    pub reference: String,
}

/// Whose sessions.
#[derive(Clone, Debug)]
pub enum SessionsOf {
    /// An agent's.
    Agent(AgentId),
    /// Those that are bound to a connection.
    Connection(ConnectionReference),
}

/// Reads the read models; clones share it.
#[derive(Clone)]
pub struct ReadStore {
    backend: Backend,
    connections: Lookup<Connections>,
    standings: Lookup<Connections>,
    providers: Lookup<Providers>,
    agents: Lookup<Agents>,
    sessions: Lookup<Sessions>,
    selections: Arc<Selections>,
    provider_scopes: Crowd<Scopes>,
    shelves: Arc<Shelves>,
    freshness: Freshness,
}

impl ReadStore {
    /// A store over the ledger's database. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(backend: &Backend) -> Self {
        let (shelves, selections) = (Arc::default(), Arc::new(Selections::new(backend)));
        Self {
            backend: backend.clone(),
            connections: Lookup::start(backend, Columns::All),
            standings: Lookup::start(backend, Columns::Needed),
            providers: Lookup::start(backend, Columns::All),
            agents: Lookup::start(backend, Columns::All),
            sessions: Lookup::start(backend, Columns::All),
            provider_scopes: Crowd::start(Scopes(Arc::clone(&selections))),
            selections,
            freshness: Freshness::of(backend, &shelves),
            shelves,
        }
    }

    /// The connection of a reference.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn connection(
        &self,
        reference: &str,
    ) -> Result<Option<Arc<ConnectionRow>>, QueryError> {
        self.connections.get(reference).await
    }

    /// How the connection of a reference stands.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn standing(
        &self,
        reference: ConnectionReference,
    ) -> Result<Option<Arc<Standing>>, QueryError> {
        self.now().await?.standing(reference).await
    }

    /// A workspace's connections that were ever more than pending and are not erased, the newest first:
    /// at most `limit`, after the one a page ended with.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn connections_of(
        &self,
        workspace_id: &str,
        after: Option<&PageEnd>,
        limit: u32,
    ) -> Result<Vec<ConnectionRow>, QueryError> {
        let first = PageEnd {
            created_at: Timestamp::from_micros(i64::MAX),
            reference: String::new(),
        };
        let after = after.unwrap_or(&first);
        let condition = Condition::new(
            "workspace_id = ? AND status NOT IN ('pending', 'deleted') \
             AND (created_at < ? OR (created_at = ? AND reference > ?)) \
             ORDER BY created_at DESC, reference LIMIT ?",
            vec![
                workspace_id.to_owned().into(),
                after.created_at.as_micros().into(),
                after.created_at.as_micros().into(),
                after.reference.clone().into(),
                i64::from(limit).into(),
            ],
        );
        self.selections.select::<Connections>(condition).await
    }

    /// The newest active connection of a workspace at a provider.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn newest_active(
        &self,
        workspace_id: &str,
        provider_id: &str,
    ) -> Result<Option<ConnectionRow>, QueryError> {
        let found = self.active_connections(workspace_id, Some(provider_id), 1);
        Ok(found.await?.into_iter().next())
    }

    /// Revoked connections whose provider is still to be told, the earliest first.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn connections_to_revoke(
        &self,
        limit: u32,
    ) -> Result<Vec<ConnectionRow>, QueryError> {
        let condition = Condition::new(
            "revoking_until >= ? ORDER BY revoking_until LIMIT ?",
            vec![i64::MIN.into(), i64::from(limit).into()],
        );
        self.selections.select::<Connections>(condition).await
    }

    /// Which connections moved after a position.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn moved_connections(&self, after: u64) -> Result<MovedConnections, QueryError> {
        MovedConnections::after(&self.backend, after).await
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
        self.selections.select::<Connections>(condition).await
    }

    /// A provider, also a deleted one.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn provider(&self, id: &str) -> Result<Option<Arc<ProviderRow>>, QueryError> {
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
        Ok(self
            .selections
            .select::<Providers>(condition)
            .await?
            .into_iter()
            .next())
    }

    /// Every registered provider, by name.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn providers(&self) -> Result<Vec<ProviderRow>, QueryError> {
        self.selections.providers().await
    }

    /// The scopes of every registered provider.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn provider_scopes(&self) -> Result<Arc<BTreeSet<String>>, QueryError> {
        self.now().await?.provider_scopes().await
    }

    /// What the newest committed transaction left, or a later one.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn now(&self) -> Result<Now<'_>, QueryError> {
        self.freshness.catch_up().await?;
        Ok(Now(self))
    }

    /// An agent, also one that was deregistered.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn agent(&self, id: &AgentId) -> Result<Option<Arc<AgentRow>>, QueryError> {
        self.now().await?.agent(id).await
    }

    /// An agent as it was at a time, by the log alone; `None` before its first registration.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn agent_at(
        &self,
        id: &AgentId,
        at: Timestamp,
    ) -> Result<Option<AgentRow>, QueryError> {
        let events = log::of_stream(&self.backend, &StreamKey::agent(id), 0).await?;
        let mut until = events.iter().take_while(|event| event.recorded_at <= at);
        until
            .try_fold(None, Agents::apply)
            .map_err(|_| QueryError::Undecodable(Agents::NAME))
    }

    /// Every registered agent, by id.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn agents(&self) -> Result<Vec<AgentRow>, QueryError> {
        let condition = Condition::new(
            "registered IS NOT NULL ORDER BY registered LIMIT ?",
            vec![i64::MAX.into()],
        );
        self.selections.select::<Agents>(condition).await
    }

    /// A session, also one that has ended.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn session(&self, id: &SessionId) -> Result<Option<Arc<SessionRow>>, QueryError> {
        self.sessions.get(id.as_str()).await
    }

    /// Sessions that were opened up to a position and are open in the log, of an agent or of a connection, after an id: at
    /// most `limit`.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn open_sessions(
        &self,
        of: &SessionsOf,
        until: u64,
        after: &str,
        limit: u32,
    ) -> Result<Vec<SessionRow>, QueryError> {
        let (sql, key) = match of {
            SessionsOf::Agent(id) => (
                "open_agent = ? AND id > ? AND position <= ? ORDER BY id LIMIT ?",
                id.to_string(),
            ),
            SessionsOf::Connection(reference) => (
                "open_connection = ? AND id > ? AND position <= ? ORDER BY id LIMIT ?",
                reference.to_string(),
            ),
        };
        let parameters = vec![
            key.into(),
            after.to_owned().into(),
            signed(until).into(),
            i64::from(limit).into(),
        ];
        let condition = Condition::new(sql, parameters);
        self.selections.select::<Sessions>(condition).await
    }

    /// Sessions that are open in the log and whose time is over, the earliest first.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn sessions_over(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<SessionRow>, QueryError> {
        let condition = Condition::new(
            "ends_at <= ? ORDER BY ends_at LIMIT ?",
            vec![now.as_micros().into(), i64::from(limit).into()],
        );
        self.selections.select::<Sessions>(condition).await
    }

    /// The active connections of a workspace, the newest first, at one provider or at any: at most `limit`.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn active_connections(
        &self,
        workspace_id: &str,
        provider_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ConnectionRow>, QueryError> {
        let mut parameters: Vec<Value> = vec![workspace_id.to_owned().into()];
        parameters.extend(provider_id.map(|id| Value::from(id.to_owned())));
        parameters.push(i64::from(limit).into());
        let sql = match provider_id {
            Some(_) => {
                "workspace_id = ? AND provider_id = ? AND status = 'active' \
                 ORDER BY created_at DESC, reference LIMIT ?"
            }
            None => {
                "workspace_id = ? AND status = 'active' ORDER BY created_at DESC, reference LIMIT ?"
            }
        };
        let condition = Condition::new(sql, parameters);
        self.selections.select::<Connections>(condition).await
    }

    /// The events of a stream after a sequence, the oldest first; for streams that stay short.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn events_of(
        &self,
        stream: &StreamKey,
        after: u64,
    ) -> Result<Vec<RecordedEvent>, QueryError> {
        Ok(log::of_stream(&self.backend, stream, after).await?)
    }

    /// The database.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.backend
    }
}

/// Rows that are asked for again and again, as they were when this was made or later.
#[derive(Clone, Copy)]
pub struct Now<'a>(&'a ReadStore);

impl Now<'_> {
    async fn standing(
        self,
        reference: ConnectionReference,
    ) -> Result<Option<Arc<Standing>>, QueryError> {
        let standing = async {
            let row = self.0.standings.get(&reference.to_string()).await?;
            Ok(row.map(|row| Arc::new(Standing::of(&row))))
        };
        self.0.shelves.standings.get(reference, standing).await
    }

    /// An agent, also one that was deregistered.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn agent(self, id: &AgentId) -> Result<Option<Arc<AgentRow>>, QueryError> {
        let row = self.0.agents.get(id.as_str());
        self.0.shelves.agents.get(id.clone(), row).await
    }

    /// A session, also one that has ended.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn session(self, id: &SessionId) -> Result<Option<Arc<SessionRow>>, QueryError> {
        let row = self.0.sessions.get(id.as_str());
        self.0.shelves.sessions.get(id.clone(), row).await
    }

    /// The scopes of every registered provider.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn provider_scopes(self) -> Result<Arc<BTreeSet<String>>, QueryError> {
        let scopes = async { self.0.provider_scopes.ask(()).await.map(Some) };
        let kept = self.0.shelves.provider_scopes.get((), scopes).await?;
        Ok(kept.unwrap_or_default())
    }
}

/// Collects the scopes of every registered provider.
struct Scopes(Arc<Selections>);

impl Answers for Scopes {
    type Question = ();
    type Answer = Arc<ProviderScopes>;
    type Found = Arc<ProviderScopes>;

    async fn find(&mut self, _: &[()]) -> Result<Arc<ProviderScopes>, QueryError> {
        let rows = self.0.providers().await?;
        let scopes = rows.into_iter().flat_map(|row| row.state.profile.scopes);
        Ok(Arc::new(scopes.collect()))
    }

    fn answer(found: &Arc<ProviderScopes>, (): &()) -> Arc<ProviderScopes> {
        Arc::clone(found)
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

/// Rows by a condition.
pub(crate) struct Selections {
    backend: Backend,
    /// The generations last seen to serve, on PostgreSQL.
    generations: Mutex<Generations>,
}

impl Selections {
    fn new(backend: &Backend) -> Self {
        Self {
            backend: backend.clone(),
            generations: Mutex::default(),
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

    /// Every registered provider, by name.
    pub(crate) async fn providers(&self) -> Result<Vec<ProviderRow>, QueryError> {
        let registered = "name_key IS NOT NULL ORDER BY name_key LIMIT ?";
        let condition = Condition::new(registered, vec![i64::MAX.into()]);
        self.select::<Providers>(condition).await
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        for _ in 0..ASK_AGAIN {
            let guess = self.generations().guess::<P>();
            match postgres::select::<P>(&client, &guess, condition, order, parameters).await {
                Ok(Selected::Rows(rows)) => return Ok(rows),
                Ok(Selected::Moved(serving)) => {
                    self.generations().observe::<P>(serving);
                }
                Err(error) => return Err(QueryError::of::<P>(error)),
            }
        }
        Err(QueryError::not_there::<P>())
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
