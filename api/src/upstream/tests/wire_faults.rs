//! A raw server that closes, stalls or babbles at each point of a call.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the server does with its one connection.
enum Behaviour {
    CloseAtOnce,
    CloseAfter { bytes: usize },
    CloseAfterRequest,
    AnswerThenClose(&'static [u8]),
    AnswerThenStall(&'static [u8]),
    AnswerTooMuch { announced: bool },
}

const COMPLETE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"access_token\":\"at\"}";

async fn serve(listener: TcpListener, behaviour: Behaviour) {
    let (mut stream, _) = listener.accept().await.unwrap();
    match behaviour {
        Behaviour::CloseAtOnce => {}
        Behaviour::CloseAfter { bytes } => {
            stream.read_exact(&mut vec![0; bytes]).await.unwrap();
        }
        Behaviour::CloseAfterRequest => read_request(&mut stream).await,
        Behaviour::AnswerThenClose(answer) => {
            read_request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
        Behaviour::AnswerThenStall(answer) => {
            read_request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
            // Ends when the client gives up and closes.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Behaviour::AnswerTooMuch { announced } => {
            read_request(&mut stream).await;
            let length = MAX_ANSWER_BYTES + 1;
            let header = if announced {
                format!("content-length: {length}\r\n")
            } else {
                String::new()
            };
            let head = format!("HTTP/1.1 200 OK\r\n{header}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // The client may close as soon as it has seen enough.
            let _ = stream.write_all(&vec![b' '; length]).await;
        }
    }
}

async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"refresh_token=rt&client_id=client+one&client_secret=s3cret+%26%2B") {
        let read = stream.read_buf(&mut request).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&request));
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn call(token_url: &str, timeout: Duration) -> Result<TokenAnswer, CallFailure> {
    let provider = ResolvedProvider {
        token_endpoint: token_url.parse().unwrap(),
        ..resolved(&profile("https://idp.example")).await
    };
    let upstream = upstream_with(timeout, Duration::ZERO);
    upstream
        .redeem_refresh_token(&provider, &Secret::new("rt"), fresh())
        .await
}

async fn failure(behaviour: Behaviour, timeout: Duration) -> (Outcome, String, Option<u16>) {
    let (listener, address) = listener().await;
    let server = tokio::spawn(serve(listener, behaviour));
    let failure = call(&format!("http://{address}/token"), timeout)
        .await
        .unwrap_err();
    server.await.unwrap();
    (failure.outcome, failure.error, failure.http_status)
}

const PATIENT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_complete_answer_succeeds() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(serve(listener, Behaviour::AnswerThenClose(COMPLETE)));
    let answer = call(&format!("http://{address}/token"), PATIENT)
        .await
        .unwrap();
    assert_eq!(answer.access_token.expose(), "at");
    server.await.unwrap();
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_known_failure() {
    let (listener, address) = listener().await;
    drop(listener);
    let failure = call(&format!("http://{address}/token"), PATIENT)
        .await
        .unwrap_err();
    assert_eq!(
        (failure.outcome, failure.error.as_str()),
        (Outcome::Known, "connect")
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_known_failure() {
    let failure = call("https://nobody.invalid/token", PATIENT)
        .await
        .unwrap_err();
    assert_eq!(
        (failure.outcome, failure.error.as_str()),
        (Outcome::Known, "connect")
    );
}

#[tokio::test]
async fn a_failed_tls_handshake_is_a_known_failure() {
    for behaviour in [Behaviour::CloseAtOnce, Behaviour::CloseAfter { bytes: 10 }] {
        let (listener, address) = listener().await;
        let server = tokio::spawn(serve(listener, behaviour));
        let failure = call(&format!("https://{address}/token"), PATIENT)
            .await
            .unwrap_err();
        assert_eq!(
            (failure.outcome, failure.error.as_str()),
            (Outcome::Known, "connect")
        );
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_is_a_known_failure() {
    let (listener, address) = listener().await;
    let failure = call(
        &format!("https://{address}/token"),
        Duration::from_millis(400),
    )
    .await
    .unwrap_err();
    assert_eq!(
        (failure.outcome, failure.error.as_str()),
        (Outcome::Known, "connect")
    );
    drop(listener);
}

#[tokio::test]
async fn a_connection_closed_before_or_within_the_request_leaves_the_outcome_unknown() {
    for behaviour in [
        Behaviour::CloseAtOnce,
        Behaviour::CloseAfter { bytes: 30 },
        Behaviour::CloseAfterRequest,
    ] {
        let (outcome, error, status) = failure(behaviour, PATIENT).await;
        assert_eq!(
            (outcome, error.as_str(), status),
            (Outcome::Unknown, "interrupted", None)
        );
    }
}

#[tokio::test]
async fn a_connection_closed_within_the_answer_leaves_the_outcome_unknown() {
    let partial: [&[u8]; 5] = [
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"access_token\":",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n15\r\n{\"access_token\":\"at\"}\r\n",
    ];
    for answer in partial {
        let (outcome, error, status) = failure(Behaviour::AnswerThenClose(answer), PATIENT).await;
        let shown = String::from_utf8_lossy(answer);
        assert_eq!(
            (outcome, error.as_str(), status),
            (Outcome::Unknown, "interrupted", None),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn what_is_no_http_leaves_the_outcome_unknown() {
    let (outcome, error, _) = failure(
        Behaviour::AnswerThenClose(b"SSH-2.0-OpenSSH_9.2\r\n"),
        PATIENT,
    )
    .await;
    assert_eq!((outcome, error.as_str()), (Outcome::Unknown, "interrupted"));
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_end_in_time_leaves_the_outcome_unknown() {
    let partial: [&[u8]; 3] = [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"access",
    ];
    for answer in partial {
        let behaviour = Behaviour::AnswerThenStall(answer);
        let (outcome, error, _) = failure(behaviour, Duration::from_millis(400)).await;
        assert_eq!(
            (outcome, error.as_str()),
            (Outcome::Unknown, "timeout"),
            "{}",
            String::from_utf8_lossy(answer)
        );
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read_to_its_end() {
    for announced in [true, false] {
        let (outcome, error, _) = failure(Behaviour::AnswerTooMuch { announced }, PATIENT).await;
        assert_eq!(
            (outcome, error.as_str()),
            (Outcome::Unknown, "response_too_large")
        );
    }
}
