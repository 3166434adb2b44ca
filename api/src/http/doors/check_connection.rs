//! `GET /v1/check-connection/{id}`

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::Doors;
use super::caller::Caller;
use crate::http::error::ApiError;
use crate::http::json::Json;

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
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
    caller: Caller,
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

/// The entity tags that the caller knows (`If-None-Match`), copied: a header keeps the whole buffer that the request was
/// read into, which is no longer needed while the answer waits.
pub(super) struct Known(Box<[Box<str>]>);

impl Known {
    fn of(headers: &HeaderMap) -> Self {
        let named = headers.get_all(IF_NONE_MATCH).iter();
        Self(
            named
                .filter_map(|value| Some(value.to_str().ok()?.into()))
                .collect(),
        )
    }

    /// Whether an entity tag is among them (RFC 9110, section 13.1.2: compared weakly).
    fn includes(&self, etag: &HeaderValue) -> bool {
        self.0.iter().flat_map(|value| value.split(',')).any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_a_list_and_when_it_is_weak() {
        let etag = HeaderValue::from_static("\"7\"");
        for (sent, known) in [
            ("\"7\"", true),
            ("W/\"7\"", true),
            ("\"6\", \"7\"", true),
            ("*", true),
            ("\"7.lapsed\"", false),
            ("7", false),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(sent))]);
            assert_eq!(Known::of(&headers).includes(&etag), known, "{sent}");
        }
        assert!(!Known::of(&HeaderMap::new()).includes(&etag));
    }
}
