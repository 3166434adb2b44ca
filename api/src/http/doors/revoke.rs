//! `DELETE /v1/connections/{id}` on the Gateway, `DELETE` and `POST /connections/{id}/revoke` on the Broker.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Doors;
use super::caller::Caller;
use crate::application::revoke_connection::{ProviderRevocation, RevokeError};
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;
use crate::http::segment::Segment;

/// The longest reason, characters.
const MAX_REASON: usize = 255;

/// How it is asked for.
#[derive(Deserialize)]
pub(super) struct Asked {
    workspace_id: Option<String>,
    reason: Option<String>,
}

impl From<RevokeError> for ApiError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotFound => Self::connection_not_found(),
            RevokeError::Fault(fault) => fault.into(),
        }
    }
}

/// Ends a connection. What was done here and what the provider did are told apart.
pub(super) async fn revoke(
    State(doors): State<Doors>,
    Segment(id): Segment,
    Query(asked): Query<Asked>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let reason = given(asked.reason);
    if reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > MAX_REASON)
    {
        return Err(ApiError::invalid_field("reason is too long.").with("field", "reason"));
    }
    let workspace_id = given(asked.workspace_id);
    let revoked = doors
        .application
        .revoke_connection(
            &id,
            workspace_id.as_deref(),
            reason,
            &caller.metadata("revoke"),
        )
        .await?;
    let mut answer = json!({
        "connection_id": id,
        "provider_name": revoked.provider_name,
        "status": "revoked",
        "revoked_at": revoked.revoked_at,
        "already_revoked": revoked.already,
        "token_deleted": true,
        "sessions_closed": revoked.sessions_closed,
        "provider_revoked": revoked.provider == ProviderRevocation::Revoked,
    });
    if let (ProviderRevocation::Not(error), Some(answer)) =
        (revoked.provider, answer.as_object_mut())
    {
        answer.insert("provider_revocation_error".into(), error.into());
    }
    Ok(no_store(Json(answer).into_response()))
}
