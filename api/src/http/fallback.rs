//! Answers for paths and methods that no door knows.

use axum::Router;

use super::error::ApiError;

/// Makes the router answer 404 `not_found` for unknown paths, and 405 `method_not_allowed` with `Allow` for unknown
/// methods of known ones, both as envelopes.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn not_found() -> ApiError {
    ApiError::not_found()
}

/// The router adds `Allow` to whatever this answers.
async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use http::StatusCode;
    use http::header::ALLOW;
    use tower::ServiceExt;

    use super::*;

    fn router() -> Router {
        with_fallbacks(Router::new().route(
            "/known",
            get(|| async { "here" }).delete(|| async { "gone" }),
        ))
    }

    #[tokio::test]
    async fn an_unknown_path_is_not_found() {
        let request = Request::get("/other").body(Body::empty()).unwrap();
        let response = router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(
            response.extensions().get::<ApiError>().unwrap().code(),
            "not_found"
        );
    }

    #[tokio::test]
    async fn an_unknown_method_is_refused_naming_the_known_ones() {
        let request = Request::post("/known").body(Body::empty()).unwrap();
        let response = router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(
            response.extensions().get::<ApiError>().unwrap().code(),
            "method_not_allowed"
        );
        assert_eq!(response.headers()[ALLOW], "GET,HEAD,DELETE");
    }
}
