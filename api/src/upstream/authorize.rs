//! Where a person is sent to consent.

use std::borrow::Cow;
use std::fmt;

use nexus_domain::secret::Secret;
use oauth2::{
    AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
};
use url::Url;

use super::Upstream;
use super::error::UpstreamError;
use super::profile::ResolvedProvider;
use super::wire::TokenClient;

/// One request for consent.
#[derive(Clone, Copy)]
pub struct Authorization<'a> {
    /// The one-time state.
    pub state: &'a str,
    /// The PKCE code verifier (RFC 7636 §4.1), 43 to 128 characters; its S256 challenge is sent.
    pub pkce_verifier: &'a Secret,
    /// The OIDC nonce; sent when the scopes hold `openid`.
    pub nonce: &'a str,
    /// Where the provider sends the person back to.
    pub redirect_uri: &'a str,
    /// What is asked for.
    pub scopes: &'a [String],
}

/// The state is a secret until it is spent.
impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("redirect_uri", &self.redirect_uri)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// The provider's consent page: `response_type=code`, PKCE S256, state, nonce when `openid` is asked for, the
    /// provider's extra parameters and resource indicators.
    pub fn authorization_url(
        &self,
        provider: &ResolvedProvider,
        authorization: &Authorization<'_>,
    ) -> Result<Url, UpstreamError> {
        let redirect = RedirectUrl::new(authorization.redirect_uri.to_owned())
            .map_err(|_| UpstreamError::Malformed("redirect_uri"))?;
        let client = TokenClient::new(ClientId::new(provider.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(provider.authorization_endpoint.clone()));
        let mut request = client
            .authorize_url(|| CsrfToken::new(authorization.state.to_owned()))
            .set_redirect_uri(Cow::Owned(redirect))
            .set_pkce_challenge(challenge(authorization.pkce_verifier));
        let quirks = &provider.quirks;
        request = match quirks.joined(authorization.scopes) {
            _ if quirks.skip_scope_on_auth => request,
            Some(joined) => request.add_scope(Scope::new(joined)),
            None => request.add_scopes(authorization.scopes.iter().cloned().map(Scope::new)),
        };
        for (name, value) in parameters(provider, authorization) {
            request = request.add_extra_param(name, value);
        }
        Ok(request.url().0)
    }
}

fn challenge(verifier: &Secret) -> PkceCodeChallenge {
    PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(
        verifier.expose().to_owned(),
    ))
}

fn parameters<'a>(
    provider: &'a ResolvedProvider,
    authorization: &Authorization<'a>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let openid = authorization.scopes.iter().any(|scope| scope == "openid");
    let nonce = openid.then_some(("nonce", authorization.nonce));
    let resources = provider
        .resources
        .iter()
        .map(|resource| ("resource", resource.as_str()));
    let extra = provider
        .extra_params
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    nonce.into_iter().chain(resources).chain(extra)
}
