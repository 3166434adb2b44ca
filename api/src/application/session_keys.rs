//! The keys that sign session tokens: looks them up, makes, follows and destroys them.
//!
//! They are told by one stream of the log, which is appended to only where it was read: of nodes that would change the
//! keys at once, one does, and the others look again. A key is a data key, wrapped as every other, and goes with it.

use std::sync::Arc;
use std::time::Instant;

use nexus_domain::metadata::Metadata;
use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_domain::vault::{RetireReason, SessionKey, SessionKeys, VaultEvent, session_key_stream};
use nexus_ledger::{
    Append, AppendError, Expected, IndexColumns, KeyChange, NewEvent, RecordedEvent,
};
use serde_json::Value;

use super::keyring::OpenError;
use super::{Application, Fault};
use crate::session_tokens::{Claims, InvalidToken, KnownKeys, OpenedKey};

/// How often a change is decided anew after another node's.
const ATTEMPTS: usize = 8;

/// Why a session token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is none, or is not good here and now.
    #[error(transparent)]
    Invalid(#[from] InvalidToken),
    /// It could not be found out.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What is to be recorded of the keys, and changed with it.
#[derive(Default)]
struct Change {
    events: Vec<VaultEvent>,
    keys: Vec<KeyChange>,
}

impl Change {
    fn create(&mut self, key: WrappedKey) {
        let kid = key.key_id;
        self.events.push(VaultEvent::SessionKeyCreated { kid });
        self.keys.push(KeyChange::Put(key));
    }

    fn retire(&mut self, kid: KeyId, reason: RetireReason) {
        self.events
            .push(VaultEvent::SessionKeyRetired { kid, reason });
        self.keys.push(KeyChange::Shred(kid));
    }
}

impl Application {
    /// A session token that says this.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn mint_session_token(&self, claims: &Claims) -> Result<String, Fault> {
        self.usable_session_keys().await?;
        self.session_tokens.mint(claims, self.ledger.now())
    }

    /// What a session token says. A key that is not known may be another node's new one, and is looked for.
    ///
    /// # Errors
    /// [`VerifyError`]
    pub async fn verify_session_token(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        if self.session_tokens.is_of_unknown_key(token) {
            self.look_for_session_keys().await?;
        }
        Ok(self.session_tokens.verify(token, self.ledger.now())?)
    }

    /// The published keys as a JWK set.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn session_jwks(&self) -> Result<Value, Fault> {
        self.usable_session_keys().await?;
        Ok(self.session_tokens.jwks())
    }

    /// Every key there ever was, as the log has them now.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn session_keys(&self) -> Result<Arc<KnownKeys>, Fault> {
        self.look_for_session_keys().await?;
        Ok(self.session_tokens.known())
    }

    /// The keys as they are known, one of which signs: the first is made when it is first needed.
    async fn usable_session_keys(&self) -> Result<(), Fault> {
        if self.session_tokens.known().can_sign() {
            return Ok(());
        }
        let (new, metadata) = (
            self.new_session_key()?,
            Metadata::of_the_program("make_session_key"),
        );
        self.change_session_keys(&metadata, |keys| {
            let mut change = Change::default();
            if keys.live().next().is_none() {
                change.create(new.clone());
            }
            change
        })
        .await
    }

    /// Makes a new key, which will sign after the one that does; returns it. When the keys so far are compromised they
    /// are destroyed, nothing that they signed is believed any more, and the new one signs at once.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn rotate_session_keys(
        &self,
        compromised: bool,
        metadata: &Metadata,
    ) -> Result<SessionKey, Fault> {
        let new = self.new_session_key()?;
        self.change_session_keys(metadata, |keys| {
            let mut change = Change::default();
            for key in keys.live().filter(|_| compromised) {
                change.retire(key.kid, RetireReason::Compromised);
            }
            change.create(new.clone());
            change
        })
        .await?;
        let known = self.session_tokens.known();
        let mut keys = known.keys.all().iter();
        let recorded = keys.find(|key| key.kid == new.key_id).cloned();
        recorded
            .ok_or_else(|| Fault::Internal(format!("the session key {} is missing", new.key_id)))
    }

    /// Takes note of other nodes' changes, and destroys the keys whose time is over.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn keep_session_keys(&self) -> Result<(), Fault> {
        let metadata = Metadata::of_the_program("retire_session_key");
        let (now, max_ttl) = (self.ledger.now(), self.session_tokens.max_ttl());
        self.change_session_keys(&metadata, |keys| {
            let mut change = Change::default();
            for kid in keys.due(now, max_ttl) {
                change.retire(kid, RetireReason::Superseded);
            }
            change
        })
        .await
    }

    fn new_session_key(&self) -> Result<WrappedKey, Fault> {
        Ok(self.keyring.make_key(&session_key_stream())?.wrapped)
    }

    /// Looks up the keys and changes them as `decide` says, again when another node has changed them meanwhile. They
    /// are known when this returns.
    async fn change_session_keys(
        &self,
        metadata: &Metadata,
        decide: impl Fn(&SessionKeys) -> Change,
    ) -> Result<(), Fault> {
        for _ in 0..ATTEMPTS {
            let known = self.session_keys().await?;
            let change = decide(&known.keys);
            if change.events.is_empty() {
                return Ok(());
            }
            match self
                .record_keys(known.keys.sequence, change, metadata)
                .await
            {
                Ok(()) => return self.look_for_session_keys().await,
                Err(AppendError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Fault::Conflict)
    }

    async fn record_keys(
        &self,
        at: u64,
        change: Change,
        metadata: &Metadata,
    ) -> Result<(), AppendError> {
        let events: Result<_, _> = change.events.iter().map(NewEvent::of).collect();
        let append = Append {
            metadata: metadata.to_json(),
            columns: IndexColumns {
                actor: metadata.actor.clone(),
                ..IndexColumns::default()
            },
            keys: change.keys,
            ..Append::new(session_key_stream(), Expected::At(at), events?)
        };
        self.ledger.append(append).await.map(drop)
    }

    /// Looks for what has been recorded of the keys until now. However many ask at once, one looks at a time, and finds
    /// it out for all who asked before it began.
    async fn look_for_session_keys(&self) -> Result<(), Fault> {
        let asked = Instant::now();
        let mut looked = self.session_tokens.looked.lock().await;
        if looked.is_some_and(|began| began >= asked) {
            return Ok(());
        }
        let began = Instant::now();
        let known = self.session_tokens.known();
        let stream = session_key_stream();
        let events = self.reads.events_of(&stream, known.keys.sequence).await?;
        if !events.is_empty() {
            let learned = self.learned(&known, &events).await?;
            self.session_tokens.learn(Arc::new(learned));
        }
        *looked = Some(began);
        Ok(())
    }

    /// The keys after these events.
    async fn learned(
        &self,
        known: &KnownKeys,
        events: &[RecordedEvent],
    ) -> Result<KnownKeys, Fault> {
        let mut keys = known.keys.clone();
        for recorded in events {
            let event = serde_json::from_str(&recorded.payload);
            let event = event.map_err(|error| Fault::Internal(error.to_string()))?;
            keys.evolve(&event, recorded.recorded_at);
        }
        let mut opened = Vec::new();
        for key in keys.live() {
            let before = known.opened.iter().find(|before| before.kid == key.kid);
            opened.extend(match before {
                Some(before) => Some(Arc::clone(before)),
                None => self.open_session_key(key.kid).await?.map(Arc::new),
            });
        }
        Ok(KnownKeys { keys, opened })
    }

    /// A key ready to sign; `None` when it is gone or damaged, which is none of the others' business.
    async fn open_session_key(&self, kid: KeyId) -> Result<Option<OpenedKey>, Fault> {
        match self.keyring.key(&session_key_stream(), kid).await {
            Ok(key) => Ok(Some(OpenedKey {
                kid,
                key: ed25519_dalek::SigningKey::from_bytes(&key.derive_signing_seed()),
            })),
            Err(OpenError::Fault(fault)) => Err(fault),
            Err(
                error @ (OpenError::NoKey(_) | OpenError::NoCiphertext | OpenError::DoesNotOpen),
            ) => {
                tracing::warn!(%kid, %error, "a session key cannot be used");
                Ok(None)
            }
        }
    }
}
