//! Sessions that were opened: reading them, ending them, and recording what ended them.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use nexus_domain::metadata::Metadata;
use nexus_domain::session::{
    CloseReason, Ended, Opening, Session, SessionCommand, SessionId, Status,
};
use nexus_domain::time::Timestamp;
use nexus_ledger::{AppendError, Context, ExecuteError, Loaded};
use nexus_projections::{AgentRow, ConnectionRow, SessionRow, SessionsOf};

use super::{Application, Fault, fault_of};

/// So many sessions are looked at together.
const BATCH: u32 = 1_000;
/// So many ends are recorded at a time: the ledger commits them together.
const TOGETHER: usize = 64;

/// A session, as it is now.
pub struct CurrentSession {
    /// Its id.
    pub id: SessionId,
    /// How it was opened.
    pub opening: Opening,
    /// The connection's id, a bearer secret, while there is one.
    pub connection_id: Option<String>,
    /// How it ended, if it has.
    pub ended: Option<Ended>,
}

/// Whether a session may be the caller's: where it has a user, that is who the caller says it calls for, if it says so.
pub(super) fn is_anybodys(
    opening: &Opening,
    connection: Option<&ConnectionRow>,
    subject: Option<&str>,
) -> bool {
    let Some(subject) = subject else {
        return true;
    };
    let user = opening.principal.as_ref().map(|user| &user.acting_for);
    let workspace = connection.map(|row| &row.state.workspace_id);
    let mut owners = user.into_iter().chain(workspace).peekable();
    owners.peek().is_none() || owners.any(|owner| owner == subject)
}

/// What a session lives and dies with, as it is now.
pub(super) struct Ties {
    /// Its agent.
    pub(super) agent: Option<Arc<AgentRow>>,
    /// Its connection, if it has one.
    pub(super) connection: Option<Arc<ConnectionRow>>,
}

impl Ties {
    /// How a session has ended.
    pub(super) fn ended(&self, row: &SessionRow, now: Timestamp) -> Option<Ended> {
        let agent = self.agent.as_ref().map(|row| &row.state);
        let connection = self.connection.as_ref().map(|row| &row.state);
        row.state.ended(agent, connection, now)
    }
}

/// Sessions that are dead, and the last that was looked at.
struct Page {
    dead: Vec<(SessionRow, CloseReason)>,
    last: String,
}

/// Why a session was not found or ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    /// There is no such session.
    #[error("the session does not exist")]
    NotFound,
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Application {
    /// A session as it is now: whatever ends it counts from the moment that it is recorded.
    ///
    /// # Errors
    /// [`SessionsError`]
    pub async fn session(
        &self,
        id: &str,
        metadata: &Metadata,
    ) -> Result<CurrentSession, SessionsError> {
        Ok(self.session_and_row(id, metadata).await?.0)
    }

    async fn session_and_row(
        &self,
        id: &str,
        metadata: &Metadata,
    ) -> Result<(CurrentSession, Arc<SessionRow>), SessionsError> {
        let id = SessionId::parse(id).map_err(|_| SessionsError::NotFound)?;
        let row = self.reads.session(&id).await.map_err(Fault::from)?;
        let row = row.ok_or(SessionsError::NotFound)?;
        let opening = row.state.opening.clone().ok_or(SessionsError::NotFound)?;
        let ties = self.ties(&opening).await?;
        let subject = metadata.subject.as_deref();
        if !is_anybodys(&opening, ties.connection.as_deref(), subject) {
            return Err(SessionsError::NotFound);
        }
        let ended = ties.ended(&row, self.ledger.now());
        let connection_id = match ties.connection.filter(|row| row.id.is_some()) {
            Some(row) => Some(self.connection_id(&row).await?),
            None => None,
        };
        let session = CurrentSession {
            id,
            opening,
            connection_id,
            ended,
        };
        Ok((session, row))
    }

    /// How a session has ended, as its agent and its connection are now.
    async fn ended(&self, row: &SessionRow) -> Result<Option<Ended>, Fault> {
        let Some(opening) = &row.state.opening else {
            return Ok(None);
        };
        let ties = self.ties(opening).await?;
        Ok(ties.ended(row, self.ledger.now()))
    }

    /// What a session lives and dies with.
    async fn ties(&self, opening: &Opening) -> Result<Ties, Fault> {
        let agent = async { Ok(self.reads.agent(&opening.agent_id).await?) };
        let (agent, connection) = tokio::try_join!(agent, self.bound_connection(opening))?;
        Ok(Ties { agent, connection })
    }

    /// The connection that a session is bound to.
    pub(super) async fn bound_connection(
        &self,
        opening: &Opening,
    ) -> Result<Option<Arc<ConnectionRow>>, Fault> {
        let Some(bound) = &opening.bound else {
            return Ok(None);
        };
        Ok(self.reads.connection(&bound.connection.to_string()).await?)
    }

    /// Ends a session; ending one that has ended is harmless.
    ///
    /// # Errors
    /// [`SessionsError`]
    pub async fn close_session(
        &self,
        id: &str,
        metadata: Metadata,
    ) -> Result<CurrentSession, SessionsError> {
        let (current, row) = self.session_and_row(id, &metadata).await?;
        let reason = match current.ended {
            None | Some(Ended::Expired) => CloseReason::Closed,
            Some(Ended::Closed(reason)) => reason,
        };
        let closed = self.record_end(&row, reason, metadata).await?;
        // What has ended in the log has no more to do with its agent and its connection.
        let ended = closed.ended(None, None, self.ledger.now());
        Ok(CurrentSession { ended, ..current })
    }

    /// Records the end of a session whose row was read, unless that is in the log already; returns how it is then.
    async fn record_end(
        &self,
        row: &SessionRow,
        reason: CloseReason,
        metadata: Metadata,
    ) -> Result<Session, Fault> {
        let now = self.ledger.now();
        let command = SessionCommand::Close { reason, now };
        let context = Context {
            metadata,
            ..Context::default()
        };
        let known = Loaded {
            state: row.state.clone(),
            sequence: row.sequence,
        };
        let executed = self
            .ledger
            .execute_on(&row.id, known, command.clone(), &context);
        let executed = match executed.await {
            // It was ended meanwhile.
            Err(ExecuteError::Append(AppendError::Conflict { .. })) => {
                let executed = self.ledger.execute::<Session>(&row.id, command, context);
                executed.await
            }
            executed => executed,
        };
        Ok(executed.map_err(fault_of)?.state)
    }

    /// How many sessions a narrower agent or connection has just ended. They are dead already; recording it goes on
    /// without the caller.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn end_sessions(&self, of: SessionsOf, metadata: &Metadata) -> Result<u64, Fault> {
        // What is opened later was opened on what is narrower.
        let until = self.ledger.head().position();
        let (mut count, mut after) = (0, String::new());
        while let Some(page) = self.dead_sessions(&of, until, &after).await? {
            count += page.dead.len() as u64;
            after = page.last;
        }
        if count > 0 {
            let (application, metadata) = (self.clone(), metadata.clone());
            self.tasks.spawn(async move {
                // What is not recorded now is when its time is over.
                if let Err(fault) = application.record_ends(&of, until, &metadata).await {
                    tracing::warn!(%fault, "the ends of sessions were not recorded");
                }
            });
        }
        Ok(count)
    }

    async fn record_ends(
        &self,
        of: &SessionsOf,
        until: u64,
        metadata: &Metadata,
    ) -> Result<(), Fault> {
        let mut after = String::new();
        while let Some(page) = self.dead_sessions(of, until, &after).await? {
            after = page.last;
            let recorded = stream::iter(page.dead)
                .map(|(row, reason)| async move {
                    let recorded = self.record_end(&row, reason, metadata.clone());
                    recorded.await.map(drop)
                })
                .buffer_unordered(TOGETHER);
            let outcomes: Vec<Result<(), Fault>> = recorded.collect().await;
            outcomes.into_iter().collect::<Result<Vec<()>, Fault>>()?;
        }
        Ok(())
    }

    /// Of a page of sessions that were opened up to a position and are open in the log, those that died before their time
    /// was over; `None` after the last page.
    async fn dead_sessions(
        &self,
        of: &SessionsOf,
        until: u64,
        after: &str,
    ) -> Result<Option<Page>, Fault> {
        let rows = self.reads.open_sessions(of, until, after, BATCH).await?;
        let Some(last) = rows.last().map(|row| row.id.clone()) else {
            return Ok(None);
        };
        let judged = stream::iter(rows)
            .map(|row| async move { (self.ended(&row).await, row) })
            .buffered(TOGETHER);
        let judged: Vec<_> = judged.collect().await;
        let mut dead = Vec::new();
        for (ended, row) in judged {
            if let Some(Ended::Closed(reason)) = ended? {
                dead.push((row, reason));
            }
        }
        Ok(Some(Page { dead, last }))
    }

    /// Records the ends of sessions whose time is over, a batch; returns whether there may be more.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn expire_sessions(&self) -> Result<bool, Fault> {
        let now = self.ledger.now();
        let rows = self.reads.sessions_over(now, BATCH).await?;
        let more = rows.len() >= BATCH as usize;
        let recorded = stream::iter(rows)
            .map(|row| self.record_over(row, Metadata::of_the_program("expire_sessions")))
            .buffer_unordered(TOGETHER);
        let outcomes: Vec<Result<(), Fault>> = recorded.collect().await;
        outcomes.into_iter().collect::<Result<Vec<()>, Fault>>()?;
        Ok(more)
    }

    /// Records how a session ended whose time is over.
    async fn record_over(&self, row: SessionRow, metadata: Metadata) -> Result<(), Fault> {
        if row.state.status != Status::Open {
            return Ok(());
        }
        let reason = match self.ended(&row).await? {
            Some(Ended::Closed(reason)) => reason,
            None | Some(Ended::Expired) => CloseReason::Closed,
        };
        self.record_end(&row, reason, metadata).await.map(drop)
    }
}
