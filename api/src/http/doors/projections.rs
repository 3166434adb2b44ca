//! `GET /admin/v1/projections`, `POST /admin/v1/projections/{name}/rebuild` and `/verify` on the Broker.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use nexus_projections::rebuild::{NAMES, pointers};
use serde_json::{Value, json};

use super::Doors;
use crate::application::Fault;
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::segment::Segment;

/// Every read model, the generation that serves, and how its newest rebuild and comparison go.
pub(super) async fn list(State(doors): State<Doors>) -> Result<Response, ApiError> {
    let pointers = pointers(doors.application.reads.backend())
        .await
        .map_err(Fault::from)?;
    let (rebuilds, verifications) = (doors.rebuilds.status(), doors.comparisons.status());
    let projections: Vec<Value> = pointers
        .iter()
        .map(|pointer| {
            json!({
                "name": pointer.name,
                "version": pointer.version,
                "generation": pointer.generation,
                "rebuild": rebuilds.get(&pointer.name),
                "verification": verifications.get(&pointer.name),
            })
        })
        .collect();
    Ok(Json(
        json!({"projections": projections, "head": doors.application.ledger.head().position()}),
    )
    .into_response())
}

/// Starts a rebuild; it goes on in the background.
pub(super) async fn rebuild(
    State(doors): State<Doors>,
    Segment(name): Segment,
    caller: RequestContext,
) -> Result<Response, ApiError> {
    if !NAMES.contains(&name.as_str()) {
        return Err(ApiError::not_found());
    }
    let started = doors.rebuilds.start(
        &doors.application,
        &name,
        caller.metadata("rebuild_projection"),
    );
    started.map_err(|running| ApiError::conflict(format!("{running}.")))?;
    Ok(accepted(&name))
}

/// Starts a comparison with the log; it goes on in the background.
pub(super) async fn verify(
    State(doors): State<Doors>,
    Segment(name): Segment,
) -> Result<Response, ApiError> {
    if !NAMES.contains(&name.as_str()) {
        return Err(ApiError::not_found());
    }
    let started = doors.comparisons.start(&doors.application, &name);
    started.map_err(|running| ApiError::conflict(format!("{running}.")))?;
    Ok(accepted(&name))
}

fn accepted(name: &str) -> Response {
    let mut response = Json(json!({"name": name, "status": "started"})).into_response();
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
