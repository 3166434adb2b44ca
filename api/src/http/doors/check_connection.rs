//! `GET /v1/check-connection/{id}`

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::Doors;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;

/// Where a connection stands: always 200, an unknown id has failed.
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let status = doors.application.check_connection(&id).await?;
    Ok(no_store(Json(status).into_response()))
}
