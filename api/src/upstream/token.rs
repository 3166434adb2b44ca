//! Codes and refresh tokens redeemed at the token endpoint.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use nexus_domain::secret::{Secret, SecretMap};
use oauth2::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, TokenUrl,
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Upstream;
use super::assertion::{ASSERTION_TYPE, Fresh};
use super::basic::basic;
use super::call::{CallFailure, Facts};
use super::http::{Http, SendError};
use super::profile::{ClientAuthMethod, ResolvedProvider};
use super::quirks::form_as_json;
use super::wire::{ErrorBody, TokenBody, TokenClient};

/// Tokens, as the token endpoint gave them (RFC 6749 §5.1).
#[derive(Debug, Clone)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: Secret,
    /// Its type, `Bearer` unless the provider says otherwise.
    pub token_type: String,
    /// A new refresh token; none when the old one stays good.
    pub refresh_token: Option<Secret>,
    /// The id token, not verified yet.
    pub id_token: Option<Secret>,
    /// What was granted; none when it is what was asked for.
    pub scope: Option<Vec<String>>,
    /// How long the access token lives, counted from the answer; none when it does not expire.
    pub expires_in: Option<Duration>,
    /// What else agents are given of the answer (`params.token_answer.fields`).
    pub fields: SecretMap,
}

impl From<TokenBody> for TokenAnswer {
    fn from(body: TokenBody) -> TokenAnswer {
        TokenAnswer {
            access_token: Secret::new(body.access_token.into_secret()),
            token_type: body.token_type.0,
            refresh_token: body
                .refresh_token
                .map(|token| Secret::new(token.into_secret())),
            id_token: body.id_token,
            scope: body
                .scopes
                .map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
            expires_in: body.expires_in,
            fields: SecretMap::default(),
        }
    }
}

impl Upstream {
    /// Exchanges an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5). Sends at most one request.
    pub async fn exchange_code(
        &self,
        provider: &ResolvedProvider,
        code: &Secret,
        pkce_verifier: &Secret,
        redirect_uri: &str,
        fresh: Fresh,
    ) -> Result<TokenAnswer, CallFailure> {
        let redirect = RedirectUrl::new(redirect_uri.to_owned())
            .map_err(|_| CallFailure::unsent("redirect_uri"))?;
        let assertion = provider.assertion(&provider.token_endpoint, fresh)?;
        let call = Call::new(&self.http, provider);
        let client = client(provider);
        let mut request = client
            .exchange_code(AuthorizationCode::new(code.expose().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(pkce_verifier.expose().to_owned()))
            .set_redirect_uri(Cow::Owned(redirect));
        for (name, value) in assertion_fields(assertion.as_ref()) {
            request = request.add_extra_param(name, value);
        }
        let answer = request.request_async(&call).await;
        let sent = [Some(code), Some(pkce_verifier), assertion.as_ref()];
        call.conclude(answer, sent)
    }

    /// Redeems a refresh token (RFC 6749 §6). Sends at most one request.
    pub async fn redeem_refresh_token(
        &self,
        provider: &ResolvedProvider,
        sent: &Secret,
        fresh: Fresh,
    ) -> Result<TokenAnswer, CallFailure> {
        let assertion = provider.assertion(&provider.token_endpoint, fresh)?;
        let call = Call::new(&self.http, provider);
        let (client, refresh_token) = (
            client(provider),
            RefreshToken::new(sent.expose().to_owned()),
        );
        let mut request = client.exchange_refresh_token(&refresh_token);
        for (name, value) in assertion_fields(assertion.as_ref()) {
            request = request.add_extra_param(name, value);
        }
        let answer = request.request_async(&call).await;
        call.conclude(answer, [Some(sent), assertion.as_ref()])
    }
}

fn client(provider: &ResolvedProvider) -> TokenClient<EndpointNotSet, EndpointSet> {
    let client = TokenClient::new(ClientId::new(provider.client_id.clone()))
        .set_token_uri(TokenUrl::from_url(provider.token_endpoint.clone()))
        .set_auth_type(match provider.auth_method {
            ClientAuthMethod::SecretBasic => AuthType::BasicAuth,
            ClientAuthMethod::SecretPost
            | ClientAuthMethod::PrivateKeyJwt
            | ClientAuthMethod::None => AuthType::RequestBody,
        });
    match &provider.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().to_owned())),
        None => client,
    }
}

/// The fields that carry an assertion (RFC 7521 §4.2).
pub(super) fn assertion_fields(
    assertion: Option<&Secret>,
) -> impl Iterator<Item = (&'static str, &str)> {
    let fields = assertion.map(|assertion| {
        [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.expose()),
        ]
    });
    fields.into_iter().flatten()
}

/// One call. Remembers what the answer's headers said, which the oauth2 crate does not pass on.
struct Call<'a> {
    http: &'a Http,
    provider: &'a ResolvedProvider,
    facts: Mutex<Option<Facts>>,
    fields: Mutex<SecretMap>,
}

/// A trait of its own rather than a closure: a future over the closure cannot be proved to be `Send`.
impl<'c> AsyncHttpClient<'c> for Call<'_> {
    type Error = SendError;
    type Future = BoxFuture<'c, Result<HttpResponse, SendError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Call<'_> {
    fn new<'a>(http: &'a Http, provider: &'a ResolvedProvider) -> Call<'a> {
        Call {
            http,
            provider,
            facts: Mutex::default(),
            fields: Mutex::default(),
        }
    }

    /// The crate takes 200 with a JSON content type for success; providers use other 2xx statuses and forget the type.
    async fn send(&self, mut request: HttpRequest) -> Result<HttpResponse, SendError> {
        let quirks = &self.provider.quirks;
        if let Some(basic) = basic(self.provider) {
            request.headers_mut().insert(AUTHORIZATION, basic);
        }
        if quirks.json_requests {
            let form = Zeroizing::new(std::mem::take(request.body_mut()));
            *request.body_mut() = form_as_json(&form);
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        let mut response = self.http.send(request).await?;
        let facts = Facts::of(response.status(), response.headers());
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        let flagged = quirks.error_in_200.as_ref();
        if flagged.is_some_and(|error| error.is_said_by(response.body())) {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response.headers_mut().remove(CONTENT_TYPE);
        } else if response.status().is_success() {
            self.read(response.body_mut());
            *response.status_mut() = StatusCode::OK;
            response.headers_mut().remove(CONTENT_TYPE);
        }
        Ok(response)
    }

    /// Takes out of an answer what its provider keeps elsewhere, and leaves the tokens as they are read.
    fn read(&self, body: &mut Vec<u8>) {
        let reading = &self.provider.quirks.reading;
        if reading.pointer.is_none() && reading.fields.is_empty() {
            return;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        *self.fields.lock().unwrap_or_else(PoisonError::into_inner) = reading.fields(&answer);
        if let Some(tokens) = reading.tokens(&answer) {
            let whole = std::mem::replace(body, tokens.to_string().into_bytes());
            drop(Zeroizing::new(whole));
        }
    }

    fn conclude<const N: usize>(
        self,
        answer: Result<TokenBody, RequestTokenError<SendError, ErrorBody>>,
        sent: [Option<&Secret>; N],
    ) -> Result<TokenAnswer, CallFailure> {
        let provider = self.provider;
        let error = match answer {
            Ok(body) => {
                let fields = self.fields.into_inner();
                let mut answer = TokenAnswer {
                    fields: fields.unwrap_or_else(PoisonError::into_inner),
                    ..TokenAnswer::from(body)
                };
                if let Some(token_type) = &provider.quirks.reading.token_type {
                    answer.token_type.clone_from(token_type);
                }
                answer.scope = answer.scope.map(|scope| provider.quirks.split(scope));
                return Ok(answer);
            }
            Err(error) => error,
        };
        let secrets: Vec<&str> = sent
            .into_iter()
            .flatten()
            .chain(&provider.client_secret)
            .map(Secret::expose)
            .collect();
        let facts = self
            .facts
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let failure = match (error, facts) {
            (RequestTokenError::Request(error), _) => CallFailure::unanswered(&error),
            (RequestTokenError::ServerResponse(body), Some(facts)) => {
                CallFailure::answered(&facts, Some(body), &secrets)
            }
            // An error may come with a status of success.
            (RequestTokenError::Parse(_, body), Some(facts)) => {
                let body = Zeroizing::new(body);
                CallFailure::answered(&facts, serde_json::from_slice(&body).ok(), &secrets)
            }
            (RequestTokenError::Other(_), Some(facts)) => {
                CallFailure::answered(&facts, None, &secrets)
            }
            (_, None) => CallFailure::unsent("invalid_request_url"),
        };
        Err(provider.quirks.named(failure))
    }
}
