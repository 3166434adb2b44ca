//! One request and its complete answer, within limits.

use std::sync::Once;
use std::time::Duration;

use futures::future::BoxFuture;
use http::StatusCode;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::redirect::Policy;
use url::Url;
use zeroize::Zeroize;

use super::ClientUnavailable;
use super::call::Outcome;
use super::resolve::{Forbidden, GuardedResolver};
use crate::config::{UnsafeUrl, UpstreamRules};

/// The largest answer that is read.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

const MAX_CONNECT_TIME: Duration = Duration::from_secs(5);

/// Why a request has no complete answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The rules forbid the URL.
    #[error("the URL is not allowed")]
    Refused(#[from] UnsafeUrl),
    /// The name leads to an address that the rules forbid.
    #[error("the name leads to an address that is not allowed")]
    Forbidden,
    /// The request could not be made.
    #[error("the request could not be made")]
    Invalid(#[source] reqwest::Error),
    /// No connection came about: name, TCP or TLS.
    #[error("no connection came about")]
    Connect(#[source] reqwest::Error),
    /// The time was up before the answer was complete.
    #[error("the answer took too long")]
    Timeout(#[source] reqwest::Error),
    /// The connection ended before the answer was complete, or what came was no HTTP.
    #[error("the answer broke off")]
    Interrupted(#[source] reqwest::Error),
    /// The answer exceeds [`MAX_ANSWER_BYTES`].
    #[error("the answer is too large")]
    TooLarge,
}

impl SendError {
    /// Whether it is certain that the request had no effect.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            SendError::Refused(_)
            | SendError::Forbidden
            | SendError::Invalid(_)
            | SendError::Connect(_) => Outcome::Known,
            SendError::Timeout(_) | SendError::Interrupted(_) | SendError::TooLarge => {
                Outcome::Unknown
            }
        }
    }

    /// A stable word for the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            SendError::Refused(_) => "insecure_url",
            SendError::Forbidden => "forbidden_address",
            SendError::Invalid(_) => "invalid_request_url",
            SendError::Connect(_) => "connect",
            SendError::Timeout(_) => "timeout",
            SendError::Interrupted(_) => "interrupted",
            SendError::TooLarge => "response_too_large",
        }
    }

    /// Only an error of the connector proves that nothing was sent.
    fn of(error: reqwest::Error) -> SendError {
        let error = error.without_url();
        if Forbidden::caused(&error) {
            SendError::Forbidden
        } else if error.is_connect() {
            SendError::Connect(error)
        } else if error.is_builder() {
            SendError::Invalid(error)
        } else if error.is_timeout() {
            SendError::Timeout(error)
        } else {
            SendError::Interrupted(error)
        }
    }
}

/// The HTTP client with its limits.
pub(crate) struct Http {
    secure: reqwest::Client,
    plain: reqwest::Client,
    rules: UpstreamRules,
}

impl Http {
    /// Connecting gets at most half the time, so that a call whose time is up was certainly connected, or failed as
    /// [`SendError::Connect`].
    pub(super) fn new(rules: UpstreamRules, timeout: Duration) -> Result<Http, reqwest::Error> {
        install_tls();
        let client = |plain| {
            let resolver = GuardedResolver::new(rules.clone(), plain);
            Self::client(timeout, resolver)
        };
        Ok(Http {
            secure: client(false)?,
            plain: client(true)?,
            rules,
        })
    }

    /// For what the operator named and trusts: no address is forbidden, every other limit holds.
    pub(crate) fn trusting(timeout: Duration) -> Result<Http, ClientUnavailable> {
        Http::new(UpstreamRules::Anywhere, timeout).map_err(ClientUnavailable)
    }

    /// A client as every call is made with.
    pub(super) fn client(
        timeout: Duration,
        resolver: GuardedResolver,
    ) -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder()
            .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .timeout(timeout)
            .connect_timeout(MAX_CONNECT_TIME.min(timeout / 2))
            // A kept connection may close while a request is written to it, which leaves that call's outcome unknown
            // for nothing.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .dns_resolver(resolver)
            .build()
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, SendError> {
        let request = reqwest::Request::try_from(request).map_err(SendError::of)?;
        self.check(request.url())?;
        let client = self.client_for(request.url());
        let response = client.execute(request).await.map_err(SendError::of)?;
        let status = response.status();
        let headers = response.headers().clone();
        let mut answer = HttpResponse::new(read_body(response).await?);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    /// The status that a URL is answered with, without its body.
    pub(super) async fn status(&self, url: &Url) -> Result<StatusCode, SendError> {
        self.check(url)?;
        let sent = self.client_for(url).get(url.clone()).send().await;
        Ok(sent.map_err(SendError::of)?.status())
    }

    fn client_for(&self, url: &Url) -> &reqwest::Client {
        match url.scheme() {
            "http" => &self.plain,
            _ => &self.secure,
        }
    }

    /// Whether the rules allow the URL.
    pub(super) fn check(&self, url: &Url) -> Result<(), UnsafeUrl> {
        self.rules.check(url)
    }
}

/// For discovery. A closure over a reference would do, but a future over it cannot be proved to be `Send`.
impl<'c> AsyncHttpClient<'c> for Http {
    type Error = SendError;
    type Future = BoxFuture<'c, Result<HttpResponse, SendError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, SendError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(None) => return Ok(body),
            Ok(Some(_)) => {
                body.zeroize();
                return Err(SendError::TooLarge);
            }
            Err(error) => {
                body.zeroize();
                return Err(SendError::of(error));
            }
        }
    }
}

/// `rustls` takes its cryptography from a provider that is installed once per process.
pub(super) fn install_tls() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error says that another part of the process has installed one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
