//! What a session token is worth at this moment, and ending what it is of.

use std::sync::Arc;

use nexus_domain::agent::AgentId;
use nexus_domain::metadata::Metadata;
use nexus_domain::session::SessionId;

use super::session_keys::VerifyError;
use super::sessions::{SessionsError, Ties, is_anybodys};
use super::{Application, Fault};
use crate::session_tokens::Claims;

impl Application {
    /// What a session token of this vault says, if its session is open and may be the caller's.
    ///
    /// Nothing is recorded. What ends a session never gives it back, so a session that is open in a row, with an agent and
    /// a connection that allow it in theirs, was open when the first of the rows was read.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn introspect(
        &self,
        token: &str,
        subject: Option<&str>,
    ) -> Result<Option<Arc<Claims>>, Fault> {
        let Some(claims) = self.believed(token).await? else {
            return Ok(None);
        };
        let (id, agent_id) = (
            SessionId::parse(&claims.jti),
            AgentId::parse(&claims.client_id),
        );
        let (Ok(id), Ok(agent_id)) = (id, agent_id) else {
            return Ok(None);
        };
        // The token names both.
        let now = self.reads.now().await?;
        let (session, agent) = tokio::try_join!(now.session(&id), now.agent(&agent_id))?;
        let Some(session) = session else {
            return Ok(None);
        };
        let Some(opening) = &session.state.opening else {
            return Ok(None);
        };
        let connection = self.bound_connection(opening).await?;
        if opening.agent_id != agent_id || !is_anybodys(opening, connection.as_deref(), subject) {
            return Ok(None);
        }
        let ties = Ties { agent, connection };
        let open = ties.ended(&session, self.ledger.now()).is_none();
        Ok(open.then_some(claims))
    }

    /// Ends the session of a session token. A token that is not believed, and one whose session is not the caller's or
    /// has ended, is left alone.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn revoke_session_token(&self, token: &str, metadata: Metadata) -> Result<(), Fault> {
        let Some(claims) = self.believed(token).await? else {
            return Ok(());
        };
        match self.close_session(&claims.jti, metadata).await {
            Ok(_) | Err(SessionsError::NotFound) => Ok(()),
            Err(SessionsError::Fault(fault)) => Err(fault),
        }
    }

    /// What a token says that is good here and now by itself.
    async fn believed(&self, token: &str) -> Result<Option<Arc<Claims>>, Fault> {
        match self.verify_session_token(token).await {
            Ok(claims) => Ok(Some(claims)),
            Err(VerifyError::Invalid(_)) => Ok(None),
            Err(VerifyError::Fault(fault)) => Err(fault),
        }
    }
}
