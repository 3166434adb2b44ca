//! A workspace's connections: `GET /v1/connections` and `GET /v1/resolve`, and the Broker's doors of
//! the same kind.

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::Uri;
use nexus_domain::time::Timestamp;
use nexus_projections::PageEnd;
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::{Doors, refresh, revoke, token};
use crate::application::list_connections::ListedConnection;
use crate::application::token::{ExpiresAs, health_status};
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;
use crate::http::page;

/// The Broker's paths, beside its own spelling of the listing.
pub(super) fn broker_routes() -> Router<Doors> {
    Router::new()
        .route("/connections", get(list))
        .route("/connections/resolve", get(resolve))
        .route("/connections/{id}/token", get(token::get))
        .route("/connections/{id}/refresh", post(refresh::post))
        .route(
            "/connections/{id}/revoke",
            post(revoke::revoke).delete(revoke::revoke),
        )
}

/// What a listing is asked for.
#[derive(Deserialize)]
pub(super) struct Listing {
    workspace_id: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A workspace's connections, the newest first.
pub(super) async fn list(
    State(doors): State<Doors>,
    uri: Uri,
    Query(asked): Query<Listing>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let workspace_id = asked.workspace_id.filter(|id| !id.is_empty());
    let workspace_id =
        workspace_id.ok_or_else(|| ApiError::missing_workspace_id("workspace_id is needed."))?;
    let limit = page::limit(asked.limit.as_deref())?;
    let after = page::cursor(asked.cursor.as_deref())?;
    let after = after.as_deref().map(parse_end).transpose()?;
    let page = doors
        .application
        .list_connections(
            &workspace_id,
            after.as_ref(),
            limit,
            &caller.metadata("list_connections"),
        )
        .await?;
    let listed: Vec<Value> = page.connections.iter().map(public).collect();
    let next = page.next.map(|end| write_end(&end));
    let response = page::with_next(Json(listed).into_response(), &uri, next.as_deref());
    // The ids in it are bearer secrets.
    Ok(no_store(response))
}

fn write_end(end: &PageEnd) -> String {
    format!("{}.{}", end.created_at.as_micros(), end.reference)
}

fn parse_end(said: &str) -> Result<PageEnd, ApiError> {
    let parts = said.split_once('.');
    let parsed = parts.and_then(|(created_at, reference)| {
        Some(PageEnd {
            created_at: Timestamp::from_micros(created_at.parse().ok()?),
            reference: reference.to_owned(),
        })
    });
    parsed.ok_or_else(page::invalid_cursor)
}

fn public(listed: &ListedConnection) -> Value {
    let (row, state) = (&listed.row, &listed.row.state);
    json!({
        "id": listed.id,
        "reference": row.reference,
        "provider_id": state.provider_id,
        "provider_name": state.provider_name,
        "auth_type": state.auth_type,
        "status": state.status.as_str(),
        "reason": state.reason,
        "scopes": state.scopes,
        "metadata": state.metadata,
        "health_status": health_status(state.status, state.refresh.failures),
        "last_health_check_at": Value::Null,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    })
}

/// What is to be resolved.
#[derive(Deserialize)]
pub(super) struct Resolving {
    workspace_id: Option<String>,
    provider_name: Option<String>,
}

/// Hands out the credential of a workspace's newest active connection at a provider; times are RFC
/// 3339 here, because clients of this door parse nothing else.
pub(super) async fn resolve(
    State(doors): State<Doors>,
    Query(asked): Query<Resolving>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let given = |value: Option<String>, name: &str| {
        let missing =
            || ApiError::missing_fields(format!("{name} is needed.")).with("fields", json!([name]));
        value.filter(|value| !value.is_empty()).ok_or_else(missing)
    };
    let workspace_id = given(asked.workspace_id, "workspace_id")?;
    let provider_name = given(asked.provider_name, "provider_name")?;
    let metadata = caller.metadata("resolve");
    let resolved = doors
        .application
        .resolve(&workspace_id, &provider_name, "resolve", &metadata);
    let mut payload = resolved.await?;
    payload.expires_as = ExpiresAs::Rfc3339;
    Ok(no_store(Json(payload).into_response()))
}
