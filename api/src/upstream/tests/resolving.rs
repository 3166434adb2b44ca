use super::*;

#[tokio::test]
async fn manual_endpoints_are_used_without_discovery() {
    let provider = TestProvider::start().await;
    let profile = ProviderProfile {
        issuer: Some(provider.base.clone()),
        ..profile(&provider.base)
    };
    let resolved = resolved(&profile).await;
    assert_eq!(resolved.token_endpoint.path(), "/token");
    assert_eq!(resolved.issuer.as_deref(), Some(provider.base.as_str()));
    assert_eq!(provider.discoveries(), 0);
}

#[tokio::test]
async fn missing_endpoints_are_discovered() {
    let provider = TestProvider::start().await;
    provider.publishes(json!({}), &json!([]));
    let profile = ProviderProfile {
        issuer: Some(provider.base.clone()),
        auth_url: None,
        token_url: Some(String::new()),
        ..profile(&provider.base)
    };
    let resolved = resolved(&profile).await;
    assert_eq!(
        resolved.authorization_endpoint.path(),
        "/discovered/authorize"
    );
    assert_eq!(resolved.token_endpoint.path(), "/discovered/token");
    assert!(!resolved.promises_iss);
}

#[tokio::test]
async fn manual_endpoints_win_over_discovered_ones() {
    let provider = TestProvider::start().await;
    provider.publishes(
        json!({"authorization_response_iss_parameter_supported": true}),
        &json!([]),
    );
    let profile = ProviderProfile {
        issuer: Some(provider.base.clone()),
        enable_discovery: true,
        auth_url: None,
        ..profile(&provider.base)
    };
    let resolved = resolved(&profile).await;
    assert_eq!(
        resolved.authorization_endpoint.path(),
        "/discovered/authorize"
    );
    assert_eq!(resolved.token_endpoint.path(), "/token");
    assert!(resolved.promises_iss);
}

#[tokio::test]
async fn a_provider_without_endpoints_is_refused_by_name() {
    let profile = ProviderProfile {
        token_url: None,
        ..profile("https://idp.example")
    };
    let error = upstream().resolve(&profile, &secrets()).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Missing("token_url")),
        "{error}"
    );
    let failure = CallFailure::unresolved(&error);
    assert_eq!(
        (failure.outcome, failure.error.as_str()),
        (Outcome::Known, "provider_settings")
    );
}

#[tokio::test]
async fn plain_http_is_refused_where_the_rules_do_not_allow_it() {
    let error = upstream()
        .resolve(&profile("http://idp.example"), &secrets())
        .await
        .unwrap_err();
    assert!(
        matches!(error, UpstreamError::Insecure("auth_url", _)),
        "{error}"
    );

    let provider = TestProvider::start().await;
    provider.publishes(
        json!({"token_endpoint": "http://idp.example/token"}),
        &json!([]),
    );
    let profile = ProviderProfile {
        issuer: Some(provider.base.clone()),
        token_url: None,
        ..profile(&provider.base)
    };
    let error = upstream().resolve(&profile, &secrets()).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Insecure("token_url", _)),
        "{error}"
    );
}

#[tokio::test]
async fn a_public_client_has_no_secret_even_when_one_is_stored() {
    let public = ProviderProfile {
        auth_header: Some("none".to_owned()),
        ..profile("https://idp.example")
    };
    assert!(resolved(&public).await.client_secret.is_none());
    let unsupported = ProviderProfile {
        auth_header: Some("tls_client_auth".to_owned()),
        ..profile("https://idp.example")
    };
    let error = upstream()
        .resolve(&unsupported, &secrets())
        .await
        .unwrap_err();
    assert!(matches!(error, UpstreamError::UnsupportedAuthMethod));
}

#[tokio::test]
async fn the_issuer_of_an_authorization_response_is_checked_when_present_or_promised() {
    let silent = ResolvedProvider {
        issuer: Some("https://idp.example".to_owned()),
        ..resolved(&profile("https://idp.example")).await
    };
    assert_eq!(silent.check_iss(None), Ok(()));
    assert_eq!(silent.check_iss(Some("https://idp.example")), Ok(()));
    assert_eq!(
        silent.check_iss(Some("https://idp.example/")),
        Err(ForeignIssuer)
    );
    let promising = ResolvedProvider {
        promises_iss: true,
        ..silent
    };
    assert_eq!(promising.check_iss(None), Err(ForeignIssuer));
    let plain = ResolvedProvider {
        issuer: None,
        promises_iss: false,
        ..promising
    };
    assert_eq!(plain.check_iss(None), Ok(()));
    assert_eq!(plain.check_iss(Some("https://idp.example/tenant")), Ok(()));
    for iss in [
        "https://anyone.example",
        "http://idp.example",
        "https://idp.example:8443",
        "idp.example",
        "",
    ] {
        assert_eq!(plain.check_iss(Some(iss)), Err(ForeignIssuer), "{iss}");
    }
}

#[test]
fn whether_an_issuer_is_possible_is_seen_from_the_profile_alone() {
    let plain = profile("https://idp.example");
    assert!(is_possible_iss(&plain, "https://idp.example"));
    assert!(!is_possible_iss(&plain, "https://anyone.example"));
    let named = ProviderProfile {
        issuer: Some("https://issuer.example".to_owned()),
        auth_url: None,
        ..plain
    };
    assert!(is_possible_iss(&named, "https://issuer.example"));
    assert!(!is_possible_iss(&named, "https://idp.example"));
}

fn query_of(url: &url::Url) -> Vec<(String, String)> {
    url.query_pairs().into_owned().collect()
}

fn authorization_query(provider: &ResolvedProvider, scopes: &[String]) -> Vec<(String, String)> {
    let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let authorization = Authorization {
        state: "the-state",
        pkce_verifier: &verifier,
        nonce: "the-nonce",
        redirect_uri: "http://127.0.0.1:8090/auth/callback",
        scopes,
    };
    query_of(
        &upstream()
            .authorization_url(provider, &authorization)
            .unwrap(),
    )
}

#[tokio::test]
async fn the_consent_page_is_asked_for_a_code_with_pkce_state_and_nonce() {
    let mut profile = profile("https://idp.example");
    profile.auth_url = Some("https://idp.example/authorize?tenant=a".to_owned());
    profile.params = params(json!({
        "access_type": "offline", "max_age": 60, "include_granted_scopes": true,
        "resource": "https://api.example/", "nested": {"not": "sent"}, "nothing": null,
        "state": "forged", "redirect_uri": "https://evil.example", "client_secret": "********",
        "Private_Key": "********", "refresh_rotation": "always", "revocation_endpoint": "https://idp.example/revoke",
    }));
    let query = authorization_query(&resolved(&profile).await, &profile.scopes);
    let expected = [
        ("tenant", "a"),
        ("response_type", "code"),
        ("client_id", "client one"),
        ("state", "the-state"),
        (
            "code_challenge",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        ),
        ("code_challenge_method", "S256"),
        ("redirect_uri", "http://127.0.0.1:8090/auth/callback"),
        ("scope", "openid email"),
        ("nonce", "the-nonce"),
        ("resource", "https://api.example/"),
        ("access_type", "offline"),
        ("include_granted_scopes", "true"),
        ("max_age", "60"),
    ];
    assert_eq!(
        query,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn without_openid_no_nonce_is_sent_and_without_scopes_no_scope() {
    let provider = resolved(&profile("https://idp.example")).await;
    for scopes in [vec!["email".to_owned()], vec![]] {
        let query = authorization_query(&provider, &scopes);
        assert!(!query.iter().any(|(name, _)| name == "nonce"));
        assert_eq!(
            query.iter().any(|(name, _)| name == "scope"),
            !scopes.is_empty()
        );
    }
}

#[tokio::test]
async fn several_resources_are_sent_one_by_one() {
    let mut profile = profile("https://idp.example");
    profile.params = params(json!({"resource": ["https://a.example", "https://b.example"]}));
    let query = authorization_query(&resolved(&profile).await, &[]);
    let resources: Vec<_> = query
        .iter()
        .filter(|(name, _)| name == "resource")
        .map(|(_, value)| value)
        .collect();
    assert_eq!(resources, ["https://a.example", "https://b.example"]);
}
