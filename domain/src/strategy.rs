//! How a credential is used: what agents are told beside it, and the form it is typed into.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::provider::{AuthType, ProviderProfile};

/// How an agent puts a credential into its requests, as `/v1/token` serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// Which way: `oauth2`, `header`, `query_param`, `basic_auth`, `hmac_payload`, `aws_sigv4`,
    /// `path`, or the provider's own.
    #[serde(rename = "type")]
    pub kind: String,
    /// The settings of that way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// How credentials of this provider are used. `params.auth_strategy` wins over everything else.
#[must_use]
pub fn strategy_of(profile: &ProviderProfile) -> Strategy {
    if let Some(strategy) = given_strategy(profile) {
        return strategy;
    }
    let config = Config(profile);
    match profile.auth_type {
        AuthType::Oauth2 | AuthType::Saml => config.strategy("oauth2", []),
        AuthType::ApiKey | AuthType::Header => header(profile),
        AuthType::QueryParam => config.strategy("query_param", [("param_name", "api_key"), ("credential_field", "api_key")]),
        AuthType::BasicAuth => config.strategy("basic_auth", [("username_field", "username"), ("password_field", "password")]),
        AuthType::HmacPayload => {
            let defaults = [("header_name", "X-Signature"), ("secret_field", "secret"), ("algo", "sha256"), ("encoding", "hex")];
            config.strategy("hmac_payload", defaults)
        }
        AuthType::AwsSigv4 => config.strategy("aws_sigv4", [("service", ""), ("region", "us-east-1")]),
        AuthType::Path => config.strategy("path", []),
    }
}

/// The parameters from which a strategy's settings are taken.
struct Config<'a>(&'a ProviderProfile);

impl Config<'_> {
    /// A strategy with these settings, by name and default; an empty default means none.
    fn strategy<const N: usize>(&self, kind: &str, defaults: [(&str, &str); N]) -> Strategy {
        let setting = |(name, default): (&str, &str)| {
            let value = self.0.params.get(name).and_then(scalar).unwrap_or_else(|| default.to_owned());
            (!value.is_empty()).then(|| (name.to_owned(), value))
        };
        Strategy { kind: kind.to_owned(), config: defaults.into_iter().filter_map(setting).collect() }
    }
}

/// A key in `Authorization` is preceded by `Bearer `, one in a header of its own by nothing.
fn header(profile: &ProviderProfile) -> Strategy {
    const AUTHORIZATION: &str = "Authorization";
    let names = [profile.param("header_name"), profile.param("param_name"), profile.auth_header.as_deref()];
    let name = names.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or(AUTHORIZATION);
    let bearer = profile.auth_type == AuthType::ApiKey && name.eq_ignore_ascii_case(AUTHORIZATION);
    let prefix = if bearer { "Bearer " } else { "" };
    let mut strategy = Config(profile).strategy("header", [("credential_field", "api_key"), ("value_prefix", prefix)]);
    strategy.config.insert("header_name".to_owned(), name.to_owned());
    strategy
}

fn given_strategy(profile: &ProviderProfile) -> Option<Strategy> {
    let given = profile.params.get("auth_strategy")?;
    let kind = given.get("type")?.as_str()?.to_owned();
    let config = given.get("config").and_then(Value::as_object).map(texts).unwrap_or_default();
    Some(Strategy { kind, config })
}

/// The scalars among `values`, as texts.
fn texts(values: &Map<String, Value>) -> BTreeMap<String, String> {
    values.iter().filter_map(|(name, value)| Some((name.clone(), scalar(value)?))).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The JSON Schema of the form in which a user types a static credential: the provider's own
/// (`params.credential_schema`), or one made of the fields that its strategy reads.
#[must_use]
pub fn default_credential_schema(profile: &ProviderProfile) -> Value {
    if let Some(schema) = profile.params.get("credential_schema").filter(|schema| schema.is_object()) {
        return schema.clone();
    }
    let fields = fields_of(profile);
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.clone(), field.schema())).collect();
    let required: Vec<_> = fields.iter().filter(|field| field.required).map(|field| &field.name).collect();
    json!({"type": "object", "title": profile.name, "properties": properties, "required": required})
}

/// A field of the form.
struct Field {
    name: String,
    secret: bool,
    required: bool,
}

impl Field {
    fn secret(name: &str) -> Self {
        Self { name: name.to_owned(), secret: true, required: true }
    }

    fn plain(name: &str) -> Self {
        Self { secret: false, ..Self::secret(name) }
    }

    fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    fn schema(&self) -> Value {
        let mut schema = json!({"type": "string", "title": title(&self.name)});
        if self.required {
            schema["minLength"] = json!(1);
        }
        if self.secret {
            schema["format"] = json!("password");
        }
        schema
    }
}

fn fields_of(profile: &ProviderProfile) -> Vec<Field> {
    let Strategy { kind, config } = strategy_of(profile);
    let setting = |name: &str, default: &'static str| config.get(name).map_or(default, String::as_str).to_owned();
    match kind.as_str() {
        "basic_auth" => vec![Field::plain(&setting("username_field", "username")), Field::secret(&setting("password_field", "password"))],
        "hmac_payload" => vec![Field::secret(&setting("secret_field", "secret"))],
        "aws_sigv4" => vec![Field::plain("access_key"), Field::secret("secret_key"), Field::secret("session_token").optional()],
        "path" => path_fields(profile),
        _ => vec![Field::secret(&setting("credential_field", "api_key"))],
    }
}

/// One for each `{placeholder}` of the provider's endpoint templates.
fn path_fields(profile: &ProviderProfile) -> Vec<Field> {
    let params = profile.params.values().filter_map(Value::as_str);
    let templates = [&profile.api_base_url, &profile.user_info_endpoint].into_iter().filter_map(Option::as_deref);
    let names: BTreeSet<_> = templates.chain(params).flat_map(placeholders).collect();
    if names.is_empty() { vec![Field::secret("api_key")] } else { names.into_iter().map(Field::secret).collect() }
}

fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).filter(|name| !name.is_empty())
}

/// `api_key` for people: `Api key`.
fn title(name: &str) -> String {
    let words = name.replace(['_', '-'], " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(auth_type: AuthType, rest: Value) -> ProviderProfile {
        let mut profile: ProviderProfile = serde_json::from_value(rest).unwrap();
        profile.name = "Weather".into();
        profile.auth_type = auth_type;
        profile
    }

    fn served(auth_type: AuthType, rest: Value) -> Value {
        serde_json::to_value(strategy_of(&profile(auth_type, rest))).unwrap()
    }

    #[test]
    fn oauth2_needs_no_settings() {
        let params = json!({"params": {"access_type": "offline"}, "auth_header": "client_secret_basic"});
        assert_eq!(served(AuthType::Oauth2, params), json!({"type": "oauth2"}));
    }

    #[test]
    fn an_api_key_is_a_bearer_in_authorization() {
        let config = json!({"header_name": "Authorization", "credential_field": "api_key", "value_prefix": "Bearer "});
        assert_eq!(served(AuthType::ApiKey, json!({})), json!({"type": "header", "config": config}));
    }

    #[test]
    fn an_api_key_in_a_header_of_its_own_is_raw() {
        let config = json!({"header_name": "X-Api-Key", "credential_field": "api_key"});
        let served_as = json!({"type": "header", "config": config});
        assert_eq!(served(AuthType::ApiKey, json!({"auth_header": "X-Api-Key"})), served_as);
        assert_eq!(served(AuthType::ApiKey, json!({"params": {"header_name": "X-Api-Key"}, "auth_header": "X-Other"})), served_as);
        assert_eq!(served(AuthType::ApiKey, json!({"params": {"param_name": "X-Api-Key"}})), served_as);
    }

    #[test]
    fn a_header_is_raw_unless_a_prefix_is_given() {
        let plain = json!({"header_name": "Authorization", "credential_field": "api_key"});
        assert_eq!(served(AuthType::Header, json!({})), json!({"type": "header", "config": plain}));
        let prefixed = json!({"header_name": "X-Key", "credential_field": "token", "value_prefix": "Token "});
        let params = json!({"params": {"header_name": "X-Key", "credential_field": "token", "value_prefix": "Token "}});
        assert_eq!(served(AuthType::Header, params), json!({"type": "header", "config": prefixed}));
    }

    #[test]
    fn every_other_way_has_defaults_that_parameters_replace() {
        let expected = [
            (AuthType::QueryParam, json!({"type": "query_param", "config": {"param_name": "key", "credential_field": "api_key"}})),
            (AuthType::BasicAuth, json!({"type": "basic_auth", "config": {"username_field": "username", "password_field": "password"}})),
            (
                AuthType::HmacPayload,
                json!({"type": "hmac_payload", "config": {"header_name": "X-Signature", "secret_field": "secret", "algo": "sha1", "encoding": "hex"}}),
            ),
            (AuthType::AwsSigv4, json!({"type": "aws_sigv4", "config": {"service": "s3", "region": "us-east-1"}})),
            (AuthType::Path, json!({"type": "path"})),
        ];
        for (auth_type, strategy) in expected {
            let params = json!({"params": {"param_name": "key", "algo": "sha1", "service": "s3"}});
            assert_eq!(served(auth_type, params), strategy);
        }
    }

    #[test]
    fn the_given_strategy_wins_and_its_settings_are_texts() {
        let given = json!({"params": {"auth_strategy": {"type": "query_param", "config": {"param_name": "k", "n": 7, "t": true, "o": {}, "z": null}}}});
        let config = json!({"param_name": "k", "n": "7", "t": "true"});
        assert_eq!(served(AuthType::BasicAuth, given), json!({"type": "query_param", "config": config}));
    }

    #[test]
    fn the_form_asks_for_what_the_strategy_reads() {
        let form = |auth_type, rest| default_credential_schema(&profile(auth_type, rest));
        let secret = |title: &str| json!({"type": "string", "title": title, "minLength": 1, "format": "password"});
        assert_eq!(
            form(AuthType::ApiKey, json!({})),
            json!({"type": "object", "title": "Weather", "properties": {"api_key": secret("Api key")}, "required": ["api_key"]})
        );
        let basic = form(AuthType::BasicAuth, json!({"params": {"username_field": "user"}}));
        assert_eq!(basic["properties"]["user"], json!({"type": "string", "title": "User", "minLength": 1}));
        assert_eq!(basic["properties"]["password"], secret("Password"));
        assert_eq!(basic["required"], json!(["user", "password"]));
        let aws = form(AuthType::AwsSigv4, json!({}));
        assert_eq!(aws["properties"]["session_token"], json!({"type": "string", "title": "Session token", "format": "password"}));
        assert_eq!(aws["required"], json!(["access_key", "secret_key"]));
        let path = form(AuthType::Path, json!({"api_base_url": "https://api.test/bot{token}/{room}"}));
        assert_eq!(path["required"], json!(["room", "token"]));
        assert_eq!(form(AuthType::HmacPayload, json!({}))["required"], json!(["secret"]));
        assert_eq!(form(AuthType::QueryParam, json!({"params": {"credential_field": "k"}}))["required"], json!(["k"]));
    }

    #[test]
    fn the_given_schema_wins() {
        let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        let given = json!({"params": {"credential_schema": schema}});
        assert_eq!(default_credential_schema(&profile(AuthType::ApiKey, given)), schema);
    }

    #[test]
    fn a_schema_that_is_no_object_is_passed_over() {
        let given = json!({"params": {"credential_schema": true}});
        assert_eq!(default_credential_schema(&profile(AuthType::ApiKey, given))["required"], json!(["api_key"]));
    }
}
