//! `POST /v1/request-connection`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use nexus_domain::provider::ProviderId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Doors;
use super::caller::{UnboundCaller, said};
use crate::application::connect::{ConnectError, IdempotencyKey, RequestConnection};
use crate::application::manage_providers::ProviderKey;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;

/// The body; unknown fields are ignored.
#[derive(Deserialize)]
pub(super) struct Body {
    workspace_id: Option<String>,
    user_id: Option<String>,
    provider_id: Option<String>,
    provider_name: Option<String>,
    scopes: Option<Vec<String>>,
    return_url: Option<String>,
    metadata: Option<Map<String, Value>>,
    action: Option<String>,
    connection_id: Option<String>,
}

/// The longest `Idempotency-Key`, characters.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// When asking again makes sense while too many consents are pending, seconds.
const PENDING_AGAIN: u64 = 5;

/// The request's `Idempotency-Key`. It counts only with an API key: without one a guessed one would replay somebody's
/// connection id.
fn idempotency_key(
    headers: &HeaderMap,
    actor: Option<String>,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(actor) = actor else {
        return Ok(None);
    };
    let key = said(headers, "idempotency-key", MAX_IDEMPOTENCY_KEY)?;
    Ok(key.map(|key| IdempotencyKey { actor, key }))
}

impl Body {
    fn into_request(
        self,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<RequestConnection, ApiError> {
        let workspace_id = workspace(self.workspace_id, self.user_id)?;
        let provider = match (self.provider_id, self.provider_name) {
            (Some(id), _) => ProviderKey::Id(
                ProviderId::parse(&id)
                    .map_err(|_| ApiError::invalid_provider_id("provider_id must be a UUID."))?,
            ),
            (None, Some(name)) if !name.trim().is_empty() => ProviderKey::Name(name),
            (None, _) => {
                return Err(
                    ApiError::missing_fields("provider_id or provider_name is needed.")
                        .with("fields", json!(["provider_name"])),
                );
            }
        };
        Ok(RequestConnection {
            workspace_id,
            provider,
            scopes: self.scopes,
            return_url: self.return_url,
            metadata: self.metadata,
            action: self.action,
            connection_id: self.connection_id,
            idempotency_key,
        })
    }
}

/// `workspace_id` and `user_id` are two names of one thing.
fn workspace(workspace_id: Option<String>, user_id: Option<String>) -> Result<String, ApiError> {
    let given = |value: Option<String>| value.filter(|value| !value.is_empty());
    match (given(workspace_id), given(user_id)) {
        (Some(workspace), Some(user)) if workspace != user => Err(ApiError::invalid_field(
            "workspace_id and user_id name the same thing and must agree.",
        )
        .with("field", "user_id")),
        (Some(id), _) | (None, Some(id)) => Ok(id),
        (None, None) => Err(
            ApiError::missing_fields("workspace_id (or user_id) is needed.")
                .with("fields", json!(["workspace_id"])),
        ),
    }
}

impl From<ConnectError> for ApiError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::ProviderNotFound(key) => {
                Self::provider_not_found("There is no such provider.").with(key.kind(), key.text())
            }
            ConnectError::MissingReturnUrl => {
                Self::missing_fields("return_url is needed.").with("fields", json!(["return_url"]))
            }
            ConnectError::ReturnUrl(error) => Self::invalid_return_url(format!("{error}.")),
            ConnectError::InvalidScope => {
                Self::invalid_scope("A scope is blank or has characters that scopes cannot have.")
            }
            ConnectError::TooLong(field) => {
                Self::invalid_field(format!("{field} is too long.")).with("field", field)
            }
            ConnectError::ConnectionNotFound => Self::connection_not_found(),
            ConnectError::ProviderMismatch => {
                Self::provider_mismatch("The connection is at another provider.")
            }
            ConnectError::IdempotencyConflict => Self::idempotency_conflict(
                "The Idempotency-Key was used for another request in the last 24 hours.",
            ),
            ConnectError::ForeignWorkspace => {
                Self::invalid_field("workspace_id must be the subject of the call.")
                    .with("field", "workspace_id")
            }
            ConnectError::TooManyPending(error) => {
                Self::rate_limited(format!("{error}.")).retry_after(PENDING_AGAIN)
            }
            ConnectError::Upstream(error) => {
                tracing::warn!(%error, "a provider's configuration cannot be read");
                Self::upstream_error()
            }
            ConnectError::Fault(fault) => fault.into(),
        }
    }
}

/// Asks for a connection.
pub(super) async fn post(
    State(doors): State<Doors>,
    UnboundCaller(caller): UnboundCaller,
    headers: HeaderMap,
    Json(body): Json<Body>,
) -> Result<Response, ApiError> {
    if body.connection_id.is_some() {
        // What becomes of a connection that is there is its user's affair.
        caller.bound(doors.subject_binding)?;
    }
    let metadata = caller.metadata("request_connection");
    let request = body.into_request(idempotency_key(&headers, metadata.actor.clone())?)?;
    let requested = doors
        .application
        .request_connection(request, metadata)
        .await?;
    let answer = json!({
        "authUrl": requested.auth_url,
        "auth_url": requested.auth_url,
        "connection_id": requested.connection_id.expose(),
        "state": requested.state,
        "scopes": requested.scopes,
        "provider_id": requested.provider_id,
        "expires_at": requested.expires_at,
    });
    Ok(no_store(Json(answer).into_response()))
}
