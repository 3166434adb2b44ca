//! `GET /v1/check-connection/{id}`

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Doors;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;

#[derive(Serialize)]
struct Body {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_status: Option<&'static str>,
}

/// Where a connection stands: always 200, an unknown id has failed.
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let standing = doors.application.check_connection(&id).await?;
    let body = Body {
        status: standing.status,
        reason: standing.reason,
        provider_name: standing.provider_name,
        health_status: standing.health_status,
    };
    Ok(no_store(Json(body).into_response()))
}
