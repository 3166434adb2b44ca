//! What a door answers when it refuses: a status, a stable code, a sentence, and details.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

mod codes;
mod envelope;
mod oauth;

pub(crate) use envelope::complete;
pub(super) use oauth::with_oauth_errors;

/// A refusal in the wire contract's terms.
///
/// Its body is the envelope `{"error", "code", "message", "request_id", …details}`; the request id is filled in by
/// [`request_id`](super::request_id). The message of a 5xx is constant: the constructors of those codes take none.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError(Box<Refusal>);

#[derive(Debug, Clone, PartialEq)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    details: Map<String, Value>,
    retry_after: Option<u64>,
    allow: Option<HeaderValue>,
    /// OAuth's word for it, at the doors that OAuth defines.
    oauth: Option<&'static str>,
}

impl ApiError {
    fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> ApiError {
        ApiError(Box::new(Refusal {
            status,
            code,
            message: message.into(),
            details: Map::new(),
            retry_after: None,
            allow: None,
            oauth: None,
        }))
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code, `snake_case`, of the wire contract's table.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The sentence for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The same refusal under another status, for a door whose contract says so.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> ApiError {
        self.0.status = status;
        self
    }

    /// Adds a member beside the envelope's own. The names of the envelope itself are left alone.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> ApiError {
        if !envelope::RESERVED.contains(&name) {
            self.0.details.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Says in `Retry-After` after how many seconds trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> ApiError {
        self.0.retry_after = Some(seconds);
        self
    }

    /// After how many seconds trying again makes sense, where that is known.
    pub(super) fn waits(&self) -> Option<u64> {
        self.0.retry_after
    }

    /// Names in `Allow` the methods that the path does know.
    #[must_use]
    pub fn allow(mut self, methods: HeaderValue) -> ApiError {
        self.0.allow = Some(methods);
        self
    }

    fn envelope<'a>(&'a self, request_id: Option<&'a str>) -> Envelope<'a> {
        Envelope {
            error: self.0.oauth.unwrap_or(self.0.code),
            error_description: self.0.oauth.map(|_| self.message()),
            code: self.0.code,
            message: &self.0.message,
            request_id,
            details: &self.0.details,
        }
    }
}

/// The body, in the order a reader expects its members.
#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    details: &'a Map<String, Value>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, envelope::body(&self, None)).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        let mut response = self.mark(response);
        response.extensions_mut().insert(self);
        response
    }
}

/// The code of a refusal, on every answer that is one, whatever its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str);

impl ApiError {
    /// Gives an answer the headers of this refusal, and its code to be counted by.
    pub(super) fn mark(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(seconds) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.0.allow.clone() {
            headers.insert(ALLOW, methods);
        }
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(Refused(self.0.code));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(error: ApiError) -> String {
        let body = error.into_response().into_body();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_envelope_carries_the_code_twice_then_the_sentence_then_the_details() {
        let error = ApiError::provider_not_found("no such provider").with("provider_name", "acme");
        assert_eq!(
            body_of(error).await,
            r#"{"error":"provider_not_found","code":"provider_not_found","message":"no such provider","provider_name":"acme"}"#
        );
    }

    #[tokio::test]
    async fn a_detail_cannot_replace_a_member_of_the_envelope() {
        let error = ApiError::conflict("moved")
            .with("code", "other")
            .with("request_id", "forged");
        assert_eq!(
            body_of(error).await,
            r#"{"error":"conflict","code":"conflict","message":"moved"}"#
        );
    }

    #[test]
    fn retry_after_and_allow_travel_as_headers() {
        let response = ApiError::overloaded().retry_after(7).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "7");

        let response = ApiError::method_not_allowed()
            .allow(HeaderValue::from_static("GET,HEAD"))
            .into_response();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "GET,HEAD");
    }
}
