use std::error::Error;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::upstream::{MAX_ANSWER_BYTES, SendError};

const DOOR: &str = "/auth/verify-agent-token";

async fn ask(backend: &TestProvider) -> Result<Principal, UserContextError> {
    let contexts = asking_backend(&backend.base, PATIENT);
    contexts.verify(&Secret::new("canary-token"), NOW).await
}

#[tokio::test]
async fn a_yes_names_the_user_and_what_the_user_may_do() {
    let backend = TestProvider::start().await;
    let user = json!({
        "user_id": "u1", "tenant_id": "t1", "clearance_level": 3, "permissions": ["read", "two words", "write"], "more": {},
    });
    backend.answers_json(DOOR, 200, &user);
    let expected = Principal {
        acting_for: "u1".to_owned(),
        tenant_id: Some("t1".to_owned()),
        clearance_level: Some("3".to_owned()),
        permissions: names(&["read", "write"]),
    };
    assert_eq!(ask(&backend).await.unwrap(), expected);
}

#[tokio::test]
async fn the_token_is_sent_in_the_body_of_one_post_below_the_backends_path() {
    let backend = TestProvider::start().await;
    for base in ["", "/", "/api", "/api/"] {
        let contexts = asking_backend(&format!("{}{base}", backend.base), PATIENT);
        refusal(contexts.verify(&Secret::new("a\"b"), NOW).await);
        let path = format!("{}{DOOR}", base.trim_end_matches('/'));
        let request = backend.requests(&path).pop().unwrap();
        assert_eq!(request.body, r#"{"token":"a\"b"}"#);
        assert_eq!(request.headers["content-type"], "application/json");
        assert!(!request.headers.contains_key("x-api-key"));
    }
    assert_eq!(backend.requests(DOOR).len(), 2);
}

#[tokio::test]
async fn a_4xx_is_a_no() {
    let backend = TestProvider::start().await;
    for status in [400, 401, 403, 404, 410, 422] {
        backend.answers(DOOR, status, &[], "");
        assert_eq!(refusal(ask(&backend).await), Refusal::Backend(status));
    }
}

#[tokio::test]
async fn every_other_status_is_neither() {
    let backend = TestProvider::start().await;
    let user = json!({"user_id": "u1", "permissions": []});
    for status in [201, 202, 206, 300, 304, 429, 500, 502, 503, 504, 599] {
        backend.answers_json(DOOR, status, &user);
        let because = unavailable(ask(&backend).await);
        assert!(
            matches!(because, Unavailable::Status(same) if same == status),
            "{because:?}"
        );
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let backend = TestProvider::start().await;
    backend.answers_json(
        "/elsewhere",
        200,
        &json!({"user_id": "u1", "permissions": []}),
    );
    let elsewhere = format!("{}/elsewhere", backend.base);
    for status in [301, 302, 303, 307, 308] {
        backend.answers(DOOR, status, &[("location", &elsewhere)], "");
        let because = unavailable(ask(&backend).await);
        assert!(
            matches!(because, Unavailable::Status(same) if same == status),
            "{because:?}"
        );
    }
    assert!(backend.requests("/elsewhere").is_empty());
}

#[tokio::test]
async fn a_yes_that_does_not_say_who_is_neither() {
    let backend = TestProvider::start().await;
    let long = format!(r#"{{"user_id":"{}","permissions":[]}}"#, "x".repeat(256));
    for body in [
        "",
        "<html>",
        "[]",
        "null",
        r#""u1""#,
        "{}",
        r#"{"user_id":"u1"}"#,
        r#"{"permissions":[]}"#,
        r#"{"user_id":"","permissions":[]}"#,
        r#"{"user_id":7,"permissions":[]}"#,
        r#"{"user_id":null,"permissions":[]}"#,
        r#"{"user_id":"u1","permissions":"read"}"#,
        r#"{"user_id":"u1","permissions":["read",7]}"#,
        r#"{"user_id":"u1","permissions":[],"tenant_id":7}"#,
        r#"{"user_id":"u1","user_id":"u2","permissions":[]}"#,
        r#"{"user_id":"u1","permissions":[],"permissions":["read"]}"#,
        r#"{"user_id":"u1","permissions":[]} trailing"#,
        long.as_str(),
    ] {
        backend.answers(DOOR, 200, &[("content-type", "application/json")], body);
        let because = unavailable(ask(&backend).await);
        assert!(
            matches!(because, Unavailable::Malformed),
            "{body}: {because:?}"
        );
    }
}

#[tokio::test]
async fn neither_the_token_nor_the_answer_is_in_the_error() {
    let backend = TestProvider::start().await;
    for (status, body) in [
        (200, r#"{"user_id":"canary-user"}"#),
        (401, "canary"),
        (500, "canary"),
    ] {
        backend.answers(DOOR, status, &[("x-why", "canary")], body);
        let error = ask(&backend).await.unwrap_err();
        let mut said = format!("{error:?} {error}");
        let mut source = error.source();
        while let Some(error) = source {
            said = format!("{said} {error}");
            source = error.source();
        }
        assert!(!said.contains("canary"), "{said}");
    }
}

/// What a backend of one connection does once it has read the question.
enum Behaviour {
    Close,
    Stall(&'static [u8]),
    Endless { status: &'static str },
}

async fn serve(listener: TcpListener, behaviour: Behaviour) {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_question(&mut stream).await;
    match behaviour {
        Behaviour::Close => {}
        Behaviour::Stall(beginning) => {
            stream.write_all(beginning).await.unwrap();
            // Ends when the client gives up and closes.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        Behaviour::Endless { status } => {
            let head = format!("HTTP/1.1 {status}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&vec![b' '; 65_536]).await.is_ok() {}
        }
    }
}

async fn read_question(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(br#"{"token":"canary-token"}"#) {
        let read = stream.read_buf(&mut request).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&request));
    }
}

async fn because(behaviour: Behaviour, timeout: Duration) -> SendError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener, behaviour));
    let contexts = asking_backend(&base, timeout);
    let verified = contexts.verify(&Secret::new("canary-token"), NOW).await;
    let Unavailable::Unreachable(error) = unavailable(verified) else {
        panic!("there was an answer")
    };
    drop(contexts);
    server.await.unwrap();
    error
}

const SHORT: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_backend_that_takes_too_long_is_not_waited_for() {
    for beginning in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{",
        b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 99\r\n\r\n",
    ] {
        let error = because(Behaviour::Stall(beginning), SHORT).await;
        assert!(matches!(error, SendError::Timeout(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_to_it() {
    const { assert!(MAX_ANSWER_BYTES < 16 * 1024 * 1024) };
    for status in ["200 OK", "401 Unauthorized"] {
        let error = because(Behaviour::Endless { status }, PATIENT).await;
        assert!(matches!(error, SendError::TooLarge), "{error:?}");
    }
}

#[tokio::test]
async fn a_backend_that_hangs_up_or_is_not_there_is_neither() {
    let error = because(Behaviour::Close, PATIENT).await;
    assert!(matches!(error, SendError::Interrupted(_)), "{error:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let contexts = asking_backend(&base, PATIENT);
    let because = unavailable(contexts.verify(&Secret::new("x"), NOW).await);
    assert!(
        matches!(because, Unavailable::Unreachable(SendError::Connect(_))),
        "{because:?}"
    );
}
