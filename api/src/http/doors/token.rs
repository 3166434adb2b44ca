//! `GET /v1/token/{id}`

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::Doors;
use super::caller::Caller;
use crate::application::read_token::ReadTokenError;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;
use crate::http::segment::Segment;

impl From<ReadTokenError> for ApiError {
    fn from(error: ReadTokenError) -> Self {
        match error {
            ReadTokenError::NotFound => Self::connection_not_found(),
            ReadTokenError::NotActive(status) => {
                Self::connection_not_active("The connection has no credential to give.")
                    .with("status", status)
            }
            ReadTokenError::Attention(reason) => {
                Self::attention_required("The user has to connect again.").with("reason", reason)
            }
            ReadTokenError::RefreshUnavailable { retry_after } => {
                Self::refresh_unavailable().retry_after(retry_after.max(1))
            }
            ReadTokenError::AuditUnavailable(cause) => {
                tracing::error!(%cause, "a read could not be recorded");
                Self::audit_unavailable().retry_after(1)
            }
            ReadTokenError::Fault(fault) => fault.into(),
        }
    }
}

/// Hands out a credential, once the record of it is durable.
pub(super) async fn get(
    State(doors): State<Doors>,
    Segment(id): Segment,
    caller: Caller,
) -> Result<Response, ApiError> {
    let payload = doors
        .application
        .read_token(&id, "token", &caller.metadata("token"))
        .await?;
    Ok(no_store(Json(payload).into_response()))
}
