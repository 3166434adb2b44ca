//! The doors of `/v1/providers` on the Gateway and `/providers` on the Broker.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use nexus_domain::provider::ProviderId;
use nexus_projections::ProviderRow;
use serde_json::{Map, Value, json};

use super::Doors;
use crate::application::manage_providers::{Change, ManageError, name_key};
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::json::{Json, RawJson};
use crate::http::segment::Segment;

/// The Gateway's paths.
pub(super) fn gateway_routes() -> Router<Doors> {
    Router::new()
        .route("/v1/providers", get(metadata).post(register))
        .route("/v1/providers/metadata", get(metadata))
        .route(
            "/v1/providers/{id}",
            get(show).patch(patch).put(put).delete(delete),
        )
}

/// The Broker's paths.
pub(super) fn broker_routes() -> Router<Doors> {
    Router::new()
        .route("/providers", get(list).post(register))
        .route("/providers/metadata", get(metadata))
        .route("/providers/health", get(health))
        .route(
            "/providers/by-name/{name}",
            get(find).delete(delete_by_name),
        )
        .route(
            "/providers/{id}",
            get(show).patch(patch).put(put).delete(delete),
        )
}

impl From<ManageError> for ApiError {
    fn from(error: ManageError) -> Self {
        match error {
            ManageError::NotFound => Self::provider_not_found("There is no such provider."),
            ManageError::NameTaken => Self::provider_exists("A provider of this name exists."),
            ManageError::Invalid(invalid) if invalid.field == "name" => {
                Self::invalid_provider_name(format!("{}.", invalid.message)).with("field", "name")
            }
            ManageError::Invalid(invalid) => {
                let message = format!("{}: {}.", invalid.field, invalid.message);
                Self::invalid_provider(message).with("field", invalid.field.to_string())
            }
            ManageError::Fault(fault) => fault.into(),
        }
    }
}

/// A profile comes bare or inside `profile`.
fn profile(body: &RawJson) -> Result<Map<String, Value>, ApiError> {
    let missing = || ApiError::missing_profile("The provider's profile is missing.");
    if body.is_empty() {
        return Err(missing());
    }
    let mut body: Map<String, Value> = body.parse()?;
    match body.remove("profile") {
        Some(Value::Object(profile)) => body = profile,
        Some(_) => {
            return Err(
                ApiError::invalid_field("profile must be an object.").with("field", "profile")
            );
        }
        None => {}
    }
    if body.is_empty() {
        Err(missing())
    } else {
        Ok(body)
    }
}

fn parse_id(id: &str) -> Result<ProviderId, ApiError> {
    ProviderId::parse(id)
        .map_err(|_| ApiError::invalid_provider_id("The provider's id must be a UUID."))
}

/// The public profile: everything but the secrets.
fn public(row: &ProviderRow) -> Value {
    let mut body = match serde_json::to_value(&row.state.profile) {
        Ok(Value::Object(body)) => body,
        _ => Map::new(),
    };
    body.insert("id".into(), row.id.clone().into());
    body.insert("created_at".into(), json!(row.created_at));
    body.insert("updated_at".into(), json!(row.updated_at));
    Value::Object(body)
}

async fn register(
    State(doors): State<Doors>,
    caller: RequestContext,
    body: RawJson,
) -> Result<Response, ApiError> {
    let row = doors
        .application
        .register_provider(profile(&body)?, caller.metadata("register_provider"))
        .await?;
    let mut answer = public(&row);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("message".into(), "Provider registered.".into());
    }
    let mut response = Json(answer).into_response();
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// What applications need to know of each provider, by kind and name.
async fn metadata(State(doors): State<Doors>) -> Result<Response, ApiError> {
    let mut kinds: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for row in doors
        .application
        .reads
        .providers()
        .await
        .map_err(crate::application::Fault::from)?
    {
        let profile = &row.state.profile;
        let entry = json!({
            "id": row.id,
            "api_base_url": profile.api_base_url.as_deref().unwrap_or_default(),
            "user_info_endpoint": profile.user_info_endpoint.as_deref().unwrap_or_default(),
            "scopes": profile.scopes,
            "description": profile.description.as_deref().unwrap_or_default(),
            "category": profile.category.as_deref().unwrap_or_default(),
        });
        kinds
            .entry(profile.auth_type.as_str().to_owned())
            .or_default()
            .insert(profile.name.clone(), entry);
    }
    Ok(Json(kinds).into_response())
}

/// Every provider, for the operators' tools.
async fn list(State(doors): State<Doors>) -> Result<Response, ApiError> {
    let rows = doors
        .application
        .reads
        .providers()
        .await
        .map_err(crate::application::Fault::from)?;
    Ok(Json(rows.iter().map(public).collect::<Vec<_>>()).into_response())
}

/// What this node last saw of every provider, by name.
async fn health(State(doors): State<Doors>) -> Result<Response, ApiError> {
    Ok(Json(doors.application.list_provider_health().await?).into_response())
}

async fn show(State(doors): State<Doors>, Segment(id): Segment) -> Result<Response, ApiError> {
    let row = doors.application.provider(parse_id(&id)?).await?;
    Ok(Json(public(&row)).into_response())
}

async fn patch(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: RequestContext,
    body: RawJson,
) -> Result<Response, ApiError> {
    change(&doors, &id, &body, Change::Merge, &caller).await
}

async fn put(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: RequestContext,
    body: RawJson,
) -> Result<Response, ApiError> {
    change(&doors, &id, &body, Change::Replace, &caller).await
}

async fn change(
    doors: &Doors,
    id: &str,
    body: &RawJson,
    change: Change,
    caller: &RequestContext,
) -> Result<Response, ApiError> {
    let row = doors
        .application
        .change_provider(
            parse_id(id)?,
            &profile(body)?,
            change,
            &caller.metadata("change_provider"),
        )
        .await?;
    Ok(Json(public(&row)).into_response())
}

async fn delete(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: RequestContext,
) -> Result<Response, ApiError> {
    remove(&doors, parse_id(&id)?, &caller).await
}

async fn find(State(doors): State<Doors>, Segment(name): Segment) -> Result<Response, ApiError> {
    Ok(Json(json!({"id": named(&doors, &name).await?.id})).into_response())
}

async fn delete_by_name(
    State(doors): State<Doors>,
    Segment(name): Segment,
    caller: RequestContext,
) -> Result<Response, ApiError> {
    let row = named(&doors, &name).await?;
    remove(&doors, row.provider_id(), &caller).await
}

async fn named(doors: &Doors, name: &str) -> Result<ProviderRow, ApiError> {
    let row = doors
        .application
        .reads
        .provider_by_name(&name_key(name))
        .await
        .map_err(crate::application::Fault::from)?;
    row.ok_or_else(|| {
        ApiError::provider_not_found("There is no such provider.").with("provider_name", name)
    })
}

async fn remove(
    doors: &Doors,
    id: ProviderId,
    caller: &RequestContext,
) -> Result<Response, ApiError> {
    doors
        .application
        .delete_provider(id, &caller.metadata("delete_provider"))
        .await?;
    Ok(Json(json!({"id": id, "message": "Provider deleted."})).into_response())
}
