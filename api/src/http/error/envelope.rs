//! Turns every refusal, also those of the web framework, into the envelope with its request id.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::ApiError;

/// The envelope's own members, which no detail may replace.
pub(super) const RESERVED: [&str; 5] = [
    "error",
    "error_description",
    "code",
    "message",
    "request_id",
];

/// The envelope as JSON. Its members are strings and parsed JSON, which always serialize.
pub(super) fn body(error: &ApiError, request_id: Option<&str>) -> Body {
    Body::from(serde_json::to_vec(&error.envelope(request_id)).unwrap_or_default())
}

/// Completes a refusal on its way out: the request id goes into the envelope, and a refusal that the framework
/// worded itself (a path or query that does not parse) is put into one. Other answers pass unchanged.
pub(crate) fn complete(response: Response, request_id: &str) -> Response {
    let response = match framework_refusal(&response) {
        Some(error) => error.into_response(),
        None => response,
    };
    let Some(error) = response.extensions().get::<ApiError>().cloned() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, body(&error, Some(request_id)))
}

/// The envelope for an error answer that no handler of ours worded.
fn framework_refusal(response: &Response) -> Option<ApiError> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || response.extensions().get::<ApiError>().is_some() || is_ours(response) {
        return None;
    }
    Some(match status {
        StatusCode::NOT_FOUND => ApiError::not_found(),
        StatusCode::METHOD_NOT_ALLOWED => method_not_allowed(response.headers().get(ALLOW)),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::unsupported_media_type(),
        status if status.is_client_error() => {
            ApiError::invalid_field("The path or the query of this request is malformed.")
        }
        _ => ApiError::internal(),
    })
}

fn method_not_allowed(allow: Option<&HeaderValue>) -> ApiError {
    match allow {
        Some(methods) => ApiError::method_not_allowed().allow(methods.clone()),
        None => ApiError::method_not_allowed(),
    }
}

/// Pages and JSON documents with an error status (health, the callback's page) are somebody's deliberate answer.
fn is_ours(response: &Response) -> bool {
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type
        .is_some_and(|kind| kind.starts_with("application/json") || kind.starts_with("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn completed(response: Response) -> (StatusCode, serde_json::Value) {
        let response = complete(response, "r-1");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_refusal_gets_its_request_id() {
        let (_, body) = completed(ApiError::conflict("moved").into_response()).await;
        assert_eq!(body["request_id"], "r-1");
        assert_eq!(body["code"], "conflict");
    }

    #[tokio::test]
    async fn a_refusal_the_framework_worded_becomes_an_envelope() {
        let (status, body) =
            completed((StatusCode::BAD_REQUEST, "secret value").into_response()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["error"], "invalid_field");
        assert!(!body.to_string().contains("secret value"));

        let (status, body) = completed(StatusCode::BAD_GATEWAY.into_response()).await;
        assert_eq!(
            (status, body["code"].as_str()),
            (StatusCode::INTERNAL_SERVER_ERROR, Some("internal"))
        );
    }

    #[tokio::test]
    async fn a_deliberate_document_with_an_error_status_passes_unchanged() {
        let unhealthy = axum::Json(serde_json::json!({"status": "unhealthy"}));
        let (status, body) =
            completed((StatusCode::SERVICE_UNAVAILABLE, unhealthy).into_response()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, serde_json::json!({"status": "unhealthy"}));
    }
}
