//! Whether a provider is there: a look at what it shows to everybody. No secret is sent, no token redeemed.

use std::error::Error;
use std::io;

use nexus_domain::provider::{AuthType, ProviderProfile};
use url::Url;

use super::Upstream;
use super::discovery::fetch;
use super::error::UpstreamError;
use super::http::SendError;
use super::profile::{given, needs_discovery};
use super::resolve::Unresolved;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// The discovery document and the key set of this issuer.
    Issuer(String),
    /// This URL, at which any answer but that of a server in trouble is a good one.
    Url(Url),
}

impl ProbeTarget {
    /// What there is of a provider to look at. With endpoints or keys from its issuer that is the issuer, otherwise the
    /// token endpoint, the authorization endpoint or, for static kinds, where its API is as far as no placeholder
    /// stands in the way.
    #[must_use]
    pub fn of(profile: &ProviderProfile) -> Option<Self> {
        if profile.auth_type != AuthType::Oauth2 {
            let base = given(profile.api_base_url.as_ref())?;
            return Url::parse(certain(base)?).ok().map(Self::Url);
        }
        let openid = profile.scopes.iter().any(|scope| scope == "openid");
        match given(profile.issuer.as_ref()) {
            Some(issuer) if openid || needs_discovery(profile) => {
                Some(Self::Issuer(issuer.to_owned()))
            }
            Some(_) | None => {
                let token_url = given(profile.token_url.as_ref());
                let url = token_url.or_else(|| given(profile.auth_url.as_ref()))?;
                Url::parse(url).ok().map(Self::Url)
            }
        }
    }
}

/// The part of a URL before the path segment with its first placeholder; none when its host holds one.
fn certain(template: &str) -> Option<&str> {
    let Some((before, _)) = template.split_once('{') else {
        return Some(template);
    };
    let host = before.find("://")? + 3;
    let end = before.rfind('/').filter(|end| *end > host)?;
    before.get(..=end)
}

/// Why a provider is taken not to be there. Its sentences are ours, never the provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The rules forbid where it is.
    #[error("The address is not allowed.")]
    Refused,
    /// Its name leads nowhere.
    #[error("The name could not be resolved.")]
    Name,
    /// It takes no connection.
    #[error("No connection came about.")]
    Connect,
    /// It takes one, and TLS fails.
    #[error("TLS failed.")]
    Tls,
    /// It takes too long.
    #[error("The answer took too long.")]
    Timeout,
    /// It hangs up, or does not speak HTTP.
    #[error("The answer broke off.")]
    Interrupted,
    /// It answers with an error.
    #[error("It answered with status {0}.")]
    Status(u16),
    /// Its document or key set is none.
    #[error("The discovery document or its key set is not valid.")]
    Document,
    /// It cannot be asked.
    #[error("The provider's settings cannot be used.")]
    Settings,
}

impl Upstream {
    /// Looks whether a provider is there, past everything that is remembered of it.
    ///
    /// # Errors
    /// [`ProbeError`]
    pub async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError> {
        match target {
            ProbeTarget::Issuer(issuer) => {
                let fetched = fetch(&self.http, issuer).await;
                fetched.map(drop).map_err(|error| of_document(&error))
            }
            ProbeTarget::Url(url) => {
                let status = self.http.status(url).await;
                let status = status.map_err(|error| of_send(&error))?;
                if status.is_server_error() {
                    return Err(ProbeError::Status(status.as_u16()));
                }
                Ok(())
            }
        }
    }
}

fn of_document(error: &UpstreamError) -> ProbeError {
    match error {
        UpstreamError::Unreachable(error) => match &**error {
            SendError::TooLarge => ProbeError::Document,
            error => of_send(error),
        },
        UpstreamError::Status(status) => ProbeError::Status(*status),
        UpstreamError::Invalid(_) | UpstreamError::ForeignIssuer => ProbeError::Document,
        UpstreamError::Insecure(..) => ProbeError::Refused,
        UpstreamError::Missing(_)
        | UpstreamError::Malformed(_)
        | UpstreamError::UnsupportedAuthMethod
        | UpstreamError::ClientKey(_) => ProbeError::Settings,
    }
}

fn of_send(error: &SendError) -> ProbeError {
    match error {
        SendError::Refused(_) | SendError::Forbidden => ProbeError::Refused,
        SendError::Invalid(_) => ProbeError::Settings,
        SendError::Connect(cause) => of_connect(cause),
        SendError::Timeout(_) => ProbeError::Timeout,
        SendError::Interrupted(_) | SendError::TooLarge => ProbeError::Interrupted,
    }
}

fn of_connect(cause: &reqwest::Error) -> ProbeError {
    if cause.is_timeout() {
        ProbeError::Timeout
    } else if any_cause(cause, <dyn Error>::is::<Unresolved>) {
        ProbeError::Name
    } else if any_cause(cause, is_tls) {
        ProbeError::Tls
    } else {
        ProbeError::Connect
    }
}

fn any_cause(error: &(dyn Error + 'static), is_it: fn(&(dyn Error + 'static)) -> bool) -> bool {
    is_it(error) || error.source().is_some_and(|cause| any_cause(cause, is_it))
}

/// An I/O error is no cause of itself: what it wraps is asked for.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|error| is_tls(error))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::UpstreamRules;
    use crate::upstream::http::install_tls;
    use crate::upstream::resolve::GuardedResolver;

    fn target(profile: Value) -> Option<String> {
        match ProbeTarget::of(&serde_json::from_value(profile).unwrap())? {
            ProbeTarget::Issuer(issuer) => Some(format!("issuer {issuer}")),
            ProbeTarget::Url(url) => Some(url.to_string()),
        }
    }

    #[test]
    fn what_is_looked_at_is_what_connections_depend_on() {
        let issuer = "https://i.test";
        let (auth, token) = ("https://a.test/auth", "https://t.test/token");
        for (profile, looked_at) in [
            (
                json!({"issuer": issuer, "enable_discovery": true}),
                Some("issuer https://i.test"),
            ),
            (json!({"issuer": issuer}), Some("issuer https://i.test")),
            (
                json!({"issuer": issuer, "auth_url": auth, "token_url": token, "scopes": ["openid"]}),
                Some("issuer https://i.test"),
            ),
            (
                json!({"issuer": issuer, "auth_url": auth, "token_url": token}),
                Some(token),
            ),
            (json!({"auth_url": auth, "token_url": token}), Some(token)),
            (json!({"auth_url": auth, "token_url": ""}), Some(auth)),
            (
                json!({"auth_type": "api_key", "api_base_url": "https://b.test/v1"}),
                Some("https://b.test/v1"),
            ),
            (json!({"auth_type": "api_key", "token_url": token}), None),
            (json!({}), None),
        ] {
            assert_eq!(target(profile).as_deref(), looked_at);
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_is_told_from_one_that_takes_no_connection() {
        install_tls();
        let resolver = GuardedResolver::over(UpstreamRules::PublicOnly, false, |_| {
            Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
        });
        let client = reqwest::Client::builder()
            .dns_resolver(resolver)
            .no_proxy()
            .build()
            .unwrap();
        let sent = client.get("https://nobody.invalid/").send().await;
        let error = SendError::Connect(sent.unwrap_err());
        assert_eq!(of_send(&error), ProbeError::Name);
    }

    #[test]
    fn a_template_is_looked_at_before_its_first_placeholder() {
        for (template, looked_at) in [
            ("https://b.test/{version}/x", Some("https://b.test/")),
            ("https://b.test/v1/of-{user}", Some("https://b.test/v1/")),
            ("https://{tenant}.b.test/v1", None),
            ("https://b-{region}.test/v1", None),
        ] {
            let profile = json!({"auth_type": "path", "api_base_url": template});
            assert_eq!(target(profile).as_deref(), looked_at, "{template}");
        }
    }
}
