//! A provider whose answers are set by the test, and that records what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) form: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Recorded {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.form
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a path answers.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, Answer>,
    requests: Vec<Recorded>,
}

type Shared = Arc<Mutex<Script>>;

/// A running provider; stops when dropped.
pub(crate) struct TestProvider {
    pub(crate) base: String,
    script: Shared,
    server: JoinHandle<()>,
}

impl TestProvider {
    pub(crate) async fn start() -> TestProvider {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let script = Shared::default();
        let router = Router::new().fallback(answer).with_state(script.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        TestProvider {
            base,
            script,
            server,
        }
    }

    pub(crate) fn answers(
        &self,
        path: &str,
        status: u16,
        headers: &[(&'static str, &str)],
        body: &str,
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let answer = Answer {
            status,
            headers,
            body: body.to_owned(),
        };
        self.script
            .lock()
            .unwrap()
            .answers
            .insert(path.to_owned(), answer);
    }

    pub(crate) fn answers_json(&self, path: &str, status: u16, body: &Value) {
        self.answers(
            path,
            status,
            &[("content-type", "application/json")],
            &body.to_string(),
        );
    }

    /// Publishes a discovery document, with `changes` to its usual members, and a key set.
    pub(crate) fn publishes(&self, changes: Value, keys: &Value) {
        let base = &self.base;
        let mut document = json!({
            "issuer": base,
            "authorization_endpoint": format!("{base}/discovered/authorize"),
            "token_endpoint": format!("{base}/discovered/token"),
            "jwks_uri": format!("{base}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA", "RS256"],
        });
        if let (Value::Object(document), Value::Object(changes)) = (&mut document, changes) {
            document.extend(changes);
        }
        self.answers_json("/.well-known/openid-configuration", 200, &document);
        self.answers_json("/jwks", 200, &json!({"keys": keys}));
    }

    pub(crate) fn requests(&self, path: &str) -> Vec<Recorded> {
        let script = self.script.lock().unwrap();
        script
            .requests
            .iter()
            .filter(|request| request.path == path)
            .cloned()
            .collect()
    }

    pub(crate) fn discoveries(&self) -> usize {
        self.requests("/.well-known/openid-configuration").len()
    }
}

impl Drop for TestProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(script): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut script = script.lock().unwrap();
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    let path = uri.path().to_owned();
    script.requests.push(Recorded {
        path: path.clone(),
        headers,
        form,
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let Some(answer) = script.answers.get(&path).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(answer.body.into()).unwrap()
}
