//! Settings: read once, judged once, then a [`Config`] that every part takes what it needs from.
//!
//! Environment variables and flags share names (`STATE_TTL`, `--state-ttl`). Every complaint begins with the name of
//! its setting.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use url::Url;

use crate::application::pending::PendingLimits;
use crate::application::token::ExpiresAs;
use crate::return_url::ReturnUrlPolicy;

mod access;
mod database;
mod effective;
mod error;
mod files;
mod keys;
mod parse;
mod settings;
mod source;
mod special;
mod upstreams;
mod user_context;
mod validate;

pub use database::DatabaseChoice;
pub use error::ConfigError;
pub use keys::{GivenApiKey, KeySettings};
pub use settings::Settings;
pub use source::Source;
pub use upstreams::{UnsafeUrl, UpstreamRules};
pub use user_context::{IssuerSettings, UserContextSettings};

/// What stands where a secret would.
const REDACTED: &str = "********";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What becomes of `X-Nexus-Subject`, `X-Nexus-Agent` and `X-Nexus-Operation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectBinding {
    /// They are ignored.
    Off,
    /// They are recorded; a subject that is sent must be the connection's workspace.
    Optional,
    /// The same, and where credentials are given a subject must be sent.
    Required,
}

/// How often each client may call certain doors, a minute; no limit when absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Requesting connections.
    pub request_connection: Option<NonZeroU32>,
    /// The callback.
    pub callback: Option<NonZeroU32>,
    /// Reading and refreshing credentials.
    pub token: Option<NonZeroU32>,
}

/// Settings that make sense. Made by [`Settings::validate`].
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, named after its setting"
)]
pub struct Config {
    /// The database that holds the log and the read models.
    pub database: DatabaseChoice,
    /// Directory of the embedded database and of the keys made on first start.
    pub data_dir: PathBuf,
    /// Keys that were given as settings.
    pub keys: KeySettings,
    /// Address both surfaces listen on.
    pub bind_address: IpAddr,
    /// Port of the Gateway; 0 takes a free one.
    pub gateway_port: u16,
    /// Port of the Broker; 0 takes a free one.
    pub broker_port: u16,
    /// Public URL of the browser doors, without a slash at its end, when one is set.
    base_url: Option<Url>,
    /// Path of the OAuth callback; begins with a slash.
    pub redirect_path: String,
    /// Which return URLs are allowed.
    pub return_urls: ReturnUrlPolicy,
    /// Return URL of requests that name none.
    pub default_return_url: Option<Url>,
    /// Whether doors that need a key ask for it.
    pub require_api_key: bool,
    /// Whether the Gateway's open doors ask for a key, too.
    pub gateway_require_api_key: bool,
    /// Whether `/v1/resolve` asks for a key.
    pub resolve_require_api_key: bool,
    /// Whether `/metrics` asks for a key.
    pub metrics_require_api_key: bool,
    /// How often the files of admin keys are read again.
    pub api_key_reload_interval: Duration,
    /// Whether callers say for whom they call.
    pub subject_binding: SubjectBinding,
    /// How a token's end is written.
    pub token_expires_at: ExpiresAs,
    /// Who may call everything but the doors for people's browsers; everybody when absent.
    pub allowed_cidrs: Option<Vec<IpNet>>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How often each client may call.
    pub rate_limits: RateLimits,
    /// How many consents may be pending.
    pub pending_limits: PendingLimits,
    /// Which web pages may call the Gateway.
    pub cors_allowed_origins: Vec<HeaderValue>,
    /// Which addresses that are not public providers may be at.
    pub upstreams: UpstreamRules,
    /// Who vouches for the users that agents act for.
    pub user_contexts: UserContextSettings,
    /// How long a consent may take.
    pub state_ttl: Duration,
    /// How long before its expiry a credential is refreshed.
    pub refresh_skew: Duration,
    /// For whom session tokens are, when that is not their issuer.
    pub session_audience: Option<String>,
    /// How long a session token lives at most.
    pub session_max_ttl: Duration,
    /// How long a call to a provider may take in all.
    pub upstream_timeout: Duration,
    /// How often each provider is checked; never when it is zero.
    pub health_check_interval: Duration,
    /// Events of one stream between two snapshots.
    pub snapshot_every: u64,
    /// Appends that may wait.
    pub queue_capacity: usize,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Sentences about settings that were accepted and do nothing, and about risks taken.
    pub notes: Vec<String>,
    sources: source::Sources,
}

impl Config {
    /// Whether only this machine can reach the server.
    #[must_use]
    pub fn bound_to_loopback(&self) -> bool {
        self.bind_address.is_loopback()
    }

    /// The public URL of the browser doors, without a slash at its end: `BASE_URL`, or the Gateway's own, given the
    /// address it listens on.
    #[must_use]
    pub fn public_url(&self, gateway: SocketAddr) -> String {
        match &self.base_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", reachable(gateway)),
        }
    }

    /// The `redirect_uri` to register at providers: the public URL followed by `REDIRECT_PATH`.
    #[must_use]
    pub fn redirect_uri(&self, gateway: SocketAddr) -> String {
        format!("{}{}", self.public_url(gateway), self.redirect_path)
    }

    /// Every setting's name, effective value and source, in the order of the documentation. Secrets are masked.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String, Source)> {
        let rows = effective::rows(self).into_iter();
        rows.map(|(name, value)| (name, value, self.sources.get(name)))
            .collect()
    }
}

/// An address a browser can use: a server that listens everywhere is reached at loopback.
fn reachable(listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, listening.port()))
    } else {
        listening
    }
}

#[cfg(test)]
mod tests;
