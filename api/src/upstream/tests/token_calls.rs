use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nexus_domain::provider::split_secrets;

use super::*;

const CODE: &str = "the-code";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://127.0.0.1:8090/auth/callback";

async fn exchange(profile: &ProviderProfile) -> Result<TokenAnswer, CallFailure> {
    let provider = resolved(profile).await;
    upstream()
        .exchange_code(
            &provider,
            &Secret::new(CODE),
            &Secret::new(VERIFIER),
            REDIRECT,
            fresh(),
        )
        .await
}

async fn refresh(profile: &ProviderProfile) -> Result<TokenAnswer, CallFailure> {
    let provider = resolved(profile).await;
    upstream()
        .redeem_refresh_token(&provider, &Secret::new("old-refresh"), fresh())
        .await
}

fn only_request(provider: &TestProvider) -> Recorded {
    let requests = provider.requests("/token");
    assert_eq!(requests.len(), 1);
    requests[0].clone()
}

#[tokio::test]
async fn a_code_is_exchanged_with_its_verifier_and_redirect_uri() {
    let provider = TestProvider::start().await;
    provider.answers_json(
        "/token",
        200,
        &json!({
            "access_token": "at", "token_type": "bearer", "expires_in": 3600, "refresh_token": "rt",
            "id_token": "a.b.c", "scope": "openid email",
        }),
    );
    let answer = exchange(&profile(&provider.base)).await.unwrap();
    assert_eq!(answer.access_token.expose(), "at");
    assert_eq!(answer.token_type, "Bearer");
    assert_eq!(answer.expires_in, Some(Duration::from_hours(1)));
    assert_eq!(answer.refresh_token.unwrap().expose(), "rt");
    assert_eq!(answer.id_token.unwrap().expose(), "a.b.c");
    assert_eq!(answer.scope.unwrap(), ["openid", "email"]);

    let request = only_request(&provider);
    assert_eq!(request.field("grant_type"), Some("authorization_code"));
    assert_eq!(request.field("code"), Some(CODE));
    assert_eq!(request.field("code_verifier"), Some(VERIFIER));
    assert_eq!(request.field("redirect_uri"), Some(REDIRECT));
    assert_eq!(
        request.headers["user-agent"],
        concat!("nexus/", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(request.headers["accept"], "application/json");
}

#[tokio::test]
async fn a_refresh_token_is_redeemed() {
    let provider = TestProvider::start().await;
    provider.answers_json("/token", 200, &json!({"access_token": "at"}));
    let answer = refresh(&profile(&provider.base)).await.unwrap();
    assert!(
        answer.refresh_token.is_none() && answer.scope.is_none() && answer.expires_in.is_none()
    );
    let request = only_request(&provider);
    assert_eq!(request.field("grant_type"), Some("refresh_token"));
    assert_eq!(request.field("refresh_token"), Some("old-refresh"));
    assert_eq!(request.field("scope"), None);
}

#[tokio::test]
async fn the_client_proves_itself_as_its_provider_wants_it() {
    let provider = TestProvider::start().await;
    provider.answers_json("/token", 200, &json!({"access_token": "at"}));
    let mut asked = Vec::new();
    for method in [None, Some("client_secret_basic"), Some("none")] {
        let auth_header = method.map(str::to_owned);
        refresh(&ProviderProfile {
            auth_header,
            ..profile(&provider.base)
        })
        .await
        .unwrap();
        asked = provider.requests("/token");
    }
    let (post, basic, none) = (&asked[0], &asked[1], &asked[2]);
    assert_eq!(
        (post.field("client_id"), post.field("client_secret")),
        (Some("client one"), Some("s3cret &+"))
    );
    assert!(!post.headers.contains_key("authorization"));
    // base64 of `client+one:s3cret+%26%2B`: each part form-encoded first (RFC 6749 §2.3.1).
    assert_eq!(
        basic.headers["authorization"],
        "Basic Y2xpZW50K29uZTpzM2NyZXQrJTI2JTJC"
    );
    assert_eq!(
        (basic.field("client_id"), basic.field("client_secret")),
        (None, None)
    );
    assert_eq!(
        (none.field("client_id"), none.field("client_secret")),
        (Some("client one"), None)
    );
    assert!(!none.headers.contains_key("authorization"));
}

/// What an assertion claims; that its signature is good is shown where it is made.
fn claims(request: &Recorded) -> Value {
    let assertion = request.field("client_assertion").unwrap();
    let claims = assertion.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn signing(base: &str) -> (ProviderProfile, ProviderSecrets) {
    let key = json!({"private_key": include_str!("../assertion/rsa.pem")});
    let (params, key) = split_secrets(params(key));
    let profile = ProviderProfile {
        auth_header: Some("private_key_jwt".to_owned()),
        params,
        ..profile(base)
    };
    let secrets = ProviderSecrets {
        params: key,
        ..secrets()
    };
    (profile, secrets)
}

#[tokio::test]
async fn a_client_that_signs_sends_an_assertion_and_no_secret() {
    let provider = TestProvider::start().await;
    provider.answers_json("/token", 200, &json!({"access_token": "at"}));
    provider.answers("/revoke", 200, &[], "");
    let (mut profile, secrets) = signing(&provider.base);
    let revocation = format!("{}/revoke", provider.base);
    profile
        .params
        .insert("revocation_endpoint".to_owned(), revocation.into());
    let upstream = upstream();
    let resolved = upstream.resolve(&profile, &secrets).await.unwrap();
    let secret = Secret::new("old-refresh");
    let verifier = Secret::new(VERIFIER);
    upstream
        .exchange_code(&resolved, &secret, &verifier, REDIRECT, fresh())
        .await
        .unwrap();
    upstream
        .redeem_refresh_token(&resolved, &secret, fresh())
        .await
        .unwrap();
    let token = RevocableToken::Refresh(secret);
    upstream
        .revoke_token(&resolved, &token, || Ok(fresh()))
        .await
        .unwrap();
    let mut requests = provider.requests("/token");
    requests.extend(provider.requests("/revoke"));
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request.field("client_id"), Some("client one"));
        assert_eq!(
            request.field("client_assertion_type"),
            Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        );
        let claims = claims(&request);
        assert_eq!(claims["aud"], format!("{}/token", provider.base));
        assert_eq!(claims["iss"], "client one");
        assert_eq!(request.field("client_secret"), None);
        assert!(!request.headers.contains_key("authorization"));
        assert!(!request.body.contains("s3cret"));
    }
}

#[tokio::test]
async fn an_assertion_is_of_no_use_at_another_origin_than_it_was_sent_to() {
    let provider = TestProvider::start().await;
    provider.answers("/revoke", 200, &[], "");
    let (mut profile, secrets) = signing("https://idp.example");
    let revocation = format!("{}/revoke", provider.base);
    profile
        .params
        .insert("revocation_endpoint".to_owned(), revocation.clone().into());
    let upstream = upstream();
    let resolved = upstream.resolve(&profile, &secrets).await.unwrap();
    let token = RevocableToken::Refresh(Secret::new("old-refresh"));
    upstream
        .revoke_token(&resolved, &token, || Ok(fresh()))
        .await
        .unwrap();
    let requests = provider.requests("/revoke");
    assert_eq!(claims(&requests[0])["aud"], revocation);
}

#[tokio::test]
async fn a_revocation_endpoint_that_does_not_believe_an_assertion_is_named_in_another() {
    let provider = TestProvider::start().await;
    provider.answers("/revoke", 401, &[], "");
    provider.answers_json("/none", 400, &json!({"error": "invalid_request"}));
    for (path, asked) in [("revoke", 2), ("none", 1)] {
        let (mut profile, secrets) = signing(&provider.base);
        let revocation = format!("{}/{path}", provider.base);
        profile
            .params
            .insert("revocation_endpoint".to_owned(), revocation.clone().into());
        let upstream = upstream();
        let resolved = upstream.resolve(&profile, &secrets).await.unwrap();
        let token = RevocableToken::Refresh(Secret::new("old-refresh"));
        let refused = upstream
            .revoke_token(&resolved, &token, || Ok(fresh()))
            .await;
        assert!(refused.is_err());
        let requests = provider.requests(&format!("/{path}"));
        let named: Vec<_> = requests
            .iter()
            .map(|request| claims(request)["aud"].clone())
            .collect();
        let expected = [format!("{}/token", provider.base), revocation];
        assert_eq!(named, expected[..asked]);
    }
}

#[tokio::test]
async fn an_assertion_that_comes_back_in_an_error_is_redacted() {
    let provider = TestProvider::start().await;
    let (profile, secrets) = signing(&provider.base);
    let upstream = upstream();
    let resolved = upstream.resolve(&profile, &secrets).await.unwrap();
    let sent = resolved
        .assertion(&resolved.token_endpoint, fresh())
        .unwrap()
        .unwrap();
    let body = json!({"error": "invalid_client", "error_description": sent.expose()});
    provider.answers_json("/token", 401, &body);
    let failure = upstream
        .redeem_refresh_token(&resolved, &Secret::new("rt"), fresh())
        .await
        .unwrap_err();
    assert_eq!(failure.error, "invalid_client");
    assert_eq!(failure.description.as_deref(), Some("[redacted]"));
}

#[tokio::test]
async fn success_is_recognised_without_its_content_type_and_at_any_2xx_status() {
    let provider = TestProvider::start().await;
    for (status, headers) in [(200, vec![("content-type", "text/plain")]), (201, vec![])] {
        provider.answers("/token", status, &headers, r#"{"access_token":"at"}"#);
        assert_eq!(
            refresh(&profile(&provider.base))
                .await
                .unwrap()
                .access_token
                .expose(),
            "at"
        );
    }
}

#[tokio::test]
async fn complete_answers_without_tokens_are_known_failures() {
    let provider = TestProvider::start().await;
    for (status, body, error) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"old-refresh is gone"}"#,
            "invalid_grant",
        ),
        (401, r#"{"error":"invalid_client"}"#, "invalid_client"),
        (429, r#"{"error":"slow_down"}"#, "status_429"),
        (503, "", "status_503"),
        (502, "<html>bad gateway</html>", "status_502"),
        (302, "", "status_302"),
        (200, "", "invalid_response"),
        (200, "<html>", "invalid_response"),
        (200, r#"{"token":"at"}"#, "invalid_response"),
        (
            200,
            r#"{"error":"bad_verification_code"}"#,
            "bad_verification_code",
        ),
    ] {
        provider.answers(
            "/token",
            status,
            &[("retry-after", "7"), ("location", "/elsewhere")],
            body,
        );
        let failure = refresh(&profile(&provider.base)).await.unwrap_err();
        assert_eq!(
            (failure.outcome, failure.error.as_str()),
            (Outcome::Known, error),
            "{status} {body}"
        );
        assert_eq!(failure.http_status, Some(status));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert!(!format!("{failure:?}").contains("old-refresh"));
    }
    assert!(provider.requests("/elsewhere").is_empty());
}

#[tokio::test]
async fn plain_http_to_elsewhere_is_never_sent() {
    let provider = ResolvedProvider {
        token_endpoint: "http://idp.example/token".parse().unwrap(),
        ..resolved(&profile("https://idp.example")).await
    };
    let failure = upstream()
        .redeem_refresh_token(&provider, &Secret::new("rt"), fresh())
        .await
        .unwrap_err();
    assert_eq!(
        (failure.outcome, failure.error.as_str()),
        (Outcome::Known, "insecure_url")
    );
}
