use proptest::prelude::*;
use serde_json::json;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn secrets_are_taken_out_at_any_depth_and_put_back() {
    let given = object(json!({
        "audience": "a", "private_key": {"kty": "canary"}, "Client_Secret": "canary",
        "auth_strategy": {"type": "own", "config": {"signing_key": "canary", "list/~": [{"password": 7}]}},
    }));
    let (public, secrets) = split_secrets(given.clone());
    assert_eq!(
        Value::Object(public.clone()),
        json!({
            "audience": "a", "private_key": MASK, "Client_Secret": MASK,
            "auth_strategy": {"type": "own", "config": {"signing_key": MASK, "list/~": [{"password": MASK}]}},
        })
    );
    let mut places: Vec<&String> = secrets.expose().keys().collect();
    places.sort();
    assert_eq!(
        places,
        [
            "/Client_Secret",
            "/auth_strategy/config/list~1~0/0/password",
            "/auth_strategy/config/signing_key",
            "/private_key"
        ]
    );
    assert_eq!(*merge_secrets(&public, &secrets).expose(), given);
}

#[test]
fn a_forms_description_holds_no_secrets() {
    let given = object(
        json!({"credential_schema": {"properties": {"api_key": {"type": "string"}, "password": {"type": "string"}}}}),
    );
    let (public, secrets) = split_secrets(given.clone());
    assert_eq!(public, given);
    assert!(secrets.is_empty());
}

#[test]
fn a_mask_null_and_an_empty_text_are_no_secrets() {
    let given = object(json!({"client_secret": MASK, "password": null, "secret": ""}));
    let (public, secrets) = split_secrets(given.clone());
    assert_eq!(public, given);
    assert!(secrets.is_empty());
    assert_eq!(*merge_secrets(&public, &secrets).expose(), given);
}

#[test]
fn a_secret_fills_a_mask_and_nothing_else() {
    let stored = SecretMap::new(object(json!({"/client_secret": "old", "/gone": "old"})));
    let public = object(json!({"client_secret": "new"}));
    assert_eq!(*merge_secrets(&public, &stored).expose(), public);
}

#[test]
fn stored_secrets_are_carried_over_where_a_mask_is_sent_back() {
    let stored = SecretMap::new(object(
        json!({"/private_key": "kept", "/password": "dropped", "/secret": "replaced"}),
    ));
    let (public, given) = split_secrets(object(json!({"private_key": MASK, "secret": "new"})));
    assert_eq!(
        Value::Object(carry_over(&public, &given, &stored).expose().clone()),
        json!({"/private_key": "kept", "/secret": "new"})
    );
}

#[test]
fn the_plaintext_is_frozen_and_reads_back() {
    for plaintext in [
        r#"{"client_secret":"canary","params":{"/private_key":"canary"}}"#,
        r#"{"client_secret":"canary"}"#,
        "{}",
    ] {
        let secrets = ProviderSecrets::from_plaintext(plaintext.as_bytes()).unwrap();
        assert_eq!(secrets.to_plaintext().as_slice(), plaintext.as_bytes());
        assert_eq!(secrets.is_empty(), plaintext == "{}");
        assert!(!format!("{secrets:?}").contains("canary"));
    }
}

#[test]
fn a_plaintext_of_another_form_is_refused_without_telling_it() {
    for plaintext in [
        "",
        "canary",
        "[]x",
        r#"{"client_secret":7}"#,
        r#"{"params":"canary"}"#,
    ] {
        let error = ProviderSecrets::from_plaintext(plaintext.as_bytes()).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{plaintext}"
        );
    }
}

fn values() -> impl Strategy<Value = Value> {
    let name = || {
        proptest::sample::select(vec![
            "a",
            "b/c~",
            "secret",
            "PASSWORD",
            "private_key",
            "credential_schema",
            "0",
        ])
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z*]{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name(), inner), 0..4).prop_map(|members| Value::Object(
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_taken_out_goes_back(value in values()) {
        let params = object(json!({"nested": value.clone(), "secret": value}));
        let (public, secrets) = split_secrets(params.clone());
        let merged = merge_secrets(&public, &secrets);
        prop_assert_eq!(merged.expose(), &params);
        let (again, none) = split_secrets(public.clone());
        prop_assert_eq!(again, public);
        prop_assert!(none.is_empty());
    }
}

#[test]
fn the_private_key_is_the_one_at_the_top_and_a_text() {
    let key = |params: Value| {
        let (_, params) = split_secrets(object(params));
        let secrets = ProviderSecrets {
            params,
            ..ProviderSecrets::default()
        };
        secrets.private_key().map(|key| key.expose().to_owned())
    };
    assert_eq!(
        key(json!({"private_key": "canary"})).as_deref(),
        Some("canary")
    );
    assert_eq!(key(json!({"private_key": {"kty": "canary"}})), None);
    assert_eq!(key(json!({"inner": {"private_key": "canary"}})), None);
    assert_eq!(key(json!({"private_key": MASK})), None);
}
