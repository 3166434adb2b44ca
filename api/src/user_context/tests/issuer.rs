use super::jwt::{Key, encode, hs256, unsigned};
use super::*;

/// An issuer with one key `k1`, and the vault that trusts it.
struct Trusted {
    provider: TestProvider,
    contexts: UserContexts,
    key: Key,
}

impl Trusted {
    async fn with(key: Key) -> Trusted {
        let provider = TestProvider::start().await;
        provider.publishes(json!({}), &json!([key.jwk("k1")]));
        let settings = UserContextSettings {
            issuer: Some(IssuerSettings {
                issuer: provider.base.clone(),
                audience: "nexus".to_owned(),
                jwks_url: None,
            }),
            ..nobody()
        };
        Trusted {
            contexts: UserContexts::new(&settings, PATIENT).unwrap(),
            provider,
            key,
        }
    }

    async fn start() -> Trusted {
        Trusted::with(Key::ed25519()).await
    }

    /// The claims of a token that is right, with `changes`; null takes a claim away.
    fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({
            "iss": self.provider.base, "aud": "nexus", "sub": "u1", "exp": NOW.as_seconds() + 300,
            "iat": NOW.as_seconds(), "tenant_id": "t1", "clearance_level": "high", "permissions": ["read", "write"],
        });
        if let (Value::Object(claims), Value::Object(changes)) = (&mut claims, changes) {
            claims.extend(changes);
            claims.retain(|_, value| !value.is_null());
        }
        claims
    }

    async fn verify(&self, token: &str) -> Result<Principal, UserContextError> {
        self.contexts.verify(&Secret::new(token), NOW).await
    }

    /// What becomes of a token that is right but for `changes`.
    async fn changed(&self, changes: Value) -> Result<Principal, UserContextError> {
        let claims = self.claims(changes);
        self.verify(&self.key.token("k1", &claims)).await
    }

    /// What becomes of a token that is right but for its header.
    async fn headed(&self, header: Value) -> Result<Principal, UserContextError> {
        let claims = self.claims(json!({}));
        self.verify(&self.key.token_with(&header, &claims)).await
    }
}

#[tokio::test]
async fn a_token_of_the_issuers_names_the_user_whatever_the_kind_of_its_key() {
    for key in [Key::p256(), Key::ed25519(), Key::rsa()] {
        let issuer = Trusted::with(key).await;
        let expected = Principal {
            acting_for: "u1".to_owned(),
            tenant_id: Some("t1".to_owned()),
            clearance_level: Some("high".to_owned()),
            permissions: names(&["read", "write"]),
        };
        assert_eq!(issuer.changed(json!({})).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_signature_by_another_key_is_refused_whatever_its_kind() {
    for (ours, theirs) in [(Key::p256(), Key::p256()), (Key::ed25519(), Key::ed25519())] {
        let issuer = Trusted::with(ours).await;
        let forged = theirs.token("k1", &issuer.claims(json!({})));
        assert_eq!(refusal(issuer.verify(&forged).await), Refusal::Signature);
    }
}

#[tokio::test]
async fn a_token_that_was_changed_after_signing_is_refused() {
    for key in [Key::p256(), Key::ed25519(), Key::rsa()] {
        let issuer = Trusted::with(key).await;
        let token = issuer.key.token("k1", &issuer.claims(json!({})));
        let payload = token.split('.').nth(1).unwrap();
        let other = issuer.claims(json!({"sub": "mallory"})).to_string();
        let forged = token.replace(payload, &encode(other.as_bytes()));
        assert_eq!(refusal(issuer.verify(&forged).await), Refusal::Signature);
        let cut = &token[..token.len() - 4];
        assert_eq!(refusal(issuer.verify(cut).await), Refusal::Signature);
    }
}

#[tokio::test]
async fn an_unsigned_token_is_refused_however_it_says_so() {
    let issuer = Trusted::start().await;
    let claims = issuer.claims(json!({}));
    let none = unsigned(&json!({"alg": "none", "kid": "k1"}), &claims);
    assert_eq!(refusal(issuer.verify(&none).await), Refusal::Algorithm);
    for algorithm in ["None", "NONE", "nOnE", ""] {
        let none = unsigned(&json!({"alg": algorithm}), &claims);
        assert_eq!(refusal(issuer.verify(&none).await), Refusal::Malformed);
    }
    let empty = unsigned(&json!({"alg": "EdDSA", "kid": "k1"}), &claims);
    assert_eq!(refusal(issuer.verify(&empty).await), Refusal::Signature);
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let issuer = Trusted::with(Key::rsa()).await;
    let jwk = issuer.key.jwk("k1");
    let claims = issuer.claims(json!({}));
    for secret in [jwk["n"].as_str().unwrap(), &jwk.to_string(), ""] {
        let forged = hs256("k1", &claims, secret.as_bytes());
        assert_eq!(refusal(issuer.verify(&forged).await), Refusal::Algorithm);
    }
}

#[tokio::test]
async fn a_key_set_with_a_shared_secret_verifies_nothing() {
    let issuer = Trusted::start().await;
    let secret = json!({"kid": "k1", "kty": "oct", "alg": "HS256", "k": encode(b"secret")});
    issuer.provider.publishes(json!({}), &json!([secret]));
    let token = hs256("k1", &issuer.claims(json!({})), b"secret");
    assert_eq!(refusal(issuer.verify(&token).await), Refusal::Algorithm);
}

#[tokio::test]
async fn an_algorithm_that_is_not_listed_is_refused_though_the_issuer_has_the_key() {
    let issuer = Trusted::with(Key::rsa()).await;
    let settings = UserContextSettings {
        algorithms: vec![openidconnect::core::CoreJwsSigningAlgorithm::EdDsa],
        issuer: Some(IssuerSettings {
            issuer: issuer.provider.base.clone(),
            audience: "nexus".to_owned(),
            jwks_url: None,
        }),
        backend: None,
    };
    let strict = UserContexts::new(&settings, PATIENT).unwrap();
    let token = issuer.key.token("k1", &issuer.claims(json!({})));
    let verified = strict.verify(&Secret::new(token), NOW).await;
    assert_eq!(refusal(verified), Refusal::Algorithm);
    assert_eq!(issuer.provider.discoveries(), 0);
}

#[tokio::test]
async fn a_key_of_one_kind_verifies_no_algorithm_of_another() {
    let issuer = Trusted::with(Key::rsa()).await;
    let header = json!({"alg": "ES256", "kid": "k1"});
    assert_eq!(refusal(issuer.headed(header).await), Refusal::UnknownKey);
}

#[tokio::test]
async fn another_issuer_is_refused_to_the_letter() {
    let issuer = Trusted::start().await;
    for other in [
        "https://other.example",
        &format!("{}/", issuer.provider.base),
    ] {
        let verified = issuer.changed(json!({"iss": other})).await;
        assert_eq!(refusal(verified), Refusal::Issuer, "{other}");
    }
    let absent = issuer.changed(json!({"iss": null})).await;
    assert_eq!(refusal(absent), Refusal::Malformed);
}

#[tokio::test]
async fn a_token_names_the_vault_as_audience_perhaps_among_others() {
    let issuer = Trusted::start().await;
    for audience in [
        json!("other"),
        json!(["other"]),
        json!([]),
        json!(null),
        json!("Nexus"),
    ] {
        let verified = issuer.changed(json!({"aud": audience})).await;
        assert_eq!(refusal(verified), Refusal::Audience, "{audience}");
    }
    for audience in [json!(["nexus"]), json!(["other", "nexus"])] {
        assert!(issuer.changed(json!({"aud": audience})).await.is_ok());
    }
}

#[tokio::test]
async fn times_hold_with_a_minute_to_spare() {
    let issuer = Trusted::start().await;
    let at = |offset: i64| NOW.as_seconds() + offset;
    for right in [
        json!({"exp": at(-59)}),
        json!({"nbf": at(60)}),
        json!({"iat": at(60)}),
        json!({"nbf": 1_799_999_999.5}),
    ] {
        let verified = issuer.changed(right.clone()).await;
        assert!(verified.is_ok(), "{right}: {verified:?}");
    }
    for past in [json!({"exp": at(-60)}), json!({"exp": 0})] {
        let verified = issuer.changed(past.clone()).await;
        assert_eq!(refusal(verified), Refusal::Expired, "{past}");
    }
    for early in [
        json!({"nbf": at(61)}),
        json!({"iat": at(61)}),
        json!({"nbf": 1e15}),
    ] {
        let verified = issuer.changed(early.clone()).await;
        assert_eq!(refusal(verified), Refusal::NotYetValid, "{early}");
    }
}

#[tokio::test]
async fn a_token_that_lacks_a_claim_or_has_it_in_another_type_is_malformed() {
    let issuer = Trusted::start().await;
    for wrong in [
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"iat": null}),
        json!({"nbf": "later"}),
        json!({"nbf": -1}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": "x".repeat(256)}),
        json!({"permissions": null}),
        json!({"permissions": "read write"}),
        json!({"permissions": [7]}),
        json!({"permissions": null, "scope": "read write"}),
        json!({"tenant_id": 7}),
        json!({"clearance_level": true}),
    ] {
        let verified = issuer.changed(wrong.clone()).await;
        assert_eq!(refusal(verified), Refusal::Malformed, "{wrong}");
    }
}

#[tokio::test]
async fn what_is_no_jwt_is_malformed_and_nobody_is_asked() {
    let issuer = Trusted::start().await;
    let token = issuer.key.token("k1", &issuer.claims(json!({})));
    let padded = format!("{token}=");
    let longer = format!("{token}.x");
    for text in ["", ".", "..", "a.b.c", "token", &padded, &longer] {
        assert_eq!(
            refusal(issuer.verify(text).await),
            Refusal::Malformed,
            "{text}"
        );
    }
    assert_eq!(issuer.provider.discoveries(), 0);
}

#[tokio::test]
async fn other_kinds_of_token_and_headers_that_are_not_understood_are_refused() {
    let issuer = Trusted::start().await;
    for header in [
        json!({"alg": "EdDSA", "kid": "k1", "typ": "logout+jwt"}),
        json!({"alg": "EdDSA", "kid": "k1", "cty": "JWT"}),
        json!({"alg": "EdDSA", "kid": "k1", "crit": ["b64"], "b64": false}),
    ] {
        assert_eq!(refusal(issuer.headed(header).await), Refusal::Unsupported);
    }
    for header in [
        json!({"alg": "EdDSA", "kid": "k1"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": "EdDSA", "typ": "at+jwt"}),
        json!({"alg": "EdDSA", "typ": "application/at+jwt"}),
    ] {
        assert!(issuer.headed(header.clone()).await.is_ok(), "{header}");
    }
}

/// The header's own key is not the issuer's.
#[tokio::test]
async fn keys_that_a_token_brings_along_are_not_used() {
    let issuer = Trusted::start().await;
    let theirs = Key::ed25519();
    let (jwk, url) = (theirs.jwk("k1"), format!("{}/theirs", issuer.provider.base));
    let header = json!({"alg": "EdDSA", "kid": "k1", "jwk": jwk, "jku": url, "x5u": url});
    let forged = theirs.token_with(&header, &issuer.claims(json!({})));
    assert_eq!(refusal(issuer.verify(&forged).await), Refusal::Signature);
    assert!(issuer.provider.requests("/theirs").is_empty());
}

#[tokio::test]
async fn nothing_of_the_token_is_in_the_error() {
    let issuer = Trusted::start().await;
    for changes in [
        json!({"sub": "canary", "iss": "https://canary.example"}),
        json!({"sub": "canary", "aud": "canary"}),
        json!({"sub": "canary", "permissions": "canary"}),
        json!({"sub": "canary", "exp": 0}),
    ] {
        let error = issuer.changed(changes).await.unwrap_err();
        let shown = format!("{error:?} {error} {:?}", std::error::Error::source(&error));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
