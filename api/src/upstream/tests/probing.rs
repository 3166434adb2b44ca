use super::*;

async fn probed_with(upstream: &Upstream, url: &str) -> Result<(), ProbeError> {
    let target = ProbeTarget::Url(url.parse().unwrap());
    upstream.probe(&target).await
}

async fn probed(url: &str) -> Result<(), ProbeError> {
    probed_with(&upstream(), url).await
}

async fn issuer(upstream: &Upstream, provider: &TestProvider) -> Result<(), ProbeError> {
    let target = ProbeTarget::Issuer(provider.base.clone());
    upstream.probe(&target).await
}

#[tokio::test]
async fn any_answer_but_that_of_a_server_in_trouble_is_a_good_one() {
    let provider = TestProvider::start().await;
    let url = format!("{}/token", provider.base);
    for (status, seen) in [
        (200, Ok(())),
        (302, Ok(())),
        (405, Ok(())),
        (429, Ok(())),
        (500, Err(ProbeError::Status(500))),
        (503, Err(ProbeError::Status(503))),
    ] {
        provider.answers("/token", status, &[("location", "/elsewhere")], "body");
        assert_eq!(probed(&url).await, seen, "{status}");
    }
    assert!(provider.requests("/elsewhere").is_empty());
    for request in provider.requests("/token") {
        assert_eq!(request.body, "");
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn an_issuer_is_asked_past_what_is_remembered_of_it() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({}), &json!([]));
    let upstream = upstream();
    upstream.discover(&provider.base).await.unwrap();
    assert_eq!(issuer(&upstream, &provider).await, Ok(()));
    assert_eq!(provider.discoveries(), 2);
    provider.answers_json("/.well-known/openid-configuration", 500, &json!({}));
    assert_eq!(
        issuer(&upstream, &provider).await,
        Err(ProbeError::Status(500))
    );
    assert!(upstream.discover(&provider.base).await.is_ok());
}

#[tokio::test]
async fn a_document_or_key_set_that_is_none_is_told_from_one_that_is_not_there() {
    let provider = TestProvider::start().await;
    let upstream = upstream();
    provider.publishes(json!({"issuer": "https://else.test"}), &json!([]));
    assert_eq!(
        issuer(&upstream, &provider).await,
        Err(ProbeError::Document)
    );
    provider.publishes(json!({"token_endpoint": 7}), &json!([]));
    assert_eq!(
        issuer(&upstream, &provider).await,
        Err(ProbeError::Document)
    );
    provider.publishes(json!({}), &json!([]));
    provider.answers_json("/jwks", 404, &json!({}));
    assert_eq!(
        issuer(&upstream, &provider).await,
        Err(ProbeError::Status(404))
    );
    let jwks = json!({"jwks_uri": "http://169.254.169.254/jwks"});
    provider.publishes(jwks, &json!([]));
    assert_eq!(issuer(&upstream, &provider).await, Err(ProbeError::Refused));
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let provider = TestProvider::start().await;
    let address = provider.base.trim_start_matches("http://").to_owned();
    assert_eq!(
        probed("https://169.254.169.254/").await,
        Err(ProbeError::Refused)
    );
    assert_eq!(
        probed("http://idp.example/").await,
        Err(ProbeError::Refused)
    );
    // It speaks no TLS.
    assert_eq!(
        probed(&format!("https://{address}/")).await,
        Err(ProbeError::Tls)
    );
    drop(provider);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    let impatient = upstream_with(Duration::from_millis(200), Duration::ZERO);
    // Connected by the system, and never answered.
    assert_eq!(
        probed_with(&impatient, &url).await,
        Err(ProbeError::Timeout)
    );
    drop(closed);
    assert_eq!(probed(&url).await, Err(ProbeError::Connect));
}

#[tokio::test]
async fn a_server_that_hangs_up_breaks_off() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let hangs_up = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
    assert_eq!(probed(&url).await, Err(ProbeError::Interrupted));
    hangs_up.await.unwrap();
}
