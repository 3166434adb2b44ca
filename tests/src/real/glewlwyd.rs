//! Debian's Glewlwyd, as `tests/providers/glewlwyd` runs it.

use std::process::Command;

use serde_json::{Value, json};
use url::Url;

use super::announced::Announced;
use super::installed;
use crate::answer::param;
use crate::browser::Browser;
use crate::nexus::root;

/// A running Glewlwyd; stopped when dropped.
#[derive(Debug)]
pub struct Glewlwyd {
    process: Announced,
}

impl Glewlwyd {
    /// Starts it for a vault whose callback is `redirect_uri`.
    pub async fn start(redirect_uri: &Url) -> Glewlwyd {
        let home = installed("glewlwyd", "");
        let mut command = Command::new("node");
        command
            .current_dir(root().join("tests/providers/glewlwyd"))
            .args(["serve.mjs", "--redirect-uri", redirect_uri.as_str()])
            .arg("--home")
            .arg(home);
        Glewlwyd {
            process: Announced::start(command).await,
        }
    }

    /// Its issuer.
    pub fn issuer(&self) -> String {
        self.process.text("issuer")
    }

    /// A profile of its client with a secret, which it knows by HTTP Basic.
    pub fn basic_profile(&self, name: &str) -> Value {
        let client = self.process.client("nexus-basic");
        self.profile(name, &client, "client_secret_basic")
    }

    /// A profile of its client whose secret holds what a form has to encode, and Glewlwyd does not decode.
    pub fn odd_profile(&self, name: &str) -> Value {
        let client = self.process.client("nexus-odd");
        let mut profile = self.profile(name, &client, "client_secret_basic");
        profile["params"]["basic_auth_encoding"] = json!("none");
        profile
    }

    /// A profile of its client that signs.
    pub fn signing_profile(&self, name: &str) -> Value {
        let client = self.process.client("nexus-signs");
        let mut profile = self.profile(name, &client, "private_key_jwt");
        for member in ["private_key", "private_key_id"] {
            profile["params"][member] = client[member].clone();
        }
        profile
    }

    /// Of a refresh token that is not good any more it says so by its status alone.
    fn profile(&self, name: &str, client: &Value, auth_header: &str) -> Value {
        json!({
            "name": name, "auth_type": "oauth2", "auth_header": auth_header,
            "client_id": client["client_id"], "client_secret": client["client_secret"],
            "issuer": self.issuer(), "enable_discovery": true, "scopes": ["openid"],
            "params": {"invalid_grant_status": 400},
        })
    }

    /// Signs somebody in (`alice`, `bob`) and consents, by sending what the script of its page sends; returns the
    /// callback that it sends the browser to.
    pub async fn consent(&self, auth_url: &Url, login: &str) -> Url {
        let issuer: Url = self.issuer().parse().expect("a URL");
        let away = |url: &Url| url.origin() != issuer.origin();
        let browser = Browser::default();
        let page = browser.open(auth_url.clone(), away).await;
        let page = page.expect("a page to sign in at");
        assert_eq!((page.status, page.url.path()), (200, "/login.html"));
        let asked = |name: &str| param(&page.url, name).expect("the page is told");
        self.sign_in(&browser, login).await;
        let door = format!("/api/auth/grant/{}", asked("client_id"));
        let consented = browser
            .send("PUT", self.at(&door), &json!({"scope": asked("scope")}))
            .await;
        assert_eq!(consented, 200);
        let onward = format!("{}&g_continue", asked("callback_url"));
        let onward = onward.parse().expect("a URL");
        browser
            .open(onward, away)
            .await
            .expect_err("the consent comes to an end")
    }

    /// Has somebody take back whatever they have granted, by sending what the script of its page sends.
    pub async fn withdraw(&self, login: &str) {
        let browser = Browser::default();
        self.sign_in(&browser, login).await;
        let list = self.at("/api/oidc/token/");
        let listed = browser.open(list, |_| false).await.expect("a list");
        let tokens: Value = serde_json::from_str(&listed.html).expect("JSON");
        for token in tokens.as_array().expect("a list") {
            let hash = token["token_hash"].as_str().expect("a hash");
            let door = self.at(&format!("/api/oidc/token/{hash}"));
            let withdrawn = browser.send("DELETE", door, &json!({})).await;
            // One that has been replaced is disabled already.
            assert!([200, 400].contains(&withdrawn), "{withdrawn}");
        }
    }

    async fn sign_in(&self, browser: &Browser, login: &str) {
        let identity = json!({"username": login, "password": self.process.text("password")});
        let door = self.at("/api/auth/");
        assert_eq!(browser.send("POST", door, &identity).await, 200);
    }

    fn at(&self, path: &str) -> Url {
        let issuer: Url = self.issuer().parse().expect("a URL");
        issuer.join(path).expect("a path")
    }

    /// Gives it a new signing key and takes the old one away; returns the new key's id.
    pub async fn rotate_keys(&mut self) -> String {
        self.rotate("rotate").await
    }

    /// The same, but the new key has the id of the old one.
    pub async fn replace_key(&mut self) -> String {
        self.rotate("replace").await
    }

    async fn rotate(&mut self, how: &str) -> String {
        let rotated = self.process.tell(how).await;
        rotated["kid"].as_str().expect("a key id").to_owned()
    }

    /// Its user info endpoint.
    pub fn user_info(&self) -> String {
        format!("{}/userinfo/", self.issuer())
    }
}
