use super::jwt::Key;
use super::*;

const LASTING: Lifetimes = Lifetimes {
    keep: Duration::from_hours(1),
    between: Duration::ZERO,
};

fn trusting(issuer: &TestProvider, jwks_url: Option<String>, lifetimes: Lifetimes) -> UserContexts {
    let settings = UserContextSettings {
        issuer: Some(IssuerSettings {
            issuer: issuer.base.clone(),
            audience: "nexus".to_owned(),
            jwks_url: jwks_url.map(|url| url.parse().unwrap()),
        }),
        ..nobody()
    };
    UserContexts::with_lifetimes(&settings, PATIENT, lifetimes).unwrap()
}

fn token(issuer: &TestProvider, key: &Key, kid: &str) -> Secret {
    let claims = json!({
        "iss": issuer.base, "aud": "nexus", "sub": "u1", "iat": NOW.as_seconds(), "exp": NOW.as_seconds() + 300,
        "permissions": [],
    });
    Secret::new(key.token(kid, &claims))
}

#[tokio::test]
async fn keys_are_fetched_once_for_many_tokens() {
    let (issuer, key) = (TestProvider::start().await, Key::ed25519());
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    let contexts = trusting(&issuer, None, LASTING);
    let token = token(&issuer, &key, "k1");
    let many = (0..8).map(|_| contexts.verify(&token, NOW));
    for verified in futures::future::join_all(many).await {
        assert!(verified.is_ok(), "{verified:?}");
    }
    assert_eq!(
        (issuer.discoveries(), issuer.requests("/jwks").len()),
        (1, 1)
    );
}

#[tokio::test]
async fn keys_are_taken_from_where_the_setting_says_and_nothing_is_discovered() {
    let (issuer, key) = (TestProvider::start().await, Key::p256());
    issuer.answers_json("/keys", 200, &json!({"keys": [key.jwk("k1")]}));
    let contexts = trusting(&issuer, Some(format!("{}/keys", issuer.base)), LASTING);
    let verified = contexts.verify(&token(&issuer, &key, "k1"), NOW).await;
    assert!(verified.is_ok(), "{verified:?}");
    assert_eq!(
        (issuer.discoveries(), issuer.requests("/keys").len()),
        (0, 1)
    );
}

#[tokio::test]
async fn a_key_that_was_rotated_in_is_fetched() {
    let issuer = TestProvider::start().await;
    let (old, new) = (Key::ed25519(), Key::p256());
    issuer.publishes(json!({}), &json!([old.jwk("k1")]));
    let contexts = trusting(&issuer, None, LASTING);
    assert!(
        contexts
            .verify(&token(&issuer, &old, "k1"), NOW)
            .await
            .is_ok()
    );
    issuer.publishes(json!({}), &json!([new.jwk("k2")]));
    assert!(
        contexts
            .verify(&token(&issuer, &new, "k2"), NOW)
            .await
            .is_ok()
    );
    let gone = contexts.verify(&token(&issuer, &old, "k1"), NOW).await;
    assert_eq!(refusal(gone), Refusal::UnknownKey);
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_vault_hammer_the_issuer() {
    let (issuer, key) = (TestProvider::start().await, Key::ed25519());
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    let contexts = trusting(
        &issuer,
        None,
        Lifetimes {
            between: Duration::from_hours(1),
            ..LASTING
        },
    );
    for kid in ["k2", "k3", "k4"] {
        let verified = contexts.verify(&token(&issuer, &key, kid), NOW).await;
        assert_eq!(refusal(verified), Refusal::UnknownKey);
    }
    assert_eq!(issuer.requests("/jwks").len(), 2);
    assert!(
        contexts
            .verify(&token(&issuer, &key, "k1"), NOW)
            .await
            .is_ok()
    );
    assert_eq!(issuer.requests("/jwks").len(), 2);
}

#[tokio::test]
async fn keys_that_are_old_are_fetched_again_and_not_used_if_that_fails() {
    let (issuer, key) = (TestProvider::start().await, Key::ed25519());
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    let contexts = trusting(
        &issuer,
        None,
        Lifetimes {
            keep: Duration::ZERO,
            ..LASTING
        },
    );
    let token = token(&issuer, &key, "k1");
    assert!(contexts.verify(&token, NOW).await.is_ok());
    issuer.answers("/jwks", 503, &[], "");
    unavailable(contexts.verify(&token, NOW).await);
    issuer.publishes(json!({}), &json!([]));
    assert_eq!(
        refusal(contexts.verify(&token, NOW).await),
        Refusal::UnknownKey
    );
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    assert!(contexts.verify(&token, NOW).await.is_ok());
}

#[tokio::test]
async fn an_issuer_without_keys_to_be_had_is_told_from_a_bad_token() {
    let (issuer, key) = (TestProvider::start().await, Key::ed25519());
    let token = token(&issuer, &key, "k1");
    let contexts = trusting(&issuer, None, LASTING);
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    let elsewhere = format!("{}/elsewhere", issuer.base);
    issuer.answers_json("/elsewhere", 200, &json!({"keys": [key.jwk("k1")]}));
    for (status, headers, body) in [
        (404, vec![], ""),
        (500, vec![], ""),
        (302, vec![("location", elsewhere.as_str())], ""),
        (200, vec![("content-type", "text/html")], "<html>"),
        (200, vec![], "{"),
        (200, vec![], "{}"),
    ] {
        issuer.answers("/jwks", status, &headers, body);
        let because = unavailable(contexts.verify(&token, NOW).await);
        assert!(
            matches!(because, Unavailable::Keys(_)),
            "{status} {body}: {because:?}"
        );
    }
    assert!(issuer.requests("/elsewhere").is_empty());
    issuer.publishes(
        json!({"issuer": "https://other.example"}),
        &json!([key.jwk("k1")]),
    );
    unavailable(contexts.verify(&token, NOW).await);
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    assert!(contexts.verify(&token, NOW).await.is_ok());
}

#[tokio::test]
async fn an_outage_while_a_key_is_unknown_leaves_the_keys_that_there_are() {
    let (issuer, key) = (TestProvider::start().await, Key::ed25519());
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    let contexts = trusting(&issuer, None, LASTING);
    let known = token(&issuer, &key, "k1");
    assert!(contexts.verify(&known, NOW).await.is_ok());
    issuer.answers("/jwks", 503, &[], "");
    unavailable(contexts.verify(&token(&issuer, &key, "k2"), NOW).await);
    assert!(contexts.verify(&known, NOW).await.is_ok());
    let patient = Lifetimes {
        between: Duration::from_hours(1),
        ..LASTING
    };
    issuer.publishes(json!({}), &json!([key.jwk("k1")]));
    let contexts = trusting(&issuer, None, patient);
    assert!(contexts.verify(&known, NOW).await.is_ok());
    issuer.answers("/jwks", 503, &[], "");
    for _ in 0..2 {
        unavailable(contexts.verify(&token(&issuer, &key, "k2"), NOW).await);
    }
}
