//! `GET /v1/check-connection/{id}`

use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::Doors;
use super::caller::UnboundCaller;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::known::Known;
use crate::http::segment::Segment;

/// The longest that an answer waits, seconds.
const MAX_WAIT: u64 = 60;

/// How the answer is wanted.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Seconds, a text until it is judged.
    wait: Option<String>,
}

impl Wanted {
    fn wait(&self) -> Result<Duration, ApiError> {
        let Some(text) = &self.wait else {
            return Ok(Duration::ZERO);
        };
        let seconds = text.parse().ok().filter(|seconds| *seconds <= MAX_WAIT);
        seconds.map(Duration::from_secs).ok_or_else(|| {
            ApiError::invalid_field("`wait` must be a number of seconds from 0 to 60.")
                .with("field", "wait")
        })
    }
}

/// Where a connection stands: always 200, or 304 when the caller knows it; an unknown id has failed.
pub(super) async fn get(
    State(doors): State<Doors>,
    Segment(id): Segment,
    Query(wanted): Query<Wanted>,
    UnboundCaller(caller): UnboundCaller,
    known: Known,
) -> Result<Response, ApiError> {
    let wait = wanted.wait()?;
    let status = doors
        .application
        .check_connection(&id, &caller.metadata("check_connection"), wait)
        .await?;
    let etag = status
        .version
        .as_ref()
        .and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok());
    let mut response = match &etag {
        Some(etag) if known.includes(etag) => StatusCode::NOT_MODIFIED.into_response(),
        _ => Json(status).into_response(),
    };
    let answered = response.headers_mut();
    // It may be kept, if it is asked about again each time.
    answered.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Some(etag) = etag {
        answered.insert(ETAG, etag);
    }
    Ok(response)
}
