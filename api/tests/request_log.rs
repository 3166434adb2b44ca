//! What the log says about a request. Alone in its process, because subscribers are per process.

use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::routing::get;
use nexus_api::config::LogFormat;
use nexus_api::http::denied::Denied;
use nexus_api::http::log::LogLayer;
use nexus_api::http::stack::with_common_layers;
use nexus_api::logging;
use nexus_api::metrics::{Metrics, Surface};
use tower::ServiceExt;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .map_err(|_| io::Error::other("the capture is poisoned"))?
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn greet(Path(id): Path<String>) -> String {
    tracing::info!("greeting");
    format!("hello {id}")
}

#[tokio::test]
async fn the_log_names_the_route_template_and_never_the_path() {
    let captured = Captured::default();
    let written = logging::start(LogFormat::Json, captured.clone());

    let router = with_common_layers(
        Router::new().route("/v1/token/{id}", get(greet)),
        Arc::default(),
        None,
        LogLayer {
            metrics: Metrics::default(),
            surface: Surface::Gateway,
            denied: Denied::default(),
        },
    );
    let request =
        Request::get("/v1/token/bearer-capability?also=s3cret").header("X-Request-ID", "trace-3");
    let response = router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    drop(written);

    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        !text.contains("bearer-capability") && !text.contains("s3cret"),
        "{text}"
    );
    for line in &lines {
        assert_eq!(line["request_id"], "trace-3");
    }
    assert_eq!(lines[0]["fields"]["message"], "greeting");
    assert_eq!(lines[1]["fields"]["route"], "/v1/token/{id}");
    assert_eq!(lines[1]["fields"]["status"], 200);
    assert!(lines[1]["fields"]["latency_ms"].as_f64().unwrap() >= 0.0);
}
