//! The two surfaces: which doors each mounts, and which of them need a key.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{delete, get, post};
use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use tower_http::cors::CorsLayer;

use super::{
    Doors, agent_sessions, agents, audit, audit_proof, callback, capture, capture_form,
    check_connection, connections, docs, health, jwks, metrics, oauth, projections, providers,
    refresh, request_connection, revoke, session_keys, token,
};
use crate::config::RateLimits;
use crate::http::access::{with_allow_list, with_rate_limit};
use crate::http::auth::{KeyPolicy, with_api_key};
use crate::http::denied::Denied;
use crate::http::error::with_oauth_errors;
use crate::http::log::LogLayer;
use crate::http::shown::with_pages;
use crate::http::stack::with_common_layers;
use crate::metrics::Surface;

/// What is configured of a surface.
#[derive(Clone)]
pub struct Access {
    /// The path of the callback.
    pub redirect_path: String,
    /// Whether the connection and token doors need a key, too.
    pub all_need_keys: bool,
    /// Whether the metrics need a key.
    pub metrics_need_key: bool,
    /// Who may call everything but the doors for people's browsers.
    pub allowed: Option<Arc<[IpNet]>>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// How often each client may call, a minute.
    pub limits: RateLimits,
    /// Which web pages may call the Gateway.
    pub cors_origins: Vec<HeaderValue>,
}

/// The Gateway: for agents, applications and people's browsers. Must be called inside a Tokio runtime.
pub fn gateway(doors: Doors, access: &Access) -> Router {
    let needs_key = |needed| {
        if needed {
            KeyPolicy::Any
        } else {
            KeyPolicy::Optional
        }
    };
    let limits = access.limits;
    let requesting = Router::new().route("/v1/request-connection", post(request_connection::post));
    let requesting = with_rate_limit(requesting, limits.request_connection);
    let reading = Router::new()
        .route("/v1/token/{id}", get(token::get))
        .route("/v1/refresh/{id}", post(refresh::post));
    let resolve = Router::new().route("/v1/resolve", get(connections::resolve));
    let connections = Router::new()
        .route("/v1/check-connection/{id}", get(check_connection::get))
        .route("/v1/connections/{id}", delete(revoke::revoke))
        .merge(requesting)
        .merge(with_rate_limit(reading, limits.token));
    let listing = Router::new().route("/v1/connections", get(connections::list));
    // The one-time state is what opens these.
    let followed = with_rate_limit(
        Router::new().route("/v1/callback", get(callback::get)),
        limits.callback,
    );
    let followed = followed.route("/v1/capture-schema", get(capture::get_schema));
    let open = with_pages(followed)
        .merge(with_rate_limit(
            Router::new().route("/v1/capture-credential", post(capture::post_credential)),
            limits.callback,
        ))
        .merge(browser_doors(access));
    let health = Router::new().route("/v1/health", get(health::get));
    let published = Router::new().route("/.well-known/jwks.json", get(jwks::get));
    let resolve_needs_key = doors.resolve_needs_key || access.all_need_keys;
    let guarded = [
        Guarded::listed(providers::gateway_routes(), KeyPolicy::AdminToWrite),
        Guarded::listed(listing, KeyPolicy::Admin),
        Guarded::listed(agent_sessions::routes(), KeyPolicy::Any),
        Guarded::listed(oauth::routes(), KeyPolicy::Any).by_oauth(),
        Guarded::listed(connections, needs_key(access.all_need_keys)),
        Guarded::listed(
            with_rate_limit(resolve, limits.token),
            needs_key(resolve_needs_key),
        ),
        Guarded::open(open.merge(health).merge(published)),
    ];
    let cors = access.cors_origins.clone();
    surface(Surface::Gateway, doors, guarded, access, cors)
}

/// What a web page of another origin may ask and see.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers(ASKED_WITH.map(HeaderName::from_static))
        .expose_headers(ANSWERED_WITH.map(HeaderName::from_static))
        .max_age(CORS_FOR)
}

const CORS_FOR: Duration = Duration::from_mins(10);
const ASKED_WITH: [&str; 8] = [
    "content-type",
    "idempotency-key",
    "if-none-match",
    "x-api-key",
    "x-nexus-agent",
    "x-nexus-operation",
    "x-nexus-subject",
    "x-request-id",
];
const ANSWERED_WITH: [&str; 5] = [
    "etag",
    "link",
    "retry-after",
    "x-next-cursor",
    "x-request-id",
];

/// The Broker: for operators and auditors; a key on everything but the browser doors and health.
pub fn broker(doors: Doors, access: &Access) -> Router {
    let keyed = providers::broker_routes()
        .merge(connections::broker_routes())
        .merge(agents::routes())
        .merge(session_keys::routes())
        .route("/auth/consent-spec", post(request_connection::post))
        .route("/audit", get(audit::get))
        .route("/v1/audit", get(audit::get))
        .route("/audit/key", get(audit_proof::key))
        .route("/audit/checkpoint", get(audit_proof::checkpoint))
        .route(
            "/admin/v1/verification",
            get(audit_proof::status).post(audit_proof::start),
        )
        .route("/admin/v1/projections", get(projections::list))
        .route(
            "/admin/v1/projections/{name}/rebuild",
            post(projections::rebuild),
        )
        .route(
            "/admin/v1/projections/{name}/verify",
            post(projections::verify),
        );
    let metrics = Router::new().route("/metrics", get(metrics::get));
    let metrics_policy = if access.metrics_need_key {
        KeyPolicy::Operator
    } else {
        KeyPolicy::Optional
    };
    // What the Broker's document refers to.
    let described = Router::new().route("/openapi.yaml", get(docs::gateway_document));
    let guarded = [
        Guarded::listed(keyed, KeyPolicy::Operator),
        Guarded::listed(metrics, metrics_policy),
        Guarded::open(browser_doors(access)),
        Guarded::open(described),
    ];
    surface(Surface::Broker, doors, guarded, access, Vec::new())
}

/// What people's browsers open, on both ports.
fn browser_doors(access: &Access) -> Router<Doors> {
    let limit = access.limits.callback;
    let callback = Router::new().route(&access.redirect_path, get(callback::get));
    // Who sends credentials may have the provider asked about each.
    let taking = post(capture_form::post).fallback(capture_form::only_post);
    let capture = Router::new().route("/auth/capture-credential", taking);
    let followed =
        with_rate_limit(callback, limit).route("/auth/capture-schema", get(capture::get_schema));
    let sent = with_pages(with_rate_limit(capture, limit));
    with_pages(followed).merge(sent.route_layer(from_fn(capture_form::forgetting)))
}

/// Doors of one kind.
struct Guarded {
    doors: Router<Doors>,
    /// Which keys open them.
    keys: KeyPolicy,
    /// Whether only addresses of the allow-list may call them.
    listed: bool,
    /// Whether they refuse as OAuth says.
    oauth: bool,
}

impl Guarded {
    /// For callers from addresses of the allow-list.
    fn listed(doors: Router<Doors>, keys: KeyPolicy) -> Self {
        Self {
            doors,
            keys,
            listed: true,
            oauth: false,
        }
    }

    /// For everybody.
    fn open(doors: Router<Doors>) -> Self {
        Self {
            doors,
            keys: KeyPolicy::Optional,
            listed: false,
            oauth: false,
        }
    }

    /// Defined by OAuth: whatever refuses, the guards too, uses its form.
    fn by_oauth(self) -> Self {
        Self {
            oauth: true,
            ..self
        }
    }
}

/// A surface of doors, each kind with its guards, and of those that every surface has.
fn surface<const N: usize>(
    surface: Surface,
    doors: Doors,
    guarded: [Guarded; N],
    access: &Access,
    cors_origins: Vec<HeaderValue>,
) -> Router {
    let open = Router::new()
        .route("/health", get(health::get))
        .route("/livez", get(health::live))
        .merge(docs::routes(surface));
    let guard = |guarded: Guarded| {
        let policy = if doors.require_key {
            guarded.keys
        } else {
            KeyPolicy::Optional
        };
        let keyed = with_api_key(guarded.doors, doors.keys.clone(), policy);
        // The last layer is asked first: from a wrong address no key can be tried.
        let allowed = access.allowed.as_ref().filter(|_| guarded.listed);
        let listed = with_allow_list(keyed, allowed);
        if guarded.oauth {
            with_oauth_errors(listed)
        } else {
            listed
        }
    };
    let all = guarded
        .into_iter()
        .fold(guard(Guarded::open(open)), |all, guarded| {
            all.merge(guard(guarded))
        });
    let cors = (!cors_origins.is_empty()).then(|| cors(cors_origins));
    let log = LogLayer {
        metrics: doors.metrics.clone(),
        surface,
        denied: Denied::of(doors.application.clone()),
    };
    with_common_layers(all, Arc::clone(&access.trusted_proxies), cors, log).with_state(doors)
}
