//! `/admin/v1/agents` on the Broker: which agents there are, and the most each may do.

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use nexus_domain::agent::{AgentCommand, AgentError, AgentId, AgentProfile};
use nexus_domain::time::Timestamp;
use nexus_projections::AgentRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Doors;
use crate::application::manage_agents::AgentsError;
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::segment::Segment;

/// The longest description, characters.
const MAX_DESCRIPTION: usize = 1_024;
/// The most scopes of one agent.
const MAX_SCOPES: usize = 1_000;

pub(super) fn routes() -> Router<Doors> {
    Router::new()
        .route("/admin/v1/agents", get(list).post(register))
        .route(
            "/admin/v1/agents/{id}",
            get(show).patch(update).delete(deregister),
        )
}

/// What is said of an agent; what is absent or null stays, or is the default.
#[derive(Deserialize)]
struct Sent {
    agent_id: Option<String>,
    description: Option<String>,
    allowed_scopes: Option<Vec<String>>,
    active: Option<bool>,
}

impl Sent {
    fn check(&self) -> Result<(), ApiError> {
        let too_much = |field: &str, most: usize, of: &str| {
            let message = format!("{field} has more than {most} {of}.");
            Err(ApiError::invalid_field(message).with("field", field))
        };
        let described = self.description.as_ref();
        if described.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
            return too_much("description", MAX_DESCRIPTION, "characters");
        }
        let scopes = self.allowed_scopes.as_ref();
        if scopes.is_some_and(|scopes| scopes.len() > MAX_SCOPES) {
            return too_much("allowed_scopes", MAX_SCOPES, "scopes");
        }
        Ok(())
    }

    fn into_profile(self) -> AgentProfile {
        AgentProfile {
            description: self.description.unwrap_or_default(),
            allowed_scopes: self.allowed_scopes.unwrap_or_default(),
            active: self.active.unwrap_or(true),
        }
    }
}

/// When the agent is looked at.
#[derive(Deserialize)]
struct Asked {
    at: Option<String>,
}

fn parse(id: &str) -> Result<AgentId, ApiError> {
    AgentId::parse(id).map_err(|error| ApiError::invalid_agent_id(sentence(&error.to_string())))
}

/// A message as a sentence.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

/// The answer to a refused command on the agent of an id.
fn refusal(error: AgentsError, id: &AgentId) -> ApiError {
    match error {
        AgentsError::Refused(AgentError::NotFound) => {
            ApiError::agent_not_found("There is no such agent.").with("agent_id", id.as_str())
        }
        AgentsError::Refused(AgentError::AlreadyRegistered) => {
            ApiError::agent_exists("An agent of this id is registered.")
                .with("agent_id", id.as_str())
        }
        AgentsError::Refused(AgentError::InvalidScope(error)) => {
            ApiError::invalid_scope(sentence(&error.to_string()))
        }
        AgentsError::Fault(fault) => fault.into(),
    }
}

fn public(row: &AgentRow) -> Value {
    let profile = &row.state.profile;
    json!({
        "agent_id": row.id,
        "description": profile.description,
        "allowed_scopes": profile.allowed_scopes,
        "active": profile.active,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    })
}

async fn register(
    State(doors): State<Doors>,
    caller: RequestContext,
    Json(sent): Json<Sent>,
) -> Result<Response, ApiError> {
    let id = parse(sent.agent_id.as_deref().unwrap_or_default())?;
    sent.check()?;
    let profile = sent.into_profile();
    let command = AgentCommand::Register { profile };
    let commanded = doors
        .application
        .command_agent(&id, command, caller.metadata("register_agent"))
        .await
        .map_err(|error| refusal(error, &id))?;
    Ok((StatusCode::CREATED, Json(public(&commanded.agent))).into_response())
}

/// Every registered agent, by id.
async fn list(State(doors): State<Doors>) -> Result<Response, ApiError> {
    let rows = doors.application.agents().await?;
    let agents: Vec<Value> = rows.iter().map(public).collect();
    Ok(Json(json!({"agents": agents})).into_response())
}

/// An agent as it is, or as it was `at` a time.
async fn show(
    State(doors): State<Doors>,
    Segment(id): Segment,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let id = parse(&id)?;
    let at = asked.at.map(|at| Timestamp::parse_rfc3339(&at));
    let at = at
        .transpose()
        .map_err(|_| ApiError::invalid_field("at must be an RFC 3339 time.").with("field", "at"))?;
    let row = doors.application.agent(&id, at).await;
    let row = row.map_err(|error| refusal(error, &id))?;
    Ok(Json(public(&row)).into_response())
}

async fn update(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: RequestContext,
    Json(sent): Json<Sent>,
) -> Result<Response, ApiError> {
    let id = parse(&id)?;
    sent.check()?;
    let command = AgentCommand::Update {
        description: sent.description,
        allowed_scopes: sent.allowed_scopes,
        active: sent.active,
    };
    let commanded = doors
        .application
        .command_agent(&id, command, caller.metadata("update_agent"))
        .await
        .map_err(|error| refusal(error, &id))?;
    Ok(Json(public(&commanded.agent)).into_response())
}

async fn deregister(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: RequestContext,
) -> Result<Response, ApiError> {
    let id = parse(&id)?;
    let metadata = caller.metadata("deregister_agent");
    let commanded = doors
        .application
        .command_agent(&id, AgentCommand::Deregister, metadata)
        .await
        .map_err(|error| refusal(error, &id))?;
    let answer = json!({
        "agent_id": id,
        "status": "deregistered",
        "sessions_closed": commanded.sessions_closed,
    });
    Ok(Json(answer).into_response())
}
