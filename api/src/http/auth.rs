//! API keys in `X-API-Key`.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::future::Either;
use http::{HeaderMap, HeaderName, Method};
use tower::{Service, layer::layer_fn};

use super::error::ApiError;
use crate::keys::{ApiKeys, KeyKind, KeyName};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Which keys open a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPolicy {
    /// Admin keys; caller keys are none of this surface's.
    Operator,
    /// Admin keys; caller keys are not permitted.
    Admin,
    /// Any key to read, admin keys for everything else.
    AdminToWrite,
    /// Any key.
    Any,
    /// None is needed; a valid one says who calls, anything else is ignored.
    Optional,
}

/// The key that a request was made with, put into its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub KeyName);

/// Puts the check before every route of the router: 401 `missing_api_key` or `invalid_api_key` where a key is required,
/// 403 `api_key_not_permitted` where it is of the wrong kind.
/// Unknown paths stay 404. The router must have a route.
pub fn with_api_key<S>(router: Router<S>, keys: ApiKeys, policy: KeyPolicy) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router.route_layer(layer_fn(move |inner| KeyCheck {
        keys: keys.clone(),
        policy,
        inner,
    }))
}

/// Stands before a route.
#[derive(Clone)]
struct KeyCheck<S> {
    keys: ApiKeys,
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
        let identified = identify(request.headers(), &self.keys);
        let permitted = identified.and_then(|(name, kind)| match kind {
            KeyKind::Admin => Ok(name),
            KeyKind::Caller => self.policy.permit_caller(request.method()).map(|()| name),
        });
        match permitted {
            Ok(name) => {
                request.extensions_mut().insert(Actor(name));
            }
            Err(_) if self.policy == KeyPolicy::Optional => {}
            Err(refusal) => return Either::Left(ready(Ok(refusal.into_response()))),
        }
        Either::Right(self.inner.call(request))
    }
}

impl KeyPolicy {
    /// Whether a caller key opens the door.
    fn permit_caller(self, method: &Method) -> Result<(), ApiError> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Self::Any | Self::Optional => Ok(()),
            Self::AdminToWrite if reads => Ok(()),
            Self::Admin | Self::AdminToWrite => Err(ApiError::api_key_not_permitted(
                "This door needs an admin key.",
            )),
            Self::Operator => Err(ApiError::invalid_api_key()),
        }
    }
}

fn identify(headers: &HeaderMap, keys: &ApiKeys) -> Result<(KeyName, KeyKind), ApiError> {
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
        let keys = ApiKeys::new(
            &[Secret::new("right")],
            &[Secret::new("caller")],
            &state_key,
        );
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
        let response = ask(KeyPolicy::Admin, "/door", Some("right")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(body_of(response).await.starts_with("key_"));
    }

    #[tokio::test]
    async fn a_door_that_needs_a_key_tells_a_missing_one_from_a_wrong_one() {
        let response = ask(KeyPolicy::Admin, "/door", None).await;
        assert_eq!(
            code_of(&response),
            (StatusCode::UNAUTHORIZED, "missing_api_key")
        );
        for wrong in ["", "wrong", "right,right"] {
            let response = ask(KeyPolicy::Admin, "/door", Some(wrong)).await;
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
    async fn a_callers_key_opens_what_its_door_says() {
        for (policy, code) in [
            (KeyPolicy::Operator, Some("invalid_api_key")),
            (KeyPolicy::Admin, Some("api_key_not_permitted")),
            (KeyPolicy::AdminToWrite, None),
            (KeyPolicy::Any, None),
            (KeyPolicy::Optional, None),
        ] {
            let response = ask(policy, "/door", Some("caller")).await;
            let refused = response.extensions().get::<ApiError>();
            assert_eq!(refused.map(ApiError::code), code, "{policy:?}");
        }
        assert!(
            KeyPolicy::AdminToWrite
                .permit_caller(&Method::POST)
                .is_err()
        );
    }

    #[tokio::test]
    async fn an_unknown_path_is_not_found_without_a_key() {
        let response = ask(KeyPolicy::Admin, "/elsewhere", None).await;
        assert_eq!(code_of(&response), (StatusCode::NOT_FOUND, "not_found"));
    }
}
