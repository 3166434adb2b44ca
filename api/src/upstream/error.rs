//! Why a provider's endpoints are not known.

use std::sync::Arc;

use openidconnect::DiscoveryError;

use super::assertion::ClientKeyError;
use super::http::SendError;
use crate::config::UnsafeUrl;

/// Why a provider's endpoints are not known. Its sentences hold no secrets and no answer's body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// A setting is missing that nothing else can stand in for.
    #[error("the provider has no {0}")]
    Missing(&'static str),
    /// A setting or a discovered endpoint is not a URL.
    #[error("{0} is not an absolute URL")]
    Malformed(&'static str),
    /// A setting or a discovered endpoint is not safe enough.
    #[error("{0} is not allowed")]
    Insecure(&'static str, #[source] UnsafeUrl),
    /// The provider authenticates clients in a way that is not supported.
    #[error("the client authentication method is not supported")]
    UnsupportedAuthMethod,
    /// The client's key cannot sign.
    #[error("the client's private key cannot sign")]
    ClientKey(#[from] ClientKeyError),
    /// The discovery document, or the key set it names, could not be fetched.
    #[error("the provider's discovery document or key set could not be fetched")]
    Unreachable(#[source] Arc<SendError>),
    /// The discovery document or the key set was answered with an error.
    #[error("the provider's discovery document or key set was answered with status {0}")]
    Status(u16),
    /// The discovery document or the key set is not one.
    #[error("the provider's discovery document or key set is not valid: {0}")]
    Invalid(String),
    /// The discovery document names another issuer (`OpenID` Connect Discovery 1.0 §4.3).
    #[error("the discovery document names another issuer")]
    ForeignIssuer,
}

impl UpstreamError {
    /// A stable word for the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            UpstreamError::Missing(_)
            | UpstreamError::Malformed(_)
            | UpstreamError::Insecure(..)
            | UpstreamError::UnsupportedAuthMethod
            | UpstreamError::ClientKey(_) => "provider_settings",
            UpstreamError::Unreachable(_)
            | UpstreamError::Status(_)
            | UpstreamError::Invalid(_)
            | UpstreamError::ForeignIssuer => "discovery",
        }
    }
}

impl From<DiscoveryError<SendError>> for UpstreamError {
    fn from(error: DiscoveryError<SendError>) -> UpstreamError {
        match error {
            DiscoveryError::Request(error) => UpstreamError::Unreachable(Arc::new(error)),
            DiscoveryError::Response(status, ..) if status.is_success() => {
                UpstreamError::Invalid("its content type is not JSON".to_owned())
            }
            DiscoveryError::Response(status, ..) => UpstreamError::Status(status.as_u16()),
            DiscoveryError::Parse(error) => {
                UpstreamError::Invalid(format!("`{}` is wrong or absent", error.path()))
            }
            DiscoveryError::UrlParse(_) => UpstreamError::Malformed("issuer"),
            DiscoveryError::Validation(_) => UpstreamError::ForeignIssuer,
            _ => UpstreamError::Invalid("it could not be read".to_owned()),
        }
    }
}
