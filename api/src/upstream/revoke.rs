//! Tokens revoked at the provider (RFC 7009).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use nexus_domain::secret::Secret;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::Upstream;
use super::assertion::Fresh;
use super::call::{CallFailure, Facts};
use super::profile::{ClientAuthMethod, ResolvedProvider};
use super::token::assertion_fields;

/// Which token is to be revoked; with a refresh token its grant goes.
#[derive(Debug, Clone)]
pub enum RevocableToken {
    /// A refresh token.
    Refresh(Secret),
    /// An access token.
    Access(Secret),
}

impl RevocableToken {
    /// Its `token_type_hint`.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refresh(_) => "refresh_token",
            Self::Access(_) => "access_token",
        }
    }

    /// The token itself.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Refresh(token) | Self::Access(token) => token,
        }
    }
}

impl Upstream {
    /// Revokes a token. A token that the provider does not know is as good as revoked: it says so by success.
    ///
    /// # Errors
    /// [`CallFailure`]; it may be asked again, whatever the outcome.
    pub async fn revoke_token(
        &self,
        provider: &ResolvedProvider,
        token: &RevocableToken,
        fresh: Fresh,
    ) -> Result<(), CallFailure> {
        let Some(endpoint) = &provider.revocation_endpoint else {
            return Err(CallFailure::unsent("no_revocation_endpoint"));
        };
        let assertion = provider.assertion(endpoint, fresh)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(provider, token, assertion.as_ref()))
            .map_err(|_| CallFailure::unsent("invalid_request_url"))?;
        if let Some(basic) = basic(provider) {
            request.headers_mut().insert(AUTHORIZATION, basic);
        }
        let sent = self.http.send(request).await;
        let answer = sent.map_err(|error| CallFailure::unanswered(&error))?;
        if answer.status().is_success() {
            return Ok(());
        }
        let secrets = [
            Some(token.secret()),
            provider.client_secret.as_ref(),
            assertion.as_ref(),
        ];
        let secrets: Vec<&str> = secrets.into_iter().flatten().map(Secret::expose).collect();
        let facts = Facts::of(answer.status(), answer.headers());
        let body = serde_json::from_slice(answer.body()).ok();
        Err(CallFailure::answered(&facts, body, &secrets))
    }
}

fn form(
    provider: &ResolvedProvider,
    token: &RevocableToken,
    assertion: Option<&Secret>,
) -> Vec<u8> {
    let mut form = Serializer::new(String::new());
    form.append_pair("token", token.secret().expose());
    form.append_pair("token_type_hint", token.hint());
    if provider.auth_method != ClientAuthMethod::SecretBasic {
        form.append_pair("client_id", &provider.client_id);
        if let Some(secret) = &provider.client_secret {
            form.append_pair("client_secret", secret.expose());
        }
    }
    form.extend_pairs(assertion_fields(assertion));
    form.finish().into_bytes()
}

/// RFC 6749 §2.3.1: id and secret are form-encoded first.
fn basic(provider: &ResolvedProvider) -> Option<HeaderValue> {
    if provider.auth_method != ClientAuthMethod::SecretBasic {
        return None;
    }
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let secret = provider.client_secret.as_ref().map_or("", Secret::expose);
    let pair = Zeroizing::new(format!(
        "{}:{}",
        encoded(&provider.client_id),
        encoded(secret)
    ));
    let text = format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes()));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
