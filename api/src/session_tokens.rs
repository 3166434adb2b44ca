//! Session tokens: the access tokens that the vault itself signs for agent sessions, as RFC 9068 has them.
//!
//! A token is a JWT (RFC 7519) signed with Ed25519 (RFC 8037). Whoever it is shown to verifies it with the published
//! keys and asks nobody. The keys come from the log ([`nexus_domain::vault::SessionKeys`]); here is what is known of
//! them, and no I/O: [`crate::application::session_keys`] looks them up, makes and destroys them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use nexus_domain::sealing::KeyId;
use nexus_domain::time::Timestamp;
use nexus_domain::vault::{SessionKey, SessionKeys};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::application::Fault;

mod claims;
mod jwk;
mod jws;
#[cfg(test)]
mod tests;
mod verified;

pub use claims::{Actor, Claims};
use verified::Verified;

/// A text is no session token that is good here and now. Which of its parts is wrong is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session token is not valid")]
pub struct InvalidToken;

/// A key that is published, ready to sign.
pub struct OpenedKey {
    /// Its id.
    pub kid: KeyId,
    /// The key.
    pub key: SigningKey,
}

/// The keys as they were last looked up.
#[derive(Default)]
pub struct KnownKeys {
    /// Every key there ever was.
    pub keys: SessionKeys,
    /// Those that are published and open, the oldest first.
    pub opened: Vec<Arc<OpenedKey>>,
}

impl KnownKeys {
    fn opened(&self, kid: KeyId) -> Option<&OpenedKey> {
        let found = self.opened.iter().find(|opened| opened.kid == kid);
        found.map(AsRef::as_ref)
    }

    /// Whether there is a key that signs.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        self.keys.live().next().is_some()
    }

    /// The key that signs.
    fn signing(&self, now: Timestamp) -> Result<&OpenedKey, Fault> {
        let unreadable = |key: &SessionKey| {
            Fault::Unreadable(format!("the session key {} does not open", key.kid))
        };
        match self.keys.signing(now) {
            Some(key) => self.opened(key.kid).ok_or_else(|| unreadable(key)),
            None => Err(Fault::Internal("there is no session key".to_owned())),
        }
    }
}

/// Signs and verifies session tokens with the keys that are known.
pub struct SessionTokens {
    issuer: String,
    audience: String,
    max_ttl: Duration,
    known: RwLock<Arc<KnownKeys>>,
    verified: Verified,
    /// When it was begun to look the keys up the last time; held while they are.
    pub(crate) looked: Mutex<Option<Instant>>,
}

/// What a token says: the vault's part of it, and the session's.
#[derive(Serialize, Deserialize)]
struct Payload {
    iss: String,
    aud: String,
    #[serde(flatten)]
    claims: Claims,
}

impl SessionTokens {
    /// Tokens of an issuer for an audience that live for at most `max_ttl`. No key is known yet.
    #[must_use]
    pub fn new(issuer: String, audience: Option<String>, max_ttl: Duration) -> Self {
        Self {
            audience: audience.unwrap_or_else(|| issuer.clone()),
            issuer,
            max_ttl,
            known: RwLock::default(),
            verified: Verified::default(),
            looked: Mutex::default(),
        }
    }

    /// How long a token lives at most.
    #[must_use]
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// Whose tokens these are.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// For whom they are.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The keys as they were last looked up.
    #[must_use]
    pub fn known(&self) -> Arc<KnownKeys> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of newer keys.
    pub fn learn(&self, keys: Arc<KnownKeys>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// A token that says this, signed with the key whose turn it is.
    ///
    /// # Errors
    /// [`Fault::Internal`] when it would live longer than its key is kept, or there is no key; [`Fault::Unreadable`]
    /// when the key does not open.
    pub fn mint(&self, claims: &Claims, now: Timestamp) -> Result<String, Fault> {
        if claims.exp > now.plus(self.max_ttl).as_seconds() {
            let problem = "a session token would live longer than its key is kept";
            return Err(Fault::Internal(problem.to_owned()));
        }
        let known = self.known();
        let OpenedKey { kid, key } = known.signing(now)?;
        let payload = Payload {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            claims: claims.clone(),
        };
        let payload =
            serde_json::to_vec(&payload).map_err(|error| Fault::Internal(error.to_string()))?;
        Ok(jws::compact(&jws::header(*kid), &payload, key))
    }

    /// What a token says that is of this vault and for its audience, signed with a published key, and not over.
    ///
    /// # Errors
    /// [`InvalidToken`]
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, InvalidToken> {
        let kid = jws::kid(token).ok_or(InvalidToken)?;
        let known = self.known();
        // What a destroyed key signed is not believed any more, however recently it was.
        let opened = known.opened(kid).ok_or(InvalidToken)?;
        let claims = self
            .verified
            .claims(token, || self.signed(token, kid, opened))?;
        if now.as_seconds() < claims.exp {
            Ok(claims)
        } else {
            Err(InvalidToken)
        }
    }

    /// What a token says that is of this vault and for its audience, signed with this key.
    fn signed(&self, token: &str, kid: KeyId, opened: &OpenedKey) -> Result<Claims, InvalidToken> {
        let payload = jws::verified(token, &jws::header(kid), &opened.key.verifying_key());
        let payload = payload.ok_or(InvalidToken)?;
        let payload: Payload = serde_json::from_slice(&payload).map_err(|_| InvalidToken)?;
        let ours = payload.iss == self.issuer && payload.aud == self.audience;
        if ours {
            Ok(payload.claims)
        } else {
            Err(InvalidToken)
        }
    }

    /// Whether a token names a key that is not known: one that another node has made since, or nobody.
    #[must_use]
    pub fn is_of_unknown_key(&self, token: &str) -> bool {
        let known = self.known();
        jws::kid(token).is_some_and(|kid| known.keys.all().iter().all(|key| key.kid != kid))
    }

    /// The published keys as a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let known = self.known();
        let keys = known.opened.iter();
        let keys = keys.map(|opened| jwk::public(opened.kid, &opened.key.verifying_key()));
        json!({"keys": keys.collect::<Vec<_>>()})
    }
}
