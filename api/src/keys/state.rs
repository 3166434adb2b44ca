//! The OAuth `state`: opaque, authenticated, and the seed of everything else a consent must remember.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use nexus_domain::reference::{ConnectionId, ConnectionReference};
use nexus_domain::secret::Secret;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::KeyMaterial;
use crate::hex::hex;

const VERSION: u8 = 1;
const NONCE_LENGTH: usize = 16;
const BODY_LENGTH: usize = 1 + 16 + NONCE_LENGTH;
const TOKEN_LENGTH: usize = BODY_LENGTH + 32;

const PKCE_LABEL: &str = "nexus pkce verifier v1";
const NONCE_LABEL: &str = "nexus oidc nonce v1";
const IDEMPOTENCY_LABEL: &str = "nexus idempotency v1";

/// A `state` as it travels: base64url of version 1 ‖ the connection's reference ‖ 16 random bytes ‖ HMAC-SHA256 of
/// those, 87 characters.
#[derive(Clone, PartialEq, Eq)]
pub struct StateToken(String);

impl StateToken {
    /// The token as it travels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StateToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// The key that authenticates states.
///
/// A consent's PKCE verifier and OIDC nonce are derived from its state under this key, each with a label of its own, so
/// that nothing secret is stored between the request and the callback.
#[derive(Debug, Clone)]
pub struct StateKey(KeyMaterial);

impl StateKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(key: KeyMaterial) -> StateKey {
        StateKey(key)
    }

    /// A state for a pending consent of this connection; `nonce` is random.
    #[must_use]
    pub fn mint(&self, reference: ConnectionReference, nonce: [u8; NONCE_LENGTH]) -> StateToken {
        let mut bytes = Vec::with_capacity(TOKEN_LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(reference.as_uuid().as_bytes());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&self.mac(&[&bytes]).finalize().into_bytes());
        StateToken(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The connection and the nonce of a state that was minted under this key; `None` for any other text. Whether it
    /// is still pending is the connection's to say.
    #[must_use]
    pub fn verify(&self, state: &str) -> Option<(ConnectionReference, [u8; NONCE_LENGTH])> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(state).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY_LENGTH)?;
        self.mac(&[body]).verify_slice(tag).ok()?;
        let (version, rest) = body.split_first()?;
        let (reference, nonce) = rest.split_at_checked(16)?;
        if *version != VERSION {
            return None;
        }
        let reference = ConnectionReference::from_uuid(Uuid::from_slice(reference).ok()?);
        Some((reference, nonce.try_into().ok()?))
    }

    /// What the log holds of a state: its SHA-256 in hex.
    #[must_use]
    pub fn digest(state: &str) -> String {
        hex(&Sha256::digest(state.as_bytes()))
    }

    /// The consent's PKCE code verifier (RFC 7636 §4.1), 43 characters.
    #[must_use]
    pub fn pkce_verifier(&self, state: &StateToken) -> Secret {
        Secret::new(self.derive(PKCE_LABEL, state))
    }

    /// The consent's OIDC nonce, 43 characters.
    #[must_use]
    pub fn oidc_nonce(&self, state: &StateToken) -> String {
        self.derive(NONCE_LABEL, state)
    }

    /// A verified state as a token again, to derive from; `None` when it was not minted here.
    #[must_use]
    pub fn token(&self, state: &str) -> Option<StateToken> {
        self.verify(state).map(|_| StateToken(state.to_owned()))
    }

    /// What a request with an `Idempotency-Key` makes of it instead of random numbers: a connection's id and the nonce
    /// of its state, of which nobody learns anything who has not this key. `scope` holds who asks, and when.
    #[must_use]
    pub fn idempotent(&self, scope: &[&str], key: &str) -> (ConnectionId, [u8; NONCE_LENGTH]) {
        let mut parts: Vec<&[u8]> = vec![IDEMPOTENCY_LABEL.as_bytes(), &[0]];
        for part in scope {
            parts.extend([part.as_bytes(), &[0]]);
        }
        parts.push(key.as_bytes());
        let tag: [u8; 32] = self.mac(&parts).finalize().into_bytes().into();
        let (mut id, mut nonce) = ([0; 16], [0; NONCE_LENGTH]);
        for (to, from) in id.iter_mut().chain(&mut nonce).zip(tag) {
            *to = from;
        }
        let id = uuid::Builder::from_random_bytes(id).into_uuid();
        (ConnectionId::from_random(id), nonce)
    }

    /// Eight hex digits that name a secret without giving it away.
    pub(super) fn fingerprint(&self, label: &str, secret: &str) -> String {
        let tag = self
            .mac(&[label.as_bytes(), &[0], secret.as_bytes()])
            .finalize()
            .into_bytes();
        hex(tag.get(..4).unwrap_or_default())
    }

    /// A state's MAC begins with its version byte and a derivation's with its label, so neither can pass for the
    /// other.
    fn derive(&self, label: &str, state: &StateToken) -> String {
        let mac = self.mac(&[label.as_bytes(), &[0], state.as_str().as_bytes()]);
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }

    #[expect(
        clippy::expect_used,
        reason = "HMAC takes keys of any length (RFC 2104 §2)"
    )]
    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(self.0.expose()).expect("any length is a key");
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> StateKey {
        StateKey::new(KeyMaterial::from_bytes([byte; 32]))
    }

    fn reference() -> ConnectionReference {
        ConnectionReference::parse("0f1e2d3c-4b5a-8978-8695-a4b3c2d1e0ff").unwrap()
    }

    #[test]
    fn a_minted_state_names_its_connection_and_nonce() {
        let state = key(1).mint(reference(), [9; 16]);
        assert_eq!(state.as_str().len(), 87);
        assert_eq!(key(1).verify(state.as_str()), Some((reference(), [9; 16])));
    }

    #[test]
    fn the_format_of_a_state_is_frozen() {
        let state = key(1).mint(reference(), [9; 16]);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(state.as_str()).unwrap();
        assert_eq!(bytes[0], 1);
        assert_eq!(&bytes[1..17], reference().as_uuid().as_bytes());
        assert_eq!(bytes[17..33], [9; 16]);
        let mut mac = Hmac::<Sha256>::new_from_slice(&[1; 32]).unwrap();
        mac.update(&bytes[..33]);
        assert_eq!(bytes[33..], mac.finalize().into_bytes()[..]);
    }

    #[test]
    fn any_changed_byte_and_any_other_key_is_refused() {
        let state = key(1).mint(reference(), [9; 16]);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(state.as_str()).unwrap();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert_eq!(
                key(1).verify(&BASE64_URL_SAFE_NO_PAD.encode(changed)),
                None,
                "byte {index}"
            );
        }
        assert_eq!(key(2).verify(state.as_str()), None);
    }

    #[test]
    fn other_texts_are_refused() {
        let state = key(1).mint(reference(), [9; 16]);
        let text = state.as_str();
        for other in [
            "",
            "x",
            &text[..86],
            &format!("{text}A"),
            &format!("{text}="),
            &text[1..],
        ] {
            assert_eq!(key(1).verify(other), None, "{other:?}");
        }
    }

    #[test]
    fn verifier_and_nonce_depend_on_key_state_and_purpose() {
        let first = key(1).mint(reference(), [1; 16]);
        let second = key(1).mint(reference(), [2; 16]);
        let verifier = key(1).pkce_verifier(&first);
        assert_eq!(verifier.expose(), key(1).pkce_verifier(&first).expose());
        assert_eq!(verifier.expose().len(), 43);
        assert_ne!(verifier.expose(), key(1).pkce_verifier(&second).expose());
        assert_ne!(verifier.expose(), key(2).pkce_verifier(&first).expose());
        assert_ne!(verifier.expose(), key(1).oidc_nonce(&first));
    }

    #[test]
    fn the_digest_is_sha_256_in_hex() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(StateKey::digest(""), empty);
    }

    #[test]
    fn a_state_from_outside_becomes_a_token_only_when_it_was_minted_here() {
        let state = key(1).mint(reference(), [9; 16]);
        assert_eq!(key(1).token(state.as_str()), Some(state.clone()));
        assert_eq!(key(2).token(state.as_str()), None);
    }
}
