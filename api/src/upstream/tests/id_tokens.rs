use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use nexus_domain::time::Timestamp;
use openidconnect::core::{
    CoreEdDsaPrivateSigningKey, CoreHmacKey, CoreIdToken, CoreIdTokenClaims,
    CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AccessToken, Audience, EmptyAdditionalClaims, IssuerUrl, JsonWebKeyId, Nonce,
    PrivateSigningKey, StandardClaims, SubjectIdentifier,
};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// An Ed25519 key made of a repeated byte, in the form the library reads (RFC 8410 §7).
fn ed25519(byte: u8, id: &str) -> CoreEdDsaPrivateSigningKey {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend([byte; 32]);
    let body = BASE64_STANDARD.encode(der);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(id.to_owned())))
        .unwrap()
}

fn public(key: &CoreEdDsaPrivateSigningKey) -> Value {
    serde_json::to_value(key.as_verification_key()).unwrap()
}

struct Issuer {
    provider: TestProvider,
    upstream: Upstream,
}

/// What an id token says; tests change one thing each.
struct Said<'a> {
    issuer: &'a str,
    audience: Vec<&'a str>,
    nonce: &'a str,
    expires_at: i64,
    access_token: Option<&'a str>,
}

impl Issuer {
    async fn start(key: &CoreEdDsaPrivateSigningKey) -> Issuer {
        let provider = TestProvider::start().await;
        provider.publishes(json!({}), &json!([public(key)]));
        Issuer {
            provider,
            upstream: upstream(),
        }
    }

    fn said(&self) -> Said<'_> {
        Said {
            issuer: &self.provider.base,
            audience: vec!["client one"],
            nonce: "the-nonce",
            expires_at: NOW.as_seconds() + 60,
            access_token: None,
        }
    }

    async fn resolved(&self) -> ResolvedProvider {
        let base = &self.provider.base;
        resolved(&ProviderProfile {
            issuer: Some(base.clone()),
            ..profile(base)
        })
        .await
    }

    async fn verify(&self, token: &str) -> Result<IdTokenClaims, IdTokenError> {
        self.verify_for(&self.resolved().await, token, None).await
    }

    async fn verify_for(
        &self,
        provider: &ResolvedProvider,
        token: &str,
        access_token: Option<&Secret>,
    ) -> Result<IdTokenClaims, IdTokenError> {
        self.upstream
            .verify_id_token(
                provider,
                &Secret::new(token),
                Some("the-nonce"),
                access_token,
                NOW,
            )
            .await
    }
}

fn claims(said: &Said<'_>) -> CoreIdTokenClaims {
    let time = |seconds| chrono::DateTime::from_timestamp(seconds, 0).unwrap();
    CoreIdTokenClaims::new(
        IssuerUrl::new(said.issuer.to_owned()).unwrap(),
        said.audience
            .iter()
            .map(|audience| Audience::new((*audience).to_owned()))
            .collect(),
        time(said.expires_at),
        time(NOW.as_seconds() - 60),
        StandardClaims::new(SubjectIdentifier::new("person-1".to_owned())),
        EmptyAdditionalClaims {},
    )
    .set_nonce(Some(Nonce::new(said.nonce.to_owned())))
}

fn signed(said: &Said<'_>, key: &CoreEdDsaPrivateSigningKey) -> String {
    let access_token = said
        .access_token
        .map(|token| AccessToken::new(token.to_owned()));
    CoreIdToken::new(
        claims(said),
        key,
        CoreJwsSigningAlgorithm::EdDsa,
        access_token.as_ref(),
        None,
    )
    .unwrap()
    .to_string()
}

fn with_secret(said: &Said<'_>, secret: &str) -> String {
    let key = CoreHmacKey::new(secret);
    CoreIdToken::new(
        claims(said),
        &key,
        CoreJwsSigningAlgorithm::HmacSha256,
        None,
        None,
    )
    .unwrap()
    .to_string()
}

#[tokio::test]
async fn a_token_of_the_issuers_names_the_person() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    let claims = issuer.verify(&signed(&issuer.said(), &key)).await.unwrap();
    assert_eq!(
        claims,
        IdTokenClaims {
            issuer: issuer.provider.base.clone(),
            subject: "person-1".to_owned()
        }
    );
}

#[tokio::test]
async fn each_broken_claim_is_refused_for_what_it_is() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    let verify = async |said: Said<'_>| issuer.verify(&signed(&said, &key)).await.unwrap_err();

    let error = verify(Said {
        issuer: "https://other.example",
        ..issuer.said()
    })
    .await;
    assert!(matches!(error, IdTokenError::Issuer), "{error:?}");
    for audience in [vec!["other"], vec!["client one", "other"], vec![]] {
        let error = verify(Said {
            audience,
            ..issuer.said()
        })
        .await;
        assert!(matches!(error, IdTokenError::Audience), "{error:?}");
    }
    let error = verify(Said {
        nonce: "other",
        ..issuer.said()
    })
    .await;
    assert!(matches!(error, IdTokenError::Nonce), "{error:?}");
    let error = verify(Said {
        expires_at: NOW.as_seconds(),
        ..issuer.said()
    })
    .await;
    assert!(matches!(error, IdTokenError::Expired), "{error:?}");
}

#[tokio::test]
async fn a_signature_of_another_key_is_refused() {
    let issuer = Issuer::start(&ed25519(1, "k1")).await;
    let forged = signed(&issuer.said(), &ed25519(2, "k1"));
    assert!(matches!(
        issuer.verify(&forged).await,
        Err(IdTokenError::Signature)
    ));
}

#[tokio::test]
async fn an_unsigned_token_is_refused() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    let token = signed(&issuer.said(), &key);
    let payload = token.split('.').nth(1).unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    assert!(matches!(
        issuer.verify(&format!("{header}.{payload}.")).await,
        Err(IdTokenError::Unsigned)
    ));
}

#[tokio::test]
async fn what_is_no_jwt_is_malformed() {
    let issuer = Issuer::start(&ed25519(1, "k1")).await;
    for text in ["", "a.b.c", "not a token"] {
        assert!(
            matches!(issuer.verify(text).await, Err(IdTokenError::Malformed)),
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn the_clients_secret_verifies_tokens_signed_with_it_and_no_others() {
    let issuer = Issuer::start(&ed25519(1, "k1")).await;
    assert!(
        issuer
            .verify(&with_secret(&issuer.said(), "s3cret &+"))
            .await
            .is_ok()
    );
    let error = issuer
        .verify(&with_secret(&issuer.said(), "other"))
        .await
        .unwrap_err();
    assert!(matches!(error, IdTokenError::Signature), "{error:?}");
    let public = ResolvedProvider {
        client_secret: None,
        ..issuer.resolved().await
    };
    let token = with_secret(&issuer.said(), "");
    assert!(matches!(
        issuer.verify_for(&public, &token, None).await,
        Err(IdTokenError::Signature)
    ));
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    let public = public(&key)["x"].as_str().unwrap().to_owned();
    let token = with_secret(&issuer.said(), &public);
    assert!(matches!(
        issuer.verify(&token).await,
        Err(IdTokenError::Signature)
    ));
}

#[tokio::test]
async fn keys_are_fetched_again_once_when_none_fits() {
    let (old, new) = (ed25519(1, "k1"), ed25519(2, "k2"));
    let issuer = Issuer::start(&old).await;
    assert!(issuer.verify(&signed(&issuer.said(), &old)).await.is_ok());
    issuer.provider.publishes(json!({}), &json!([public(&new)]));
    assert!(issuer.verify(&signed(&issuer.said(), &new)).await.is_ok());
    assert_eq!(issuer.provider.requests("/jwks").len(), 2);

    let unknown = signed(&issuer.said(), &ed25519(3, "k3"));
    assert!(matches!(
        issuer.verify(&unknown).await,
        Err(IdTokenError::Signature)
    ));
    assert_eq!(issuer.provider.requests("/jwks").len(), 3);
}

#[tokio::test]
async fn keys_are_fetched_again_once_when_one_of_the_same_id_does_not_fit() {
    let (old, new) = (ed25519(1, "k1"), ed25519(2, "k1"));
    let issuer = Issuer::start(&old).await;
    assert!(issuer.verify(&signed(&issuer.said(), &old)).await.is_ok());
    issuer.provider.publishes(json!({}), &json!([public(&new)]));
    assert!(issuer.verify(&signed(&issuer.said(), &new)).await.is_ok());
    assert_eq!(issuer.provider.requests("/jwks").len(), 2);

    assert!(matches!(
        issuer.verify(&signed(&issuer.said(), &old)).await,
        Err(IdTokenError::Signature)
    ));
    assert_eq!(issuer.provider.requests("/jwks").len(), 3);
}

#[tokio::test]
async fn what_came_with_a_refresh_is_verified_with_the_keys_at_hand() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    let provider = issuer.resolved().await;
    let access_token = Secret::new("at");
    let verify = |key| {
        let token = Secret::new(signed(&issuer.said(), key));
        issuer
            .upstream
            .verify_refreshed_id_token(&provider, &token, &access_token, NOW)
    };
    assert!(matches!(verify(&key), Err(IdTokenError::NotAtHand)));
    assert_eq!(issuer.provider.requests("/jwks").len(), 0);

    assert!(issuer.verify(&signed(&issuer.said(), &key)).await.is_ok());
    assert!(verify(&key).is_ok());
    let other = ed25519(2, "k2");
    assert!(matches!(verify(&other), Err(IdTokenError::Signature)));
    assert_eq!(issuer.provider.requests("/jwks").len(), 1);
}

#[tokio::test]
async fn the_access_token_must_be_the_one_the_token_was_issued_with() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    let token = signed(
        &Said {
            access_token: Some("at"),
            ..issuer.said()
        },
        &key,
    );
    let provider = issuer.resolved().await;
    let right = issuer
        .verify_for(&provider, &token, Some(&Secret::new("at")))
        .await;
    assert!(right.is_ok(), "{right:?}");
    let wrong = issuer
        .verify_for(&provider, &token, Some(&Secret::new("other")))
        .await;
    assert!(matches!(wrong, Err(IdTokenError::AccessToken)), "{wrong:?}");
}

#[tokio::test]
async fn without_an_issuer_nothing_can_be_verified() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    let plain = ResolvedProvider {
        issuer: None,
        ..issuer.resolved().await
    };
    let token = signed(&issuer.said(), &key);
    assert!(matches!(
        issuer.verify_for(&plain, &token, None).await,
        Err(IdTokenError::NoIssuer)
    ));
}

#[tokio::test]
async fn an_issuer_whose_keys_are_not_to_be_had_is_told_from_a_bad_token() {
    let key = ed25519(1, "k1");
    let issuer = Issuer::start(&key).await;
    issuer.provider.answers("/jwks", 503, &[], "");
    let error = issuer
        .verify(&signed(&issuer.said(), &key))
        .await
        .unwrap_err();
    assert!(
        matches!(error, IdTokenError::Keys(UpstreamError::Status(503))),
        "{error:?}"
    );
}
