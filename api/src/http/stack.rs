//! The middleware that every surface wears, in its order.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;

use super::client_ip::identified;
use super::error::ApiError;
use super::fallback::with_fallbacks;
use super::log::LogLayer;

/// Dresses a surface's router: from the outside in, who the client is behind `trusted_proxies`, the request id with the envelope and the safety headers, the log
/// line, and the net under panicking handlers (500 `internal`). Unknown paths and methods are answered, too.
pub fn with_common_layers<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    trusted_proxies: Arc<[IpNet]>,
    cors: Option<CorsLayer>,
    log: LogLayer,
) -> Router<S> {
    let router = with_fallbacks(router);
    // Preflights are answered before it is found out that their method is none of the door's.
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    let layers = ServiceBuilder::new()
        .map_request(move |request: Request| identified(request, &trusted_proxies))
        .layer(log)
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(CatchPanicLayer::custom(panicked));
    router.layer(layers)
}

/// The panic's own message may quote anything, so it is not repeated here.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    ApiError::internal().into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Path;
    use axum::routing::get;
    use http::header::{ALLOW, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
    use tower::ServiceExt;

    use super::*;
    use crate::http::denied::Denied;
    use crate::metrics::{Metrics, Surface};

    async fn greet(Path(id): Path<String>) -> String {
        format!("hello {id}")
    }

    async fn break_down() -> &'static str {
        panic!("s3cret state");
    }

    fn router() -> Router {
        let log = LogLayer {
            metrics: Metrics::default(),
            surface: Surface::Gateway,
            denied: Denied::default(),
        };
        let router = Router::new()
            .route("/v1/token/{id}", get(greet))
            .route(
                "/number/{n}",
                get(|Path(n): Path<u32>| async move { n.to_string() }),
            )
            .route("/break", get(break_down));
        with_common_layers(router, Arc::default(), None, log)
    }

    async fn ask(method: &str, path: &str, id: Option<&str>) -> (Response, serde_json::Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(id) = id {
            request = request.header("X-Request-ID", id);
        }
        let response = router()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (
            Response::from_parts(parts, Body::empty()),
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }

    #[tokio::test]
    async fn the_callers_request_id_comes_back_in_header_and_envelope() {
        let (response, body) = ask("GET", "/nowhere", Some("trace-1")).await;
        assert_eq!(response.headers()["x-request-id"], "trace-1");
        assert_eq!(
            (body["code"].as_str(), body["request_id"].as_str()),
            (Some("not_found"), Some("trace-1"))
        );
    }

    #[tokio::test]
    async fn a_strange_request_id_is_replaced() {
        let (response, _) = ask("GET", "/v1/token/x", Some("not sane")).await;
        let id = response.headers()["x-request-id"].to_str().unwrap();
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
    }

    #[tokio::test]
    async fn every_answer_carries_the_safety_headers() {
        for path in ["/v1/token/x", "/nowhere"] {
            let (response, _) = ask("GET", path, None).await;
            assert_eq!(response.headers()[REFERRER_POLICY], "no-referrer");
            assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }

    #[tokio::test]
    async fn a_wrong_method_is_an_envelope_with_allow() {
        let (response, body) = ask("DELETE", "/v1/token/x", None).await;
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "GET,HEAD");
        assert_eq!(body["code"], "method_not_allowed");
    }

    #[tokio::test]
    async fn a_path_the_framework_refuses_is_an_envelope() {
        let (response, body) = ask("GET", "/number/many", Some("trace-2")).await;
        assert_eq!(response.status(), 400);
        assert_eq!(
            (body["code"].as_str(), body["request_id"].as_str()),
            (Some("invalid_field"), Some("trace-2"))
        );
    }

    #[tokio::test]
    async fn a_panicking_handler_answers_internal_and_says_nothing_of_its_state() {
        let (response, body) = ask("GET", "/break", None).await;
        assert_eq!(response.status(), 500);
        assert_eq!(body["code"], "internal");
        assert!(!body.to_string().contains("s3cret"));
    }
}
