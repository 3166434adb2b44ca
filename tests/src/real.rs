//! Real providers: the OpenID provider of `tests/oidc-provider`, and those of `tests/providers`.

mod announced;
mod django;
mod glewlwyd;

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use url::Url;

use crate::browser::Browser;
use crate::nexus::root;
use announced::Announced;
pub use django::DjangoProvider;
pub use glewlwyd::Glewlwyd;

/// What `tests/providers/NAME/install` has put into the target directory of this executable; panics when it has not.
fn installed(name: &str, path: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this executable");
    let mut places = own.ancestors().map(|place| place.join(name).join(path));
    let found = places.find(|place| place.exists());
    found.unwrap_or_else(|| panic!("run scripts/test, or tests/providers/{name}/install"))
}

/// A running npm `oidc-provider`; stopped when dropped.
#[derive(Debug)]
pub struct RealProvider {
    process: Announced,
    issuer: String,
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
        let mut command = Command::new("node");
        command
            .current_dir(&directory)
            .args(["server.mjs", "--redirect-uri", redirect_uri.as_str()])
            .args(["--access-token-ttl", &access_token_ttl.to_string()])
            .arg("--attached");
        let process = Announced::start(command).await;
        let issuer = process.text("issuer");
        RealProvider { process, issuer }
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
        let key = &self.process.client(client)["private_key"];
        key.as_str().expect("a key").to_owned()
    }

    /// A profile of the client whose id and secret hold what a form has to encode.
    pub fn odd_profile(&self, name: &str) -> Value {
        let client = self.process.client("nexus: odd+100%/2b");
        let mut profile = self.profile(name, "", "client_secret_basic");
        profile["client_id"] = client["client_id"].clone();
        profile["client_secret"] = client["client_secret"].clone();
        profile
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

    /// Gives it a new signing key and takes the old one away; returns the new key's id.
    pub async fn rotate_keys(&self) -> String {
        let url = format!("{}/test/rotate-keys", self.issuer);
        let response = crate::client::http().post(url).send().await;
        let response = response.expect("the provider answers");
        let said: Value = response.json().await.expect("JSON");
        said["kid"].as_str().expect("a key id").to_owned()
    }

    /// Its user info endpoint.
    pub fn user_info(&self) -> String {
        format!("{}/me", self.issuer)
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
        let lines = self.process.lines();
        lines
            .iter()
            .filter(|line| line["event"] == event && line["grant_type"] == grant_type)
            .count()
    }
}
