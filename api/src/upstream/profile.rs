//! A provider with its endpoints found and its secrets at hand.

use std::fmt;
use std::sync::Arc;

use nexus_domain::provider::{NAMED_PARAMS, ProviderProfile, ProviderSecrets, SECRET_PARAMS};
use nexus_domain::secret::Secret;
use nexus_domain::strategy::scalar;
use serde_json::{Map, Value};
use url::Url;

use super::Upstream;
use super::assertion::{ClientKey, ClientKeyError, Fresh};
use super::call::CallFailure;
use super::discovery::Discovered;
use super::error::UpstreamError;
use super::quirks::Quirks;

/// Parameters that belong to the flow itself; no setting may speak for them.
const FLOW_PARAMS: [&str; 13] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "private_key_alg",
    "private_key_id",
    "redirect_uri",
    "request",
    "request_uri",
    "resource",
    "response_type",
    "scope",
    "state",
];

/// How the client proves itself at the token endpoint (RFC 6749 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthMethod {
    /// Id and secret in the body.
    SecretPost,
    /// Id and secret, each form-encoded, in HTTP Basic.
    SecretBasic,
    /// An assertion that it signs (RFC 7523 §2.2).
    PrivateKeyJwt,
    /// A public client: its id alone.
    None,
}

/// A provider with its endpoints found and its secrets at hand. Made by [`Upstream::resolve`].
#[derive(Clone)]
pub struct ResolvedProvider {
    /// Where people are sent.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens are redeemed.
    pub token_endpoint: Url,
    /// Where tokens are revoked, if they can be (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// The `OpenID` Connect issuer: id tokens are verified when it is known.
    pub issuer: Option<String>,
    /// The OAuth client's id.
    pub client_id: String,
    /// The OAuth client's secret; none for a client that proves itself otherwise or not at all.
    pub client_secret: Option<Secret>,
    /// The key that it signs with, if that is how it proves itself.
    pub client_key: Option<Arc<ClientKey>>,
    /// How the client proves itself.
    pub auth_method: ClientAuthMethod,
    /// What is asked for when a request names no scopes.
    pub scopes: Vec<String>,
    /// Further authorization parameters.
    pub extra_params: Vec<(String, String)>,
    /// Resource indicators (RFC 8707).
    pub resources: Vec<String>,
    /// Whether every authorization response carries `iss` (RFC 9207).
    pub promises_iss: bool,
    /// How it departs from the RFCs.
    pub quirks: Quirks,
}

impl fmt::Debug for ResolvedProvider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResolvedProvider")
            .field("token_endpoint", &self.token_endpoint.as_str())
            .field("issuer", &self.issuer)
            .field("auth_method", &self.auth_method)
            .finish_non_exhaustive()
    }
}

/// The authorization response comes from another issuer than the request went to, or does not say where it comes from
/// although it should (RFC 9207 §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the authorization response does not come from the provider's issuer")]
pub struct ForeignIssuer;

impl ResolvedProvider {
    /// Checks the `iss` of an authorization response: when present it must be the issuer, and it must be present when
    /// the provider promised it. Where no issuer is known it must at least be at home where the person was sent: that is
    /// what a response of another provider, to which a dishonest one has sent the person on, is not.
    pub fn check_iss(&self, iss: Option<&str>) -> Result<(), ForeignIssuer> {
        match iss {
            Some(iss) => is_its(self.issuer.as_deref(), &self.authorization_endpoint, iss),
            None => self.issuer.is_none() || !self.promises_iss,
        }
        .then_some(())
        .ok_or(ForeignIssuer)
    }

    /// The assertion of a client that proves itself so.
    pub(super) fn assertion(
        &self,
        audience: &Url,
        fresh: Fresh,
    ) -> Result<Option<Secret>, CallFailure> {
        let Some(key) = &self.client_key else {
            return Ok(None);
        };
        key.assertion(&self.client_id, audience, fresh)
            .map(Some)
            .map_err(|_| CallFailure::unsent("client_assertion"))
    }

    /// Whom an assertion to an endpoint may name, the likeliest first. Most servers expect the token endpoint wherever it
    /// is they are called, some the endpoint itself; at another origin the former would be good for somebody else's.
    pub(super) fn audiences<'a>(&'a self, endpoint: &'a Url) -> Vec<&'a Url> {
        if endpoint == &self.token_endpoint || endpoint.origin() != self.token_endpoint.origin() {
            return vec![endpoint];
        }
        vec![&self.token_endpoint, endpoint]
    }
}

fn is_its(issuer: Option<&str>, authorization_endpoint: &Url, iss: &str) -> bool {
    match issuer {
        Some(issuer) => issuer == iss,
        None => Url::parse(iss).is_ok_and(|iss| iss.origin() == authorization_endpoint.origin()),
    }
}

/// Whether the `iss` of an authorization response can be a provider's, by its profile alone.
#[must_use]
pub fn is_possible_iss(profile: &ProviderProfile, iss: &str) -> bool {
    let authorization_endpoint = given(profile.auth_url.as_ref()).map(Url::parse);
    match (given(profile.issuer.as_ref()), authorization_endpoint) {
        (issuer, Some(Ok(endpoint))) => is_its(issuer, &endpoint, iss),
        (issuer, _) => issuer == Some(iss),
    }
}

impl Upstream {
    /// Finds the provider's endpoints. Those of the profile win over discovered ones; discovery happens only when the
    /// profile enables it, or lacks an endpoint, and names an issuer.
    pub async fn resolve(
        &self,
        profile: &ProviderProfile,
        secrets: &ProviderSecrets,
    ) -> Result<ResolvedProvider, UpstreamError> {
        let discovered = self.discovered(profile).await?;
        let auth_method = auth_method(profile)?;
        let (client_secret, client_key) = credentials(auth_method, profile, secrets)?;
        Ok(ResolvedProvider {
            authorization_endpoint: self.authorization_endpoint(profile, discovered.as_deref())?,
            token_endpoint: self.token_endpoint(profile, discovered.as_deref())?,
            revocation_endpoint: revocation_endpoint(profile, discovered.as_deref())?,
            issuer: given(profile.issuer.as_ref()).map(str::to_owned),
            client_id: given(profile.client_id.as_ref())
                .ok_or(UpstreamError::Missing("client_id"))?
                .to_owned(),
            client_secret,
            client_key,
            auth_method,
            scopes: profile.scopes.clone(),
            extra_params: extra_params(&profile.params),
            resources: resources(&profile.params),
            promises_iss: discovered.is_some_and(|document| document.promises_iss()),
            quirks: Quirks::of(&profile.params),
        })
    }

    async fn discovered(
        &self,
        profile: &ProviderProfile,
    ) -> Result<Option<Arc<Discovered>>, UpstreamError> {
        match given(profile.issuer.as_ref()) {
            Some(issuer) if needs_discovery(profile) => self.discover(issuer).await.map(Some),
            _ => Ok(None),
        }
    }

    fn authorization_endpoint(
        &self,
        profile: &ProviderProfile,
        discovered: Option<&Discovered>,
    ) -> Result<Url, UpstreamError> {
        let found = discovered.map(Discovered::authorization_endpoint);
        self.endpoint("auth_url", profile.auth_url.as_ref(), found)
    }

    fn token_endpoint(
        &self,
        profile: &ProviderProfile,
        discovered: Option<&Discovered>,
    ) -> Result<Url, UpstreamError> {
        let found = discovered.and_then(Discovered::token_endpoint);
        self.endpoint("token_url", profile.token_url.as_ref(), found)
    }

    fn endpoint(
        &self,
        field: &'static str,
        set: Option<&String>,
        discovered: Option<&Url>,
    ) -> Result<Url, UpstreamError> {
        let url = match given(set) {
            Some(text) => Url::parse(text).map_err(|_| UpstreamError::Malformed(field))?,
            None => discovered.cloned().ok_or(UpstreamError::Missing(field))?,
        };
        self.http
            .check(&url)
            .map_err(|error| UpstreamError::Insecure(field, error))?;
        Ok(url)
    }
}

/// Whether the rules allow it is judged when it is called: nothing else depends on it.
fn revocation_endpoint(
    profile: &ProviderProfile,
    discovered: Option<&Discovered>,
) -> Result<Option<Url>, UpstreamError> {
    let malformed = |_| UpstreamError::Malformed("params.revocation_endpoint");
    match profile.revocation_endpoint() {
        Some(text) => Url::parse(text).map(Some).map_err(malformed),
        None => Ok(discovered
            .and_then(Discovered::revocation_endpoint)
            .cloned()),
    }
}

/// Whether some endpoint is the issuer's to tell.
pub(super) fn needs_discovery(profile: &ProviderProfile) -> bool {
    let complete =
        given(profile.auth_url.as_ref()).is_some() && given(profile.token_url.as_ref()).is_some();
    profile.enable_discovery || !complete
}

pub(super) fn given(setting: Option<&String>) -> Option<&str> {
    setting.map(String::as_str).filter(|text| !text.is_empty())
}

fn auth_method(profile: &ProviderProfile) -> Result<ClientAuthMethod, UpstreamError> {
    match given(profile.auth_header.as_ref()) {
        None | Some("client_secret_post") => Ok(ClientAuthMethod::SecretPost),
        Some("client_secret_basic") => Ok(ClientAuthMethod::SecretBasic),
        Some("private_key_jwt") => Ok(ClientAuthMethod::PrivateKeyJwt),
        Some("none") => Ok(ClientAuthMethod::None),
        Some(_) => Err(UpstreamError::UnsupportedAuthMethod),
    }
}

/// What the client proves itself with: of its secrets no more than its method needs.
fn credentials(
    method: ClientAuthMethod,
    profile: &ProviderProfile,
    secrets: &ProviderSecrets,
) -> Result<(Option<Secret>, Option<Arc<ClientKey>>), ClientKeyError> {
    Ok(match method {
        ClientAuthMethod::SecretPost | ClientAuthMethod::SecretBasic => {
            (secrets.client_secret.clone(), None)
        }
        ClientAuthMethod::PrivateKeyJwt => (None, Some(Arc::new(ClientKey::of(profile, secrets)?))),
        ClientAuthMethod::None => (None, None),
    })
}

fn extra_params(params: &Map<String, Value>) -> Vec<(String, String)> {
    let ours = |name: &str| {
        NAMED_PARAMS.contains(&name)
            || FLOW_PARAMS.contains(&name)
            || SECRET_PARAMS
                .iter()
                .any(|secret| secret.eq_ignore_ascii_case(name))
    };
    let extra = params.iter().filter(|(name, _)| !ours(name));
    extra
        .filter_map(|(name, value)| Some((name.clone(), scalar(value)?)))
        .collect()
}

/// One resource or several.
fn resources(params: &Map<String, Value>) -> Vec<String> {
    match params.get("resource") {
        Some(Value::String(one)) if !one.is_empty() => vec![one.clone()],
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}
