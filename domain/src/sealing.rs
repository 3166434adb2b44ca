//! Secrets at rest: XChaCha20-Poly1305, with keys that wrap keys.
//!
//! Every connection and provider has a [`DataKey`]. It seals that stream's secrets, and is itself
//! stored only wrapped by the [`KeyEncryptionKey`]. Both ciphertexts are bound to the place they
//! belong to: a blob to its [`SealingContext`], a wrapped key to its [`KeyId`] and stream. Moved
//! elsewhere, or put back in place of a newer one, neither opens.
//!
//! A nonce is 24 random bytes, so many that chance never repeats one under a key; the caller makes
//! it because nothing here is random.
//!
//! ```
//! use nexus_domain::sealing::{DataKey, KeyId, Nonce, Purpose, SealingContext, open, seal};
//! use nexus_domain::stream::StreamKey;
//!
//! let key = DataKey::from_bytes([7; 32]); // in earnest: random
//! let context = SealingContext {
//!     purpose: Purpose::Credential,
//!     stream: StreamKey::new("connection", "a reference"),
//!     key_id: KeyId::default(),
//!     version: 1,
//! };
//! let blob = seal(&key, &context, Nonce([9; 24]), b"a token");
//! assert_eq!(*open(&key, &context, &blob).unwrap(), b"a token");
//!
//! let newer = SealingContext { version: 2, ..context };
//! assert!(open(&key, &newer, &blob).is_err());
//! ```

mod aead;
mod associated_data;
mod blob;
mod keys;
#[cfg(test)]
mod vectors;

pub use aead::Nonce;
pub(crate) use blob::hex;
pub use blob::{Purpose, SealedBlob, SealedRef, SealingContext, open, seal};
pub use keys::{DataKey, KeyEncryptionKey, KeyId, WrappedKey, unwrap, unwrap_bytes, wrap};

/// Why a sealed secret or a wrapped key does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// It is not of a format that is known here, or is cut off.
    #[error("the ciphertext is malformed")]
    Malformed,
    /// It was altered, sealed with another key, or belongs elsewhere; which, cannot be told.
    #[error("the ciphertext is altered, of another key or out of place")]
    NotAuthentic,
    /// A data key is wrapped by the key-encryption key whose id is `wrapped_by`.
    #[error("the data key is wrapped by the key-encryption key {wrapped_by}, not by {given}")]
    OtherKeyEncryptionKey {
        /// The id of the key that would unwrap it.
        wrapped_by: String,
        /// The id of the key that was given.
        given: String,
    },
}
