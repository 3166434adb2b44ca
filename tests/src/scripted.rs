//! An OAuth/OIDC provider that answers as it is told to.
//!
//! It speaks HTTP itself, so that it can also break off: every connection serves one request.

mod account;
mod application;
mod backend;
mod reply;
mod server;
mod signing;
mod token;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

pub use account::AccountCall;
pub use application::{ScriptedApplication, Visit};
pub use backend::ScriptedBackend;
pub use reply::{Gate, Reply, Wire};
pub use signing::IdTokenFault;
pub use token::TokenCall;

use server::{HttpReply, HttpRequest};
use signing::Key;
use token::Grants;

/// A provider on a loopback port. It listens until it is dropped.
#[derive(Debug)]
pub struct ScriptedProvider {
    issuer: Url,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    issuer: String,
    key: Key,
    state: Mutex<State>,
}

/// What a test tells the provider, and what the provider tells the test.
#[derive(Debug, Default)]
struct State {
    script: VecDeque<Reply>,
    takes_tokens_again: bool,
    /// What the token endpoint says to those who look at it without asking for tokens.
    looked_at: Option<u16>,
    looks: usize,
    otherwise: Reply,
    denial: Option<String>,
    discovery: Option<(u16, String)>,
    discoveries: usize,
    calls: Vec<TokenCall>,
    grants: Grants,
    secrets: Vec<String>,
    urls: Vec<String>,
    revocation_script: VecDeque<(u16, String)>,
    revocations: Vec<RevocationCall>,
    account_script: VecDeque<Reply>,
    accounts: Vec<AccountCall>,
}

/// A call of the revocation endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationCall {
    /// The `Authorization` header, if there was one.
    pub authorization: Option<String>,
    /// The form, decoded.
    pub form: Vec<(String, String)>,
}

impl RevocationCall {
    /// A field of the form.
    pub fn form(&self, name: &str) -> Option<&str> {
        let field = self.form.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| value.as_str())
    }
}

impl ScriptedProvider {
    /// Starts one. Until told otherwise it grants everything, rotates refresh tokens and gives valid ID tokens.
    pub async fn start() -> ScriptedProvider {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            issuer: issuer.clone(),
            key: Key::generate(),
            state: Mutex::default(),
        });
        let task = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        ScriptedProvider {
            issuer: issuer.parse().expect("a URL"),
            shared,
            task,
        }
    }

    /// Its issuer, without a trailing slash.
    pub fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// A profile to register it with: OpenID Connect by discovery.
    pub fn profile(&self, name: &str) -> Value {
        json!({
            "name": name, "auth_type": "oauth2", "client_id": "client-1", "client_secret": "canary-client-secret",
            "issuer": self.issuer(), "enable_discovery": true, "scopes": ["openid", "email"],
        })
    }

    /// A profile to register it with: plain OAuth 2.0, its endpoints given, no issuer.
    pub fn plain_profile(&self, name: &str) -> Value {
        json!({
            "name": name, "auth_type": "oauth2", "client_id": "client-1", "client_secret": "canary-client-secret",
            "auth_url": format!("{}/authorize", self.issuer()), "token_url": format!("{}/token", self.issuer()),
            "enable_discovery": false, "scopes": ["read"],
        })
    }

    /// How to answer the next call of the token endpoint that has no answer yet.
    pub fn next(&self, reply: Reply) {
        self.state().script.push_back(reply);
    }

    /// How to answer every call of the token endpoint that has no answer of its own.
    pub fn always(&self, reply: Reply) {
        self.state().otherwise = reply;
    }

    /// Takes refresh tokens again from now on that it has replaced.
    pub fn take_tokens_again(&self) {
        self.state().takes_tokens_again = true;
    }

    /// With what status the token endpoint answers a GET from now on; with 405 until then.
    pub fn answer_looks(&self, status: u16) {
        self.state().looked_at = Some(status);
    }

    /// How often the token endpoint was looked at without being asked for tokens.
    pub fn looks(&self) -> usize {
        self.state().looks
    }

    /// Denies the next authorization with this OAuth error code.
    pub fn deny_next(&self, error: &str) {
        self.state().denial = Some(error.to_owned());
    }

    /// What to say at the discovery document's address from now on.
    pub fn discovery(&self, status: u16, body: &str) {
        self.state().discovery = Some((status, body.to_owned()));
    }

    /// How often the discovery document was asked for.
    pub fn discoveries(&self) -> usize {
        self.state().discoveries
    }

    /// Every call of the token endpoint so far, in order.
    pub fn calls(&self) -> Vec<TokenCall> {
        self.state().calls.clone()
    }

    /// Every call that presented a refresh token.
    pub fn refreshes(&self) -> Vec<TokenCall> {
        let mut calls = self.calls();
        calls.retain(|call| call.form("grant_type") == Some("refresh_token"));
        calls
    }

    /// How to answer the next call of the revocation endpoint that has no answer yet: an OAuth error.
    pub fn refuse_next_revocation(&self, status: u16, error: &str) {
        let refusal = (status, error.to_owned());
        self.state().revocation_script.push_back(refusal);
    }

    /// Every call of the revocation endpoint so far, in order.
    pub fn revocations(&self) -> Vec<RevocationCall> {
        self.state().revocations.clone()
    }

    /// Where it says whose a credential is.
    pub fn account_url(&self) -> String {
        format!("{}/account", self.issuer())
    }

    /// How to answer the next request at or below [`ScriptedProvider::account_url`] that has no answer yet; otherwise
    /// the credential is good.
    pub fn next_account(&self, reply: Reply) {
        self.state().account_script.push_back(reply);
    }

    /// Every request at or below [`ScriptedProvider::account_url`] so far, in order.
    pub fn accounts(&self) -> Vec<AccountCall> {
        self.state().accounts.clone()
    }

    /// Every code and token it gave out, none of which may be found anywhere.
    pub fn secrets(&self) -> Vec<String> {
        self.state().secrets.clone()
    }

    /// The path and query of every request so far, whoever sent it.
    pub fn urls(&self) -> Vec<String> {
        self.state().urls.clone()
    }

    /// A JWT of its own that says this and nothing else: for users' tokens (`OBO_ISSUER`).
    pub fn signed(&self, claims: &Value) -> String {
        self.shared.key.jwt(claims)
    }

    /// Sends a browser through the consent: returns where the provider sends it back to.
    pub async fn consent(&self, auth_url: &Url) -> Url {
        assert_eq!(
            auth_url.origin(),
            self.issuer.origin(),
            "the consent happens at the provider"
        );
        let response = crate::client::http()
            .get(auth_url.clone())
            .send()
            .await
            .expect("the provider answers");
        assert_eq!(response.status(), 302, "{auth_url}");
        let location = response.headers()["location"].to_str().expect("text");
        location.parse().expect("a callback")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for ScriptedProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Everything but the token endpoint, whose answers may be held or broken off.
    fn answer(&self, request: &HttpRequest) -> HttpReply {
        match request.path.as_str() {
            "/.well-known/openid-configuration" => self.discovery(),
            "/jwks" => HttpReply::json(200, &json!({"keys": [self.key.public_jwk()]})),
            "/authorize" => self.authorize(request),
            "/revoke" => self.revoke(request),
            "/token" => self.look(),
            _ => HttpReply::json(404, &json!({"error": "not_found"})),
        }
    }

    fn discovery(&self) -> HttpReply {
        let mut state = self.state.lock().unwrap();
        state.discoveries += 1;
        if let Some((status, body)) = &state.discovery {
            return HttpReply::new(*status, "application/json", body.clone());
        }
        HttpReply::json(
            200,
            &json!({
                "issuer": self.issuer,
                "authorization_endpoint": format!("{}/authorize", self.issuer),
                "token_endpoint": format!("{}/token", self.issuer),
                "jwks_uri": format!("{}/jwks", self.issuer),
                "revocation_endpoint": format!("{}/revoke", self.issuer),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256", "RS256"],
                "code_challenge_methods_supported": ["S256"],
            }),
        )
    }

    fn look(&self) -> HttpReply {
        let mut state = self.state.lock().unwrap();
        state.looks += 1;
        HttpReply::json(
            state.looked_at.unwrap_or(405),
            &json!({"error": "As scripted."}),
        )
    }

    /// RFC 7009: whatever the token, the answer is 200, unless the test says otherwise.
    fn revoke(&self, request: &HttpRequest) -> HttpReply {
        let mut state = self.state.lock().unwrap();
        let form = url::form_urlencoded::parse(request.body.as_bytes());
        state.revocations.push(RevocationCall {
            authorization: request.header("authorization").map(str::to_owned),
            form: form.into_owned().collect(),
        });
        match state.revocation_script.pop_front() {
            Some((status, error)) => HttpReply::json(status, &json!({"error": error})),
            None => HttpReply::new(200, "text/plain", String::new()),
        }
    }

    fn authorize(&self, request: &HttpRequest) -> HttpReply {
        let mut state = self.state.lock().unwrap();
        let mut location: Url = request
            .query("redirect_uri")
            .expect("a redirect_uri")
            .parse()
            .expect("a URL");
        if let Some(error) = state.denial.take() {
            location.query_pairs_mut().append_pair("error", &error);
        } else {
            let code = state.grants.authorize(request);
            location.query_pairs_mut().append_pair("code", &code);
            state.secrets.push(code);
        }
        location
            .query_pairs_mut()
            .append_pair("state", &request.query("state").unwrap_or_default());
        HttpReply::redirect(location.as_str())
    }
}

/// 128 random bits in hexadecimal.
pub(crate) fn random() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("randomness");
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
