use base64::prelude::BASE64_STANDARD;
use nexus_domain::provider::split_secrets;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaSigningAlgorithm,
    KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::json;

use super::*;

/// Made for these tests with `openssl genpkey`.
const RSA: &str = include_str!("rsa.pem");

fn pem(der: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

fn ed25519() -> String {
    pem(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .unwrap()
        .as_ref())
}

/// Without the public key, as `openssl genpkey` writes it (RFC 8410 §7).
fn older_ed25519() -> String {
    let head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    pem(&[head.as_slice(), &[7; 32]].concat())
}

fn elliptic(curve: &'static EcdsaSigningAlgorithm) -> String {
    pem(EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new())
        .unwrap()
        .as_ref())
}

/// The key of a provider with these `params`.
fn key(params: Value) -> Result<ClientKey, ClientKeyError> {
    let (params, secrets) = split_secrets(serde_json::from_value(params).unwrap());
    let profile = ProviderProfile {
        params,
        ..ProviderProfile::default()
    };
    let secrets = ProviderSecrets {
        params: secrets,
        ..ProviderSecrets::default()
    };
    ClientKey::of(&profile, &secrets)
}

fn refused(params: Value) -> ClientKeyError {
    key(params).map(drop).unwrap_err()
}

fn fresh() -> Fresh {
    Fresh {
        now: Timestamp::from_seconds(1_800_000_000),
        id: Uuid::from_u128(7),
    }
}

fn assertion(key: &ClientKey) -> String {
    let audience = "https://idp.example/token".parse().unwrap();
    let assertion = key.assertion("client one", &audience, fresh()).unwrap();
    assertion.expose().to_owned()
}

fn decoded(part: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// Checks the signature with the public key; returns header and claims.
fn verified(key: &ClientKey, assertion: &str) -> (Value, Value) {
    let (public, algorithm): (&[u8], &'static dyn VerificationAlgorithm) = match &key.signer {
        Signer::Rs256(key) => (key.public_key().as_ref(), &RSA_PKCS1_2048_8192_SHA256),
        Signer::Ps256(key) => (key.public_key().as_ref(), &RSA_PSS_2048_8192_SHA256),
        Signer::Es256(key) => (key.public_key().as_ref(), &ECDSA_P256_SHA256_FIXED),
        Signer::EdDsa(key) => (key.public_key().as_ref(), &ED25519),
    };
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(algorithm, public)
        .verify(signed.as_bytes(), &decoded(signature))
        .unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |part| serde_json::from_slice(&decoded(part)).unwrap();
    (read(header), read(claims))
}

#[test]
fn an_assertion_says_who_the_client_is_to_one_endpoint_for_a_minute() {
    let key = key(json!({"private_key": RSA})).unwrap();
    let (header, claims) = verified(&key, &assertion(&key));
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT"}));
    assert_eq!(
        claims,
        json!({
            "iss": "client one", "sub": "client one", "aud": "https://idp.example/token",
            "jti": "00000000-0000-0000-0000-000000000007", "iat": 1_800_000_000, "exp": 1_800_000_060,
        })
    );
}

#[test]
fn every_kind_of_key_signs_with_its_algorithm() {
    for (pem, algorithm, expected) in [
        (RSA.to_owned(), Value::Null, "RS256"),
        (RSA.to_owned(), json!("RS256"), "RS256"),
        (RSA.to_owned(), json!("PS256"), "PS256"),
        (
            elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Value::Null,
            "ES256",
        ),
        (
            elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING),
            json!("ES256"),
            "ES256",
        ),
        (ed25519(), Value::Null, "EdDSA"),
        (older_ed25519(), json!("EdDSA"), "EdDSA"),
    ] {
        let params =
            json!({"private_key": pem, "private_key_alg": algorithm, "private_key_id": "k-1"});
        let key = key(params).unwrap();
        let (header, _) = verified(&key, &assertion(&key));
        assert_eq!(
            (&header["alg"], &header["kid"]),
            (&json!(expected), &json!("k-1"))
        );
    }
}

#[test]
fn a_key_that_cannot_sign_is_refused_and_its_setting_is_named() {
    assert_eq!(refused(json!({})), ClientKeyError::Missing);
    let short = RSA.replace(&RSA[100..200], "");
    let pkcs1 = RSA.replace("PRIVATE KEY", "RSA PRIVATE KEY");
    for unreadable in [
        json!("canary"),
        json!({"kty": "RSA"}),
        json!(RSA.replace("PRIVATE KEY", "CERTIFICATE")),
        json!(pkcs1),
        json!(short),
        json!(elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING)),
    ] {
        let error = refused(json!({"private_key": unreadable}));
        assert_eq!(error, ClientKeyError::Unreadable);
        assert_eq!(error.field(), "params.private_key");
    }
    let error = refused(json!({"private_key": RSA, "private_key_alg": "ES256"}));
    assert_eq!(error, ClientKeyError::OtherAlgorithm);
    assert_eq!(error.field(), "params.private_key_alg");
    let error = refused(json!({"private_key": ed25519(), "private_key_alg": "PS256"}));
    assert_eq!(error, ClientKeyError::OtherAlgorithm);
}

#[test]
fn neither_a_key_nor_its_refusal_shows_what_it_is() {
    let key = key(json!({"private_key": RSA, "private_key_id": "k-1"})).unwrap();
    assert_eq!(
        format!("{key:?}"),
        r#"ClientKey { algorithm: "RS256", id: Some("k-1"), .. }"#
    );
    let error = refused(json!({"private_key": "canary"}));
    assert!(!format!("{error} {error:?}").contains("canary"));
}
