//! The two surfaces: which doors each mounts, and which of them need a key.

use axum::Router;
use axum::routing::{delete, get, post};

use super::{
    Doors, audit, audit_proof, callback, capture, check_connection, connections, health,
    projections, providers, refresh, request_connection, revoke, token,
};
use crate::http::auth::{KeyPolicy, with_api_key};
use crate::http::stack::with_common_layers;

/// The Gateway: for agents, applications and people's browsers. `all_need_keys` extends the keys
/// to the connection and token doors.
pub fn gateway(doors: Doors, redirect_path: &str, all_need_keys: bool) -> Router {
    let needs_key = |needed| {
        if needed {
            KeyPolicy::Any
        } else {
            KeyPolicy::Optional
        }
    };
    let connections = Router::new()
        .route("/v1/request-connection", post(request_connection::post))
        .route("/v1/check-connection/{id}", get(check_connection::get))
        .route("/v1/token/{id}", get(token::get))
        .route("/v1/refresh/{id}", post(refresh::post))
        .route("/v1/connections/{id}", delete(revoke::revoke));
    let resolve = Router::new().route("/v1/resolve", get(connections::resolve));
    let listing = Router::new().route("/v1/connections", get(connections::list));
    // The one-time state is what opens these.
    let open = Router::new()
        .route("/v1/capture-schema", get(capture::get_schema))
        .route("/v1/capture-credential", post(capture::post_credential))
        .route("/v1/callback", get(callback::get))
        .route("/v1/health", get(health::get));
    let resolve_needs_key = doors.resolve_needs_key || all_need_keys;
    let guarded = [
        (providers::gateway_routes(), KeyPolicy::AdminToWrite),
        (listing, KeyPolicy::Admin),
        (connections, needs_key(all_need_keys)),
        (resolve, needs_key(resolve_needs_key)),
        (
            open.merge(browser_doors(redirect_path)),
            KeyPolicy::Optional,
        ),
    ];
    surface(doors, guarded)
}

/// The Broker: for operators and auditors; a key on everything but the browser doors and health.
pub fn broker(doors: Doors, redirect_path: &str) -> Router {
    let keyed = providers::broker_routes()
        .merge(connections::broker_routes())
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
    let open = browser_doors(redirect_path);
    surface(
        doors,
        [(keyed, KeyPolicy::Operator), (open, KeyPolicy::Optional)],
    )
}

/// What people's browsers open, on both ports.
fn browser_doors(redirect_path: &str) -> Router<Doors> {
    Router::new()
        .route(redirect_path, get(callback::get))
        .route("/auth/capture-schema", get(capture::get_schema))
}

/// A surface of doors, each kind with the keys that open it, and of those that every surface has.
fn surface<const N: usize>(doors: Doors, guarded: [(Router<Doors>, KeyPolicy); N]) -> Router {
    let health = Router::new()
        .route("/health", get(health::get))
        .route("/livez", get(health::live));
    let guard = |router, policy| {
        let policy = if doors.require_key {
            policy
        } else {
            KeyPolicy::Optional
        };
        with_api_key(router, doors.keys.clone(), policy)
    };
    let all = guarded.into_iter().fold(
        guard(health, KeyPolicy::Optional),
        |all, (router, policy)| all.merge(guard(router, policy)),
    );
    with_common_layers(all).with_state(doors)
}
