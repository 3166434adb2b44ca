//! The real OpenID provider of `tests/oidc-provider`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use url::Url;

use crate::browser::Browser;
use crate::nexus::root;
use crate::wait::until;

/// A running npm `oidc-provider`; stopped when dropped.
#[derive(Debug)]
pub struct RealProvider {
    child: Child,
    issuer: String,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl RealProvider {
    /// Starts it for a vault whose callback is `redirect_uri`.
    pub async fn start(redirect_uri: &Url, access_token_ttl: u32) -> RealProvider {
        let directory = root().join("tests/oidc-provider");
        assert!(
            directory.join("node_modules").is_dir(),
            "run scripts/test, or npm ci in {}",
            directory.display()
        );
        let mut child = Command::new("node")
            .current_dir(&directory)
            .args(["server.mjs", "--redirect-uri", redirect_uri.as_str()])
            .args(["--access-token-ttl", &access_token_ttl.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let lines = keep(child.stdout.take().expect("piped"));
        let ready = until("the OpenID provider is ready", || {
            std::future::ready(lines.lock().unwrap().first().cloned())
        });
        let issuer = ready.await["issuer"]
            .as_str()
            .expect("an issuer")
            .to_owned();
        RealProvider {
            child,
            issuer,
            lines,
        }
    }

    /// Its address.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A profile to register it with. `prompt=consent` is what makes it grant offline access.
    pub fn profile(&self, name: &str, client: &str, auth_header: &str) -> Value {
        json!({
            "name": name, "auth_type": "oauth2", "auth_header": auth_header, "client_id": client,
            "client_secret": if auth_header == "none" { Value::Null } else { json!(format!("{client}-secret")) },
            "issuer": self.issuer, "enable_discovery": true,
            "scopes": ["openid", "email", "offline_access"], "params": {"prompt": "consent"},
        })
    }

    /// The private key, PEM, of a client that proves itself with a signature.
    pub fn private_key(&self, client: &str) -> String {
        let lines = self.lines.lock().unwrap();
        let clients = lines[0]["clients"].as_array().expect("clients");
        let found = clients.iter().find(|known| known["client_id"] == client);
        let key = &found.expect("a client")["private_key"];
        key.as_str().expect("a key").to_owned()
    }

    /// A profile to register it with, of a client that proves itself with a signature.
    pub fn signing_profile(&self, name: &str, client: &str, algorithm: &str) -> Value {
        let mut profile = self.profile(name, client, "private_key_jwt");
        profile["client_secret"] = Value::Null;
        profile["params"]["private_key"] = json!(self.private_key(client));
        profile["params"]["private_key_id"] = json!(format!("{client}-key"));
        profile["params"]["private_key_alg"] = json!(algorithm);
        profile
    }

    /// Signs somebody in and consents; returns the callback that the provider sends the browser to.
    pub async fn consent(&self, auth_url: &Url, login: &str) -> Url {
        let issuer: Url = self.issuer.parse().expect("a URL");
        let away = |url: &Url| url.origin() != issuer.origin();
        let browser = Browser::default();
        let mut next = browser.open(auth_url.clone(), away).await;
        for _ in 0..4 {
            let page = match next {
                Err(callback) => return callback,
                Ok(page) => page,
            };
            let prompt = page
                .field("prompt")
                .unwrap_or_else(|| panic!("no form at {}: {}", page.url, page.html));
            let fields = [
                ("prompt", prompt.as_str()),
                ("login", login),
                ("password", "any"),
            ];
            next = browser.submit(&page, &fields, away).await;
        }
        panic!("the consent does not come to an end");
    }

    /// Has the provider forget every grant it has made, as when people withdraw their consent there.
    pub async fn forget_grants(&self) {
        let url = format!("{}/test/forget-grants", self.issuer);
        let response = crate::client::http()
            .post(url)
            .send()
            .await
            .expect("the provider answers");
        assert_eq!(response.status(), 204);
    }

    /// How many grants of this type it has made (`authorization_code`, `refresh_token`).
    pub fn granted(&self, grant_type: &str) -> usize {
        self.count("grant.success", grant_type)
    }

    /// How many requests of this type it has refused.
    pub fn refused(&self, grant_type: &str) -> usize {
        self.count("grant.error", grant_type)
    }

    fn count(&self, event: &str, grant_type: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .filter(|line| line["event"] == event && line["grant_type"] == grant_type)
            .count()
    }
}

impl Drop for RealProvider {
    fn drop(&mut self) {
        // It may have ended already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep(output: std::process::ChildStdout) -> Arc<Mutex<Vec<Value>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            kept.lock()
                .unwrap()
                .extend(serde_json::from_str::<Value>(&line));
        }
    });
    lines
}
