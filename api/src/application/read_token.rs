//! Reads a credential: `GET /v1/token/{id}`. The record of it is durable before the answer leaves.

use std::sync::Arc;

use nexus_domain::access::{AccessEvent, access_stream};
use nexus_domain::connection::{AttentionReason, Connection, ConnectionCommand, Status};
use nexus_domain::credential::Credential;
use nexus_domain::metadata::Metadata;
use nexus_domain::reference::{ConnectionId, ConnectionReference};
use nexus_domain::sealing::Purpose;
use nexus_domain::session::SessionId;
use nexus_domain::strategy::strategy_of;
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Append, AppendError, Context, Expected, Guard, IndexColumns, NewEvent, fault};
use nexus_projections::{ConnectionRow, ProviderRow};

use super::check_connection::lapsed;
use super::keyring::OpenError;
use super::refresh_connection::{Refresh, RefreshError};
use super::token::{TokenPayload, health_status};
use super::{Application, Fault, fault_of, is_of_subject};

/// How often a read starts again because the connection moved under it.
const ATTEMPTS: usize = 8;

/// Why no credential is handed out.
#[derive(Debug, thiserror::Error)]
pub enum ReadTokenError {
    /// There is no such connection, or it is not the caller's.
    #[error("the connection does not exist")]
    NotFound,
    /// It serves no credential.
    #[error("the connection is {0}")]
    NotActive(&'static str),
    /// Only its user can mend it.
    #[error("the connection needs its user: {0}")]
    Attention(String),
    /// It has expired and cannot be refreshed right now.
    #[error("the credential has expired and cannot be refreshed now")]
    RefreshUnavailable {
        /// Seconds after which trying again makes sense.
        retry_after: u64,
    },
    /// The read cannot be recorded, so it does not happen.
    #[error("the audit record cannot be written: {0}")]
    AuditUnavailable(String),
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The way a credential leaves.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// Which way.
    pub name: &'a str,
    /// The agent session that it is for.
    pub session: Option<&'a SessionId>,
}

impl<'a> From<&'a str> for Door<'a> {
    fn from(name: &'a str) -> Self {
        Self {
            name,
            session: None,
        }
    }
}

impl Application {
    /// Hands out the credential of a connection, refreshed first when it has expired or is about to.
    ///
    /// # Errors
    /// [`ReadTokenError`]
    pub async fn read_token(
        &self,
        id: &str,
        door: impl Into<Door<'_>>,
        metadata: &Metadata,
    ) -> Result<TokenPayload, ReadTokenError> {
        let door = door.into();
        let id = ConnectionId::parse(id).map_err(|_| ReadTokenError::NotFound)?;
        let recent = self.recent.connection(id.reference());
        let usable = |row: &Arc<ConnectionRow>| {
            self.due(row).is_none() && is_of_subject(&row.state.workspace_id, metadata)
        };
        if let Some(row) = recent.filter(usable) {
            return self.hand_out(&id, Some(row), door, metadata).await;
        }
        let row = self.serving_row(&id, metadata).await?;
        let row = match self.due(&row) {
            // The guard on the read says whether the row is still the newest.
            None => Some(row),
            Some(expires_at) => {
                self.refresh_when_due(&id, &row, expires_at, metadata)
                    .await?;
                None
            }
        };
        self.hand_out(&id, row, door, metadata).await
    }

    /// Hands out the newest credential of a connection as it is; `known` is its row, when that was
    /// just read.
    pub(super) async fn hand_out(
        &self,
        id: &ConnectionId,
        mut known: Option<Arc<ConnectionRow>>,
        door: Door<'_>,
        metadata: &Metadata,
    ) -> Result<TokenPayload, ReadTokenError> {
        for _ in 0..ATTEMPTS {
            let row = match known.take() {
                Some(row) => row,
                None => self.serving_row(id, metadata).await?,
            };
            let provider = self.provider_of_read(&row).await?;
            let credential = self.open_credential(&row).await?;
            fault::point("token.before_commit");
            match self.record_read(&row, &provider, door, metadata).await {
                Ok(()) => {
                    fault::point("token.after_commit");
                    let payload = TokenPayload {
                        connection_id: id.expose(),
                        provider: row.state.provider_name.clone(),
                        strategy: strategy_of(&provider.state.profile),
                        credential,
                        health_status: health_status(row.state.status, row.state.refresh.failures),
                        now: self.ledger.now(),
                        expires_as: self.policy.expires_as,
                    };
                    self.recent.keep(id.reference(), row, provider);
                    return Ok(payload);
                }
                Err(AppendError::GuardMoved { .. }) => {
                    self.recent.forget(id.reference(), provider.provider_id());
                }
                Err(AppendError::Overloaded) => return Err(Fault::Overloaded.into()),
                Err(error) => return Err(ReadTokenError::AuditUnavailable(error.to_string())),
            }
        }
        Err(Fault::Conflict.into())
    }

    /// The connection's row, if it serves a credential.
    async fn serving_row(
        &self,
        id: &ConnectionId,
        metadata: &Metadata,
    ) -> Result<Arc<ConnectionRow>, ReadTokenError> {
        let row = self
            .reads
            .connection(&id.reference().to_string())
            .await
            .map_err(Fault::from)?;
        let row = row
            .filter(|row| is_of_subject(&row.state.workspace_id, metadata))
            .ok_or(ReadTokenError::NotFound)?;
        match row.state.status {
            Status::Active => Ok(row),
            Status::Attention => Err(ReadTokenError::Attention(
                row.state.reason.clone().unwrap_or_default(),
            )),
            Status::Pending if lapsed(row.lapse(), self.ledger.now()).is_some() => {
                Err(ReadTokenError::NotActive("failed"))
            }
            Status::Pending => Err(ReadTokenError::NotActive("pending")),
            Status::Failed => Err(ReadTokenError::NotActive("failed")),
            Status::Revoked => Err(ReadTokenError::NotActive("revoked")),
            Status::Absent | Status::Deleted => Err(ReadTokenError::NotFound),
        }
    }

    async fn refresh_when_due(
        &self,
        id: &ConnectionId,
        row: &ConnectionRow,
        expires_at: Timestamp,
        metadata: &Metadata,
    ) -> Result<(), ReadTokenError> {
        let refreshable = row
            .state
            .credential
            .as_ref()
            .is_some_and(|credential| credential.refreshable);
        let alive = expires_at > self.ledger.now();
        match (refreshable, alive) {
            (true, _) => self.refresh_or_serve(id, row, alive, metadata).await,
            (false, true) => Ok(()),
            (false, false) => self.require_attention(row, metadata).await,
        }
    }

    /// Refreshes; an access token that is still alive is served when that fails for now.
    async fn refresh_or_serve(
        &self,
        id: &ConnectionId,
        row: &ConnectionRow,
        alive: bool,
        metadata: &Metadata,
    ) -> Result<(), ReadTokenError> {
        let now = self.ledger.now();
        let idle = row.state.refresh.claim.is_none();
        let retry_after = match row.retry_at.filter(|retry_at| *retry_at > now && idle) {
            Some(retry_at) => retry_at.since(now).as_secs() + 1,
            None => match self.refresh(id, Refresh::Due, metadata).await {
                Err(RefreshError::Provider { retry_after, .. }) => retry_after.unwrap_or(1),
                Err(RefreshError::Fault(fault)) if !alive => return Err(fault.into()),
                Err(RefreshError::Unresolved | RefreshError::Fault(_)) => 1,
                // Refreshed, or the connection says itself what it is now.
                Ok(())
                | Err(
                    RefreshError::NotFound
                    | RefreshError::NotActive(_)
                    | RefreshError::Attention(_)
                    | RefreshError::Static
                    | RefreshError::NotRefreshable,
                ) => return Ok(()),
            },
        };
        if alive {
            Ok(())
        } else {
            Err(ReadTokenError::RefreshUnavailable { retry_after })
        }
    }

    async fn require_attention(
        &self,
        row: &ConnectionRow,
        metadata: &Metadata,
    ) -> Result<(), ReadTokenError> {
        let command = ConnectionCommand::RequireAttention {
            reason: AttentionReason::CredentialExpired,
        };
        let context = Context {
            metadata: metadata.clone(),
            ..Context::default()
        };
        // Whatever became of it, the row is read again and says so.
        match self
            .ledger
            .execute::<Connection>(&row.reference, command, context)
            .await
        {
            Ok(_) | Err(nexus_ledger::ExecuteError::Decision(_)) => Ok(()),
            Err(error) => Err(fault_of(error).into()),
        }
    }

    pub(super) async fn open_credential(&self, row: &ConnectionRow) -> Result<Credential, Fault> {
        let field = row
            .credential
            .as_ref()
            .ok_or_else(|| Fault::Internal("an active connection has no credential".to_owned()))?;
        if field.sealed.version != row.state.credential_version {
            return Err(Fault::Unreadable(format!(
                "the credential of connection {} is not its newest",
                row.reference
            )));
        }
        let stream = StreamKey::new("connection", row.reference.as_str());
        let plaintext = self
            .keyring
            .open(&stream, Purpose::Credential, field)
            .await
            .map_err(|error| match error {
                OpenError::Fault(fault) => fault,
                error => Fault::Unreadable(format!(
                    "the credential of connection {} cannot be opened: {error}",
                    row.reference
                )),
            })?;
        Credential::from_plaintext(&plaintext).map_err(|_| {
            Fault::Internal(format!(
                "the credential of connection {} does not decode",
                row.reference
            ))
        })
    }

    /// The provider of a connection that is read, as it is or was.
    async fn provider_of_read(&self, row: &ConnectionRow) -> Result<Arc<ProviderRow>, Fault> {
        match row
            .state
            .provider_id
            .and_then(|id| self.recent.provider(id))
        {
            Some(provider) => Ok(provider),
            None => self.provider_of(row).await,
        }
    }

    /// Records the read, provided that neither the connection nor its provider has moved since
    /// their rows were read.
    async fn record_read(
        &self,
        row: &ConnectionRow,
        provider: &ProviderRow,
        door: Door<'_>,
        metadata: &Metadata,
    ) -> Result<(), AppendError> {
        let event = AccessEvent::CredentialRetrieved {
            connection: ConnectionReference::parse(&row.reference)
                .map_err(|_| AppendError::Invalid("the reference is not one".to_owned()))?,
            provider_id: provider.provider_id(),
            provider_name: row.state.provider_name.clone(),
            door: door.name.to_owned(),
            credential_version: row.state.credential_version,
            session_id: door.session.map(SessionId::to_string),
        };
        let append = Append {
            metadata: metadata.to_json(),
            columns: IndexColumns {
                connection: Some(row.reference.clone()),
                actor: metadata.actor.clone(),
                agent: metadata.agent.clone(),
            },
            guards: vec![
                Guard {
                    stream: StreamKey::new("connection", row.reference.as_str()),
                    at: row.sequence,
                },
                Guard {
                    stream: StreamKey::provider(provider.provider_id()),
                    at: provider.sequence,
                },
            ],
            ..Append::new(
                access_stream(self.ledger.now(), self.ledger.node_id()),
                Expected::Any,
                vec![NewEvent::of(&event)?],
            )
        };
        self.ledger.append(append).await.map(drop)
    }
}
