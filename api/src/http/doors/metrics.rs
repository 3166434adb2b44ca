//! `GET /metrics` on the Broker: what the server counts.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Doors;

/// `OpenMetrics` 1.0, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every figure, as it is now.
pub(super) async fn get(State(doors): State<Doors>) -> Response {
    let application = &doors.application;
    let position = application.ledger.head().position();
    let waiting = application.waiters.count();
    let text = doors.metrics.exposed(position, waiting);
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}
