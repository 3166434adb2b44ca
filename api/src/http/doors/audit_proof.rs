//! What the log is verified by: `GET /audit/key`, `GET /audit/checkpoint`, and
//! `GET` and `POST /admin/v1/verification` on the Broker.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use nexus_ledger::checkpoint::{Checkpoint, VerifierKey};
use serde::Deserialize;
use serde_json::json;

use super::Doors;
use crate::application::Fault;
use crate::http::error::ApiError;
use crate::http::json::{Json, RawJson};

/// What the verification must agree with beside the database.
#[derive(Default, Deserialize)]
struct KeptOutside {
    #[serde(default)]
    checkpoints: Vec<String>,
}

/// The public key, as C2SP signed notes write one.
pub(super) async fn key(State(doors): State<Doors>) -> Result<Response, ApiError> {
    Ok(text(format!("{}\n", verifier_key(&doors)?)))
}

/// The newest signed checkpoint, a C2SP signed note.
pub(super) async fn checkpoint(State(doors): State<Doors>) -> Result<Response, ApiError> {
    let backend = doors.application.reads.backend();
    let newest = backend.newest_checkpoint().await.map_err(Fault::from)?;
    let newest = newest.ok_or_else(ApiError::not_found)?;
    Ok(text(newest.note))
}

/// How the newest verification goes or went.
pub(super) async fn status(State(doors): State<Doors>) -> Response {
    Json(json!({"verification": doors.verifications.status()})).into_response()
}

/// Starts a verification; it goes on in the background.
pub(super) async fn start(State(doors): State<Doors>, body: RawJson) -> Result<Response, ApiError> {
    let kept: KeptOutside = body.parse()?;
    let key = verifier_key(&doors)?;
    let outside: Result<Vec<Checkpoint>, ApiError> = kept
        .checkpoints
        .iter()
        .enumerate()
        .map(|(index, note)| key.verify(note).map_err(|_| not_ours(index)))
        .collect();
    doors
        .verifications
        .start(&doors.application.ledger, key.clone(), outside?)
        .map_err(|running| ApiError::conflict(format!("{running}.")))?;
    let mut response = Json(json!({"status": "started"})).into_response();
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn verifier_key(doors: &Doors) -> Result<&VerifierKey, Fault> {
    let key = doors.application.ledger.verifier_key();
    key.ok_or_else(|| Fault::Internal("the log has no checkpoint key".to_owned()))
}

fn not_ours(index: usize) -> ApiError {
    ApiError::invalid_field("A checkpoint is not signed by this log's key.")
        .with("field", format!("checkpoints[{index}]"))
}

fn text(body: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}
