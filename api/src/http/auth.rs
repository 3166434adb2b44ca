//! API keys in `X-API-Key`.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::future::Either;
use http::{HeaderMap, HeaderName};
use tower::{Service, layer::layer_fn};

use super::error::ApiError;
use crate::keys::{ApiKeys, KeyName};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Whether a door opens without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPolicy {
    /// A valid key is needed.
    Required,
    /// None is needed; a valid one says who calls, anything else is ignored.
    Optional,
}

/// The key that a request was made with, put into its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub KeyName);

/// Puts the check before every route of the router: 401 `missing_api_key` or `invalid_api_key` where a key is required.
/// Unknown paths stay 404. The router must have a route.
pub fn with_api_key<S>(router: Router<S>, keys: Arc<ApiKeys>, policy: KeyPolicy) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router.route_layer(layer_fn(move |inner| KeyCheck {
        keys: Arc::clone(&keys),
        policy,
        inner,
    }))
}

/// Stands before a route.
#[derive(Clone)]
struct KeyCheck<S> {
    keys: Arc<ApiKeys>,
    policy: KeyPolicy,
    inner: S,
}

impl<S: Service<Request, Response = Response>> Service<Request> for KeyCheck<S> {
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match (identify(request.headers(), &self.keys), self.policy) {
            (Ok(name), _) => {
                request.extensions_mut().insert(Actor(name));
            }
            (Err(_), KeyPolicy::Optional) => {}
            (Err(refusal), KeyPolicy::Required) => {
                return Either::Left(ready(Ok(refusal.into_response())));
            }
        }
        Either::Right(self.inner.call(request))
    }
}

fn identify(headers: &HeaderMap, keys: &ApiKeys) -> Result<KeyName, ApiError> {
    let sent = headers
        .get(X_API_KEY)
        .ok_or_else(ApiError::missing_api_key)?;
    let text = sent.to_str().map_err(|_| ApiError::invalid_api_key())?;
    keys.authorize(text).ok_or_else(ApiError::invalid_api_key)
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use nexus_domain::secret::Secret;
    use tower::ServiceExt;

    use super::*;
    use crate::http::fallback::with_fallbacks;
    use crate::keys::{KeyMaterial, StateKey};

    async fn who(actor: Option<Extension<Actor>>) -> String {
        actor.map_or_else(
            || "nobody".to_owned(),
            |Extension(Actor(name))| name.to_string(),
        )
    }

    async fn ask(policy: KeyPolicy, path: &str, key: Option<&str>) -> Response {
        let state_key = StateKey::new(KeyMaterial::from_bytes([7; 32]));
        let keys = Arc::new(ApiKeys::new(&[Secret::new("right")], &state_key));
        let router = with_fallbacks(with_api_key(
            Router::new().route("/door", get(who)),
            keys,
            policy,
        ));
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("X-API-Key", key);
        }
        router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    async fn body_of(response: Response) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn code_of(response: &Response) -> (StatusCode, &str) {
        (
            response.status(),
            response.extensions().get::<ApiError>().unwrap().code(),
        )
    }

    #[tokio::test]
    async fn a_door_that_needs_a_key_opens_to_a_valid_one_and_learns_its_name() {
        let response = ask(KeyPolicy::Required, "/door", Some("right")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(body_of(response).await.starts_with("key_"));
    }

    #[tokio::test]
    async fn a_door_that_needs_a_key_tells_a_missing_one_from_a_wrong_one() {
        let response = ask(KeyPolicy::Required, "/door", None).await;
        assert_eq!(
            code_of(&response),
            (StatusCode::UNAUTHORIZED, "missing_api_key")
        );
        for wrong in ["", "wrong", "right,right"] {
            let response = ask(KeyPolicy::Required, "/door", Some(wrong)).await;
            assert_eq!(
                code_of(&response),
                (StatusCode::UNAUTHORIZED, "invalid_api_key"),
                "{wrong:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_open_door_takes_note_of_a_valid_key_and_ignores_others() {
        assert!(
            body_of(ask(KeyPolicy::Optional, "/door", Some("right")).await)
                .await
                .starts_with("key_")
        );
        for key in [None, Some("wrong")] {
            assert_eq!(
                body_of(ask(KeyPolicy::Optional, "/door", key).await).await,
                "nobody"
            );
        }
    }

    #[tokio::test]
    async fn an_unknown_path_is_not_found_without_a_key() {
        let response = ask(KeyPolicy::Required, "/elsewhere", None).await;
        assert_eq!(code_of(&response), (StatusCode::NOT_FOUND, "not_found"));
    }
}
