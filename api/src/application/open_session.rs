//! Opens agent sessions: the gates one after the other, then what the agent is given, on record before it leaves.

use std::sync::Arc;
use std::time::Duration;

use nexus_domain::access::{AccessEvent, access_stream};
use nexus_domain::agent::AgentId;
use nexus_domain::credential::Credential;
use nexus_domain::metadata::Metadata;
use nexus_domain::reference::ConnectionId;
use nexus_domain::scope::{InvalidScope, tidy};
use nexus_domain::secret::Secret;
use nexus_domain::session::{
    Bound, ConnectionInputs, Gates, Granted, Inputs, Opening, Principal, Refusal, Session,
    SessionCommand, SessionId,
};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Append, Context, Expected, Guard, IndexColumns, Loaded, NewEvent};
use nexus_projections::AgentRow;

use super::read_token::{Door, ReadTokenError};
use super::{Application, Fault, fault_of};
use crate::random::make_bytes;
use crate::session_tokens::{Actor, Claims};

mod error;
mod target;

pub use error::{Choice, OpenSessionError};
use target::{Connected, Target};

/// How long a session lasts when nobody says.
const DEFAULT_TTL: Duration = Duration::from_mins(15);
/// How often the gates are passed again because what was decided on moved.
const ATTEMPTS: usize = 8;
/// The most scopes of one session.
const MAX_SCOPES: usize = 100;

/// What is asked for.
#[derive(Debug, Default)]
pub struct OpenSession {
    /// Which agent.
    pub agent_id: Option<String>,
    /// To do what.
    pub scopes: Option<Vec<String>>,
    /// With which connection; or
    pub connection_id: Option<String>,
    /// with whose, and
    pub workspace_id: Option<String>,
    /// at which provider.
    pub provider_name: Option<String>,
    /// How long, seconds; 0 is the default.
    pub ttl_seconds: Option<i64>,
    /// On behalf of a user: who says so.
    pub on_behalf: Option<OnBehalf>,
}

/// The token that vouches for the user.
#[derive(Debug)]
pub struct OnBehalf(pub Option<Secret>);

/// A session, and what the agent is given.
pub struct OpenedSession {
    /// Its id.
    pub id: SessionId,
    /// How it was opened.
    pub opening: Opening,
    /// The connection's id, a bearer secret.
    pub connection_id: Option<String>,
    /// What the agent is given.
    pub token: SessionToken,
}

/// What an agent is given.
pub enum SessionToken {
    /// The connection's access token, and what it really carries.
    Provider {
        /// The token.
        access_token: Secret,
        /// Its scopes.
        scope: Vec<String>,
    },
    /// A token of the vault's.
    Own(String),
}

/// A request whose fields are well formed.
struct Asked {
    agent_id: Option<AgentId>,
    scopes: Vec<String>,
    ttl: Duration,
    on_behalf: Option<Secret>,
}

impl Application {
    /// Opens a session. Refusals of a registered agent are on record.
    ///
    /// # Errors
    /// [`OpenSessionError`]
    pub async fn open_session(
        &self,
        request: OpenSession,
        metadata: Metadata,
    ) -> Result<OpenedSession, OpenSessionError> {
        let asked = self.well_formed(&request)?;
        let metadata = Metadata {
            agent: request.agent_id.clone(),
            ..metadata
        };
        let mut principal = None;
        for _ in 0..ATTEMPTS {
            let outcome = self.try_open(&request, &asked, &mut principal, &metadata);
            match outcome.await {
                Err(OpenSessionError::Fault(Fault::Conflict)) => {}
                Err(error) => {
                    self.record_refusal(&request, &asked, principal.as_ref(), &error, &metadata)
                        .await?;
                    return Err(error);
                }
                opened => return opened,
            }
        }
        Err(Fault::Conflict.into())
    }

    fn well_formed(&self, request: &OpenSession) -> Result<Asked, OpenSessionError> {
        let agent_id = request.agent_id.as_deref().filter(|id| !id.is_empty());
        let agent_id = agent_id.ok_or(OpenSessionError::MissingAgentId)?;
        let scopes = request.scopes.as_deref().unwrap_or_default();
        if scopes.is_empty() {
            return Err(OpenSessionError::MissingScopes);
        }
        let scopes = tidy(scopes)?;
        if scopes.len() > MAX_SCOPES {
            return Err(InvalidScope.into());
        }
        let max = self.session_tokens.max_ttl();
        let ttl = match request.ttl_seconds {
            None | Some(0) => Some(DEFAULT_TTL.min(max)),
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        };
        let ttl = ttl.filter(|ttl| *ttl <= max);
        let on_behalf = match &request.on_behalf {
            None => None,
            Some(OnBehalf(None)) => return Err(OpenSessionError::MissingUserContextToken),
            Some(OnBehalf(Some(token))) => Some(token.clone()),
        };
        Ok(Asked {
            // What no agent can be called names none.
            agent_id: AgentId::parse(agent_id).ok(),
            scopes,
            ttl: ttl.ok_or(OpenSessionError::InvalidTtl(max.as_secs()))?,
            on_behalf,
        })
    }

    async fn try_open(
        &self,
        request: &OpenSession,
        asked: &Asked,
        principal: &mut Option<Principal>,
        metadata: &Metadata,
    ) -> Result<OpenedSession, OpenSessionError> {
        let gates = Gates {
            scopes: &asked.scopes,
            on_behalf: asked.on_behalf.is_some(),
        };
        let now = self.reads.now().await.map_err(Fault::from)?;
        let agent = match &asked.agent_id {
            Some(id) => now.agent(id).await.map_err(Fault::from)?,
            None => None,
        };
        gates.agent(agent.as_ref().map(|row| &row.state))?;
        let (Some(agent), Some(agent_id)) = (agent, &asked.agent_id) else {
            return Err(Refusal::AgentNotFound.into());
        };
        if let Some(token) = &asked.on_behalf {
            if principal.is_none() {
                *principal = Some(self.user_contexts.verify(token, self.ledger.now()).await?);
            }
            principal
                .as_ref()
                .map_or(Ok(()), |principal| gates.user(principal))?;
        }
        let principal = principal.as_ref();
        let target = self.target(request, principal, metadata).await?;
        let everywhere = match target {
            // Verifying the user may have taken a while.
            Target::Nothing { provider: None } if principal.is_some() => {
                self.reads.provider_scopes().await
            }
            Target::Nothing { provider: None } => now.provider_scopes().await,
            Target::Nothing { .. } | Target::Refused(_) | Target::One(_) => Ok(Arc::default()),
        };
        let everywhere = everywhere.map_err(Fault::from)?;
        let granted = gates.connection(&target.selection(), |scope| everywhere.contains(scope))?;
        let random = make_bytes().map_err(Fault::from)?;
        let id = SessionId::new(self.ledger.now(), random, asked.on_behalf.is_some());
        let decided = Decided {
            id,
            agent_id: agent_id.clone(),
            agent,
            principal: principal.cloned(),
            target,
            granted,
        };
        self.give(decided, asked, metadata).await
    }

    /// Gives the agent its token, once the session and the reading of a credential are on record.
    async fn give(
        &self,
        decided: Decided,
        asked: &Asked,
        metadata: &Metadata,
    ) -> Result<OpenedSession, OpenSessionError> {
        let mut expires_at = self.ledger.now().plus(asked.ttl);
        let connected = decided.target.connected();
        let mut token = None;
        if let (true, Some(connected)) = (decided.granted.provider_scopes, connected) {
            let (given, ends) = self
                .provider_token(connected, &decided.id, metadata)
                .await?;
            expires_at = ends.map_or(expires_at, |ends| ends.min(expires_at));
            token = Some(given);
        }
        let opening = decided.opening(asked, expires_at);
        let token = match token {
            Some(token) => token,
            None => SessionToken::Own(self.own_token(&decided.id, &opening).await?),
        };
        self.record_opening(&decided, &opening, metadata).await?;
        Ok(OpenedSession {
            connection_id: connected.map(|connected| connected.id.expose()),
            id: decided.id,
            opening,
            token,
        })
    }

    /// The connection's access token and when it ends.
    async fn provider_token(
        &self,
        connected: &Connected,
        session: &SessionId,
        metadata: &Metadata,
    ) -> Result<(SessionToken, Option<Timestamp>), OpenSessionError> {
        let door = Door {
            name: "open_session",
            session: Some(session),
        };
        let payload = self
            .read_token(&connected.id.expose(), door, metadata)
            .await
            .map_err(ended_meanwhile)?;
        let Credential::OAuth2(credential) = payload.credential else {
            return Err(Refusal::UnsupportedProvider.into());
        };
        let token = SessionToken::Provider {
            access_token: credential.access_token,
            scope: credential.scope,
        };
        Ok((token, credential.expires_at))
    }

    async fn own_token(&self, id: &SessionId, opening: &Opening) -> Result<String, Fault> {
        let now = self.ledger.now();
        let (agent, principal) = (opening.agent_id.to_string(), opening.principal.as_ref());
        let claims = Claims {
            sub: principal.map_or_else(|| agent.clone(), |user| user.acting_for.clone()),
            client_id: agent.clone(),
            iat: now.as_seconds(),
            exp: opening.expires_at.as_seconds(),
            jti: id.to_string(),
            scope: opening.scopes.join(" "),
            act: principal.map(|_| Actor { sub: agent }),
            tenant_id: principal.and_then(|user| user.tenant_id.clone()),
            clearance_level: principal.and_then(|user| user.clearance_level.clone()),
        };
        self.mint_session_token(&claims).await
    }

    /// Records the opening while what was decided on has not moved.
    async fn record_opening(
        &self,
        decided: &Decided,
        opening: &Opening,
        metadata: &Metadata,
    ) -> Result<(), Fault> {
        let context = Context {
            metadata: metadata.clone(),
            guards: decided.guards(),
            ..Context::default()
        };
        let (id, new) = (decided.id.as_str(), Loaded::<Session>::default());
        let command = SessionCommand::Open(Box::new(opening.clone()));
        let executed = self.ledger.execute_on(id, new, command, &context);
        executed.await.map(drop).map_err(fault_of)
    }

    /// Records that a registered agent was refused.
    async fn record_refusal(
        &self,
        request: &OpenSession,
        asked: &Asked,
        principal: Option<&Principal>,
        error: &OpenSessionError,
        metadata: &Metadata,
    ) -> Result<(), Fault> {
        let (Some(reason), Some(agent_id)) = (error.refusal(), &asked.agent_id) else {
            return Ok(());
        };
        let id = request.connection_id.as_deref().map(ConnectionId::parse);
        let connection = id.and_then(Result::ok).map(|id| id.reference());
        let event = AccessEvent::SessionDenied {
            agent_id: agent_id.clone(),
            scopes: asked.scopes.clone(),
            reason: reason.to_owned(),
            scope: error.scope().map(str::to_owned),
            connection,
            acting_for: principal.map(|principal| principal.acting_for.clone()),
        };
        let append = Append {
            metadata: metadata.to_json(),
            columns: IndexColumns {
                connection: connection.map(|reference| reference.to_string()),
                actor: metadata.actor.clone(),
                agent: metadata.agent.clone(),
            },
            ..Append::new(
                access_stream(self.ledger.now(), self.ledger.node_id()),
                Expected::Any,
                vec![NewEvent::of(&event)?],
            )
        };
        self.ledger.append(append).await?;
        Ok(())
    }
}

/// Everything that was decided on.
struct Decided {
    id: SessionId,
    agent_id: AgentId,
    agent: Arc<AgentRow>,
    principal: Option<Principal>,
    target: Target,
    granted: Granted,
}

impl Decided {
    fn guards(&self) -> Vec<Guard> {
        let agent = Guard {
            stream: StreamKey::agent(&self.agent_id),
            at: self.agent.sequence,
        };
        let connected = self.target.connected().map(|connected| {
            let connection = Guard {
                stream: StreamKey::connection(connected.id.reference()),
                at: connected.row.sequence,
            };
            let provider = Guard {
                stream: StreamKey::provider(connected.provider.provider_id()),
                at: connected.provider.sequence,
            };
            [connection, provider]
        });
        let connected = connected.into_iter().flatten();
        std::iter::once(agent).chain(connected).collect()
    }

    fn opening(&self, asked: &Asked, expires_at: Timestamp) -> Opening {
        let connected = self.target.connected();
        let principal = self.principal.as_ref().map(|user| Principal {
            permissions: asked.scopes.clone(),
            ..user.clone()
        });
        Opening {
            agent_id: self.agent_id.clone(),
            agent_epoch: self.agent.state.epoch,
            agent_sequence: self.agent.sequence,
            bound: connected.map(|connected| Bound {
                connection: connected.id.reference(),
                epoch: connected.row.state.epoch,
                sequence: connected.row.sequence,
                provider_id: connected.provider.provider_id(),
            }),
            scopes: asked.scopes.clone(),
            provider_scopes: self.granted.provider_scopes,
            expires_at,
            inputs: self.inputs(&asked.scopes, principal.as_ref()).digest(),
            principal,
        }
    }

    fn inputs<'a>(&'a self, scopes: &'a [String], principal: Option<&'a Principal>) -> Inputs<'a> {
        let connected = self.target.connected();
        Inputs {
            agent_id: &self.agent_id,
            agent_sequence: self.agent.sequence,
            agent: &self.agent.state.profile,
            scopes,
            connection: connected.map(|connected| ConnectionInputs {
                reference: connected.id.reference(),
                sequence: connected.row.sequence,
                scopes: &connected.row.state.scopes,
                provider_scopes: &connected.provider.state.profile.scopes,
            }),
            principal,
        }
    }
}

/// A connection that has ended since its gate is refused as there.
fn ended_meanwhile(error: ReadTokenError) -> OpenSessionError {
    match error {
        ReadTokenError::NotFound => Refusal::ConnectionNotFound.into(),
        ReadTokenError::NotActive(status) => Refusal::ConnectionNotActive(status).into(),
        ReadTokenError::Attention(_)
        | ReadTokenError::RefreshUnavailable { .. }
        | ReadTokenError::AuditUnavailable(_)
        | ReadTokenError::Fault(_) => error.into(),
    }
}
