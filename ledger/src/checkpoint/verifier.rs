//! The public half of the key that signs checkpoints, in the form in which it is published
//! (<https://c2sp.org/signed-note>): `<name>+<key hash, hexadecimal>+<base64 of 0x01 ‖ public key>`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{SigningKey, VerifyingKey};

use super::{Checkpoint, CheckpointError, ED25519, key_hash};

/// Who signs a log's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    /// The log's name; the origin of its checkpoints.
    pub name: String,
    /// The Ed25519 public key.
    pub key: VerifyingKey,
}

/// A text is no verifier key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a verifier key of the form name+hash+key")]
pub struct NotAVerifierKey;

impl VerifierKey {
    /// The public half of a signing key, named after the log's origin.
    #[must_use]
    pub fn of(origin: &str, key: &SigningKey) -> Self {
        Self {
            name: origin.to_owned(),
            key: key.verifying_key(),
        }
    }

    /// Reads a note of this log and checks that this key signed it.
    ///
    /// # Errors
    /// [`CheckpointError`]; a note of another log is [`CheckpointError::UnknownKey`].
    pub fn verify(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = Checkpoint::verify(note, &self.key)?;
        if checkpoint.origin == self.name {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::UnknownKey)
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = u32::from_be_bytes(key_hash(&self.name, &self.key));
        let key = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{hash:08x}+{}", self.name, BASE64.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = NotAVerifierKey;

    fn from_str(text: &str) -> Result<Self, NotAVerifierKey> {
        // The base64 at the end may hold a plus sign; a name holds none.
        let mut parts = text.trim().splitn(3, '+');
        let mut part = || parts.next().ok_or(NotAVerifierKey);
        let (name, hash, key) = (part()?, part()?, part()?);
        let bytes = BASE64.decode(key).map_err(|_| NotAVerifierKey)?;
        let bytes = bytes.strip_prefix(&[ED25519]).ok_or(NotAVerifierKey)?;
        let bytes = bytes.try_into().map_err(|_| NotAVerifierKey)?;
        let key = Self {
            name: name.to_owned(),
            key: VerifyingKey::from_bytes(bytes).map_err(|_| NotAVerifierKey)?,
        };
        let named = u32::from_str_radix(hash, 16).map_err(|_| NotAVerifierKey)?;
        if named.to_be_bytes() == key_hash(&key.name, &key.key) && !name.is_empty() {
            Ok(key)
        } else {
            Err(NotAVerifierKey)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementation, golang.org/x/mod/sumdb/note.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn the_published_example_reads_and_prints() {
        let key: VerifierKey = PETER.parse().unwrap();
        assert_eq!(key.name, "PeterNeumann");
        assert_eq!(key.to_string(), PETER);
        assert_eq!(format!(" {PETER}\n").parse(), Ok(key));
    }

    #[test]
    fn a_text_that_was_changed_is_none() {
        for text in [
            "",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TX",
            "PeterNeumann+c74f20a3+AhpcQcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW=",
        ] {
            assert_eq!(text.parse::<VerifierKey>(), Err(NotAVerifierKey), "{text}");
        }
    }

    #[test]
    fn a_note_of_another_log_under_the_same_key_is_refused() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let checkpoint = Checkpoint {
            origin: "here".into(),
            size: 1,
            root: [7; 32],
        };
        let note = checkpoint.sign(&key);
        assert_eq!(VerifierKey::of("here", &key).verify(&note), Ok(checkpoint));
        assert_eq!(
            VerifierKey::of("there", &key).verify(&note),
            Err(CheckpointError::UnknownKey)
        );
    }
}
