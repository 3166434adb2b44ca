//! Every token but those just signed here is refused.

use hmac::{Hmac, Mac};
use nexus_domain::vault::VaultEvent;
use sha2::Sha256;
use uuid::Uuid;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_hours(1);
const ISSUER: &str = "https://vault.example";

fn kid(number: u128) -> KeyId {
    KeyId::from_uuid(Uuid::from_u128(number))
}

fn key(number: u8) -> Arc<OpenedKey> {
    Arc::new(OpenedKey {
        kid: kid(number.into()),
        key: SigningKey::from_bytes(&[number; 32]),
    })
}

/// Keys with these numbers, each made ten minutes after the one before it, the first at `NOW`.
fn known(numbers: &[u8]) -> Arc<KnownKeys> {
    let mut keys = SessionKeys::default();
    let mut made = NOW;
    for number in numbers {
        let kid = kid((*number).into());
        keys.evolve(&VaultEvent::SessionKeyCreated { kid }, made);
        made = made.plus(Duration::from_mins(10));
    }
    let opened = numbers.iter().map(|number| key(*number)).collect();
    Arc::new(KnownKeys { keys, opened })
}

fn tokens_with(audience: Option<&str>, numbers: &[u8]) -> SessionTokens {
    let tokens = SessionTokens::new(ISSUER.to_owned(), audience.map(str::to_owned), HOUR);
    tokens.learn(known(numbers));
    tokens
}

fn tokens() -> SessionTokens {
    tokens_with(Some("https://api.example"), &[1])
}

fn claims() -> Claims {
    Claims {
        sub: "user-1".to_owned(),
        client_id: "mail-bot".to_owned(),
        iat: NOW.as_seconds(),
        exp: NOW.as_seconds() + 900,
        jti: "obo_0192".to_owned(),
        scope: "mail.read mail.send".to_owned(),
        act: Some(Actor {
            sub: "mail-bot".to_owned(),
        }),
        tenant_id: Some("t-1".to_owned()),
        clearance_level: Some("secret".to_owned()),
    }
}

fn payload() -> Value {
    let mut payload = serde_json::to_value(claims()).unwrap();
    payload["iss"] = ISSUER.into();
    payload["aud"] = "https://api.example".into();
    payload
}

/// A token with any payload, signed as ours are.
fn signed(payload: &Value) -> String {
    jws::compact(
        &jws::header(kid(1)),
        payload.to_string().as_bytes(),
        &key(1).key,
    )
}

/// A token with any header, signed with our key.
fn headed(header: &str) -> String {
    use base64::Engine;
    let header = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(header);
    jws::compact(&header, payload().to_string().as_bytes(), &key(1).key)
}

#[track_caller]
fn refused(token: &str) {
    assert_eq!(tokens().verify(token, NOW), Err(InvalidToken), "{token}");
}

#[test]
fn what_is_signed_here_is_good_here_until_it_is_over() {
    let token = tokens().mint(&claims(), NOW).unwrap();
    let last = Timestamp::from_seconds(claims().exp - 1);
    assert_eq!(tokens().verify(&token, last), Ok(Arc::new(claims())));
    let over = Timestamp::from_seconds(claims().exp);
    assert_eq!(tokens().verify(&token, over), Err(InvalidToken));
}

#[test]
fn a_token_says_what_rfc_9068_asks_for() {
    let token = tokens().mint(&claims(), NOW).unwrap();
    let said = jws::verified(&token, &jws::header(kid(1)), &key(1).key.verifying_key());
    let said: Value = serde_json::from_slice(&said.unwrap()).unwrap();
    assert_eq!(
        said,
        json!({
            "iss": "https://vault.example",
            "aud": "https://api.example",
            "sub": "user-1",
            "client_id": "mail-bot",
            "iat": 1_800_000_000,
            "exp": 1_800_000_900,
            "jti": "obo_0192",
            "scope": "mail.read mail.send",
            "act": {"sub": "mail-bot"},
            "tenant_id": "t-1",
            "clearance_level": "secret",
        })
    );
}

#[test]
fn the_audience_is_the_issuer_unless_it_is_set() {
    let token = tokens_with(None, &[1]).mint(&claims(), NOW).unwrap();
    let said = jws::verified(&token, &jws::header(kid(1)), &key(1).key.verifying_key());
    let said: Value = serde_json::from_slice(&said.unwrap()).unwrap();
    assert_eq!(said["aud"], said["iss"]);
    refused(&token);
}

#[test]
fn a_token_with_any_character_changed_is_refused() {
    let token = tokens().mint(&claims(), NOW).unwrap();
    for index in 0..token.len() {
        for other in [b'A', b'z', b'.', b'='] {
            let mut changed = token.clone().into_bytes();
            if changed[index] == other {
                continue;
            }
            changed[index] = other;
            refused(&String::from_utf8(changed).unwrap());
        }
    }
}

#[test]
fn a_token_with_any_bit_of_a_part_flipped_is_refused() {
    use base64::Engine;
    let base64 = base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let token = tokens().mint(&claims(), NOW).unwrap();
    let parts: Vec<Vec<u8>> = token
        .split('.')
        .map(|part| base64.decode(part).unwrap())
        .collect();
    for part in 0..3 {
        for index in 0..parts[part].len() {
            for bit in 0..8 {
                let mut flipped = parts.clone();
                flipped[part][index] ^= 1 << bit;
                let flipped = flipped.iter().map(|part| base64.encode(part));
                refused(&flipped.collect::<Vec<_>>().join("."));
            }
        }
    }
}

#[test]
fn a_token_cut_off_or_made_longer_is_refused() {
    let token = tokens().mint(&claims(), NOW).unwrap();
    for length in 0..token.len() {
        refused(&token[..length]);
    }
    for longer in ["A", ".", ".e30", "=", " "] {
        refused(&format!("{token}{longer}"));
        refused(&format!("{longer}{token}"));
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    use base64::Engine;
    let base64 = base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let payload = base64.encode(payload().to_string());
    for algorithm in ["none", "None", "NONE", "nOnE"] {
        let header = json!({"typ": "at+jwt", "alg": algorithm, "kid": kid(1)});
        let header = base64.encode(header.to_string());
        refused(&format!("{header}.{payload}."));
    }
    refused(&format!("{}.{payload}.", jws::header(kid(1))));
}

#[test]
fn a_token_authenticated_with_the_public_key_is_refused() {
    use base64::Engine;
    let base64 = base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": kid(1)});
    let signed = format!(
        "{}.{}",
        base64.encode(header.to_string()),
        base64.encode(payload().to_string())
    );
    let public = key(1).key.verifying_key();
    let text = base64.encode(public.as_bytes());
    for secret in [public.as_bytes().as_slice(), text.as_bytes()] {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(signed.as_bytes());
        let tag = base64.encode(mac.finalize().into_bytes());
        refused(&format!("{signed}.{tag}"));
    }
}

#[test]
fn a_token_with_another_header_is_refused_though_it_is_signed() {
    let kid = kid(1);
    for header in [
        json!({"typ": "JWT", "alg": "EdDSA", "kid": kid}),
        json!({"typ": "dpop+jwt", "alg": "EdDSA", "kid": kid}),
        json!({"alg": "EdDSA", "kid": kid}),
        json!({"typ": "at+jwt", "alg": "ES256", "kid": kid}),
        json!({"typ": "at+jwt", "kid": kid}),
        json!({"typ": "at+jwt", "alg": "EdDSA"}),
        json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid, "crit": ["exp"]}),
    ] {
        refused(&headed(&header.to_string()));
    }
    // The same said in other words.
    refused(&headed(&format!(
        r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#
    )));
}

#[test]
fn a_token_of_another_issuer_or_for_another_audience_is_refused() {
    for (claim, value) in [
        ("iss", json!("https://vault.example/")),
        ("iss", json!("https://elsewhere.example")),
        ("iss", Value::Null),
        ("aud", json!("https://vault.example")),
        ("aud", json!(["https://api.example"])),
        ("aud", Value::Null),
    ] {
        let mut payload = payload();
        payload[claim] = value;
        refused(&signed(&payload));
    }
    assert_eq!(
        tokens().verify(&signed(&payload()), NOW),
        Ok(Arc::new(claims()))
    );
}

#[test]
fn a_token_that_is_over_or_says_no_end_is_refused() {
    let now = NOW.as_seconds();
    for value in [
        json!(now),
        json!(now - 1),
        json!(0),
        json!(-1),
        json!("1900000000"),
        json!(1.9e9),
        Value::Null,
    ] {
        let mut payload = payload();
        payload["exp"] = value;
        refused(&signed(&payload));
    }
}

#[test]
fn a_token_without_a_claim_that_it_must_have_is_refused() {
    for claim in [
        "iss",
        "aud",
        "sub",
        "client_id",
        "iat",
        "exp",
        "jti",
        "scope",
    ] {
        let mut payload = payload();
        payload.as_object_mut().unwrap().remove(claim);
        refused(&signed(&payload));
    }
}

#[test]
fn a_token_signed_with_an_unknown_key_is_refused() {
    let other = tokens_with(Some("https://api.example"), &[2]);
    let token = other.mint(&claims(), NOW).unwrap();
    assert!(tokens().is_of_unknown_key(&token));
    refused(&token);
    // Another key under the name of ours.
    let body = payload().to_string();
    let renamed = jws::compact(&jws::header(kid(1)), body.as_bytes(), &key(2).key);
    assert!(!tokens().is_of_unknown_key(&renamed));
    refused(&renamed);
    assert!(!tokens().is_of_unknown_key("nothing like a token"));
}

#[test]
fn the_newest_key_signs_once_it_was_published_long_enough() {
    let tokens = tokens_with(Some("https://api.example"), &[1, 2]);
    let signed_at = |minutes| {
        let now = NOW.plus(Duration::from_mins(minutes));
        jws::kid(&tokens.mint(&claims(), now).unwrap()).unwrap()
    };
    assert_eq!(signed_at(19), kid(1));
    assert_eq!(signed_at(20), kid(2));
    let older = signed(&payload());
    assert_eq!(tokens.verify(&older, NOW), Ok(Arc::new(claims())));
}

#[test]
fn a_token_that_was_believed_before_is_not_once_its_key_is_destroyed() {
    let tokens = tokens();
    let token = tokens.mint(&claims(), NOW).unwrap();
    for _ in 0..2 {
        assert_eq!(tokens.verify(&token, NOW), Ok(Arc::new(claims())));
    }
    let keys = known(&[1]).keys.clone();
    let opened = Vec::new();
    tokens.learn(Arc::new(KnownKeys { keys, opened }));
    assert_eq!(tokens.verify(&token, NOW), Err(InvalidToken));
}

#[test]
fn no_token_outlives_its_key() {
    let long = Claims {
        exp: NOW.as_seconds() + 3_601,
        ..claims()
    };
    assert!(matches!(tokens().mint(&long, NOW), Err(Fault::Internal(_))));
}

#[test]
fn without_a_key_that_opens_nothing_is_signed() {
    let tokens = tokens();
    let mut keys = KnownKeys::default();
    tokens.learn(Arc::new(KnownKeys::default()));
    assert!(matches!(
        tokens.mint(&claims(), NOW),
        Err(Fault::Internal(_))
    ));
    keys.keys = known(&[1]).keys.clone();
    tokens.learn(Arc::new(keys));
    assert!(matches!(
        tokens.mint(&claims(), NOW),
        Err(Fault::Unreadable(_))
    ));
    assert_eq!(tokens.jwks(), json!({"keys": []}));
}

#[test]
fn published_keys_show_nothing_but_what_verifies() {
    let tokens = tokens_with(None, &[1, 2]);
    let jwks = tokens.jwks();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    assert_eq!(
        jwks["keys"][0],
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w",
            "kid": "00000000-0000-0000-0000-000000000001",
            "alg": "EdDSA",
            "use": "sig",
        })
    );
}
