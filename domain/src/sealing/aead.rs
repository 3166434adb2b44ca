//! The cipher, bare: whoever calls this answers for the associated data.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::SealingError;

/// 24 random bytes, used once.
#[derive(Debug)]
pub struct Nonce(pub [u8; NONCE_LENGTH]);

pub(super) const KEY_LENGTH: usize = 32;
pub(super) const NONCE_LENGTH: usize = 24;

/// Nonce ‖ ciphertext ‖ tag (draft-irtf-cfrg-xchacha-03), after `prefix`.
#[expect(
    clippy::expect_used,
    reason = "the cipher refuses only what is longer than 256 GiB"
)]
pub(super) fn encrypt(
    key: &[u8; KEY_LENGTH],
    Nonce(nonce): Nonce,
    associated: &[u8],
    plaintext: &[u8],
    prefix: &[u8],
) -> Vec<u8> {
    let payload = Payload {
        msg: plaintext,
        aad: associated,
    };
    let ciphertext = XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(nonce), payload)
        .expect("the plaintext fits in memory");
    [prefix, &nonce, &ciphertext].concat()
}

/// The plaintext of nonce ‖ ciphertext ‖ tag.
pub(super) fn decrypt(
    key: &[u8; KEY_LENGTH],
    associated: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let (nonce, ciphertext) = sealed
        .split_first_chunk::<NONCE_LENGTH>()
        .ok_or(SealingError::Malformed)?;
    let payload = Payload {
        msg: ciphertext,
        aad: associated,
    };
    let plaintext = XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), payload);
    plaintext
        .map(Zeroizing::new)
        .map_err(|_| SealingError::NotAuthentic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::vectors::{hex, unhex};

    // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    const PLAINTEXT: &[u8] =
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    const ASSOCIATED: &str = "50515253c0c1c2c3c4c5c6c7";
    const KEY: &str = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";
    const NONCE: &str = "404142434445464748494a4b4c4d4e4f5051525354555657";
    const CIPHERTEXT: &str = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb\
                              731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452\
                              2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                              21f9664c97637da9768812f615c68b13b52e";
    const TAG: &str = "c0875924c1c7987947deafd8780acf49";

    fn key() -> [u8; KEY_LENGTH] {
        unhex(KEY).try_into().unwrap()
    }

    #[test]
    fn the_published_vector_is_reproduced() {
        let nonce = Nonce(unhex(NONCE).try_into().unwrap());
        let sealed = encrypt(&key(), nonce, &unhex(ASSOCIATED), PLAINTEXT, b"");
        assert_eq!(hex(&sealed), format!("{NONCE}{CIPHERTEXT}{TAG}"));
    }

    #[test]
    fn the_published_vector_opens() {
        let sealed = unhex(&format!("{NONCE}{CIPHERTEXT}{TAG}"));
        assert_eq!(
            *decrypt(&key(), &unhex(ASSOCIATED), &sealed).unwrap(),
            PLAINTEXT
        );
    }

    #[test]
    fn other_associated_data_or_another_key_opens_nothing() {
        let sealed = unhex(&format!("{NONCE}{CIPHERTEXT}{TAG}"));
        assert_eq!(
            decrypt(&key(), b"", &sealed).unwrap_err(),
            SealingError::NotAuthentic
        );
        assert_eq!(
            decrypt(&[0; KEY_LENGTH], &unhex(ASSOCIATED), &sealed).unwrap_err(),
            SealingError::NotAuthentic
        );
    }
}
