//! The outermost middleware: an id and a log line per request, and what every answer carries.
//!
//! A service written out rather than a middleware function: every request passes here, and the
//! functions cost two boxes and a cloned router each.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use http::Method;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::client_ip::ClientIp;
use super::denied::Denied;
use super::error::complete;
use super::headers::protect;
use super::request_id::{RequestId, X_REQUEST_ID};
use crate::logging::under;
use crate::metrics::{Metrics, Surface};

/// Gives a request its [`RequestId`], answers with it in header and error envelope, and logs the request once it is
/// answered: its method, the *template* of its route, the status, the latency in milliseconds and the id. Never the
/// path: a connection's id in it opens that connection. The answer is counted, too. Whatever the handler logs stands under the same id.
#[derive(Clone, Debug)]
pub struct LogLayer {
    /// Where answers are counted.
    pub metrics: Metrics,
    /// Under which surface.
    pub surface: Surface,
    /// Where refusals are counted.
    pub denied: Denied,
}

impl<S> Layer<S> for LogLayer {
    type Service = Log<S>;

    fn layer(&self, inner: S) -> Log<S> {
        Log {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`LogLayer`].
#[derive(Clone, Debug)]
pub struct Log<S> {
    inner: S,
    layer: LogLayer,
}

impl<S> Service<Request> for Log<S>
where
    S: Service<Request>,
    S::Response: IntoResponse,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Logged<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = RequestId::of(request.headers());
        let (method, route) = (request.method().clone(), route_of(&request));
        let client = request.extensions().get::<ClientIp>().copied();
        request.extensions_mut().insert(id.clone());
        Logged {
            answer: under(&id, || self.inner.call(request)),
            method,
            route,
            id,
            started: Instant::now(),
            client,
            layer: self.layer.clone(),
        }
    }
}

fn route_of(request: &Request) -> Option<MatchedPath> {
    request.extensions().get::<MatchedPath>().cloned()
}

pin_project! {
    /// The answer of [`Log`].
    pub struct Logged<F> {
        #[pin]
        answer: F,
        method: Method,
        route: Option<MatchedPath>,
        id: RequestId,
        client: Option<ClientIp>,
        started: Instant,
        layer: LogLayer,
    }
}

impl<F, R, E> Future for Logged<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = this.answer;
        let response = ready!(under(this.id, || answer.poll(context)))?.into_response();
        let took = this.started.elapsed();
        this.layer.metrics.answered(
            this.layer.surface,
            this.method,
            this.route.as_ref(),
            response.status(),
            took,
        );
        this.layer
            .denied
            .note(*this.client, this.route.as_ref(), &response);
        under(this.id, || {
            tracing::info!(
                method = this.method.as_str(),
                route = this
                    .route
                    .as_ref()
                    .map_or("(no route)", MatchedPath::as_str),
                status = response.status().as_u16(),
                latency_ms = took.as_secs_f64() * 1000.0,
                "answered"
            );
        });
        let mut response = complete(response, this.id.as_str());
        protect(response.headers_mut());
        response
            .headers_mut()
            .insert(X_REQUEST_ID, this.id.to_header());
        Poll::Ready(Ok(response))
    }
}
