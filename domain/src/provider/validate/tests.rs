use serde_json::json;

use super::*;

fn oauth2(changes: Value) -> ProviderProfile {
    let mut profile = json!({
        "name": "Example", "client_id": "client-1",
        "auth_url": "https://accounts.example.test/authorize", "token_url": "https://accounts.example.test/token",
    });
    let Value::Object(changes) = changes else {
        panic!("changes are an object")
    };
    profile.as_object_mut().unwrap().extend(changes);
    serde_json::from_value(profile).unwrap()
}

/// The field that is refused.
fn refused(profile: &ProviderProfile) -> Option<String> {
    profile
        .validate(true)
        .err()
        .map(|error| error.field.into_owned())
}

#[test]
fn a_name_has_1_to_64_characters_once_trimmed() {
    for name in ["x", " Example ", "例え", "a.b-c_d e", &"é".repeat(64)] {
        assert_eq!(refused(&oauth2(json!({"name": name}))), None, "{name}");
    }
    for name in [
        "",
        "  \t",
        "a/b",
        "a\nb",
        "a\u{7f}b",
        "a\u{0}",
        &"é".repeat(65),
    ] {
        assert_eq!(
            refused(&oauth2(json!({"name": name}))).as_deref(),
            Some("name"),
            "{name}"
        );
    }
}

#[test]
fn urls_are_absolute_http_or_https_without_a_user_or_a_fragment() {
    let bad = [
        "accounts.example.test",
        "/authorize",
        "ftp://x.test",
        "https://",
        "https://ada@x.test",
        "https://ada:pw@x.test",
        "https://x.test/#a",
        "https:x.test",
        "https:/x.test",
        "https:\\\\x.test",
        " https://x.test",
        "https://x.test/a b",
        "https://x.test\n",
        "https://x.test\\y",
        "javascript:alert(1)",
        "https://[::1",
    ];
    for field in [
        "auth_url",
        "token_url",
        "issuer",
        "api_base_url",
        "user_info_endpoint",
    ] {
        for url in bad
            .iter()
            .filter(|url| field != "user_info_endpoint" || !url.starts_with('/'))
        {
            assert_eq!(
                refused(&oauth2(json!({field: url}))).as_deref(),
                Some(field),
                "{url}"
            );
        }
        for url in [
            "https://x.test",
            "HTTP://X.test:8080/a?b=c",
            "http://[::1]:9000/",
            "http://127.0.0.1/",
        ] {
            assert_eq!(refused(&oauth2(json!({field: url}))), None, "{field} {url}");
        }
    }
    for url in bad {
        let profile = oauth2(json!({"params": {"revocation_endpoint": url}}));
        assert_eq!(
            refused(&profile).as_deref(),
            Some("params.revocation_endpoint"),
            "{url}"
        );
    }
    assert_eq!(
        refused(&oauth2(json!({"params": {"revocation_endpoint": 7}}))).as_deref(),
        Some("params.revocation_endpoint")
    );
}

#[test]
fn agents_endpoints_may_be_templates_and_the_user_info_a_path() {
    let profile = oauth2(
        json!({"api_base_url": "https://{shop}.example.test/bot{token}", "user_info_endpoint": "/me"}),
    );
    assert_eq!(refused(&profile), None);
}

#[test]
fn an_empty_field_is_as_good_as_none() {
    let empty = json!({"issuer": "", "auth_header": "", "api_base_url": "", "user_info_endpoint": "", "params": {"revocation_endpoint": ""}});
    assert_eq!(refused(&oauth2(empty)), None);
}

#[test]
fn an_oauth_client_has_an_id() {
    for client_id in [json!(null), json!("")] {
        assert_eq!(
            refused(&oauth2(json!({"client_id": client_id}))).as_deref(),
            Some("client_id")
        );
    }
}

#[test]
fn an_oauth_client_needs_a_secret_unless_it_authenticates_without() {
    for method in [
        json!(null),
        json!("client_secret_post"),
        json!("client_secret_basic"),
    ] {
        let profile = oauth2(json!({"auth_header": method}));
        assert_eq!(profile.validate(true), Ok(()));
        assert_eq!(
            profile.validate(false).unwrap_err().field,
            "client_secret",
            "{method}"
        );
    }
    assert_eq!(
        oauth2(json!({"auth_header": "none"})).validate(false),
        Ok(())
    );
}

#[test]
fn a_client_that_signs_needs_a_key_and_no_secret() {
    let signing =
        |params: Value| oauth2(json!({"auth_header": "private_key_jwt", "params": params}));
    for params in [
        json!({"private_key": "********"}),
        json!({"private_key": "********", "private_key_id": "k-1", "private_key_alg": "PS256"}),
        json!({"private_key": "********", "private_key_id": null, "private_key_alg": null}),
    ] {
        assert_eq!(signing(params).validate(false), Ok(()));
    }
    for (params, field) in [
        (json!({}), "params.private_key"),
        (json!({"private_key": ""}), "params.private_key"),
        (json!({"private_key": {"kty": "RSA"}}), "params.private_key"),
        (
            json!({"private_key": "********", "private_key_id": 7}),
            "params.private_key_id",
        ),
        (
            json!({"private_key": "********", "private_key_id": ""}),
            "params.private_key_id",
        ),
        (
            json!({"private_key": "********", "private_key_alg": "HS256"}),
            "params.private_key_alg",
        ),
    ] {
        assert_eq!(refused(&signing(params)).as_deref(), Some(field));
    }
}

#[test]
fn a_method_that_is_not_known_or_not_built_is_refused() {
    for method in ["tls_client_auth", "X-Api-Key"] {
        assert_eq!(
            refused(&oauth2(json!({"auth_header": method}))).as_deref(),
            Some("auth_header")
        );
    }
}

#[test]
fn an_oauth_provider_has_endpoints_or_an_issuer_that_tells_them() {
    assert_eq!(
        refused(&oauth2(json!({"auth_url": null}))).as_deref(),
        Some("auth_url")
    );
    assert_eq!(
        refused(&oauth2(json!({"token_url": ""}))).as_deref(),
        Some("token_url")
    );
    let endpoints = |discovery: bool| {
        oauth2(
            json!({"auth_url": null, "token_url": null, "issuer": "https://x.test", "enable_discovery": discovery}),
        )
    };
    assert_eq!(refused(&endpoints(true)), None);
    assert_eq!(refused(&endpoints(false)).as_deref(), Some("auth_url"));
    assert_eq!(
        refused(&oauth2(json!({"auth_url": null, "enable_discovery": true}))).as_deref(),
        Some("auth_url")
    );
}

#[test]
fn saml_is_reserved() {
    assert_eq!(
        refused(&oauth2(json!({"auth_type": "saml"}))).as_deref(),
        Some("auth_type")
    );
}

#[test]
fn static_types_need_a_name_only() {
    for auth_type in [
        "api_key",
        "header",
        "query_param",
        "basic_auth",
        "hmac_payload",
        "aws_sigv4",
    ] {
        assert_eq!(refused(&typed(auth_type, &json!({}))), None, "{auth_type}");
    }
}

fn typed(auth_type: &str, params: &Value) -> ProviderProfile {
    let profile = json!({"name": "Example", "auth_type": auth_type, "params": params});
    serde_json::from_value(profile).unwrap()
}

#[test]
fn a_strategy_is_checked_where_it_was_given() {
    let own =
        |kind: &str, config: Value| json!({"auth_strategy": {"type": kind, "config": config}});
    for (auth_type, params, field) in [
        ("hmac_payload", json!({"algo": "md5"}), "params.algo"),
        ("hmac_payload", json!({"encoding": 64}), "params.encoding"),
        (
            "hmac_payload",
            json!({"header_name": "a b"}),
            "params.header_name",
        ),
        (
            "query_param",
            json!({"param_name": ""}),
            "params.param_name",
        ),
        (
            "query_param",
            json!({"param_name": ["key"]}),
            "params.param_name",
        ),
        ("header", json!({"header_name": 7}), "params.header_name"),
        (
            "header",
            json!({"param_name": "Content-Length"}),
            "params.param_name",
        ),
        (
            "basic_auth",
            json!({"username_field": {}}),
            "params.username_field",
        ),
        ("aws_sigv4", json!({"service": true}), "params.service"),
        ("aws_sigv4", json!({"region": "eu/1"}), "params.region"),
        (
            "api_key",
            own("hmac_payload", json!({"algo": "md5"})),
            "params.auth_strategy.config.algo",
        ),
        (
            "api_key",
            own("query_param", json!({"param_name": 1})),
            "params.auth_strategy.config.param_name",
        ),
        (
            "api_key",
            own("header", json!({"header_name": "Host"})),
            "params.auth_strategy.config.header_name",
        ),
        ("api_key", own("path", json!({})), "api_base_url"),
        ("path", json!({}), "api_base_url"),
    ] {
        let profile = typed(auth_type, &params);
        assert_eq!(refused(&profile).as_deref(), Some(field), "{profile:?}");
    }
    let mut framing = typed("header", &json!({}));
    framing.auth_header = Some("Content-Length".to_owned());
    assert_eq!(refused(&framing).as_deref(), Some("auth_header"));
}

#[test]
fn a_strategy_that_makes_sense_or_is_the_providers_own_is_taken() {
    let own =
        |kind: &str, config: Value| json!({"auth_strategy": {"type": kind, "config": config}});
    for (auth_type, params) in [
        ("path", json!({"template": "/bot{token}"})),
        ("api_key", own("path", json!({"template": "/bot{token}"}))),
        (
            "api_key",
            own("device_code", json!({"algo": 7, "nested": {}})),
        ),
        ("api_key", own("header", Value::Null)),
        ("api_key", json!({"auth_strategy": null, "other": [1]})),
        ("hmac_payload", json!({"algo": "sha1", "encoding": null})),
        ("header", json!({"header_name": "", "param_name": "X-Key"})),
    ] {
        let profile = typed(auth_type, &params);
        assert_eq!(refused(&profile), None, "{profile:?}");
    }
    let mut path = typed("path", &json!({}));
    path.user_info_endpoint = Some("/bot{token}/getMe".to_owned());
    assert_eq!(refused(&path), None);
}

#[test]
fn places_in_the_path_may_be_the_agents_when_the_fields_are_known() {
    let schema = json!({"type": "object", "properties": {"token": {"type": "string"}}});
    let mut path = typed("path", &json!({"credential_schema": schema}));
    path.api_base_url = Some("https://bot.test".to_owned());
    assert_eq!(refused(&path), None);
    // Asked so, the provider would be shown no credential.
    path.user_info_endpoint = Some("/getMe".to_owned());
    assert_eq!(refused(&path).as_deref(), Some("api_base_url"));
}

#[test]
fn the_rules_of_a_validation_are_checked() {
    let params = json!({"validation": {"failure_status": "4xx"}});
    let field = refused(&typed("api_key", &params));
    assert_eq!(field.as_deref(), Some("params.validation.failure_status"));
    let params = json!({"validation": {"skip": true, "failure_status": 400}});
    assert_eq!(refused(&typed("api_key", &params)), None);
}

#[test]
fn a_header_is_named_as_headers_are() {
    for auth_type in ["api_key", "header"] {
        assert_eq!(
            refused(&oauth2(
                json!({"auth_type": auth_type, "auth_header": "X-Api-Key"})
            )),
            None
        );
        assert_eq!(
            refused(&oauth2(
                json!({"auth_type": auth_type, "auth_header": "X Key:"})
            ))
            .as_deref(),
            Some("auth_header")
        );
        let params = json!({"auth_type": auth_type, "params": {"header_name": "a\r\nb"}});
        assert_eq!(
            refused(&oauth2(params)).as_deref(),
            Some("params.header_name")
        );
    }
}

#[test]
fn named_params_have_their_forms() {
    let bad = [
        (
            "params.refresh_rotation",
            json!({"refresh_rotation": "sometimes"}),
        ),
        ("params.refresh_rotation", json!({"refresh_rotation": true})),
        (
            "params.credential_schema",
            json!({"credential_schema": true}),
        ),
        ("params.auth_strategy", json!({"auth_strategy": "header"})),
        (
            "params.auth_strategy",
            json!({"auth_strategy": {"type": ""}}),
        ),
        (
            "params.auth_strategy",
            json!({"auth_strategy": {"type": "header", "config": []}}),
        ),
    ];
    for (field, params) in bad {
        assert_eq!(
            refused(&oauth2(json!({"params": params}))).as_deref(),
            Some(field)
        );
    }
    let good = json!({
        "refresh_rotation": "always", "credential_schema": {"type": "object"}, "auth_strategy": {"type": "header"},
        "audience": ["anything", {"else": 1}], "revocation_endpoint": null,
    });
    assert_eq!(refused(&oauth2(json!({"params": good}))), None);
}

#[test]
fn a_grace_is_a_whole_number_of_seconds_up_to_a_day() {
    let with = |grace: Value| oauth2(json!({"params": {"refresh_reuse_grace_seconds": grace}}));
    for good in [json!(null), json!(0), json!(30), json!(86_400)] {
        assert_eq!(refused(&with(good)), None);
    }
    for bad in [json!(-1), json!(1.5), json!("30"), json!(86_401), json!([])] {
        assert_eq!(
            refused(&with(bad)).as_deref(),
            Some("params.refresh_reuse_grace_seconds")
        );
    }
}

#[test]
fn a_refusal_names_the_field_in_a_sentence() {
    let error = oauth2(json!({"token_url": "x"}))
        .validate(true)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`token_url` must be an absolute http or https URL without a user or a fragment"
    );
}

#[test]
fn quirks_have_the_types_they_need() {
    for (name, good, bad) in [
        ("skip_scope_on_auth", json!(true), json!("yes")),
        ("skip_scope_on_exchange", json!(false), json!(0)),
        ("id_token_as_access_token", json!(false), json!([])),
        ("scope_separator", json!(","), json!("")),
        ("token_request_format", json!("json"), json!("xml")),
        ("token_answer", json!({"pointer": "/a"}), json!("/a")),
        ("basic_auth_encoding", json!("none"), json!("utf-8")),
        ("invalid_grant_status", json!(400), json!(503)),
        ("invalid_grant_status", json!(403), json!(429)),
        ("invalid_grant_status", json!(499), json!("400")),
        (
            "error_in_200",
            json!({"pointer": "/ok", "values": [false]}),
            json!({"pointer": "ok", "values": [false]}),
        ),
        (
            "error_in_200",
            json!({"pointer": "/error/code", "values": ["bad"]}),
            json!({"pointer": "/ok", "values": []}),
        ),
    ] {
        assert_eq!(
            refused(&oauth2(json!({"params": {name: good}}))),
            None,
            "{name}"
        );
        assert_eq!(
            refused(&oauth2(json!({"params": {name: bad}}))),
            Some(format!("params.{name}"))
        );
    }
}

#[test]
fn an_id_token_is_given_to_agents_only_where_it_can_be_verified() {
    let params = json!({"id_token_as_access_token": true});
    let without = oauth2(json!({"params": params}));
    let field = "params.id_token_as_access_token";
    assert_eq!(refused(&without).as_deref(), Some(field));
    let with = oauth2(json!({"params": params, "issuer": "https://idp.example"}));
    assert_eq!(refused(&with), None);
}
