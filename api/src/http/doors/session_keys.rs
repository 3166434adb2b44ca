//! `/admin/v1/session-keys` on the Broker: the keys that sign session tokens.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use nexus_domain::time::Timestamp;
use nexus_domain::vault::{RetireReason, SessionKey, SessionKeyState, SessionKeys};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Doors;
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::json::Json;

pub(super) fn routes() -> Router<Doors> {
    Router::new().route("/admin/v1/session-keys", get(list).post(rotate))
}

#[derive(Deserialize)]
struct Asked {
    /// Whether the keys so far may be somebody else's, too.
    #[serde(default)]
    compromised: bool,
}

/// Every key there ever was, the newest first.
async fn list(State(doors): State<Doors>) -> Result<Response, ApiError> {
    let known = doors.application.session_keys().await?;
    let keys = known.keys.all().iter().rev();
    let keys = keys.map(|key| public(&doors, &known.keys, key));
    Ok(Json(json!({"keys": keys.collect::<Vec<_>>()})).into_response())
}

/// Makes a new key.
async fn rotate(
    State(doors): State<Doors>,
    caller: RequestContext,
    Json(asked): Json<Asked>,
) -> Result<Response, ApiError> {
    let metadata = caller.metadata("rotate_session_keys");
    let application = &doors.application;
    let new = application
        .rotate_session_keys(asked.compromised, &metadata)
        .await?;
    let known = application.session_tokens.known();
    Ok((StatusCode::CREATED, Json(public(&doors, &known.keys, &new))).into_response())
}

fn public(doors: &Doors, keys: &SessionKeys, key: &SessionKey) -> Value {
    let application = &doors.application;
    let state = match keys.state(key, application.ledger.now()) {
        SessionKeyState::Published => "published",
        SessionKeyState::Signing => "signing",
        SessionKeyState::Verifying => "verifying",
        SessionKeyState::Retired => "retired",
    };
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let retires_at = keys.retires_at(key, application.session_tokens.max_ttl());
    json!({
        "kid": key.kid,
        "state": state,
        "created_at": key.created_at.to_string(),
        "signs_from": key.signs_from.to_string(),
        "retires_at": time(retires_at),
        "retired_at": time(key.retired.map(|(at, _)| at)),
        "reason": key.retired.map(|(_, reason)| match reason {
            RetireReason::Superseded => "superseded",
            RetireReason::Compromised => "compromised",
        }),
    })
}
