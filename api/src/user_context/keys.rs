//! An issuer's keys, fetched once for all who need them.

use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{CoreJsonWebKey, CoreProviderMetadata};
use openidconnect::{IssuerUrl, JsonWebKeySet, JsonWebKeySetUrl};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::IssuerSettings;
use crate::upstream::{Http, UpstreamError};

pub(super) type KeySet = JsonWebKeySet<CoreJsonWebKey>;
type Answer = Result<Arc<KeySet>, UpstreamError>;

/// For how long keys are used, and how soon they are fetched before that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// Keys older than this are not used.
    pub(super) keep: Duration,
    /// Between two fetches because a key is unknown.
    pub(super) between: Duration,
}

impl Default for Lifetimes {
    fn default() -> Lifetimes {
        Lifetimes {
            keep: Duration::from_mins(10),
            between: Duration::from_secs(10),
        }
    }
}

/// The keys of one issuer.
pub(super) struct Keys {
    issuer: String,
    jwks_url: Option<url::Url>,
    lifetimes: Lifetimes,
    latest: Mutex<Latest>,
}

/// What came of the fetches so far. The lock is held during one, so there is one at a time.
#[derive(Default)]
struct Latest {
    /// When keys came last, and which.
    good: Option<(Instant, Arc<KeySet>)>,
    /// The last fetch: when it ended, and how.
    ended: Option<(Instant, Answer)>,
    /// When keys were last fetched because one was unknown.
    again: Option<Instant>,
}

impl Keys {
    pub(super) fn new(settings: &IssuerSettings, lifetimes: Lifetimes) -> Keys {
        Keys {
            issuer: settings.issuer.clone(),
            jwks_url: settings.jwks_url.clone(),
            lifetimes,
            latest: Mutex::default(),
        }
    }

    /// The issuer's keys, fetched when there are none or they are old. Of any number of callers at once one fetches,
    /// and all get its answer.
    pub(super) async fn current(&self, http: &Http) -> Answer {
        self.get(http, None).await
    }

    /// The keys after `outdated`, which lack one. They are fetched unless that was done a moment ago, for then there
    /// is nothing newer. A failure leaves the keys that there are.
    pub(super) async fn newer_than(&self, http: &Http, outdated: &Arc<KeySet>) -> Answer {
        self.get(http, Some(outdated)).await
    }

    async fn get(&self, http: &Http, outdated: Option<&Arc<KeySet>>) -> Answer {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some(known) = self.known(&latest, asked, outdated) {
            return known;
        }
        if outdated.is_some() {
            latest.again = Some(Instant::now());
        }
        let answer = self.fetch(http).await;
        let now = Instant::now();
        if let Ok(keys) = &answer {
            latest.good = Some((now, Arc::clone(keys)));
        }
        latest.ended = Some((now, answer.clone()));
        answer
    }

    /// What can be said without a fetch.
    fn known(
        &self,
        latest: &Latest,
        asked: Instant,
        outdated: Option<&Arc<KeySet>>,
    ) -> Option<Answer> {
        let good = latest.good.as_ref();
        let fresh = good.filter(|(came, _)| came.elapsed() < self.lifetimes.keep);
        let newer = fresh.filter(|(_, keys)| outdated.is_none_or(|old| !Arc::ptr_eq(old, keys)));
        if let Some((_, keys)) = newer {
            return Some(Ok(Arc::clone(keys)));
        }
        let (ended, answer) = latest.ended.as_ref()?;
        let again = latest.again.filter(|_| outdated.is_some());
        let just_now = again.is_some_and(|again| again.elapsed() < self.lifetimes.between);
        (*ended >= asked || just_now).then(|| answer.clone())
    }

    /// From where the setting says, or else the issuer's discovery document (`OpenID` Connect Discovery 1.0 §4).
    async fn fetch(&self, http: &Http) -> Answer {
        if let Some(url) = &self.jwks_url {
            let url = JsonWebKeySetUrl::from_url(url.clone());
            return Ok(Arc::new(KeySet::fetch_async(&url, http).await?));
        }
        let issuer =
            IssuerUrl::new(self.issuer.clone()).map_err(|_| UpstreamError::Malformed("issuer"))?;
        let document = CoreProviderMetadata::discover_async(issuer, http).await?;
        Ok(Arc::new(document.jwks().clone()))
    }
}
