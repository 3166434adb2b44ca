//! One log line per request.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use tracing::Instrument;

use super::request_id::RequestId;

/// Logs a request once it is answered: its method, the *template* of its route, the status, the latency in
/// milliseconds and the request id. Never the path: a connection's id in it opens that connection. Whatever the handler
/// logs stands in the same span, so under the same request id.
pub async fn log(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        route = route_of(&request),
        request_id = request_id_of(&request),
    );
    let response = next.run(request).instrument(span.clone()).await;
    let latency_ms = started.elapsed().as_secs_f64() * 1000.0;
    let status = response.status().as_u16();
    span.in_scope(|| tracing::info!(status, latency_ms, "answered"));
    response
}

fn route_of(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or_else(|| "(no route)".to_owned(), |path| path.as_str().to_owned())
}

fn request_id_of(request: &Request) -> String {
    let id = request.extensions().get::<RequestId>();
    id.map(|id| id.as_str().to_owned()).unwrap_or_default()
}
