use super::*;

fn profile(auth_type: AuthType, rest: Value) -> ProviderProfile {
    let profile: ProviderProfile = serde_json::from_value(rest).unwrap();
    ProviderProfile {
        name: "Weather".to_owned(),
        auth_type,
        ..profile
    }
}

fn served(auth_type: AuthType, rest: Value) -> Value {
    serde_json::to_value(strategy_of(&profile(auth_type, rest))).unwrap()
}

#[test]
fn oauth2_needs_no_settings() {
    let rest = json!({"params": {"access_type": "offline"}, "auth_header": "client_secret_basic"});
    assert_eq!(served(AuthType::Oauth2, rest), json!({"type": "oauth2"}));
}

#[test]
fn an_api_key_is_a_bearer_in_authorization() {
    let config = json!({"header_name": "Authorization", "credential_field": "api_key", "value_prefix": "Bearer "});
    assert_eq!(
        served(AuthType::ApiKey, json!({})),
        json!({"type": "header", "config": config})
    );
    assert_eq!(
        served(
            AuthType::ApiKey,
            json!({"auth_header": "client_secret_post"})
        ),
        json!({"type": "header", "config": config})
    );
}

#[test]
fn an_api_key_in_a_header_of_its_own_is_raw() {
    let served_as = json!({"type": "header", "config": {"header_name": "X-Api-Key", "credential_field": "api_key", "value_prefix": ""}});
    assert_eq!(
        served(AuthType::ApiKey, json!({"auth_header": "X-Api-Key"})),
        served_as
    );
    assert_eq!(
        served(
            AuthType::ApiKey,
            json!({"params": {"header_name": "X-Api-Key"}, "auth_header": "X-Other"})
        ),
        served_as
    );
    assert_eq!(
        served(
            AuthType::ApiKey,
            json!({"params": {"param_name": "X-Api-Key"}})
        ),
        served_as
    );
}

#[test]
fn a_given_prefix_is_honoured() {
    let config = json!({"header_name": "Authorization", "credential_field": "api_key", "value_prefix": "Token "});
    assert_eq!(
        served(
            AuthType::ApiKey,
            json!({"params": {"value_prefix": "Token "}})
        ),
        json!({"type": "header", "config": config})
    );
}

#[test]
fn a_header_is_raw_unless_a_prefix_is_given() {
    let plain =
        json!({"header_name": "Authorization", "credential_field": "api_key", "value_prefix": ""});
    assert_eq!(
        served(AuthType::Header, json!({})),
        json!({"type": "header", "config": plain})
    );
    let given =
        json!({"header_name": "X-Key", "credential_field": "token", "value_prefix": "Token "});
    assert_eq!(
        served(AuthType::Header, json!({"params": given})),
        json!({"type": "header", "config": given})
    );
}

#[test]
fn a_header_strategy_of_the_providers_own_says_that_it_has_no_prefix() {
    let own =
        json!({"type": "header", "config": {"header_name": "X-Sid", "credential_field": "sid"}});
    let served_as = json!({"type": "header", "config": {"header_name": "X-Sid", "credential_field": "sid", "value_prefix": ""}});
    assert_eq!(
        served(
            AuthType::BasicAuth,
            json!({"params": {"auth_strategy": own}})
        ),
        served_as
    );
}

#[test]
fn every_other_way_has_defaults_that_params_replace() {
    let table = [
        (
            AuthType::QueryParam,
            json!({"param_name": "key"}),
            json!({"param_name": "key", "credential_field": "api_key"}),
        ),
        (
            AuthType::BasicAuth,
            json!({"username_field": "user"}),
            json!({"username_field": "user", "password_field": "password"}),
        ),
        (
            AuthType::HmacPayload,
            json!({"algo": "sha1"}),
            json!({"header_name": "X-Signature", "secret_field": "secret", "algo": "sha1", "encoding": "hex"}),
        ),
        (
            AuthType::AwsSigv4,
            json!({"service": "s3"}),
            json!({"service": "s3", "region": "us-east-1"}),
        ),
        (
            AuthType::Path,
            json!({"template": "/bot{token}"}),
            json!({"template": "/bot{token}"}),
        ),
    ];
    for (auth_type, params, config) in table {
        assert_eq!(
            served(auth_type, json!({"params": params})),
            json!({"type": auth_type, "config": config})
        );
    }
}

#[test]
fn settings_are_scalars_as_texts() {
    let params = json!({"a": 1, "b": true, "c": "x", "d": null, "e": [1], "f": {"g": 1}});
    assert_eq!(
        served(AuthType::Path, json!({"params": params})),
        json!({"type": "path", "config": {"a": "1", "b": "true", "c": "x"}})
    );
}

#[test]
fn neither_named_params_nor_secrets_are_settings() {
    let params = json!({"refresh_rotation": "never", "revocation_endpoint": "https://x.test", "signing_key": "********"});
    assert_eq!(
        served(AuthType::Path, json!({"params": params})),
        json!({"type": "path"})
    );
    let own =
        json!({"auth_strategy": {"type": "own", "config": {"secret": "********", "region": "eu"}}});
    assert_eq!(
        served(AuthType::Path, json!({"params": own})),
        json!({"type": "own", "config": {"region": "eu"}})
    );
}

#[test]
fn the_given_strategy_wins() {
    let params = json!({"auth_strategy": {"type": "query_param", "config": {"param_name": "k", "n": 7, "o": {}}}, "username_field": "user"});
    let config = json!({"param_name": "k", "n": "7"});
    for auth_type in [AuthType::BasicAuth, AuthType::Oauth2] {
        assert_eq!(
            served(auth_type, json!({"params": params})),
            json!({"type": "query_param", "config": config})
        );
    }
}

#[test]
fn the_form_asks_for_what_the_strategy_uses() {
    let required =
        |auth_type, rest| default_credential_schema(&profile(auth_type, rest))["required"].clone();
    assert_eq!(
        required(
            AuthType::Header,
            json!({"params": {"credential_field": "token"}})
        ),
        json!(["token"])
    );
    assert_eq!(
        required(AuthType::QueryParam, json!({})),
        json!(["api_key"])
    );
    assert_eq!(
        required(AuthType::HmacPayload, json!({})),
        json!(["secret"])
    );
    assert_eq!(
        required(AuthType::AwsSigv4, json!({})),
        json!(["access_key", "secret_key"])
    );
    assert_eq!(required(AuthType::Path, json!({})), json!(["api_key"]));
    assert_eq!(
        required(
            AuthType::Path,
            json!({"api_base_url": "https://api.test/bot{token}/{room}", "params": {"t": "{token}"}})
        ),
        json!(["room", "token"])
    );
    assert_eq!(required(AuthType::Oauth2, json!({})), json!([]));
}

#[test]
fn the_form_masks_secrets_and_titles_its_fields() {
    let secret = |title: &str| json!({"type": "string", "title": title, "minLength": 1, "format": "password"});
    assert_eq!(
        default_credential_schema(&profile(AuthType::ApiKey, json!({}))),
        json!({"type": "object", "title": "Weather", "properties": {"api_key": secret("Api key")}, "required": ["api_key"]})
    );
    let basic = default_credential_schema(&profile(
        AuthType::BasicAuth,
        json!({"params": {"username_field": "user-name"}}),
    ));
    assert_eq!(
        basic["properties"],
        json!({"user-name": {"type": "string", "title": "User name", "minLength": 1}, "password": secret("Password")})
    );
    let aws = default_credential_schema(&profile(AuthType::AwsSigv4, json!({})));
    assert_eq!(
        aws["properties"]["session_token"],
        json!({"type": "string", "title": "Session token", "format": "password"})
    );
}

#[test]
fn the_given_schema_wins() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
    assert_eq!(
        default_credential_schema(&profile(
            AuthType::ApiKey,
            json!({"params": {"credential_schema": schema}})
        )),
        schema
    );
}

#[test]
fn a_schema_that_is_no_object_is_passed_over() {
    let given = json!({"params": {"credential_schema": true}});
    assert_eq!(
        default_credential_schema(&profile(AuthType::ApiKey, given))["required"],
        json!(["api_key"])
    );
}
