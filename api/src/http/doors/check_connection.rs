//! `GET /v1/check-connection/{id}`

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Doors;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;

/// Where a connection stands: always 200, an unknown id has failed.
pub(super) async fn get(
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let standing = doors.application.check_connection(&id).await?;
    let mut body = Map::new();
    body.insert("status".into(), standing.status.into());
    let optional = [
        ("reason", standing.reason),
        ("provider_name", standing.provider_name),
        ("health_status", standing.health_status.map(str::to_owned)),
    ];
    body.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))),
    );
    Ok(no_store(Json(body).into_response()))
}
