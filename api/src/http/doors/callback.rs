//! `GET {REDIRECT_PATH}`, `GET /v1/callback`: the user comes back from the provider.

use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Response};
use http::header::{ACCEPT, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::Doors;
use crate::application::complete_consent::{Callback, CallbackError};
use crate::http::context::RequestContext;
use crate::http::error::ApiError;
use crate::http::headers::no_store;

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
        Ok(return_url) => match HeaderValue::from_str(return_url.as_str()) {
            Ok(location) => no_store((StatusCode::FOUND, [(LOCATION, location)]).into_response()),
            Err(_) => ApiError::internal().into_response(),
        },
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
    let wants_page = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if !wants_page {
        return error.into_response();
    }
    let message = error.message();
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Not connected</title><h1>Not connected</h1><p>{message}</p></html>"
    );
    (error.status(), Html(page)).into_response()
}
