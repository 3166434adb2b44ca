//! The site with Django OAuth Toolkit of `tests/providers/django`.

use std::process::Command;

use serde_json::{Value, json};
use url::Url;

use super::announced::Announced;
use super::installed;
use crate::browser::Browser;
use crate::nexus::root;

/// A running Django site that is an OAuth provider; stopped when dropped.
#[derive(Debug)]
pub struct DjangoProvider {
    process: Announced,
}

impl DjangoProvider {
    /// The client of plain OAuth 2.0, whose id and secret hold what a form has to encode.
    pub const PLAIN: &str = "nexus: plain+100%/é";
    /// The client whose id tokens are signed with its secret.
    pub const HMAC: &str = "nexus-hmac";

    /// Starts it for a vault whose callback is `redirect_uri`.
    pub async fn start(redirect_uri: &Url) -> DjangoProvider {
        let mut command = Command::new(installed("django", "bin/python"));
        command
            .current_dir(root().join("tests/providers/django"))
            .args(["serve.py", "--redirect-uri", redirect_uri.as_str()]);
        DjangoProvider {
            process: Announced::start(command).await,
        }
    }

    /// Its issuer; its doors are below.
    pub fn issuer(&self) -> String {
        self.process.text("issuer")
    }

    /// A profile of [`DjangoProvider::PLAIN`] that names the doors one by one and no issuer.
    pub fn plain_profile(&self, name: &str) -> Value {
        json!({
            "name": name, "auth_type": "oauth2", "auth_header": "client_secret_basic",
            "client_id": Self::PLAIN, "client_secret": self.secret(Self::PLAIN),
            "auth_url": self.door("authorize"), "token_url": self.door("token"), "scopes": ["read", "write"],
            "params": {"revocation_endpoint": self.door("revoke_token")},
        })
    }

    /// A profile of [`DjangoProvider::HMAC`] by the issuer; that it revokes tokens its discovery document does not say.
    pub fn hmac_profile(&self, name: &str) -> Value {
        json!({
            "name": name, "auth_type": "oauth2", "auth_header": "client_secret_post",
            "client_id": Self::HMAC, "client_secret": self.secret(Self::HMAC),
            "issuer": self.issuer(), "enable_discovery": true, "scopes": ["openid", "read"],
            "params": {"revocation_endpoint": self.door("revoke_token")},
        })
    }

    fn door(&self, name: &str) -> String {
        format!("{}/{name}/", self.issuer())
    }

    fn secret(&self, client: &str) -> Value {
        self.process.client(client)["client_secret"].clone()
    }

    /// Signs `alice` in and has her press a button, or cancel; returns the callback that the site sends her browser to.
    pub async fn answer(&self, auth_url: &Url, allow: bool) -> Url {
        let site: Url = self.issuer().parse().expect("a URL");
        let away = |url: &Url| url.origin() != site.origin();
        let password = self.process.text("password");
        let browser = Browser::default();
        let mut next = browser.open(auth_url.clone(), away).await;
        for _ in 0..2 {
            let page = match next {
                Err(callback) => return callback,
                Ok(page) => page,
            };
            let filled: &[(&str, &str)] = match (page.has_field("password"), allow) {
                (true, _) => &[("username", "alice"), ("password", &password)],
                (false, true) => &[("allow", "Authorize")],
                (false, false) => &[],
            };
            next = browser.fill(&page, filled, away).await;
        }
        next.expect_err("the consent comes to an end")
    }

    /// The same, with the consent given.
    pub async fn consent(&self, auth_url: &Url) -> Url {
        self.answer(auth_url, true).await
    }

    /// Has `alice` take back at the site whatever she has granted.
    pub async fn withdraw(&self) {
        let site: Url = self.issuer().parse().expect("a URL");
        let listed = site.join("/o/authorized_tokens/").expect("a path");
        let password = self.process.text("password");
        let stay = |_: &Url| false;
        let browser = Browser::default();
        let page = browser.open(listed, stay).await.expect("a page");
        let fields = [("username", "alice"), ("password", &password as &str)];
        let mut page = browser.fill(&page, &fields, stay).await.expect("a page");
        while let Some(link) = page.link("/delete/") {
            let confirm = browser.open(link, stay).await.expect("a page");
            page = browser.fill(&confirm, &[], stay).await.expect("a page");
        }
    }

    /// Where a token of its scope `read` opens `{"name": …}`.
    pub fn resource(&self) -> String {
        self.issuer().replace("/o", "/api/me")
    }

    /// The requests to its token endpoint, each with `grant_type`, `status` and whether the client used HTTP Basic.
    pub fn token_calls(&self) -> Vec<Value> {
        let mut lines = self.process.lines();
        lines.retain(|line| line["event"] == "token");
        lines
    }
}
