//! Sealed secrets, as they are stored beside events.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::SealingError;
use super::aead::{self, Nonce};
use super::associated_data::AssociatedData;
use super::keys::{DataKey, KeyId};
use crate::stream::StreamKey;

/// XChaCha20-Poly1305, nonce ‖ ciphertext ‖ tag, bound to a [`SealingContext`].
const FORMAT: u8 = 1;

/// What a sealed secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A connection's id, for the listings.
    ConnectionId,
    /// A connection's credential.
    Credential,
    /// A provider's secrets.
    ProviderSecret,
    /// A token that is to be revoked at its provider.
    ProviderRevocation,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::ConnectionId => "connection_id",
            Self::Credential => "credential",
            Self::ProviderSecret => "provider_secret",
            Self::ProviderRevocation => "provider_revocation",
        }
    }
}

/// The place that a sealed secret belongs to. Opened with any other, it does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingContext {
    /// What it is.
    pub purpose: Purpose,
    /// Whose it is.
    pub stream: StreamKey,
    /// Which key seals it.
    pub key_id: KeyId,
    /// The how-manieth of its purpose in its stream, so that an older one cannot replace it.
    pub version: u32,
}

impl SealingContext {
    fn associated_data(&self) -> AssociatedData {
        AssociatedData::new("nexus sealed blob v1")
            .field(self.purpose.label())
            .field(&self.stream.stream_type)
            .field(&self.stream.id)
            .field(self.key_id.as_uuid())
            .field(self.version.to_be_bytes())
    }
}

/// A sealed secret: a format byte (1) ‖ nonce ‖ ciphertext ‖ tag.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBlob(Vec<u8>);

impl SealedBlob {
    /// A blob as it was stored; [`open`] tells whether it is one.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes to store, given away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// SHA-256 of all its bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// [`digest`](Self::digest) in lower-case hexadecimal.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        hex(&self.digest())
    }
}

impl AsRef<[u8]> for SealedBlob {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for SealedBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedBlob")
            .field(&self.digest_hex())
            .finish()
    }
}

/// How an event names the blob beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SealedRef {
    /// SHA-256 of the blob, in lower-case hexadecimal.
    pub digest: String,
    /// The key that opens it.
    pub key_id: KeyId,
    /// The version it is sealed as.
    pub version: u32,
}

impl SealedRef {
    /// What names `blob`, sealed in `context`.
    #[must_use]
    pub fn new(blob: &SealedBlob, context: &SealingContext) -> Self {
        Self {
            digest: blob.digest_hex(),
            key_id: context.key_id,
            version: context.version,
        }
    }

    /// The context to open the blob in, given whose and what it is.
    #[must_use]
    pub const fn context(&self, purpose: Purpose, stream: StreamKey) -> SealingContext {
        SealingContext {
            purpose,
            stream,
            key_id: self.key_id,
            version: self.version,
        }
    }
}

/// Seals `plaintext` for its place.
#[must_use]
pub fn seal(key: &DataKey, context: &SealingContext, nonce: Nonce, plaintext: &[u8]) -> SealedBlob {
    let associated = context.associated_data();
    SealedBlob(aead::encrypt(
        &key.0,
        nonce,
        associated.as_bytes(),
        plaintext,
        &[FORMAT],
    ))
}

/// The plaintext that was sealed with this key for this place.
///
/// # Errors
/// [`SealingError::Malformed`] or [`SealingError::NotAuthentic`].
pub fn open(
    key: &DataKey,
    context: &SealingContext,
    blob: &(impl AsRef<[u8]> + ?Sized),
) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let sealed = blob
        .as_ref()
        .strip_prefix(&[FORMAT])
        .ok_or(SealingError::Malformed)?;
    aead::decrypt(&key.0, context.associated_data().as_bytes(), sealed)
}

/// Lower-case hexadecimal.
pub(crate) fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let halves = |byte: &u8| [byte >> 4, byte & 15];
    let digit = |half: u8| DIGITS.get(usize::from(half));
    bytes
        .into_iter()
        .flat_map(halves)
        .filter_map(digit)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::sealing::vectors::unhex;

    const PLAINTEXT: &[u8] = b"a token";
    /// [`PLAINTEXT`] sealed, computed by another implementation.
    const FROZEN: &str = "01333333333333333333333333333333333333333333333333f3da5002aea10bc8ef9559d86fe0e503d880d8e1b7cb6e";

    fn key() -> DataKey {
        DataKey::from_bytes([0x22; 32])
    }

    fn context() -> SealingContext {
        SealingContext {
            purpose: Purpose::Credential,
            stream: StreamKey::new("connection", "c0ffee"),
            key_id: KeyId::from_uuid(Uuid::from_u128(0x0192_3a4b_5c6d_4e7f_8091_a2b3_c4d5_e6f7)),
            version: 3,
        }
    }

    fn blob() -> SealedBlob {
        seal(&key(), &context(), Nonce([0x33; 24]), PLAINTEXT)
    }

    #[test]
    fn the_format_of_a_blob_is_frozen() {
        assert_eq!(hex(blob().as_bytes()), FROZEN);
        assert_eq!(
            blob().digest_hex(),
            "090e77a35609ebdb5c88b65b288147212870ea3f7dc6ccc8c788b35b37bffe7b"
        );
    }

    #[test]
    fn a_frozen_blob_opens() {
        let frozen = SealedBlob::from_bytes(unhex(FROZEN));
        assert_eq!(*open(&key(), &context(), &frozen).unwrap(), PLAINTEXT);
    }

    #[test]
    fn what_each_purpose_is_bound_to_is_frozen() {
        let frozen = [
            (
                Purpose::ConnectionId,
                "71b26d028ea4428ad7bf939a7ea28a3a59d35d4440fbdbfe78e6fe24acc48d73",
            ),
            (
                Purpose::Credential,
                "090e77a35609ebdb5c88b65b288147212870ea3f7dc6ccc8c788b35b37bffe7b",
            ),
            (
                Purpose::ProviderSecret,
                "3d395d62beac7e83f3f8b276c13e612b074a1a65734fd2bec2892ae33d97f298",
            ),
        ];
        for (purpose, digest) in frozen {
            let blob = seal(
                &key(),
                &SealingContext {
                    purpose,
                    ..context()
                },
                Nonce([0x33; 24]),
                PLAINTEXT,
            );
            assert_eq!(blob.digest_hex(), digest, "{purpose:?}");
        }
    }

    #[test]
    fn a_blob_with_any_byte_altered_does_not_open() {
        for index in 0..blob().as_bytes().len() {
            for bit in 0..8 {
                let mut bytes = blob().into_bytes();
                bytes[index] ^= 1 << bit;
                let error = open(&key(), &context(), &SealedBlob::from_bytes(bytes)).unwrap_err();
                let expected = if index == 0 {
                    SealingError::Malformed
                } else {
                    SealingError::NotAuthentic
                };
                assert_eq!(error, expected, "byte {index}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_blob_cut_off_anywhere_or_with_bytes_added_does_not_open() {
        for length in 0..blob().as_bytes().len() {
            let cut = SealedBlob::from_bytes(blob().as_bytes()[..length].to_vec());
            assert!(open(&key(), &context(), &cut).is_err(), "{length} bytes");
        }
        let longer = SealedBlob::from_bytes([blob().as_bytes(), b"\0"].concat());
        assert_eq!(
            open(&key(), &context(), &longer).unwrap_err(),
            SealingError::NotAuthentic
        );
    }

    #[test]
    fn a_blob_opens_in_no_other_context() {
        let stream = |stream_type: &str, id: &str| SealingContext {
            stream: StreamKey::new(stream_type, id),
            ..context()
        };
        let others = [
            SealingContext {
                purpose: Purpose::ConnectionId,
                ..context()
            },
            SealingContext {
                purpose: Purpose::ProviderSecret,
                ..context()
            },
            stream("provider", "c0ffee"),
            stream("connection", "c0ffe"),
            stream("connectionc", "0ffee"),
            stream("c0ffee", "connection"),
            SealingContext {
                key_id: KeyId::default(),
                ..context()
            },
            SealingContext {
                version: 2,
                ..context()
            },
            SealingContext {
                version: 4,
                ..context()
            },
        ];
        for other in others {
            assert_eq!(
                open(&key(), &other, &blob()).unwrap_err(),
                SealingError::NotAuthentic,
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_blob_opens_with_no_other_key() {
        let other = DataKey::from_bytes([0x23; 32]);
        assert_eq!(
            open(&other, &context(), &blob()).unwrap_err(),
            SealingError::NotAuthentic
        );
    }

    #[test]
    fn a_wrapped_key_is_no_blob_of_the_same_key() {
        // Even if one key were used for both, what each is bound to keeps them apart.
        let kek = crate::sealing::KeyEncryptionKey::from_bytes([0x22; 32]);
        let wrapped = crate::sealing::wrap(
            &kek,
            &key(),
            context().key_id,
            &context().stream,
            Nonce([0; 24]),
        );
        let posing = SealedBlob::from_bytes([&[FORMAT], wrapped.bytes.as_slice()].concat());
        assert_eq!(
            open(&key(), &context(), &posing).unwrap_err(),
            SealingError::NotAuthentic
        );
    }

    #[test]
    fn a_reference_names_the_blob_and_gives_its_context_back() {
        let reference = SealedRef::new(&blob(), &context());
        assert_eq!(reference.digest, hex(&Sha256::digest(blob().as_bytes())));
        assert_eq!(
            reference.context(Purpose::Credential, context().stream),
            context()
        );
    }

    #[test]
    fn the_stored_form_of_a_reference_is_frozen() {
        let reference = SealedRef {
            digest: "ab".repeat(32),
            key_id: context().key_id,
            version: 3,
        };
        let json = format!(
            r#"{{"digest":"{}","key_id":"01923a4b-5c6d-4e7f-8091-a2b3c4d5e6f7","version":3}}"#,
            "ab".repeat(32)
        );
        assert_eq!(serde_json::to_string(&reference).unwrap(), json);
        assert_eq!(serde_json::from_str::<SealedRef>(&json).unwrap(), reference);
    }

    #[test]
    fn debug_names_a_blob_by_its_digest() {
        assert_eq!(
            format!("{:?}", blob()),
            format!("SealedBlob({:?})", blob().digest_hex())
        );
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plaintext in vec(any::<u8>(), 0..200), nonce: [u8; 24], version: u32) {
            let context = SealingContext { version, ..context() };
            let blob = seal(&key(), &context, Nonce(nonce), &plaintext);
            prop_assert_eq!(open(&key(), &context, &blob).unwrap().to_vec(), plaintext);
        }

        #[test]
        fn bytes_from_anywhere_never_open(bytes in vec(any::<u8>(), 0..100)) {
            prop_assert!(open(&key(), &context(), &SealedBlob::from_bytes(bytes)).is_err());
        }
    }
}
