//! `GET /v1/health`, `GET /health`: ready or not; `GET /livez`: running.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::Doors;
use crate::http::json::Json;

/// 200 when the database answers, 503 otherwise.
pub(super) async fn get(State(doors): State<Doors>) -> Response {
    match doors.application.reads.ping().await {
        Ok(()) => Json(json!({"status": "healthy", "checks": {"database": "ok"}})).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the health check failed");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Json(json!({"status": "unhealthy", "checks": {"database": "unavailable"}}))
                    .into_response(),
            )
                .into_response()
        }
    }
}

/// 200 while the process runs.
pub(super) async fn live() -> Response {
    Json(json!({"status": "alive"})).into_response()
}
