//! Whom an agent acts for: a user's token, vouched for by the operator's backend or verified against an issuer's keys.
//!
//! Both are the operator's choice and trusted, so no address is forbidden to them; time, size and redirects are
//! limited as for every call. Whatever is not a clear yes is no: a token is refused, or cannot be judged now.

use std::time::Duration;

use nexus_domain::secret::Secret;
use nexus_domain::session::Principal;
use nexus_domain::time::Timestamp;

use crate::config::UserContextSettings;
use crate::upstream::{ClientUnavailable, Http};

mod backend;
mod error;
mod issuer;
mod keys;
mod principal;

pub use error::{Refusal, Unavailable, UserContextError};

use backend::Backend;
use issuer::Issuer;
use keys::Lifetimes;

/// Who vouches for users. One per process.
pub struct UserContexts {
    http: Http,
    source: Source,
}

enum Source {
    Nobody,
    Backend(Backend),
    Issuer(Box<Issuer>),
}

impl UserContexts {
    /// Whoever the settings name, the backend before the issuer; a call may take `timeout` in all. Nobody is called
    /// yet.
    pub fn new(
        settings: &UserContextSettings,
        timeout: Duration,
    ) -> Result<UserContexts, ClientUnavailable> {
        UserContexts::with_lifetimes(settings, timeout, Lifetimes::default())
    }

    fn with_lifetimes(
        settings: &UserContextSettings,
        timeout: Duration,
        lifetimes: Lifetimes,
    ) -> Result<UserContexts, ClientUnavailable> {
        let source = match (&settings.backend, &settings.issuer) {
            (Some(url), _) => Source::Backend(Backend::new(url)),
            (None, Some(issuer)) => {
                let algorithms = settings.algorithms.clone();
                Source::Issuer(Box::new(Issuer::new(issuer.clone(), algorithms, lifetimes)))
            }
            (None, None) => Source::Nobody,
        };
        let http = Http::trusting(timeout)?;
        Ok(UserContexts { http, source })
    }

    /// Whom the token stands for at `now`, and what that user may do.
    pub async fn verify(
        &self,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Principal, UserContextError> {
        match &self.source {
            Source::Nobody => Err(UserContextError::NotConfigured),
            Source::Backend(backend) => backend.verify(&self.http, token).await,
            Source::Issuer(issuer) => issuer.verify(&self.http, token, now).await,
        }
    }
}

#[cfg(test)]
mod tests;
