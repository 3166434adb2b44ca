//! `GET /.well-known/jwks.json` on the Gateway: the public keys that session tokens are verified with (RFC 7517 §5).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;

use super::Doors;
use crate::http::error::ApiError;
use crate::http::json::Json;

/// A new key is published for longer than this before it signs.
const KEPT_FOR: &str = "public, max-age=300";

pub(super) async fn get(State(doors): State<Doors>) -> Result<Response, ApiError> {
    let keys = doors.application.session_jwks().await?;
    Ok(([(CACHE_CONTROL, KEPT_FOR)], Json(keys)).into_response())
}
