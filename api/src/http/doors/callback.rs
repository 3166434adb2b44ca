//! `GET {REDIRECT_PATH}`, `GET /v1/callback`: the user comes back from the provider.

use axum::extract::{Query, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::Doors;
use super::capture_form::{back_to, refused};
use crate::application::complete_consent::{Callback, CallbackError};
use crate::http::context::RequestContext;
use crate::http::error::ApiError;

/// What came back with the user.
#[derive(Deserialize)]
pub(super) struct Parameters {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

impl From<CallbackError> for ApiError {
    fn from(error: CallbackError) -> Self {
        match error {
            CallbackError::MissingParams => {
                Self::missing_params("state, and code or error, are needed.")
            }
            CallbackError::InvalidState => Self::invalid_state(
                "The link is not valid or has expired; start again from the application.",
            ),
            CallbackError::StateUsed => {
                Self::state_used("The link was used before; start again from the application.")
            }
            CallbackError::Fault(fault) => fault.into(),
        }
    }
}

/// Completes the consent and sends the user back to the application.
pub(super) async fn get(
    State(doors): State<Doors>,
    headers: HeaderMap,
    caller: RequestContext,
    Query(parameters): Query<Parameters>,
) -> Response {
    let Parameters {
        code,
        state,
        iss,
        error,
    } = parameters;
    let callback = Callback {
        code,
        state,
        iss,
        error,
    };
    match doors
        .application
        .complete_consent(callback, caller.metadata("callback"))
        .await
    {
        Ok(return_url) => back_to(&return_url),
        Err(error) => refusal(error.into(), &headers),
    }
}

/// A page for people, an envelope for programs. A callback's 409 is a page's 400 as well: the state is no good.
fn refusal(error: ApiError, headers: &HeaderMap) -> Response {
    let error = if error.status() == StatusCode::CONFLICT {
        error.with_status(StatusCode::BAD_REQUEST)
    } else {
        error
    };
    refused(&error, headers)
}
