//! Keys, and keys that wrap keys.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::aead::{self, KEY_LENGTH, Nonce};
use super::associated_data::AssociatedData;
use super::{SealingError, blob};
use crate::reference::{InvalidId, public_id};
use crate::stream::StreamKey;

public_id! {
    /// The id of a data key: it tells which key a blob needs, before and after the key is gone.
    KeyId
}

/// The operator's key, which wraps the data keys and seals nothing else.
#[derive(Clone)]
pub struct KeyEncryptionKey {
    key: Zeroizing<[u8; KEY_LENGTH]>,
    id: String,
}

impl KeyEncryptionKey {
    /// The key of 32 random bytes. The caller's copy of them is the caller's to zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        let hash = Sha256::new()
            .chain_update(b"nexus kek id v1")
            .chain_update(bytes)
            .finalize();
        Self {
            key: Zeroizing::new(bytes),
            id: blob::hex(hash.iter().take(8)),
        }
    }

    /// What the key is called where it must not be shown: the first 16 hexadecimal digits of
    /// SHA-256 over `nexus kek id v1` and the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyEncryptionKey").field(&self.id()).finish()
    }
}

/// The key of one stream's secrets. When it is destroyed they are erased, wherever copies of their
/// ciphertexts may be.
#[derive(Clone)]
pub struct DataKey(pub(super) Zeroizing<[u8; KEY_LENGTH]>);

impl DataKey {
    /// The key of 32 random bytes. The caller's copy of them is the caller's to zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The Ed25519 seed (RFC 8032 §5.1.5) of a data key that stands for a signing key and seals nothing: SHA-256 over
    /// `nexus session key v1` and the key, so that the key itself stays here.
    #[must_use]
    pub fn derive_signing_seed(&self) -> Zeroizing<[u8; 32]> {
        let hash = Sha256::new()
            .chain_update(b"nexus session key v1")
            .chain_update(*self.0)
            .finalize();
        Zeroizing::new(hash.into())
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey([redacted])")
    }
}

/// A data key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Which data key it is.
    pub key_id: KeyId,
    /// Whose secrets it seals.
    pub stream: StreamKey,
    /// The [id](KeyEncryptionKey::id) of the key that wraps it.
    pub kek_id: String,
    /// Nonce ‖ ciphertext ‖ tag: 72 bytes.
    pub bytes: Vec<u8>,
}

/// Wraps a data key, bound to its id and its stream.
#[must_use]
pub fn wrap(
    kek: &KeyEncryptionKey,
    key: &DataKey,
    key_id: KeyId,
    stream: &StreamKey,
    nonce: Nonce,
) -> WrappedKey {
    let associated = associated_data(key_id, stream);
    let bytes = aead::encrypt(&kek.key, nonce, associated.as_bytes(), &*key.0, &[]);
    WrappedKey {
        key_id,
        stream: stream.clone(),
        kek_id: kek.id().to_owned(),
        bytes,
    }
}

/// The data key that `wrapped` holds.
///
/// # Errors
/// [`SealingError::OtherKeyEncryptionKey`] if another key wraps it; [`SealingError::NotAuthentic`]
/// or [`SealingError::Malformed`] if it is altered or was put under another id or stream.
pub fn unwrap(kek: &KeyEncryptionKey, wrapped: &WrappedKey) -> Result<DataKey, SealingError> {
    let given = kek.id();
    if wrapped.kek_id != given {
        return Err(SealingError::OtherKeyEncryptionKey {
            wrapped_by: wrapped.kek_id.clone(),
            given: given.to_owned(),
        });
    }
    unwrap_bytes(kek, wrapped.key_id, &wrapped.stream, &wrapped.bytes)
}

/// The data key of an id and a stream that [`WrappedKey::bytes`] hold.
///
/// # Errors
/// [`SealingError::NotAuthentic`] or [`SealingError::Malformed`] if they are altered, are those of another id or stream, or
/// another key wraps them.
pub fn unwrap_bytes(
    kek: &KeyEncryptionKey,
    key_id: KeyId,
    stream: &StreamKey,
    bytes: &[u8],
) -> Result<DataKey, SealingError> {
    let associated = associated_data(key_id, stream);
    let plaintext = aead::decrypt(&kek.key, associated.as_bytes(), bytes)?;
    let bytes = plaintext
        .as_slice()
        .try_into()
        .map_err(|_| SealingError::Malformed)?;
    Ok(DataKey::from_bytes(bytes))
}

fn associated_data(key_id: KeyId, stream: &StreamKey) -> AssociatedData {
    AssociatedData::new("nexus wrapped key v1")
        .field(key_id.as_uuid())
        .field(&stream.stream_type)
        .field(&stream.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::vectors::{hex, unhex};

    const KEY_ID: KeyId =
        KeyId::from_uuid(Uuid::from_u128(0x0192_3a4b_5c6d_4e7f_8091_a2b3_c4d5_e6f7));

    /// Computed by another implementation.
    const FROZEN: &str = "333333333333333333333333333333333333333333333333988655ab5a492115a0b60a86\
                          eccfdcf4a9655edc6e9156aec946b458b235dd637c3c3481b8780600bf80784dec53af7c";

    /// Computed by another implementation.
    const FROZEN_SEED: &str = "78d1c91a5a1cce3deba2c2c3546bc3ee5955acdd8ea17c77cc8b3967b0c5ab95";

    fn kek() -> KeyEncryptionKey {
        KeyEncryptionKey::from_bytes([0x11; KEY_LENGTH])
    }

    fn wrapped() -> WrappedKey {
        let stream = StreamKey::new("connection", "c0ffee");
        wrap(
            &kek(),
            &DataKey::from_bytes([0x22; KEY_LENGTH]),
            KEY_ID,
            &stream,
            Nonce([0x33; 24]),
        )
    }

    #[test]
    fn a_wrapped_key_unwraps() {
        assert_eq!(*unwrap(&kek(), &wrapped()).unwrap().0, [0x22; KEY_LENGTH]);
        assert_eq!(wrapped().bytes.len(), 72);
    }

    #[test]
    fn the_format_of_a_wrapped_key_is_frozen() {
        assert_eq!(wrapped().kek_id, "2a1e6991fc078003");
        assert_eq!(hex(&wrapped().bytes), FROZEN);
    }

    #[test]
    fn a_frozen_wrapped_key_unwraps() {
        let frozen = WrappedKey {
            bytes: unhex(FROZEN),
            ..wrapped()
        };
        assert_eq!(*unwrap(&kek(), &frozen).unwrap().0, [0x22; KEY_LENGTH]);
    }

    #[test]
    fn a_key_with_any_byte_altered_does_not_unwrap() {
        for index in 0..wrapped().bytes.len() {
            for bit in 0..8 {
                let mut altered = wrapped();
                altered.bytes[index] ^= 1 << bit;
                assert_eq!(
                    unwrap(&kek(), &altered).unwrap_err(),
                    SealingError::NotAuthentic,
                    "byte {index}, bit {bit}"
                );
            }
        }
    }

    #[test]
    fn a_key_cut_off_anywhere_does_not_unwrap() {
        for length in 0..wrapped().bytes.len() {
            let mut cut = wrapped();
            cut.bytes.truncate(length);
            assert!(unwrap(&kek(), &cut).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_key_put_under_another_id_or_stream_does_not_unwrap() {
        let stream = |stream_type: &str, id: &str| WrappedKey {
            stream: StreamKey::new(stream_type, id),
            ..wrapped()
        };
        for moved in [
            WrappedKey {
                key_id: KeyId::default(),
                ..wrapped()
            },
            stream("provider", "c0ffee"),
            stream("connection", "c0ffe"),
            stream("connectionc", "0ffee"),
        ] {
            assert_eq!(
                unwrap(&kek(), &moved).unwrap_err(),
                SealingError::NotAuthentic,
                "{moved:?}"
            );
        }
    }

    #[test]
    fn another_key_encryption_key_is_named() {
        let other = KeyEncryptionKey::from_bytes([0x12; KEY_LENGTH]);
        let error = SealingError::OtherKeyEncryptionKey {
            wrapped_by: kek().id().to_owned(),
            given: other.id().to_owned(),
        };
        assert_eq!(unwrap(&other, &wrapped()).unwrap_err(), error);
    }

    #[test]
    fn a_key_under_the_name_of_another_wrapping_key_does_not_unwrap() {
        let other = KeyEncryptionKey::from_bytes([0x12; KEY_LENGTH]);
        let renamed = WrappedKey {
            kek_id: other.id().to_owned(),
            ..wrapped()
        };
        assert_eq!(
            unwrap(&other, &renamed).unwrap_err(),
            SealingError::NotAuthentic
        );
    }

    #[test]
    fn a_secret_that_is_no_key_does_not_unwrap() {
        let associated = associated_data(KEY_ID, &wrapped().stream);
        let bytes = aead::encrypt(
            &kek().key,
            Nonce([0; 24]),
            associated.as_bytes(),
            &[0x22; 31],
            &[],
        );
        assert_eq!(
            unwrap(&kek(), &WrappedKey { bytes, ..wrapped() }).unwrap_err(),
            SealingError::Malformed
        );
    }

    #[test]
    fn the_seed_of_a_signing_key_is_frozen() {
        let seed = DataKey::from_bytes([0x22; KEY_LENGTH]).derive_signing_seed();
        assert_eq!(hex(&*seed), FROZEN_SEED);
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(
            format!("{:?}", DataKey::from_bytes([0x22; KEY_LENGTH])),
            "DataKey([redacted])"
        );
        assert_eq!(
            format!("{:?}", kek()),
            format!("KeyEncryptionKey({:?})", kek().id())
        );
    }
}
