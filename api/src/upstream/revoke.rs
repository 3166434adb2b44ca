//! Tokens revoked at the provider (RFC 7009).

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use nexus_domain::secret::Secret;
use url::Url;
use url::form_urlencoded::Serializer;

use super::Upstream;
use super::assertion::Fresh;
use super::basic::basic;
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
    /// Revokes a token. A token that the provider does not know is as good as revoked: it says so by success. A client that
    /// signs asks again with another audience when it is not believed.
    ///
    /// # Errors
    /// [`CallFailure`]; it may be asked again, whatever the outcome.
    pub async fn revoke_token(
        &self,
        provider: &ResolvedProvider,
        token: &RevocableToken,
        fresh: impl Fn() -> Result<Fresh, CallFailure>,
    ) -> Result<(), CallFailure> {
        let Some(endpoint) = &provider.revocation_endpoint else {
            return Err(CallFailure::unsent("no_revocation_endpoint"));
        };
        let audiences = provider.audiences(endpoint);
        let mut answer = Err(CallFailure::unsent("client_assertion"));
        for audience in audiences {
            let assertion = provider.assertion(audience, fresh()?)?;
            answer = self
                .revoke_as(provider, token, endpoint, assertion.as_ref())
                .await;
            let disbelieved = answer.as_ref().is_err_and(is_of_the_client);
            if assertion.is_none() || !disbelieved {
                break;
            }
        }
        answer
    }

    async fn revoke_as(
        &self,
        provider: &ResolvedProvider,
        token: &RevocableToken,
        endpoint: &Url,
        assertion: Option<&Secret>,
    ) -> Result<(), CallFailure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(provider, token, assertion))
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
            assertion,
        ];
        let secrets: Vec<&str> = secrets.into_iter().flatten().map(Secret::expose).collect();
        let facts = Facts::of(answer.status(), answer.headers());
        let body = serde_json::from_slice(answer.body()).ok();
        Err(CallFailure::answered(&facts, body, &secrets))
    }
}

/// Whether it is the client that is refused, and not what it asks for (RFC 6749 §5.2).
fn is_of_the_client(failure: &CallFailure) -> bool {
    failure.http_status == Some(401) || failure.error == "invalid_client"
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
