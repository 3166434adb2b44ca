//! Backends and issuers on loopback that behave and misbehave.

use nexus_domain::session::Principal;
use serde_json::{Value, json};

use super::*;
use crate::config::IssuerSettings;
use crate::upstream::tests::provider::TestProvider;

mod backend;
mod issuer;
mod jwt;
mod keys;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const PATIENT: Duration = Duration::from_secs(30);

/// Settings that name nobody.
fn nobody() -> UserContextSettings {
    use openidconnect::core::CoreJwsSigningAlgorithm::{
        EcdsaP256Sha256, EdDsa, RsaSsaPkcs1V15Sha256,
    };
    UserContextSettings {
        backend: None,
        issuer: None,
        algorithms: vec![EcdsaP256Sha256, EdDsa, RsaSsaPkcs1V15Sha256],
    }
}

fn asking_backend(base: &str, timeout: Duration) -> UserContexts {
    let settings = UserContextSettings {
        backend: Some(base.parse().unwrap()),
        ..nobody()
    };
    UserContexts::new(&settings, timeout).unwrap()
}

fn names(permissions: &[&str]) -> Vec<String> {
    permissions.iter().map(|name| (*name).to_owned()).collect()
}

fn refusal(verified: Result<Principal, UserContextError>) -> Refusal {
    match verified {
        Err(UserContextError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn unavailable(verified: Result<Principal, UserContextError>) -> Unavailable {
    match verified {
        Err(UserContextError::Unavailable(unavailable)) => unavailable,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn with_nobody_set_nobody_vouches() {
    let contexts = UserContexts::new(&nobody(), PATIENT).unwrap();
    let verified = contexts.verify(&Secret::new("token"), NOW).await;
    assert!(matches!(verified, Err(UserContextError::NotConfigured)));
}

#[tokio::test]
async fn the_backend_goes_before_the_issuer() {
    let backend = TestProvider::start().await;
    let user = json!({"user_id": "u1", "permissions": []});
    backend.answers_json("/auth/verify-agent-token", 200, &user);
    let settings = UserContextSettings {
        backend: Some(backend.base.parse().unwrap()),
        issuer: Some(IssuerSettings {
            issuer: "https://issuer.invalid".to_owned(),
            audience: "nexus".to_owned(),
            jwks_url: None,
        }),
        ..nobody()
    };
    let contexts = UserContexts::new(&settings, PATIENT).unwrap();
    let verified = contexts.verify(&Secret::new("token"), NOW).await;
    assert_eq!(verified.unwrap().acting_for, "u1");
}

/// Calls run in tasks of their own, so that a caller who goes away cancels none.
#[tokio::test]
async fn a_token_can_be_verified_in_a_task_of_its_own() {
    let contexts = asking_backend("http://127.0.0.1:1", PATIENT);
    let verified = tokio::spawn(async move { contexts.verify(&Secret::new("x"), NOW).await });
    unavailable(verified.await.unwrap());
}
