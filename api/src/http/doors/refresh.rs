//! `POST /v1/refresh/{id}`

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::Doors;
use super::caller::Caller;
use crate::application::refresh_connection::{RefreshError, RefreshTokenError};
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;
use crate::http::segment::Segment;

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::NotFound => Self::connection_not_found(),
            RefreshError::NotActive(status) => {
                Self::connection_not_active("The connection has no credential to refresh.")
                    .with("status", status)
            }
            RefreshError::Attention(reason) => {
                Self::attention_required("The user has to connect again.").with("reason", reason)
            }
            RefreshError::Static => Self::static_token("A static credential cannot be refreshed."),
            RefreshError::NotRefreshable => {
                Self::static_token("The provider gave no refresh token for this connection.")
            }
            RefreshError::Provider {
                error,
                http_status,
                retry_after,
            } => provider_error(&error, http_status, retry_after),
            RefreshError::Unresolved => Self::refresh_unavailable().retry_after(1),
            RefreshError::Fault(fault) => fault.into(),
        }
    }
}

fn provider_error(error: &str, http_status: Option<u16>, retry_after: Option<u64>) -> ApiError {
    let mut answer = ApiError::provider_error().with("provider_error", error);
    if let Some(status) = http_status {
        answer = answer.with("provider_status", status);
    }
    match retry_after {
        Some(seconds) => answer.retry_after(seconds),
        None => answer,
    }
}

impl From<RefreshTokenError> for ApiError {
    fn from(error: RefreshTokenError) -> Self {
        match error {
            RefreshTokenError::Refresh(error) => error.into(),
            RefreshTokenError::Read(error) => error.into(),
        }
    }
}

/// Forces a refresh and hands out what came of it.
pub(super) async fn post(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<Response, ApiError> {
    let payload = doors
        .application
        .refresh_connection(&id, "refresh", &caller.metadata("refresh"))
        .await?;
    Ok(no_store(Json(payload).into_response()))
}
