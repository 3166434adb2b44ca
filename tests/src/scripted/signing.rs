//! Signed ID tokens (OpenID Connect Core §2), and every way they can be wrong.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

/// What is wrong with an ID token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdTokenFault {
    /// Nothing.
    None,
    /// It names another issuer.
    WrongIssuer,
    /// It is for another client.
    WrongAudience,
    /// It answers another request.
    WrongNonce,
    /// It answers no request in particular.
    NoNonce,
    /// It has expired.
    Expired,
    /// Its claims were changed after signing.
    BadSignature,
    /// It is not signed, and says so.
    AlgNone,
    /// It is signed by a key that the provider does not publish.
    UnknownKey,
}

/// The claims that depend on the request.
pub(super) struct Claims<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) subject: &'a str,
    pub(super) nonce: Option<&'a str>,
}

/// An ES256 key, made for this provider alone.
#[derive(Debug)]
pub(super) struct Key(EcdsaKeyPair);

impl Key {
    pub(super) fn generate() -> Key {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        Key(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
                .expect("its own key"),
        )
    }

    pub(super) fn public_jwk(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.0.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "key-1",
            "x": encode(&point[1..33]), "y": encode(&point[33..]),
        })
    }

    pub(super) fn id_token(&self, claims: &Claims<'_>, fault: IdTokenFault) -> String {
        let payload = encode(faulty(claims, fault).to_string().as_bytes());
        match fault {
            IdTokenFault::AlgNone => format!("{}.{payload}.", encode(br#"{"alg":"none"}"#)),
            IdTokenFault::UnknownKey => Key::generate().signed("key-2", &payload),
            IdTokenFault::BadSignature => {
                let signed = self.signed("key-1", &payload);
                let other = json!({"iss": claims.issuer, "aud": claims.audience, "sub": "mallory", "nonce": claims.nonce, "iat": now(), "exp": now() + 600});
                signed.replace(&payload, &encode(other.to_string().as_bytes()))
            }
            _ => self.signed("key-1", &payload),
        }
    }

    /// A JWT that says this.
    pub(super) fn jwt(&self, claims: &Value) -> String {
        self.signed("key-1", &encode(claims.to_string().as_bytes()))
    }

    fn signed(&self, kid: &str, payload: &str) -> String {
        let header = encode(
            json!({"alg": "ES256", "typ": "JWT", "kid": kid})
                .to_string()
                .as_bytes(),
        );
        let message = format!("{header}.{payload}");
        let signature = self
            .0
            .sign(&SystemRandom::new(), message.as_bytes())
            .expect("a signature");
        format!("{message}.{}", encode(signature.as_ref()))
    }
}

fn faulty(claims: &Claims<'_>, fault: IdTokenFault) -> Value {
    let mut value = json!({
        "iss": claims.issuer, "aud": claims.audience, "sub": claims.subject, "iat": now(), "exp": now() + 600,
    });
    if let Some(nonce) = claims.nonce {
        value["nonce"] = json!(nonce);
    }
    match fault {
        IdTokenFault::WrongIssuer => value["iss"] = json!("https://elsewhere.test"),
        IdTokenFault::WrongAudience => value["aud"] = json!("another-client"),
        IdTokenFault::WrongNonce => value["nonce"] = json!("another-nonce"),
        IdTokenFault::NoNonce => drop(value.as_object_mut().expect("claims").remove("nonce")),
        IdTokenFault::Expired => value["exp"] = json!(now() - 3600),
        IdTokenFault::None
        | IdTokenFault::BadSignature
        | IdTokenFault::AlgNone
        | IdTokenFault::UnknownKey => {}
    }
    value
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a provider lives by the wall clock, and this one is played"
)]
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}
