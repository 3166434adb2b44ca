//! `GET {REDIRECT_PATH}`, `GET /v1/callback`: the user comes back from the provider.

use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;

use super::Doors;
use super::capture_form::back_to;
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
    caller: RequestContext,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
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
    let completed = doors
        .application
        .complete_consent(callback, caller.metadata("callback"))
        .await;
    match completed {
        Ok(return_url) => Ok(back_to(&return_url)),
        Err(error) => Err(refusal(error.into())),
    }
}

/// A callback's 409 is a 400: the state is no good.
fn refusal(error: ApiError) -> ApiError {
    if error.status() == StatusCode::CONFLICT {
        error.with_status(StatusCode::BAD_REQUEST)
    } else {
        error
    }
}
