//! Asks for a connection: `POST /v1/request-connection`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nexus_domain::connection::{
    Connection, ConnectionCommand, ConnectionError, ConnectionEvent, ConsentKind,
};
use nexus_domain::metadata::Metadata;
use nexus_domain::provider::AuthType;
use nexus_domain::reference::ConnectionId;
use nexus_domain::scope::is_scope;
use nexus_domain::sealing::{KeyId, Purpose, SealedRef};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Context, ExecuteError, KeyChange, Loaded};
use nexus_projections::ProviderRow;

use super::keyring::{OpenError, seal_secret};
use super::manage_providers::{ProviderKey, find_provider};
use super::pending::TooManyPending;
use super::{Application, Fault, fault_of, is_of_subject};
use crate::keys::{StateKey, StateToken};
use crate::random::{make_bytes, make_uuid};
use crate::return_url::InvalidReturnUrl;
use crate::upstream::{Authorization, UpstreamError};

/// The largest application notes, bytes of JSON.
const MAX_METADATA: usize = 4_096;
/// The longest workspace id, bytes.
const MAX_WORKSPACE: usize = 255;

/// How long the answer to a request with an `Idempotency-Key` is given again.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How often such a request looks whether it came before.
const ATTEMPTS: usize = 8;

/// What an application asks for.
#[derive(Clone, Debug)]
pub struct RequestConnection {
    /// The user, as the application names them.
    pub workspace_id: String,
    /// The provider.
    pub provider: ProviderKey,
    /// The scopes; the provider's own when absent.
    pub scopes: Option<Vec<String>>,
    /// Where the user is sent afterwards; the configured default when absent.
    pub return_url: Option<String>,
    /// The application's own notes.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// What it is for.
    pub action: Option<String>,
    /// The connection that is to be consented to anew; a new one when absent.
    pub connection_id: Option<String>,
    /// What a repetition of the request is known by.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// An `Idempotency-Key`, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The name of the API key that it came with.
    pub actor: String,
    /// The key.
    pub key: String,
}

/// What the application gets.
pub struct Requested {
    /// Where to send the user.
    pub auth_url: String,
    /// The connection's id: a bearer secret.
    pub connection_id: ConnectionId,
    /// The one-time state.
    pub state: String,
    /// The scopes asked for.
    pub scopes: Vec<String>,
    /// The provider.
    pub provider_id: String,
    /// When the request lapses.
    pub expires_at: Timestamp,
}

/// The state is a secret until it is spent, and the URL holds it.
impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requested")
            .field("connection_id", &self.connection_id)
            .field("scopes", &self.scopes)
            .field("provider_id", &self.provider_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why no connection was requested.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no such provider.
    #[error("no provider has the {} {}", .0.kind(), .0.text())]
    ProviderNotFound(ProviderKey),
    /// No return URL was given and none is configured.
    #[error("return_url is needed")]
    MissingReturnUrl,
    /// The return URL is not allowed.
    #[error(transparent)]
    ReturnUrl(#[from] InvalidReturnUrl),
    /// A scope is blank or holds characters that scopes cannot (RFC 6749 section 3.3).
    #[error("a scope is blank or has characters that scopes cannot have")]
    InvalidScope,
    /// A field is too long.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// The caller calls for somebody else than the connection is to be for.
    #[error("the workspace is not the caller's subject")]
    ForeignWorkspace,
    /// There is no such connection to be consented to anew, or it is somebody else's, or ended.
    #[error("the connection does not exist")]
    ConnectionNotFound,
    /// The connection is at another provider.
    #[error("the connection is at another provider")]
    ProviderMismatch,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyConflict,
    /// Too many consents are pending.
    #[error(transparent)]
    TooManyPending(#[from] TooManyPending),
    /// The provider's own documents cannot be read.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Application {
    /// Asks for a connection: records the request and says where to send the user.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn request_connection(
        &self,
        request: RequestConnection,
        metadata: Metadata,
    ) -> Result<Requested, ConnectError> {
        check_lengths(&request)?;
        if !is_of_subject(&request.workspace_id, &metadata) {
            return Err(ConnectError::ForeignWorkspace);
        }
        let return_url = self.return_url(request.return_url.as_deref())?;
        let provider = find_provider(self, &request.provider)
            .await?
            .ok_or_else(|| ConnectError::ProviderNotFound(request.provider.clone()))?;
        let scopes = request
            .scopes
            .clone()
            .unwrap_or_else(|| provider.state.profile.scopes.clone());
        if !scopes.iter().all(|scope| is_scope(scope)) {
            return Err(ConnectError::InvalidScope);
        }
        let consent = Consent {
            expires_at: self.ledger.now().plus(self.policy.state_ttl),
            request,
            provider,
            scopes,
            return_url,
        };
        let existing = match &consent.request.connection_id {
            Some(id) => Some(self.existing(id).await?),
            None => None,
        };
        let Some(key) = consent.request.idempotency_key.clone() else {
            let target = existing.map_or_else(Target::make, Ok)?;
            return self.ask(&consent, target, metadata).await;
        };
        for _ in 0..ATTEMPTS {
            if let Some(earlier) = self.earlier(&consent, &key, existing.as_ref()).await? {
                return Ok(earlier);
            }
            let target = self.derived(&key, existing.as_ref(), self.ledger.now());
            match self.ask(&consent, target, metadata.clone()).await {
                // The same request came at the same time.
                Err(ConnectError::Fault(Fault::Conflict)) => {}
                outcome => return outcome,
            }
        }
        Err(Fault::Conflict.into())
    }

    /// Records the request and says where to send the user.
    async fn ask(
        &self,
        consent: &Consent,
        target: Target,
        metadata: Metadata,
    ) -> Result<Requested, ConnectError> {
        let reference = target.id.reference();
        // Who has a connection's id already may ask again.
        let place = target.key_id.is_none().then(|| {
            let workspace = &consent.request.workspace_id;
            self.pending
                .take(reference, workspace, &metadata, consent.expires_at)
        });
        let place = place.transpose()?;
        let state = self.state_key.mint(reference, target.nonce);
        let auth_url = self
            .auth_url(&consent.provider, &consent.scopes, &state)
            .await?;
        self.record_request(consent, &target, &state, metadata)
            .await?;
        if let Some(place) = place {
            place.keep();
        }
        Ok(Requested {
            auth_url,
            connection_id: target.id,
            state: state.as_str().to_owned(),
            scopes: consent.scopes.clone(),
            provider_id: consent.provider.id.clone(),
            expires_at: consent.expires_at,
        })
    }

    /// A connection that is to be consented to anew.
    async fn existing(&self, id: &str) -> Result<Target, ConnectError> {
        let id = ConnectionId::parse(id).map_err(|_| ConnectError::ConnectionNotFound)?;
        let found = self.reads.connection(&id.reference().to_string()).await;
        let row = found.map_err(Fault::from)?;
        let field = row.and_then(|row| row.id.clone());
        let field = field.ok_or(ConnectError::ConnectionNotFound)?;
        Ok(Target {
            key_id: Some(field.sealed.key_id),
            ..Target::of(id, make_bytes().map_err(Fault::from)?)
        })
    }

    /// What an idempotency key means at a time, for a connection that there is or for a new one: something else each
    /// day, so that a key can be used again.
    fn derived(&self, key: &IdempotencyKey, existing: Option<&Target>, at: Timestamp) -> Target {
        let day = at.date();
        let reference = existing.map(|target| target.id.reference().to_string());
        let scope = [Some(key.actor.as_str()), Some(&day), reference.as_deref()];
        let scope: Vec<&str> = scope.into_iter().flatten().collect();
        let (id, nonce) = self.state_key.idempotent(&scope, &key.key);
        match existing {
            None => Target::of(id, nonce),
            Some(target) => Target {
                nonce,
                ..target.clone()
            },
        }
    }

    /// The answer to the same request when it came before.
    async fn earlier(
        &self,
        consent: &Consent,
        key: &IdempotencyKey,
        existing: Option<&Target>,
    ) -> Result<Option<Requested>, ConnectError> {
        let now = self.ledger.now();
        for at in [now, now.minus(REMEMBERED)] {
            let target = self.derived(key, existing, at);
            let state = self.state_key.mint(target.id.reference(), target.nonce);
            let Some(event) = self.request_of(&target, &state).await? else {
                continue;
            };
            let Some(expires_at) = consent.is_asked_by(&event) else {
                return Err(ConnectError::IdempotencyConflict);
            };
            if expires_at.minus(self.policy.state_ttl).plus(REMEMBERED) <= now {
                continue;
            }
            let auth_url = self.auth_url(&consent.provider, &consent.scopes, &state);
            return Ok(Some(Requested {
                auth_url: auth_url.await?,
                connection_id: target.id,
                state: state.as_str().to_owned(),
                scopes: consent.scopes.clone(),
                provider_id: consent.provider.id.clone(),
                expires_at,
            }));
        }
        Ok(None)
    }

    /// The request that a state was made for, if there was one.
    async fn request_of(
        &self,
        target: &Target,
        state: &StateToken,
    ) -> Result<Option<ConnectionEvent>, Fault> {
        let stream_id = target.id.reference().to_string();
        if self.reads.connection(&stream_id).await?.is_none() {
            return Ok(None);
        }
        let digest = StateKey::digest(state.as_str());
        let is_its = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Requested { state_digest, .. } if *state_digest == digest);
        Ok(self
            .ledger
            .find_event::<Connection>(&stream_id, is_its)
            .await?)
    }

    fn return_url(&self, asked: Option<&str>) -> Result<String, ConnectError> {
        match (asked, &self.policy.default_return_url) {
            (Some(asked), _) => Ok(self.return_urls.check(asked)?.into()),
            (None, Some(default)) => Ok(default.to_string()),
            (None, None) => Err(ConnectError::MissingReturnUrl),
        }
    }

    /// Where the user goes: to the provider, or to the form.
    async fn auth_url(
        &self,
        provider: &ProviderRow,
        scopes: &[String],
        state: &StateToken,
    ) -> Result<String, ConnectError> {
        if provider.state.profile.auth_type != AuthType::Oauth2 {
            return Ok(format!(
                "{}/auth/capture-schema?state={}",
                self.policy.base_url,
                state.as_str()
            ));
        }
        let secrets = self.provider_secrets(provider).await?;
        let resolved = self
            .upstream
            .resolve(&provider.state.profile, &secrets)
            .await?;
        let authorization = Authorization {
            state: state.as_str(),
            pkce_verifier: &self.state_key.pkce_verifier(state),
            nonce: &self.state_key.oidc_nonce(state),
            redirect_uri: &self.policy.redirect_uri(),
            scopes,
        };
        Ok(self
            .upstream
            .authorization_url(&resolved, &authorization)?
            .into())
    }

    async fn record_request(
        &self,
        consent: &Consent,
        target: &Target,
        state: &StateToken,
        metadata: Metadata,
    ) -> Result<(), ConnectError> {
        let stream = StreamKey::connection(target.id.reference());
        let mut context = Context {
            metadata,
            ..Context::default()
        };
        let (key, key_id) = if let Some(key_id) = target.key_id {
            let key = self.keyring.key(&stream, key_id).await;
            (key.map_err(unusable)?, key_id)
        } else {
            let new = self.keyring.make_key(&stream)?;
            let key_id = new.wrapped.key_id;
            context.keys.push(KeyChange::Put(new.wrapped));
            (new.key, key_id)
        };
        let (sealed_id, blob) = seal_secret(
            &key,
            key_id,
            &stream,
            Purpose::ConnectionId,
            1,
            target.id.expose().as_bytes(),
        )?;
        context.blobs.push(blob);
        let command = consent.command(StateKey::digest(state.as_str()), sealed_id);
        let executed = if target.key_id.is_some() {
            let executed = self
                .ledger
                .execute::<Connection>(&stream.id, command, context);
            executed.await
        } else {
            let new = Loaded::<Connection>::default();
            self.ledger
                .execute_on(&stream.id, new, command, &context)
                .await
        };
        match executed {
            Ok(_) => Ok(()),
            Err(ExecuteError::Decision(ConnectionError::ProviderMismatch)) => {
                Err(ConnectError::ProviderMismatch)
            }
            Err(ExecuteError::Decision(
                ConnectionError::WorkspaceMismatch | ConnectionError::Ended(_),
            )) => Err(ConnectError::ConnectionNotFound),
            // Its user has just come back from the provider.
            Err(ExecuteError::Decision(ConnectionError::ExchangeInProgress)) => {
                Err(Fault::Conflict.into())
            }
            Err(error) => Err(fault_of(error).into()),
        }
    }
}

/// What a user is asked to consent to.
struct Consent {
    request: RequestConnection,
    provider: Arc<ProviderRow>,
    scopes: Vec<String>,
    return_url: String,
    expires_at: Timestamp,
}

impl Consent {
    fn command(&self, state_digest: String, sealed_id: SealedRef) -> ConnectionCommand {
        let auth_type = self.provider.state.profile.auth_type;
        ConnectionCommand::Request {
            workspace_id: self.request.workspace_id.clone(),
            provider_id: self.provider.provider_id(),
            provider_name: self.provider.state.profile.name.clone(),
            auth_type,
            consent: if auth_type == AuthType::Oauth2 {
                ConsentKind::Oauth2
            } else {
                ConsentKind::Static
            },
            scopes: self.scopes.clone(),
            return_url: self.return_url.clone(),
            metadata: self.request.metadata.clone(),
            action: self.request.action.clone(),
            state_digest,
            expires_at: self.expires_at,
            sealed_id,
            provider_epoch: self.provider.state.epoch,
        }
    }

    /// When the request lapses that an event records, if it asks for the same.
    fn is_asked_by(&self, event: &ConnectionEvent) -> Option<Timestamp> {
        let ConnectionEvent::Requested {
            workspace_id,
            provider_id,
            scopes,
            return_url,
            metadata,
            action,
            expires_at,
            ..
        } = event
        else {
            return None;
        };
        let same = *workspace_id == self.request.workspace_id
            && *provider_id == self.provider.provider_id()
            && *scopes == self.scopes
            && *return_url == self.return_url
            && *metadata == self.request.metadata
            && *action == self.request.action;
        same.then_some(*expires_at)
    }
}

/// The connection that is asked for.
#[derive(Clone)]
struct Target {
    id: ConnectionId,
    /// What its state is made of.
    nonce: [u8; 16],
    /// Its data key, when it has one.
    key_id: Option<KeyId>,
}

impl Target {
    /// A new connection.
    fn make() -> Result<Self, Fault> {
        Ok(Self::of(
            ConnectionId::from_random(make_uuid()?),
            make_bytes()?,
        ))
    }

    fn of(id: ConnectionId, nonce: [u8; 16]) -> Self {
        Self {
            id,
            nonce,
            key_id: None,
        }
    }
}

fn unusable(error: OpenError) -> Fault {
    match error {
        OpenError::Fault(fault) => fault,
        error => Fault::Unreadable(error.to_string()),
    }
}

fn check_lengths(request: &RequestConnection) -> Result<(), ConnectError> {
    if request.workspace_id.len() > MAX_WORKSPACE {
        return Err(ConnectError::TooLong("workspace_id"));
    }
    let notes = request.metadata.as_ref().map_or(0, |notes| {
        serde_json::to_string(notes).map_or(usize::MAX, |json| json.len())
    });
    if notes > MAX_METADATA {
        return Err(ConnectError::TooLong("metadata"));
    }
    if request
        .action
        .as_ref()
        .is_some_and(|action| action.len() > MAX_WORKSPACE)
    {
        return Err(ConnectError::TooLong("action"));
    }
    Ok(())
}
