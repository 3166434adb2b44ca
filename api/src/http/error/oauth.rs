//! Refusals at the doors that OAuth defines, in OAuth's own form (RFC 6749 §5.2).

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use tower::util::MapResponseLayer;

use super::ApiError;
use crate::http::headers::no_store;

/// How a caller says who it is (RFC 9110 §11.6.1).
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"ApiKey realm="nexus""#);

/// Gives every refusal of the router's routes, also those of the guards before them, OAuth's form, and keeps every answer
/// out of caches. The router must have a route.
pub(in crate::http) fn with_oauth_errors<S>(router: Router<S>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router.route_layer(MapResponseLayer::new(worded))
}

fn worded(response: Response) -> Response {
    let refusal = response.extensions().get::<ApiError>().cloned();
    no_store(match refusal {
        Some(refusal) => refusal.for_oauth().into_response(),
        None => response,
    })
}

impl ApiError {
    /// 400 `unsupported_media_type`: the body is no form.
    #[must_use]
    pub fn not_a_form() -> ApiError {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "unsupported_media_type",
            "This door takes a body of type application/x-www-form-urlencoded.",
        )
    }

    /// The same refusal with OAuth's word for it as `error` and its sentence as `error_description` beside the envelope's
    /// other members.
    fn for_oauth(mut self) -> ApiError {
        self.0.oauth = Some(word(self.0.status));
        self
    }

    /// What a 401 at a door of OAuth's challenges its caller with.
    pub(super) fn challenge(&self) -> Option<HeaderValue> {
        let asked = self.0.oauth.is_some() && self.0.status == StatusCode::UNAUTHORIZED;
        asked.then_some(CHALLENGE)
    }
}

/// OAuth has few words, and they say no more than the status does.
fn word(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "invalid_client",
        StatusCode::FORBIDDEN => "access_denied",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            "temporarily_unavailable"
        }
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};

    use super::*;

    async fn refused(error: ApiError) -> (Response, String) {
        let (parts, body) = worded(error.into_response()).into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (Response::from_parts(parts, axum::body::Body::empty()), text)
    }

    #[tokio::test]
    async fn a_refusal_has_oauths_word_and_keeps_its_own_beside_it() {
        let (response, body) = refused(ApiError::not_a_form()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let sentence = "This door takes a body of type application/x-www-form-urlencoded.";
        let expected = format!(
            r#"{{"error":"invalid_request","error_description":"{sentence}","code":"unsupported_media_type","message":"{sentence}"}}"#
        );
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn a_caller_without_a_key_is_challenged() {
        let (response, body) = refused(ApiError::missing_api_key()).await;
        assert_eq!(response.headers()[WWW_AUTHENTICATE], CHALLENGE);
        assert!(body.starts_with(r#"{"error":"invalid_client","#), "{body}");
        let elsewhere = ApiError::missing_api_key().into_response();
        assert!(!elsewhere.headers().contains_key(WWW_AUTHENTICATE));
    }

    #[tokio::test]
    async fn trouble_of_ours_says_when_to_come_back() {
        let (response, body) = refused(ApiError::overloaded().retry_after(1)).await;
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert!(
            body.starts_with(r#"{"error":"temporarily_unavailable","#),
            "{body}"
        );
        let (_, body) = refused(ApiError::internal()).await;
        assert!(body.starts_with(r#"{"error":"server_error","#), "{body}");
    }

    #[tokio::test]
    async fn an_answer_that_refuses_nothing_is_only_kept_out_of_caches() {
        let response = worded("active".into_response());
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }
}
