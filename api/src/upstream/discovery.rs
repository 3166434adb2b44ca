//! Discovery documents and key sets (`OpenID` Connect Discovery 1.0), fetched once for all who need them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, IssuerUrl, JsonWebKeySet, ProviderMetadata, TokenUrl,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::Upstream;
use super::error::UpstreamError;
use super::http::Http;

type Document = ProviderMetadata<
    Additions,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Additions {
    /// RFC 9207 §3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    /// RFC 8414 §2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revocation_endpoint: Option<Url>,
}

impl AdditionalProviderMetadata for Additions {}

/// An issuer's discovery document and key set.
#[derive(Debug)]
pub struct Discovered(Document);

impl Discovered {
    /// The authorization endpoint.
    #[must_use]
    pub fn authorization_endpoint(&self) -> &Url {
        self.0.authorization_endpoint().url()
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> Option<&Url> {
        self.0.token_endpoint().map(TokenUrl::url)
    }

    /// The revocation endpoint (RFC 7009).
    #[must_use]
    pub fn revocation_endpoint(&self) -> Option<&Url> {
        self.0.additional_metadata().revocation_endpoint.as_ref()
    }

    /// Whether every authorization response carries `iss` (RFC 9207).
    #[must_use]
    pub fn promises_iss(&self) -> bool {
        self.0
            .additional_metadata()
            .authorization_response_iss_parameter_supported
    }

    pub(super) fn keys(&self) -> &JsonWebKeySet<CoreJsonWebKey> {
        self.0.jwks()
    }
}

type Answer = Result<Arc<Discovered>, UpstreamError>;

/// The latest answer about an issuer, and when it came.
struct Entry {
    came: Instant,
    answer: Answer,
}

/// What is known about each issuer. The lock of an issuer is held while it is asked, so it is asked once at a time.
pub(super) struct DiscoveryCache {
    ttl: Duration,
    issuers: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Entry>>>>>,
}

impl DiscoveryCache {
    pub(super) fn new(ttl: Duration) -> DiscoveryCache {
        DiscoveryCache {
            ttl,
            issuers: Mutex::default(),
        }
    }

    fn slot(&self, issuer: &str) -> Arc<tokio::sync::Mutex<Option<Entry>>> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(issuers.entry(issuer.to_owned()).or_default())
    }
}

impl Upstream {
    /// What is known of an issuer without asking it, or anybody who is asking it just now.
    pub(super) fn known(&self, issuer: &str) -> Option<Arc<Discovered>> {
        let slot = self.discovery.slot(issuer);
        let entry = slot.try_lock().ok()?;
        let Entry { came, answer } = entry.as_ref()?;
        let fresh = came.elapsed() < self.discovery.ttl;
        answer.as_ref().ok().filter(|_| fresh).map(Arc::clone)
    }

    /// The issuer's discovery document, its `issuer` checked, and its key set. Kept for ten minutes; of any number of
    /// callers at once one fetches, and all get its answer, be it a failure.
    pub async fn discover(&self, issuer: &str) -> Result<Arc<Discovered>, UpstreamError> {
        self.discover_unless(issuer, |_| false).await
    }

    /// The same, fetched anew unless somebody has done so since `outdated` was current.
    pub(super) async fn discover_again(&self, issuer: &str, outdated: &Arc<Discovered>) -> Answer {
        self.discover_unless(issuer, |known| Arc::ptr_eq(known, outdated))
            .await
    }

    async fn discover_unless(
        &self,
        issuer: &str,
        outdated: impl Fn(&Arc<Discovered>) -> bool,
    ) -> Answer {
        let asked = Instant::now();
        let slot = self.discovery.slot(issuer);
        let mut entry = slot.lock().await;
        if let Some(Entry { came, answer }) = entry.as_ref() {
            let fresh = came.elapsed() < self.discovery.ttl;
            match answer {
                Ok(known) if fresh && !outdated(known) => return Ok(Arc::clone(known)),
                answer if *came >= asked => return answer.clone(),
                _ => {}
            }
        }
        let answer = fetch(&self.http, issuer).await;
        *entry = Some(Entry {
            came: Instant::now(),
            answer: answer.clone(),
        });
        answer
    }
}

pub(super) async fn fetch(http: &Http, issuer: &str) -> Answer {
    let issuer =
        IssuerUrl::new(issuer.to_owned()).map_err(|_| UpstreamError::Malformed("issuer"))?;
    let document = Document::discover_async(issuer, http).await?;
    Ok(Arc::new(Discovered(document)))
}
