//! `GET /metrics` on the Broker: what the server counts.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use super::Doors;
use crate::application::provider_health::HealthStatus;
use crate::metrics::Moment;

/// `OpenMetrics` 1.0, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every figure, as it is now.
pub(super) async fn get(State(doors): State<Doors>) -> Response {
    let application = &doors.application;
    let text = doors.metrics.exposed(Moment {
        log_position: application.ledger.head().position(),
        waiting: application.waiters.count(),
        healthy: application.provider_health.count(HealthStatus::Healthy),
        unhealthy: application.provider_health.count(HealthStatus::Unhealthy),
    });
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}
