//! An operator's backend that vouches for users.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::reply::Wire;
use super::server::{self, HttpReply, HttpRequest};

/// A backend on a loopback port, for `BACKEND_AUTH_URL`. It knows the tokens it was told of and refuses every other one
/// with 401. It listens until it is dropped.
#[derive(Debug)]
pub struct ScriptedBackend {
    url: String,
    shared: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Script {
    users: HashMap<String, Value>,
    next: VecDeque<(u16, String)>,
    calls: Vec<String>,
}

impl ScriptedBackend {
    /// Starts one that knows nobody.
    pub async fn start() -> ScriptedBackend {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::<Mutex<Script>>::default();
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        ScriptedBackend { url, shared, task }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whom a token stands for from now on: `{user_id, tenant_id, clearance_level, permissions}`.
    pub fn user(&self, token: &str, principal: Value) {
        self.script().users.insert(token.to_owned(), principal);
    }

    /// How to answer the next call that has no answer yet, whatever its token.
    pub fn next(&self, status: u16, body: &str) {
        self.script().next.push_back((status, body.to_owned()));
    }

    /// The token of every call so far, in order.
    pub fn calls(&self) -> Vec<String> {
        self.script().calls.clone()
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.shared.lock().unwrap()
    }
}

impl Drop for ScriptedBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Mutex<Script>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&shared)));
    }
}

async fn converse(mut stream: TcpStream, shared: Arc<Mutex<Script>>) {
    if let Some(request) = server::read(&mut stream).await {
        let reply = shared.lock().unwrap().answer(&request);
        server::write(stream, &reply.bytes(), Wire::Whole).await;
    }
}

impl Script {
    fn answer(&mut self, request: &HttpRequest) -> HttpReply {
        if request.path != "/auth/verify-agent-token" {
            return HttpReply::json(404, &json!({"error": "not_found"}));
        }
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let Some(token) = body["token"].as_str() else {
            return HttpReply::json(400, &json!({"error": "invalid_request"}));
        };
        self.calls.push(token.to_owned());
        if let Some((status, body)) = self.next.pop_front() {
            return HttpReply::new(status, "application/json", body);
        }
        match self.users.get(token) {
            Some(principal) => HttpReply::json(200, principal),
            None => HttpReply::json(401, &json!({"error": "invalid_token"})),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nexus_api::config::{Config, Settings};
    use nexus_api::user_context::{Refusal, Unavailable, UserContextError, UserContexts};
    use nexus_domain::secret::Secret;
    use nexus_domain::session::Principal;
    use nexus_domain::time::Timestamp;

    use super::*;
    use crate::ScriptedProvider;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    async fn verify(settings: Settings, token: &str) -> Result<Principal, UserContextError> {
        let config: Config = settings.validate().expect("settings");
        let contexts = UserContexts::new(&config.user_contexts, Duration::from_secs(10));
        let contexts = contexts.expect("a client");
        contexts.verify(&Secret::new(token), NOW).await
    }

    #[tokio::test]
    async fn a_backend_knows_whom_it_was_told_of_and_says_what_it_is_told_to() {
        let backend = ScriptedBackend::start().await;
        backend.user("good", json!({"user_id": "u1", "permissions": ["read"]}));
        let ask = async |token: &str| {
            let mut settings = Settings::default();
            settings.backend_auth_url = Some(backend.url().to_owned());
            verify(settings, token).await
        };
        assert_eq!(ask("good").await.expect("a user").permissions, ["read"]);
        let refused = ask("bad").await;
        assert!(
            matches!(
                refused,
                Err(UserContextError::Refused(Refusal::Backend(401)))
            ),
            "{refused:?}"
        );
        backend.next(503, "{}");
        let away = ask("good").await;
        assert!(
            matches!(
                away,
                Err(UserContextError::Unavailable(Unavailable::Status(503)))
            ),
            "{away:?}"
        );
        assert_eq!(backend.calls(), ["good", "bad", "good"]);
    }

    #[tokio::test]
    async fn a_provider_signs_tokens_that_the_vault_takes_for_users() {
        let provider = ScriptedProvider::start().await;
        let token = provider.signed(&json!({
            "iss": provider.issuer(), "aud": "nexus", "sub": "u1", "permissions": ["read"],
            "iat": NOW.as_seconds(), "exp": NOW.as_seconds() + 300,
        }));
        let mut settings = Settings::default();
        settings.obo_issuer = Some(provider.issuer().to_owned());
        settings.obo_audience = Some("nexus".to_owned());
        let user = verify(settings, &token).await.expect("a user");
        assert_eq!(
            (user.acting_for.as_str(), user.permissions),
            ("u1", vec!["read".to_owned()])
        );
    }
}
