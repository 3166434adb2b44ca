//! Registers, changes, ends and finds agents.

use std::sync::Arc;

use nexus_domain::agent::{Agent, AgentCommand, AgentError, AgentId};
use nexus_domain::metadata::Metadata;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Context, ExecuteError};
use nexus_projections::{AgentRow, SessionsOf};

use super::{Application, Fault, fault_of};

/// What a command came to.
pub struct Commanded {
    /// The agent since.
    pub agent: Arc<AgentRow>,
    /// How many sessions it ended.
    pub sessions_closed: u64,
}

/// Why an agent was not registered, changed or found.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The rule that was broken.
    #[error(transparent)]
    Refused(#[from] AgentError),
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Application {
    /// Carries out a command on an agent. What the agent may no longer do ends the sessions that do it.
    ///
    /// # Errors
    /// [`AgentsError`]
    pub async fn command_agent(
        &self,
        id: &AgentId,
        command: AgentCommand,
        metadata: Metadata,
    ) -> Result<Commanded, AgentsError> {
        let metadata = Metadata {
            agent: Some(id.to_string()),
            ..metadata
        };
        let context = Context {
            metadata: metadata.clone(),
            ..Context::default()
        };
        let may_narrow = command.may_narrow();
        let executed = self.ledger.execute::<Agent>(id.as_str(), command, context);
        executed.await.map_err(|error| match error {
            ExecuteError::Decision(error) => error.into(),
            error => AgentsError::Fault(fault_of(error)),
        })?;
        let row = self.reads.agent(id).await.map_err(Fault::from)?;
        let agent = row.ok_or_else(|| Fault::Internal(format!("agent {id} is missing")))?;
        let sessions_closed = if may_narrow {
            let of = SessionsOf::Agent(id.clone());
            self.end_sessions(of, &metadata).await?
        } else {
            0
        };
        Ok(Commanded {
            agent,
            sessions_closed,
        })
    }

    /// A registered agent; with `at`, as it was then.
    ///
    /// # Errors
    /// [`AgentsError`]
    pub async fn agent(
        &self,
        id: &AgentId,
        at: Option<Timestamp>,
    ) -> Result<Arc<AgentRow>, AgentsError> {
        let row = match at {
            None => self.reads.agent(id).await,
            Some(at) => {
                let row = self.reads.agent_at(id, at).await;
                row.map(|row| row.map(Arc::new))
            }
        };
        let row = row.map_err(Fault::from)?;
        let row = row.filter(|row| row.is_registered());
        row.ok_or_else(|| AgentError::NotFound.into())
    }

    /// Every registered agent, by id.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn agents(&self) -> Result<Vec<AgentRow>, Fault> {
        Ok(self.reads.agents().await?)
    }
}
