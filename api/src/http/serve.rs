//! Connections accepted, served, and drained.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// About the most bytes of a request's line and headers: 431 beyond it.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a connection may stay without a whole request's headers: a slow client's, and one that nobody uses.
pub const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// Serves HTTP/1.1 until `stopped`, then waits for the requests that are under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    headers_within: Duration,
    stopped: impl Future<Output = ()>,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(headers_within)
        .max_buf_size(MAX_HEADER_BYTES);
    let draining = GracefulShutdown::new();
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        match accepted {
            Ok((stream, peer)) => converse(&builder, &draining, stream, peer, router.clone()),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted for the moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    draining.shutdown().await;
}

/// Serves one connection, in a task of its own.
fn converse(
    builder: &http1::Builder,
    draining: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) {
    // Without it small answers may wait for an acknowledgement; whoever is gone does not mind.
    let _gone = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(Body::new)
    });
    let service = TowerToHyperService::new(service);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let connection = draining.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Whether a client went away before it was accepted.
fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    /// A server that tells callers their address, and how to stop it.
    async fn started(headers_within: Duration) -> (SocketAddr, oneshot::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        };
        let who = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
        let router = Router::new()
            .route("/slow", get(slow))
            .route("/who", get(who));
        tokio::spawn(serve(listener, router, headers_within, async {
            drop(stopped.await);
        }));
        (address, stop)
    }

    /// Everything that comes back until the connection ends.
    async fn said(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The connection may be reset when more was sent than is read.
        let _ended = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_handler_learns_who_calls() {
        let (address, _stop) = started(HEADERS_WITHIN).await;
        let answer = said(
            address,
            "GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_headers_is_let_go() {
        let (address, _stop) = started(Duration::from_millis(50)).await;
        for begun in ["", "GET /who HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
            let answer = said(address, begun).await;
            assert!(!answer.contains("200"), "{answer}");
        }
        // A request that was read whole may take its time.
        let whole = "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert!(said(address, whole).await.ends_with("done"));
    }

    #[tokio::test]
    async fn headers_without_end_are_refused() {
        let (address, _stop) = started(HEADERS_WITHIN).await;
        let long = "x".repeat(4 * MAX_HEADER_BYTES);
        let answer = said(
            address,
            &format!("GET /who HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        )
        .await;
        assert!(
            answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
            "{answer}"
        );
        let many = "X: y\r\n".repeat(1_000);
        let answer = said(
            address,
            &format!("GET /who HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        )
        .await;
        assert!(
            answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_when_the_server_stops() {
        let (address, stop) = started(HEADERS_WITHIN).await;
        let slow = tokio::spawn(said(address, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.send(()).unwrap();
        assert!(
            slow.await.unwrap().ends_with("done"),
            "and the kept connection is closed"
        );
        assert!(TcpStream::connect(address).await.is_err());
    }
}
