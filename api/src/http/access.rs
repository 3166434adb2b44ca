//! From where, and how often, a surface may be called.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer};

use super::client_ip::{ClientIp, is_in};
use super::error::ApiError;
use crate::source::Source;

/// How often a limiter forgets who has not called lately.
const FORGET_EVERY: Duration = Duration::from_mins(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Lets only the addresses of `allowed` through: 403 `ip_not_allowed`. The router must have a route.
pub(super) fn with_allow_list<S>(router: Router<S>, allowed: Option<&Arc<[IpNet]>>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let Some(allowed) = allowed.cloned() else {
        return router;
    };
    router.route_layer(axum::middleware::from_fn(
        move |request: Request, next: axum::middleware::Next| {
            let client = request.extensions().get::<ClientIp>();
            let permitted = client.is_some_and(|ClientIp(client)| is_in(*client, &allowed));
            async move {
                if permitted {
                    next.run(request).await
                } else {
                    let message = "This address may not call this door.";
                    ApiError::ip_not_allowed(message).into_response()
                }
            }
        },
    ))
}

/// Lets each client through so often a minute: 429 `rate_limited`. The router must have a route. Must be called inside
/// a Tokio runtime.
pub(super) fn with_rate_limit<S>(router: Router<S>, per_minute: Option<NonZeroU32>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let Some(per_minute) = per_minute else {
        return router;
    };
    let config = GovernorConfigBuilder::default()
        .period(MINUTE / per_minute.get())
        .burst_size(per_minute.get())
        .key_extractor(ByClient)
        .finish();
    let Some(config) = config else {
        return router;
    };
    let limiter = Arc::downgrade(config.limiter());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            let Some(limiter) = limiter.upgrade() else {
                return;
            };
            limiter.retain_recent();
        }
    });
    router.route_layer(GovernorLayer::new(config).error_handler(|error| refused(&error)))
}

fn refused(error: &GovernorError) -> Response<Body> {
    match error {
        GovernorError::TooManyRequests { wait_time, .. } => {
            let refusal = ApiError::rate_limited("This address has called too often.");
            refusal.retry_after((*wait_time).max(1)).into_response()
        }
        GovernorError::UnableToExtractKey | GovernorError::Other { .. } => {
            ApiError::internal().into_response()
        }
    }
}

/// Each source on its own.
#[derive(Debug, Clone, Copy)]
struct ByClient;

impl KeyExtractor for ByClient {
    type Key = Source;

    fn extract<T>(&self, request: &http::Request<T>) -> Result<Source, GovernorError> {
        let client = request.extensions().get::<ClientIp>();
        let ClientIp(address) = client.ok_or(GovernorError::UnableToExtractKey)?;
        Ok(Source::of(*address))
    }
}
