//! What the server counts, for Prometheus. Labels are few and known: a route is its template, never a path.

use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::MatchedPath;
use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// A surface, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// The Gateway.
    Gateway,
    /// The Broker.
    Broker,
}

impl EncodeLabelValue for Surface {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let name = match self {
            Self::Gateway => "gateway",
            Self::Broker => "broker",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

/// A route's template; none for a path that nothing is at.
#[derive(Clone, Debug)]
struct Route(Option<MatchedPath>);

impl Route {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("none", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    surface: Surface,
    method: &'static str,
    route: Route,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Door {
    surface: Surface,
    route: Route,
}

/// Everything that is counted; clones share it.
#[derive(Clone)]
pub struct Metrics(Arc<Counted>);

struct Counted {
    registry: Registry,
    answered: Family<Answered, Counter>,
    seconds: Family<Door, Histogram>,
    log_position: Gauge<u64, AtomicU64>,
    waiting: Gauge<u64, AtomicU64>,
    providers: Family<Health, Gauge<u64, AtomicU64>>,
}

/// How providers are, as a label: their names are anybody's, so they are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Health {
    health_status: &'static str,
}

/// Figures of the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// The newest position of the log.
    pub log_position: u64,
    /// Connections that polls wait on.
    pub waiting: u64,
    /// Providers that were there when they were last checked.
    pub healthy: u64,
    /// Providers that were not.
    pub unhealthy: u64,
}

impl Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}

/// From 0.25 ms to 8 s.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("nexus");
        let answered = Family::default();
        let seconds = Family::new_with_constructor(buckets as fn() -> Histogram);
        let (log_position, waiting) = (Gauge::default(), Gauge::default());
        registry.register(
            "http_requests",
            "Requests answered, by route template",
            answered.clone(),
        );
        registry.register_with_unit(
            "http_request_duration",
            "How long answers took; polls that wait for a change included",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register(
            "log_position",
            "The newest position of the log that this process knows of",
            log_position.clone(),
        );
        registry.register(
            "waiting_polls",
            "Connections that polls wait on",
            waiting.clone(),
        );
        let providers = Family::default();
        registry.register(
            "providers_checked",
            "Providers, by what this process saw when it last checked them",
            providers.clone(),
        );
        registry.register(
            "build",
            "What runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self(Arc::new(Counted {
            registry,
            answered,
            seconds,
            log_position,
            waiting,
            providers,
        }))
    }
}

impl Metrics {
    /// Counts an answer.
    pub(crate) fn answered(
        &self,
        surface: Surface,
        method: &Method,
        route: Option<&MatchedPath>,
        status: StatusCode,
        took: Duration,
    ) {
        let route = Route(route.cloned());
        let door = Door {
            surface,
            route: route.clone(),
        };
        let seconds = took.as_secs_f64();
        self.0.seconds.get_or_create(&door).observe(seconds);
        let answered = Answered {
            surface,
            method: known(method),
            route,
            status: status.as_u16(),
        };
        self.0.answered.get_or_create(&answered).inc();
    }

    /// Everything, in the `OpenMetrics` text format, with these figures of the moment.
    #[must_use]
    pub fn exposed(&self, moment: Moment) -> String {
        self.0.log_position.set(moment.log_position);
        self.0.waiting.set(moment.waiting);
        for (health_status, count) in [("healthy", moment.healthy), ("unhealthy", moment.unhealthy)]
        {
            let providers = self.0.providers.get_or_create(&Health { health_status });
            providers.set(count);
        }
        let mut text = String::new();
        // A string takes everything.
        let _written = text::encode(&mut text, &self.0.registry);
        text
    }
}

/// Methods that anybody invents are one label.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_under_names_that_prometheus_knows() {
        let metrics = Metrics::default();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::NOT_FOUND] {
            let took = Duration::from_millis(3);
            metrics.answered(Surface::Gateway, &Method::GET, None, status, took);
        }
        let odd = Method::from_bytes(b"BREW").unwrap();
        let took = Duration::from_mins(1);
        metrics.answered(Surface::Broker, &odd, None, StatusCode::OK, took);
        let text = metrics.exposed(Moment {
            log_position: 7,
            waiting: 2,
            healthy: 3,
            unhealthy: 1,
        });
        for line in [
            "nexus_http_requests_total{surface=\"gateway\",method=\"GET\",route=\"none\",status=\"200\"} 2",
            "nexus_http_requests_total{surface=\"gateway\",method=\"GET\",route=\"none\",status=\"404\"} 1",
            "nexus_http_requests_total{surface=\"broker\",method=\"other\",route=\"none\",status=\"200\"} 1",
            "nexus_http_request_duration_seconds_count{surface=\"gateway\",route=\"none\"} 3",
            "nexus_http_request_duration_seconds_bucket{le=\"0.004\",surface=\"gateway\",route=\"none\"} 3",
            "nexus_http_request_duration_seconds_bucket{le=\"+Inf\",surface=\"broker\",route=\"none\"} 1",
            "nexus_log_position 7",
            "nexus_waiting_polls 2",
            "nexus_providers_checked{health_status=\"healthy\"} 3",
            "nexus_providers_checked{health_status=\"unhealthy\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
