//! The two surfaces: which doors each mounts, and which of them need a key.

use axum::Router;
use axum::routing::{get, post};

use super::{
    Doors, audit, audit_proof, callback, capture, check_connection, health, projections, providers,
    refresh, request_connection, token,
};
use crate::http::auth::{KeyPolicy, with_api_key};
use crate::http::stack::with_common_layers;

/// The Gateway: for agents, applications and people's browsers. `all_need_keys` extends the keys
/// to the connection and token doors.
pub fn gateway(doors: Doors, redirect_path: &str, all_need_keys: bool) -> Router {
    let keyed = providers::gateway_routes();
    let connections = Router::new()
        .route("/v1/request-connection", post(request_connection::post))
        .route("/v1/check-connection/{id}", get(check_connection::get))
        .route("/v1/token/{id}", get(token::get))
        .route("/v1/refresh/{id}", post(refresh::post));
    // The one-time state is what opens these.
    let capture = Router::new()
        .route("/v1/capture-schema", get(capture::get_schema))
        .route("/v1/capture-credential", post(capture::post_credential));
    let (keyed, connections) = if all_need_keys {
        (keyed.merge(connections), Router::new())
    } else {
        (keyed, connections)
    };
    let open = Router::new()
        .route("/v1/callback", get(callback::get))
        .route("/v1/health", get(health::get))
        .merge(connections)
        .merge(capture);
    surface(doors, keyed, open.merge(browser_doors(redirect_path)))
}

/// The Broker: for operators and auditors; a key on everything but the browser doors and health.
pub fn broker(doors: Doors, redirect_path: &str) -> Router {
    let keyed = providers::broker_routes()
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
    surface(doors, keyed, browser_doors(redirect_path))
}

/// What people's browsers open, on both ports.
fn browser_doors(redirect_path: &str) -> Router<Doors> {
    Router::new()
        .route(redirect_path, get(callback::get))
        .route("/auth/capture-schema", get(capture::get_schema))
}

fn surface(doors: Doors, keyed: Router<Doors>, open: Router<Doors>) -> Router {
    let policy = if doors.require_key {
        KeyPolicy::Required
    } else {
        KeyPolicy::Optional
    };
    let keyed = with_api_key(keyed, doors.keys.clone(), policy);
    let open = open
        .route("/health", get(health::get))
        .route("/livez", get(health::live));
    let open = with_api_key(open, doors.keys.clone(), KeyPolicy::Optional);
    with_common_layers(keyed.merge(open)).with_state(doors)
}
