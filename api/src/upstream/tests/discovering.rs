use std::sync::Arc;

use super::*;

#[tokio::test]
async fn a_document_is_fetched_once_and_kept() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({}), &json!([]));
    let upstream = upstream();
    let first = upstream.discover(&provider.base).await.unwrap();
    let second = upstream.discover(&provider.base).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(
        (provider.discoveries(), provider.requests("/jwks").len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_document_is_fetched_again_when_its_time_is_up() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({}), &json!([]));
    let upstream = upstream_with(Duration::from_secs(10), Duration::ZERO);
    upstream.discover(&provider.base).await.unwrap();
    upstream.discover(&provider.base).await.unwrap();
    assert_eq!(provider.discoveries(), 2);
}

#[tokio::test]
async fn callers_at_once_share_one_fetch_and_its_failure() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({}), &json!([]));
    let upstream = upstream();
    let ask = || upstream.discover(&provider.base);
    let answers = futures::future::join_all((0..8).map(|_| ask())).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(provider.discoveries(), 1);

    let failing = TestProvider::start().await;
    let ask = || upstream.discover(&failing.base);
    let answers = futures::future::join_all((0..8).map(|_| ask())).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(UpstreamError::Status(404))))
    );
    assert_eq!(failing.discoveries(), 1);
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let provider = TestProvider::start().await;
    let upstream = upstream();
    assert!(upstream.discover(&provider.base).await.is_err());
    provider.publishes(json!({}), &json!([]));
    assert!(upstream.discover(&provider.base).await.is_ok());
}

#[tokio::test]
async fn another_issuers_document_is_refused() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({"issuer": "https://other.example"}), &json!([]));
    let error = upstream().discover(&provider.base).await.unwrap_err();
    assert!(matches!(error, UpstreamError::ForeignIssuer), "{error}");
}

#[tokio::test]
async fn a_document_that_is_none_is_refused_without_quoting_it() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({"jwks_uri": "s3cret"}), &json!([]));
    let error = upstream().discover(&provider.base).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the provider's discovery document or key set is not valid: `jwks_uri` is wrong or absent"
    );

    provider.answers(
        "/.well-known/openid-configuration",
        200,
        &[("content-type", "text/html")],
        "<html>",
    );
    let error = upstream().discover(&provider.base).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({}), &json!([]));
    for elsewhere in [
        "/elsewhere",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/latest/meta-data/",
        "file:///etc/passwd",
    ] {
        let path = "/.well-known/openid-configuration";
        provider.answers(path, 302, &[("location", elsewhere)], "");
        let error = upstream().discover(&provider.base).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Status(302)), "{error}");
    }
    assert!(provider.requests("/elsewhere").is_empty());
}

#[tokio::test]
async fn keys_are_not_fetched_over_plain_http_from_elsewhere() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({"jwks_uri": "http://idp.example/jwks"}), &json!([]));
    let error = upstream().discover(&provider.base).await.unwrap_err();
    let UpstreamError::Unreachable(source) = error else {
        panic!("{error}")
    };
    assert!(matches!(*source, SendError::Refused(_)), "{source}");
}
