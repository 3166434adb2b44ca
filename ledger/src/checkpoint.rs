//! Checkpoints: signed tree heads, as C2SP signed notes (<https://c2sp.org/signed-note>,
//! <https://c2sp.org/tlog-checkpoint>) under Ed25519.
//!
//! ```text
//! <origin>
//! <size, decimal>
//! <root, base64>
//!
//! — <origin> <base64 of the first four bytes of the key hash ‖ signature>
//! ```

mod verifier;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::admission::Head;
use crate::backend::{Backend, StoredCheckpoint};
use crate::merkle::Hash;

pub use verifier::{NotAVerifierKey, VerifierKey};

/// How far a checkpoint may be behind a growing log.
const EVERY: Duration = Duration::from_secs(1);
/// C2SP's identifier of Ed25519 in a key hash.
const ED25519: u8 = 0x01;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// The number of events.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// Why a note is not a checkpoint of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It does not have the form of a signed checkpoint.
    #[error("the note is not a signed checkpoint")]
    Malformed,
    /// No signature on it is by the key.
    #[error("the checkpoint is not signed by this key")]
    UnknownKey,
    /// The key's signature is not of this text.
    #[error("the checkpoint's signature is wrong")]
    WrongSignature,
}

impl Checkpoint {
    /// The text that is signed; it ends with a newline.
    fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64.encode(self.root)
        )
    }

    /// The signed note. The key is named after the origin.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.text();
        let mut signature = key_hash(&self.origin, &key.verifying_key()).to_vec();
        signature.extend(key.sign(text.as_bytes()).to_bytes());
        format!(
            "{text}\n\u{2014} {} {}\n",
            self.origin,
            BASE64.encode(signature)
        )
    }

    /// Reads a note and checks that `key`, named after the origin, signed it. Signatures of
    /// others, such as witnesses, are passed over.
    ///
    /// # Errors
    /// [`CheckpointError`]
    pub fn verify(note: &str, key: &VerifyingKey) -> Result<Self, CheckpointError> {
        let (text, signatures) = split(note).ok_or(CheckpointError::Malformed)?;
        let checkpoint = Self::parse_text(text).ok_or(CheckpointError::Malformed)?;
        let hash = key_hash(&checkpoint.origin, key);
        for line in signatures.lines() {
            let (name, signature) = parse_signature(line).ok_or(CheckpointError::Malformed)?;
            if name == checkpoint.origin
                && let Some(signature) = signature.strip_prefix(&hash)
            {
                let signature =
                    Signature::from_slice(signature).map_err(|_| CheckpointError::Malformed)?;
                let verified = key.verify_strict(text.as_bytes(), &signature);
                return verified
                    .map(|()| checkpoint)
                    .map_err(|_| CheckpointError::WrongSignature);
            }
        }
        Err(CheckpointError::UnknownKey)
    }

    /// What a note says, without looking at its signatures.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`]
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        split(note)
            .and_then(|(text, _)| Self::parse_text(text))
            .ok_or(CheckpointError::Malformed)
    }

    fn parse_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
        let digits = lines.next()?;
        let size: u64 = digits.parse().ok()?;
        let root = BASE64.decode(lines.next()?).ok()?.try_into().ok()?;
        let checkpoint = Self { origin, size, root };
        // Extension lines may follow; what comes before them has one spelling.
        text.starts_with(&checkpoint.text()).then_some(checkpoint)
    }
}

/// The signed text with its last newline, and the signature lines.
fn split(note: &str) -> Option<(&str, &str)> {
    let end = note.rfind("\n\n")?;
    let (text, signatures) = (note.get(..=end)?, note.get(end + 2..)?);
    (signatures.ends_with('\n')).then_some((text, signatures))
}

fn parse_signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    Some((name, BASE64.decode(signature).ok()?))
}

/// The first four bytes of SHA-256(name ‖ newline ‖ algorithm ‖ public key).
fn key_hash(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', ED25519]);
    hasher.update(key.as_bytes());
    let [a, b, c, d, ..] = <Hash>::from(hasher.finalize());
    [a, b, c, d]
}

/// Signs and stores a checkpoint at most a second after the log grew, and one when it stops.
pub(crate) async fn sign_while_growing(
    backend: Backend,
    mut head: watch::Receiver<Head>,
    key: SigningKey,
    origin: String,
    mut stopped: watch::Receiver<bool>,
) {
    let mut signed = 0;
    loop {
        let stopping = *stopped.borrow_and_update();
        let newest = head.borrow_and_update().clone();
        if newest.position() > signed {
            match store(&backend, &newest, &key, &origin).await {
                Ok(()) => signed = newest.position(),
                Err(error) => tracing::warn!(%error, "the checkpoint could not be stored"),
            }
        }
        if stopping {
            return;
        }
        // Whoever stops the log without saying so leaves nobody to sign for.
        let gone = tokio::select! {
            changed = stopped.changed() => changed.is_err(),
            changed = next_round(&mut head, signed) => changed.is_err(),
        };
        if gone {
            return;
        }
    }
}

/// A second from now, once there is something to sign.
async fn next_round(
    head: &mut watch::Receiver<Head>,
    signed: u64,
) -> Result<(), watch::error::RecvError> {
    tokio::time::sleep(EVERY).await;
    head.wait_for(|head| head.position() > signed)
        .await
        .map(drop)
}

async fn store(
    backend: &Backend,
    head: &Head,
    key: &SigningKey,
    origin: &str,
) -> Result<(), crate::backend::ReadError> {
    let checkpoint = Checkpoint {
        origin: origin.to_owned(),
        size: head.position(),
        root: head.tree.root(),
    };
    let note = checkpoint.sign(key);
    backend
        .put_checkpoint(StoredCheckpoint {
            size: checkpoint.size,
            note,
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "example.com/log".into(),
            size: 42,
            root: [7; 32],
        }
    }

    #[test]
    fn a_signed_checkpoint_verifies_and_says_what_was_signed() {
        let note = checkpoint().sign(&key(1));
        assert_eq!(
            Checkpoint::verify(&note, &key(1).verifying_key()),
            Ok(checkpoint())
        );
        assert_eq!(Checkpoint::parse(&note), Ok(checkpoint()));
        assert_eq!(note.lines().count(), 5, "{note}");
    }

    #[test]
    fn another_key_and_another_text_are_refused() {
        let note = checkpoint().sign(&key(1));
        assert_eq!(
            Checkpoint::verify(&note, &key(2).verifying_key()),
            Err(CheckpointError::UnknownKey)
        );
        let forged = note.replace("\n42\n", "\n43\n");
        assert_eq!(
            Checkpoint::verify(&forged, &key(1).verifying_key()),
            Err(CheckpointError::WrongSignature)
        );
    }

    #[test]
    fn signatures_of_others_are_passed_over() {
        let witness = format!("\u{2014} witness {}\n", BASE64.encode([9; 76]));
        let note = checkpoint()
            .sign(&key(1))
            .replace("\n\n", &format!("\n\n{witness}"));
        assert_eq!(
            Checkpoint::verify(&note, &key(1).verifying_key()),
            Ok(checkpoint())
        );
    }

    #[test]
    fn what_is_not_a_signed_checkpoint_is_malformed() {
        let note = checkpoint().sign(&key(1));
        let broken = [
            String::new(),
            "\n\n".to_owned(),
            note.trim_end().to_owned(),
            note.replace("\n42\n", "\n042\n"),
            note.replace("\n42\n", "\n+42\n"),
            note.replace("\n42\n", "\n-1\n"),
            note.replace("example.com/log\n42", "\n42"),
            note.replace('\u{2014}', "-"),
        ];
        for note in broken {
            assert_eq!(
                Checkpoint::verify(&note, &key(1).verifying_key()),
                Err(CheckpointError::Malformed),
                "{note:?}"
            );
        }
    }

    /// Computed independently (Python, `cryptography`): key seed 01…01.
    #[test]
    fn the_notes_form_is_frozen() {
        assert_eq!(
            checkpoint().sign(&key(1)),
            include_str!("checkpoint/frozen.txt")
        );
    }
}
