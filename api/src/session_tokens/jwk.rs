//! Public keys as JWKs.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use nexus_domain::sealing::KeyId;
use serde_json::{Value, json};

/// The public key as a JWK (RFC 8037 §2) that only verifies signatures.
pub(super) fn public(kid: KeyId, key: &VerifyingKey) -> Value {
    json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": BASE64_URL_SAFE_NO_PAD.encode(key.as_bytes()),
        "kid": kid,
        "alg": "EdDSA",
        "use": "sig",
    })
}
