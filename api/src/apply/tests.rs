//! Every way at once; each has its vectors beside it.

use nexus_domain::credential::{OAuth2Credential, StaticCredential};
use nexus_domain::secret::{Secret, SecretMap};
use nexus_domain::strategy::Strategy;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_440_938_160);

/// A credential that a user typed in.
pub(super) fn typed(fields: Value) -> Credential {
    let fields = SecretMap::new(serde_json::from_value(fields).unwrap());
    Credential::Static(StaticCredential { fields })
}

fn tokens(access_token: &str) -> Credential {
    Credential::OAuth2(OAuth2Credential {
        access_token: Secret::new(access_token),
        token_type: "Bearer".to_owned(),
        refresh_token: Some(Secret::new("canary-refresh")),
        id_token: None,
        scope: Vec::new(),
        expires_at: None,
        fields: SecretMap::default(),
    })
}

fn scheme(kind: &str, config: &Value) -> Scheme {
    let strategy: Strategy =
        serde_json::from_value(json!({"type": kind, "config": config})).unwrap();
    Scheme::of(&strategy).unwrap().unwrap()
}

/// What a strategy makes of a request for a URL.
fn applied(
    kind: &str,
    config: &Value,
    credential: &Credential,
    url: &str,
) -> Result<Applied, ApplyError> {
    apply(
        &scheme(kind, config),
        credential,
        Request::get(url.to_owned()),
        NOW,
    )
}

/// The value of a header that a strategy sets.
fn header_of(kind: &str, config: &Value, fields: Value, name: &str) -> Result<String, ApplyError> {
    let applied = applied(kind, config, &typed(fields), "https://api.test/me")?;
    let value = &applied.headers[name];
    assert!(value.is_sensitive());
    Ok(value.to_str().unwrap().to_owned())
}

/// The token and the header of RFC 6750, section 2.1.
#[test]
fn an_access_token_is_a_bearer_token() {
    let sent = applied(
        "oauth2",
        &json!({}),
        &tokens("mF_9.B5f-4.1JqM"),
        "https://server.example.com/resource",
    )
    .unwrap();
    assert_eq!(sent.headers["authorization"], "Bearer mF_9.B5f-4.1JqM");
    assert!(sent.headers["authorization"].is_sensitive());
}

#[test]
fn a_key_is_a_bearer_token_when_nothing_else_is_said() {
    let key = json!({"api_key": "k-123"});
    let value = header_of("api_key", &json!({}), key, "authorization");
    assert_eq!(value.unwrap(), "Bearer k-123");
}

#[test]
fn a_header_holds_the_field_after_its_prefix() {
    let config =
        json!({"header_name": "X-Api-Key", "credential_field": "token", "value_prefix": "Token "});
    for token in ["k-123", "k:\"1,2\"; \\ ~", "two words", "a\tb", "="] {
        let value = header_of("header", &config, json!({"token": token}), "x-api-key");
        assert_eq!(value.unwrap(), format!("Token {token}"));
    }
    let number = header_of("header", &config, json!({"token": 7}), "x-api-key");
    assert_eq!(number.unwrap(), "Token 7");
}

#[test]
fn what_a_header_cannot_hold_is_refused_by_its_fields_name() {
    for key in [
        "canary\r\nX-Other: 1",
        "canary\n",
        "canary\0",
        "canary\u{7f}",
        "canär",
        "canary\u{a0}",
        " canary",
        "canary ",
    ] {
        let refused = header_of(
            "header",
            &json!({}),
            json!({"api_key": key}),
            "authorization",
        );
        let error = refused.unwrap_err();
        let unusable = matches!(&error, ApplyError::Unusable { field, .. } if field == "api_key");
        assert!(unusable, "{key:?} {error}");
    }
}

#[test]
fn a_field_that_is_absent_empty_or_nests_is_missing() {
    for fields in [
        json!({}),
        json!({"api_key": ""}),
        json!({"api_key": null}),
        json!({"api_key": ["k"]}),
    ] {
        let refused = header_of("header", &json!({}), fields, "authorization");
        assert_eq!(refused, Err(ApplyError::Missing("api_key".to_owned())));
    }
    let refused = applied("header", &json!({}), &tokens("t"), "https://api.test");
    assert_eq!(
        refused.unwrap_err(),
        ApplyError::Missing("api_key".to_owned())
    );
}

#[test]
fn an_oauth_credential_goes_wherever_the_strategy_says() {
    let config = json!({"header_name": "X-Token", "credential_field": "access_token"});
    let sent = applied("header", &config, &tokens("t-1"), "https://api.test").unwrap();
    assert_eq!(sent.headers["x-token"], "t-1");
    let never = json!({"credential_field": "refresh_token"});
    let refused = applied("header", &never, &tokens("t-1"), "https://api.test");
    assert!(matches!(refused, Err(ApplyError::Missing(_))));
}

#[test]
fn what_the_request_has_in_the_credentials_place_goes() {
    let mut request = Request::get("https://api.test/me?api_key=mine".to_owned());
    request
        .headers
        .insert(AUTHORIZATION, "Bearer mine".parse().unwrap());
    let key = typed(json!({"api_key": "k"}));
    let sent = apply(&scheme("api_key", &json!({})), &key, request, NOW).unwrap();
    let values: Vec<_> = sent.headers.get_all(AUTHORIZATION).iter().collect();
    assert_eq!(values, ["Bearer k"]);
    let sent = applied(
        "query_param",
        &json!({}),
        &key,
        "https://api.test/me?api%5Fkey=mine",
    )
    .unwrap();
    assert_eq!(sent.url.as_str(), "https://api.test/me?api_key=k");
}

#[test]
fn a_body_is_signed_into_a_header() {
    let config = json!({"header_name": "X-Hub", "algo": "sha1", "encoding": "base64"});
    let request = Request {
        method: Method::POST,
        body: b"what do ya want for nothing?".to_vec(),
        ..Request::get("https://api.test/hook".to_owned())
    };
    let key = typed(json!({"secret": "Jefe"}));
    let sent = apply(&scheme("hmac_payload", &config), &key, request, NOW).unwrap();
    // RFC 2202, section 3, test case 2.
    assert_eq!(sent.headers["x-hub"], "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    assert_eq!(sent.body, b"what do ya want for nothing?");
}

#[test]
fn a_path_without_a_placeholder_would_leave_the_credential_out() {
    let key = typed(json!({"api_key": "k"}));
    for url in [
        "https://api.test/me",
        "https://api.test/{}",
        "https://api.test/{api_key",
    ] {
        let refused = applied("path", &json!({}), &key, url);
        assert_eq!(refused.unwrap_err(), ApplyError::NoPlaceholder, "{url}");
    }
}

#[test]
fn a_signature_needs_a_service() {
    let keys = typed(json!({"access_key": "AKID", "secret_key": "s"}));
    let refused = applied("aws_sigv4", &json!({}), &keys, "https://api.test");
    assert_eq!(refused.unwrap_err(), ApplyError::Unset("service"));
}

#[test]
fn what_is_applied_becomes_the_request_that_is_sent() {
    let key = typed(json!({"api_key": "k 1"}));
    let sent = applied("query_param", &json!({}), &key, "https://api.test/me").unwrap();
    let sent = sent.into_http().unwrap();
    assert_eq!(sent.uri(), "https://api.test/me?api_key=k%201");
    assert_eq!((sent.method(), sent.body().len()), (&Method::GET, 0));
}

/// Whatever becomes of a credential, neither the request's `Debug` nor an error shows it.
#[test]
fn no_credential_is_shown() {
    let fine = json!({
        "api_key": "canary-key", "username": "canary-user", "password": "canary-word", "secret": "canary-secret",
        "access_key": "canary-access", "secret_key": "canary-secret-key", "session_token": "canary-session",
    });
    let bad: Value =
        serde_json::from_str(&fine.to_string().replace("canary", "canary\\r\\n:/")).unwrap();
    let placeholder = "https://api.test/{api_key}?t={api_key}";
    let host = "https://{api_key}.api.test/";
    for (kind, url) in [
        ("api_key", "https://api.test"),
        ("header", "https://api.test"),
        ("query_param", "https://api.test"),
        ("basic_auth", "https://api.test"),
        ("hmac_payload", "https://api.test"),
        ("aws_sigv4", "https://api.test"),
        ("path", placeholder),
        ("path", host),
        ("header", "canary://{api_key}"),
        ("header", "{api_key}"),
    ] {
        for fields in [&fine, &bad] {
            let config = json!({"service": "s3"});
            let outcome = applied(kind, &config, &typed(fields.clone()), url);
            let shown = match outcome {
                Ok(applied) => format!("{applied:?} {applied:#?}"),
                Err(error) => format!("{error} {error:?} {error:#?}"),
            };
            assert!(!shown.contains("canary"), "{kind} {url} {shown}");
        }
    }
    let bearer = applied(
        "oauth2",
        &json!({}),
        &tokens("canary-token"),
        "https://api.test",
    );
    assert!(!format!("{bearer:?}").contains("canary"));
    let refused = applied(
        "oauth2",
        &json!({}),
        &tokens("canary\n"),
        "https://api.test",
    );
    assert!(!format!("{refused:?}").contains("canary"));
}
