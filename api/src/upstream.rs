//! The client of all providers: OAuth 2.0, `OpenID` Connect, and whoever takes a static credential.
//!
//! Every call has limits (time, size, no redirects), goes out on a connection of its own, and says of a failure
//! whether its outcome is known: exchanging a code and redeeming a rotating refresh token must not happen twice.

use std::time::Duration;

use crate::config::UpstreamRules;

mod ask;
mod assertion;
mod authorize;
mod basic;
mod call;
mod discovery;
mod error;
mod http;
mod id_token;
mod probe;
mod profile;
mod quirks;
mod resolve;
mod revoke;
mod token;
mod wire;

pub use ask::{AskError, Asked};
pub use assertion::{ClientKey, ClientKeyError, Fresh};
pub use authorize::Authorization;
pub use call::{CallFailure, Outcome};
pub use discovery::Discovered;
pub use error::UpstreamError;
pub(crate) use http::Http;
pub use http::{MAX_ANSWER_BYTES, SendError};
pub use id_token::{IdTokenClaims, IdTokenError};
pub use probe::{ProbeError, ProbeTarget};
pub use profile::{ClientAuthMethod, ForeignIssuer, ResolvedProvider, is_possible_iss};
pub use quirks::Quirks;
pub use revoke::RevocableToken;
pub use token::TokenAnswer;

/// What the client needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Which provider URLs may be plain http.
    pub rules: UpstreamRules,
    /// How long a call may take in all; connecting may take half of it at most.
    pub timeout: Duration,
    /// How long a discovery document and its keys are used before they are fetched again.
    pub discovery_ttl: Duration,
}

impl UpstreamConfig {
    /// The usual configuration: documents are kept for ten minutes.
    #[must_use]
    pub fn new(rules: UpstreamRules, timeout: Duration) -> UpstreamConfig {
        UpstreamConfig {
            rules,
            timeout,
            discovery_ttl: Duration::from_mins(10),
        }
    }
}

/// The client could not be made: the system has no root certificates, or no TLS.
#[derive(Debug, thiserror::Error)]
#[error("the client for providers cannot be set up")]
pub struct ClientUnavailable(#[source] reqwest::Error);

/// The client of all providers. One per process.
pub struct Upstream {
    http: http::Http,
    discovery: discovery::DiscoveryCache,
}

impl Upstream {
    /// Sets the client up, and TLS for the whole process.
    pub fn new(config: UpstreamConfig) -> Result<Upstream, ClientUnavailable> {
        let http = http::Http::new(config.rules, config.timeout).map_err(ClientUnavailable)?;
        Ok(Upstream {
            http,
            discovery: discovery::DiscoveryCache::new(config.discovery_ttl),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
