//! `/v1/agent-sessions` on the Gateway: what an agent may do for a while.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use nexus_domain::secret::Secret;
use nexus_domain::session::{Opening, Refusal};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Doors;
use super::caller::Caller;
use crate::application::open_session::{
    OnBehalf, OpenSession, OpenSessionError, OpenedSession, SessionToken,
};
use crate::application::sessions::{CurrentSession, SessionsError};
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;
use crate::http::segment::Segment;
use crate::user_context::UserContextError;

pub(super) fn routes() -> Router<Doors> {
    Router::new()
        .route("/v1/agent-sessions", post(open))
        .route("/v1/agent-sessions/obo", post(open_on_behalf))
        .route("/v1/agent-sessions/{id}", get(show).delete(close))
}

/// What is asked for; null is absent.
#[derive(Deserialize)]
struct Sent {
    agent_id: Option<String>,
    scopes: Option<Vec<String>>,
    connection_id: Option<String>,
    workspace_id: Option<String>,
    provider_name: Option<String>,
    ttl_seconds: Option<i64>,
    #[serde(default)]
    user_context_token: Option<Secret>,
}

impl Sent {
    fn into_request(self, on_behalf: bool) -> OpenSession {
        let token = self.user_context_token;
        let token = token.filter(|token| !token.expose().is_empty());
        OpenSession {
            agent_id: self.agent_id,
            scopes: self.scopes,
            connection_id: self.connection_id,
            workspace_id: self.workspace_id,
            provider_name: self.provider_name,
            ttl_seconds: self.ttl_seconds,
            on_behalf: on_behalf.then_some(OnBehalf(token)),
        }
    }
}

async fn open(
    State(doors): State<Doors>,
    caller: Caller,
    Json(sent): Json<Sent>,
) -> Result<Response, ApiError> {
    answer(&doors, &caller, sent.into_request(false)).await
}

async fn open_on_behalf(
    State(doors): State<Doors>,
    caller: Caller,
    Json(sent): Json<Sent>,
) -> Result<Response, ApiError> {
    answer(&doors, &caller, sent.into_request(true)).await
}

async fn answer(
    doors: &Doors,
    caller: &Caller,
    request: OpenSession,
) -> Result<Response, ApiError> {
    let opened = doors
        .application
        .open_session(request, caller.metadata("open_session"))
        .await
        .map_err(refusal)?;
    let response = (StatusCode::CREATED, Json(given(&opened))).into_response();
    Ok(no_store(response))
}

/// The code of each gate.
fn refusal(error: OpenSessionError) -> ApiError {
    match error {
        OpenSessionError::MissingAgentId => ApiError::missing_agent_id("agent_id is needed."),
        OpenSessionError::MissingScopes => ApiError::missing_scopes("scopes are needed."),
        OpenSessionError::InvalidScope(_) => ApiError::invalid_scope(
            "A scope is blank, too long, or has characters that scopes cannot have.",
        ),
        OpenSessionError::InvalidTtl(max) => {
            let message = format!("ttl_seconds must be a number from 0 to {max}.");
            ApiError::invalid_ttl(message).with("max_ttl_seconds", max)
        }
        OpenSessionError::MissingUserContextToken => {
            ApiError::missing_user_context_token("user_context_token is needed.")
        }
        OpenSessionError::ProviderNotFound(name) => {
            ApiError::provider_not_found("There is no such provider.").with("provider_name", name)
        }
        OpenSessionError::Refused(refusal) => of_gate(refusal),
        OpenSessionError::Ambiguous(choices) => {
            let choices: Vec<Value> = choices
                .iter()
                .map(|choice| {
                    json!({
                        "connection_id": choice.connection_id,
                        "provider_name": choice.provider_name,
                        "created_at": choice.created_at,
                    })
                })
                .collect();
            ApiError::connection_ambiguous("Several connections fit; name one by connection_id.")
                .with("choices", choices)
        }
        OpenSessionError::UserContext(error) => of_user(&error),
        OpenSessionError::Read(error) => error.into(),
        OpenSessionError::Fault(fault) => fault.into(),
    }
}

fn of_gate(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::AgentNotFound => ApiError::agent_not_found("There is no such agent."),
        Refusal::AgentInactive => ApiError::agent_inactive("The agent is not active."),
        Refusal::ScopeNotPermitted(scope) => ApiError::scope_not_permitted_for_agent(
            "The agent is not registered for this scope.",
        )
        .with("scope", scope),
        Refusal::ScopeNotAllowed(scope) => {
            ApiError::scope_not_allowed("The agent is not registered for this scope.")
                .with("scope", scope)
        }
        Refusal::UserNotAuthorized(scope) => {
            ApiError::user_not_authorized_for_scope("The user may not do what this scope permits.")
                .with("scope", scope)
        }
        Refusal::MixedScopes(scope) => ApiError::mixed_scopes(
            "Scopes of a provider and others cannot be in one session; this one is not the provider's.",
        )
        .with("scope", scope),
        Refusal::MissingSelector => ApiError::missing_connection_selector(
            "Scopes of a provider need connection_id, or workspace_id and provider_name.",
        ),
        Refusal::InvalidConnectionId => {
            ApiError::invalid_connection_id("connection_id must be a UUID.")
        }
        Refusal::ProviderMismatch => {
            ApiError::provider_mismatch("The connection is at another provider.")
        }
        Refusal::ConnectionNotFound => ApiError::connection_not_found(),
        Refusal::ConnectionAmbiguous => {
            ApiError::connection_ambiguous("Several connections fit; name one by connection_id.")
        }
        Refusal::ConnectionNotActive(status) => {
            ApiError::connection_not_active("The connection serves no credential.")
                .with_status(StatusCode::BAD_REQUEST)
                .with("status", status)
        }
        Refusal::UnsupportedProvider => ApiError::unsupported_agent_session_provider(
            "The provider gives no access tokens.",
        ),
        Refusal::ScopeNotGranted(scope) => {
            ApiError::scope_not_granted("The connection was not granted this scope.")
                .with("scope", scope)
        }
    }
}

fn of_user(error: &UserContextError) -> ApiError {
    match error {
        UserContextError::NotConfigured => ApiError::obo_not_configured(),
        UserContextError::Refused(cause) => {
            tracing::info!(%cause, "a user's token is refused");
            ApiError::invalid_user_context_token()
        }
        UserContextError::Unavailable(cause) => {
            tracing::warn!(%cause, "a user's token cannot be verified");
            ApiError::backend_auth_unavailable().retry_after(1)
        }
    }
}

/// What is true of a session however it is asked for.
fn public(id: &str, opening: &Opening, connection_id: Option<&str>) -> Map<String, Value> {
    let principal = opening.principal.as_ref();
    let kind = if opening.provider_scopes {
        "bearer"
    } else {
        "session"
    };
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("session_id", id.into());
    put("agent_id", opening.agent_id.as_str().into());
    put("connection_id", connection_id.into());
    put("scopes_granted", json!(opening.scopes));
    put("expires_at", json!(opening.expires_at));
    put("token_type", kind.into());
    put("obo", principal.is_some().into());
    let clearance = principal.and_then(|user| user.clearance_level.as_deref());
    put("clearance_level", clearance.into());
    if let Some(user) = principal {
        put("acting_for", user.acting_for.as_str().into());
        put("tenant_id", user.tenant_id.as_deref().into());
    }
    body
}

fn given(opened: &OpenedSession) -> Value {
    let connection_id = opened.connection_id.as_deref();
    let mut body = public(opened.id.as_str(), &opened.opening, connection_id);
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("active", true.into());
    match &opened.token {
        SessionToken::Provider {
            access_token,
            scope,
        } => {
            put("access_token", access_token.expose().into());
            // The token is the connection's: this is what it can do, whatever the session may.
            put("token_scope", scope.join(" ").into());
        }
        SessionToken::Own(token) => {
            put("session_token", token.as_str().into());
            put("token_scope", opened.opening.scopes.join(" ").into());
        }
    }
    Value::Object(body)
}

impl From<SessionsError> for ApiError {
    fn from(error: SessionsError) -> Self {
        match error {
            SessionsError::NotFound => Self::session_not_found("There is no such session."),
            SessionsError::Fault(fault) => fault.into(),
        }
    }
}

/// A session without its token.
async fn show(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<Response, ApiError> {
    let metadata = caller.metadata("show_session");
    let current = doors.application.session(&id, &metadata).await?;
    Ok(no_store(Json(shown(&current)).into_response()))
}

fn shown(current: &CurrentSession) -> Value {
    let connection_id = current.connection_id.as_deref();
    let mut body = public(current.id.as_str(), &current.opening, connection_id);
    body.insert("active".to_owned(), current.ended.is_none().into());
    if let Some(ended) = current.ended {
        body.insert("closed_reason".to_owned(), ended.as_str().into());
    }
    Value::Object(body)
}

/// Ends a session. A token of ours is refused from now on; a provider's cannot be taken back.
async fn close(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<Response, ApiError> {
    let metadata = caller.metadata("close_session");
    let closed = doors.application.close_session(&id, metadata).await?;
    let answer = json!({
        "status": "closed",
        "session_id": closed.id,
        "active": false,
        "token_revoked": !closed.opening.provider_scopes,
    });
    Ok(Json(answer).into_response())
}
