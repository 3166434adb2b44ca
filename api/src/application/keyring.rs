//! Seals and opens secrets: each stream has a data key of its own, wrapped by the key-encryption key.

use nexus_domain::sealing::{
    DataKey, KeyEncryptionKey, KeyId, Nonce, Purpose, SealedBlob, SealedRef, SealingContext,
    WrappedKey, open, seal, unwrap, unwrap_bytes, wrap,
};
use nexus_domain::stream::StreamKey;
use nexus_ledger::Backend;
use nexus_projections::DataKeys;
use nexus_projections::connections::SealedField;
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use super::Fault;
use crate::random::{make_bytes, make_uuid};

/// How many wrapped keys are remembered, about 120 bytes each. They are ciphertext; a shredded one that is remembered
/// opens nothing, because its stream has no credential any more.
const REMEMBERED: usize = 120_000;

/// [`WrappedKey::bytes`].
type WrappedBytes = [u8; 72];

/// The key-encryption key and the wrapped data keys it opens.
pub struct Keyring {
    kek: KeyEncryptionKey,
    keys: DataKeys,
    wrapped: Cache<KeyId, WrappedBytes>,
}

/// A data key and what is stored of it.
pub struct NewKey {
    /// The key.
    pub key: DataKey,
    /// Its stored form.
    pub wrapped: WrappedKey,
}

/// Why a secret cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its data key was destroyed, or never existed.
    #[error("the data key {0} does not exist")]
    NoKey(KeyId),
    /// The ciphertext was dropped.
    #[error("the ciphertext is gone")]
    NoCiphertext,
    /// The key or the ciphertext does not open here: another key-encryption key, or damaged data.
    #[error("the secret does not open with this encryption key")]
    DoesNotOpen,
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Keyring {
    /// A keyring over the database's wrapped keys. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(kek: KeyEncryptionKey, backend: &Backend) -> Self {
        Self {
            kek,
            keys: DataKeys::new(backend),
            wrapped: Cache::new(REMEMBERED),
        }
    }

    /// A new data key for a stream.
    ///
    /// # Errors
    /// [`Fault::Internal`] when there is no randomness.
    pub fn make_key(&self, stream: &StreamKey) -> Result<NewKey, Fault> {
        let key = DataKey::from_bytes(make_bytes()?);
        let key_id = KeyId::from_uuid(make_uuid()?);
        let wrapped = wrap(&self.kek, &key, key_id, stream, Nonce(make_bytes()?));
        Ok(NewKey { key, wrapped })
    }

    /// A stream's data key of an id.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn key(&self, stream: &StreamKey, key_id: KeyId) -> Result<DataKey, OpenError> {
        if let Some(bytes) = self.wrapped.get(&key_id) {
            let key = unwrap_bytes(&self.kek, key_id, stream, &bytes);
            return key.map_err(|_| OpenError::DoesNotOpen);
        }
        let found = self.keys.get(key_id).await.map_err(Fault::from)?;
        let wrapped = found.ok_or(OpenError::NoKey(key_id))?;
        let key = unwrap(&self.kek, &wrapped).map_err(|_| OpenError::DoesNotOpen)?;
        if wrapped.stream != *stream {
            return Err(OpenError::DoesNotOpen);
        }
        if let Ok(bytes) = wrapped.bytes.as_slice().try_into() {
            self.wrapped.insert(key_id, bytes);
        }
        Ok(key)
    }

    /// Opens a sealed field of a stream.
    ///
    /// # Errors
    /// [`OpenError`]
    pub async fn open(
        &self,
        stream: &StreamKey,
        purpose: Purpose,
        field: &SealedField,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let blob = field.blob.as_ref().ok_or(OpenError::NoCiphertext)?;
        let key = self.key(stream, field.sealed.key_id).await?;
        let context = SealingContext {
            purpose,
            stream: stream.clone(),
            key_id: field.sealed.key_id,
            version: field.sealed.version,
        };
        open(&key, &context, blob).map_err(|_| OpenError::DoesNotOpen)
    }
}

/// Seals a secret of a stream; what the event names of it, and the ciphertext beside the event.
///
/// # Errors
/// [`Fault::Internal`] when there is no randomness.
pub fn seal_secret(
    key: &DataKey,
    key_id: KeyId,
    stream: &StreamKey,
    purpose: Purpose,
    version: u32,
    plaintext: &[u8],
) -> Result<(SealedRef, SealedBlob), Fault> {
    let context = SealingContext {
        purpose,
        stream: stream.clone(),
        key_id,
        version,
    };
    let blob = seal(key, &context, Nonce(make_bytes()?), plaintext);
    Ok((
        SealedRef {
            digest: blob.digest_hex(),
            key_id,
            version,
        },
        blob,
    ))
}
