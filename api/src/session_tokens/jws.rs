//! JWS in its compact form (RFC 7515 §7.1), signed with Ed25519 (RFC 8037 §3.1).
//!
//! A header of ours is written in one way only, and a token's header has to be just that. So there is no algorithm to
//! confuse, no `crit` to miss and no second spelling of a token. A library would bring the algorithms that are to be
//! refused, and ask the system for the time.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use nexus_domain::sealing::KeyId;
use serde::Deserialize;

/// The longest token that is looked at, bytes: HTTP servers take no longer headers either.
const LONGEST: usize = 16 * 1024;

/// The protected header of an access token (RFC 9068 §2.1) that this key signs, encoded.
pub(super) fn header(kid: KeyId) -> String {
    encoded(format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}"}}"#).as_bytes())
}

/// The payload signed under an encoded header.
pub(super) fn compact(header: &str, payload: &[u8], key: &SigningKey) -> String {
    let signed = format!("{header}.{}", encoded(payload));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", encoded(&signature.to_bytes()))
}

/// The key that a token says it was signed with. Nothing is verified yet.
pub(super) fn kid(token: &str) -> Option<KeyId> {
    #[derive(Deserialize)]
    struct Header {
        kid: KeyId,
    }
    let (header, _) = token.split_once('.').filter(|_| token.len() <= LONGEST)?;
    let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
    Some(header.kid)
}

/// The payload of a token with exactly this header, signed with this key.
pub(super) fn verified(token: &str, header: &str, key: &VerifyingKey) -> Option<Vec<u8>> {
    let (signed, signature) = token.rsplit_once('.')?;
    let payload = signed.strip_prefix(header)?.strip_prefix('.')?;
    let signature = Signature::from_slice(&decoded(signature)?).ok()?;
    key.verify_strict(signed.as_bytes(), &signature).ok()?;
    decoded(payload)
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.1.
    const D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    /// Appendix A.2.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    /// Appendix A.4: the header has no other member.
    const HEADER: &str = "eyJhbGciOiJFZERTQSJ9";
    const PAYLOAD: &[u8] = b"Example of Ed25519 signing";
    const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                         hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn rfc_key() -> SigningKey {
        SigningKey::from_bytes(&decoded(D).unwrap().try_into().unwrap())
    }

    #[test]
    fn the_rfcs_key_has_the_rfcs_public_key() {
        let jwk = super::super::jwk::public(KeyId::default(), &rfc_key().verifying_key());
        assert_eq!(jwk["x"], X);
        assert_eq!(
            (&jwk["kty"], &jwk["crv"]),
            (&"OKP".into(), &"Ed25519".into())
        );
    }

    #[test]
    fn the_rfcs_payload_has_the_rfcs_signature() {
        assert_eq!(compact(HEADER, PAYLOAD, &rfc_key()), TOKEN);
        let verified = verified(TOKEN, HEADER, &rfc_key().verifying_key());
        assert_eq!(verified.as_deref(), Some(PAYLOAD));
    }

    #[test]
    fn the_header_names_type_algorithm_and_key() {
        let header = decoded(&header(KeyId::default())).unwrap();
        let header = String::from_utf8(header).unwrap();
        assert_eq!(
            header,
            r#"{"typ":"at+jwt","alg":"EdDSA","kid":"00000000-0000-0000-0000-000000000000"}"#
        );
    }

    #[test]
    fn what_is_no_token_names_no_key() {
        for text in [
            "",
            ".",
            "a.b.c",
            "e30.e30.e30",
            "eyJraWQiOjF9.e30.e30",
            "no dots",
        ] {
            assert_eq!(kid(text), None, "{text}");
        }
        let endless = format!("{}.{}", header(KeyId::default()), "e".repeat(LONGEST));
        assert_eq!(kid(&endless), None);
    }
}
