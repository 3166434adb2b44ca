//! Asks for a connection: `POST /v1/request-connection`.

use std::fmt;

use nexus_domain::connection::{Connection, ConnectionCommand, ConnectionError, ConsentKind};
use nexus_domain::metadata::Metadata;
use nexus_domain::provider::AuthType;
use nexus_domain::reference::ConnectionId;
use nexus_domain::sealing::Purpose;
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Context, ExecuteError, KeyChange};
use nexus_projections::ProviderRow;

use super::keyring::seal_secret;
use super::manage_providers::{ProviderKey, find_provider};
use super::{Application, Fault};
use crate::keys::{StateKey, StateToken};
use crate::random::{make_bytes, make_uuid};
use crate::return_url::InvalidReturnUrl;
use crate::upstream::{Authorization, UpstreamError};

/// The largest application notes, bytes of JSON.
const MAX_METADATA: usize = 4_096;
/// The longest workspace id, bytes.
const MAX_WORKSPACE: usize = 255;

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
        let connection_id = ConnectionId::from_random(make_uuid().map_err(Fault::from)?);
        let state = self.state_key.mint(
            connection_id.reference(),
            make_bytes().map_err(Fault::from)?,
        );
        let auth_url = self.auth_url(&provider, &scopes, &state).await?;
        let expires_at = self.ledger.now().plus(self.policy.state_ttl);
        self.record_request(
            &request,
            &provider,
            &scopes,
            return_url,
            &connection_id,
            &state,
            expires_at,
            metadata,
        )
        .await?;
        Ok(Requested {
            auth_url,
            connection_id,
            state: state.as_str().to_owned(),
            scopes,
            provider_id: provider.id.clone(),
            expires_at,
        })
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

    #[expect(clippy::too_many_arguments, reason = "each is one fact of the event")]
    async fn record_request(
        &self,
        request: &RequestConnection,
        provider: &ProviderRow,
        scopes: &[String],
        return_url: String,
        connection_id: &ConnectionId,
        state: &StateToken,
        expires_at: Timestamp,
        metadata: Metadata,
    ) -> Result<(), ConnectError> {
        let reference = connection_id.reference();
        let stream = StreamKey::connection(reference);
        let new_key = self.keyring.make_key(&stream)?;
        let (sealed_id, blob) = seal_secret(
            &new_key.key,
            new_key.wrapped.key_id,
            &stream,
            Purpose::ConnectionId,
            1,
            connection_id.expose().as_bytes(),
        )?;
        let auth_type = provider.state.profile.auth_type;
        let command = ConnectionCommand::Request {
            workspace_id: request.workspace_id.clone(),
            provider_id: provider.provider_id(),
            provider_name: provider.state.profile.name.clone(),
            auth_type,
            consent: if auth_type == AuthType::Oauth2 {
                ConsentKind::Oauth2
            } else {
                ConsentKind::Static
            },
            scopes: scopes.to_vec(),
            return_url,
            metadata: request.metadata.clone(),
            action: request.action.clone(),
            state_digest: StateKey::digest(state.as_str()),
            expires_at,
            sealed_id,
        };
        let context = Context {
            metadata,
            blobs: vec![blob],
            keys: vec![KeyChange::Put(new_key.wrapped)],
            ..Context::default()
        };
        match self
            .ledger
            .execute::<Connection>(&stream.id, command, context)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(fault_of(error).into()),
        }
    }
}

/// A fault of a command that no state of its aggregate should refuse.
pub(super) fn fault_of(error: ExecuteError<ConnectionError>) -> Fault {
    match error {
        ExecuteError::Decision(error) => Fault::Internal(error.to_string()),
        ExecuteError::Load(error) => error.into(),
        ExecuteError::Append(error) => error.into(),
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

/// RFC 6749 section 3.3: printable ASCII without space, quote and backslash.
fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}
