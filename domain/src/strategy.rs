//! How an agent uses a credential, and the form that asks for one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::provider::{AuthType, NAMED_PARAMS, ProviderProfile, is_secret};

mod check;
mod scheme;

pub(crate) use check::check;
pub use scheme::{Encoding, HmacAlgo, InvalidSetting, Scheme};
pub(crate) use scheme::{is_framing, is_token};

/// How an agent puts a credential into a request, as it is served beside the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// Which way; `oauth2`, `header`, `query_param`, `basic_auth`, `hmac_payload`, `aws_sigv4`,
    /// `path`, or what a provider calls its own.
    #[serde(rename = "type")]
    pub kind: String,
    /// The way's settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
}

/// What `auth_header` holds when it says how an OAuth client authenticates, and names no header.
const OAUTH_METHODS: &[&str] = &[
    "client_secret_post",
    "client_secret_basic",
    "private_key_jwt",
    "none",
];

/// How the credentials of this provider are used: `params.auth_strategy`, or else what its
/// `auth_type` and the scalar members of `params` say.
#[must_use]
pub fn strategy_of(profile: &ProviderProfile) -> Strategy {
    let mut strategy = own_strategy(profile).unwrap_or_else(|| usual_strategy(profile));
    if strategy.kind == AuthType::Header.as_str() {
        // Clients put `Bearer ` before the value when nothing is said.
        strategy
            .config
            .entry("value_prefix".to_owned())
            .or_default();
    }
    strategy
}

/// What `auth_type` and the scalar members of `params` say.
fn usual_strategy(profile: &ProviderProfile) -> Strategy {
    let kind = match profile.auth_type {
        AuthType::Oauth2 | AuthType::Saml => {
            return Strategy {
                kind: profile.auth_type.as_str().to_owned(),
                config: BTreeMap::new(),
            };
        }
        AuthType::ApiKey | AuthType::Header => AuthType::Header,
        other @ (AuthType::QueryParam
        | AuthType::BasicAuth
        | AuthType::HmacPayload
        | AuthType::AwsSigv4
        | AuthType::Path) => other,
    };
    let mut config = scalars(&profile.params);
    if kind == AuthType::Header {
        complete_header(&mut config, profile);
    }
    for (name, default) in settings_of(kind) {
        if let Some(default) = default {
            config
                .entry((*name).to_owned())
                .or_insert_with(|| (*default).to_owned());
        }
    }
    Strategy {
        kind: kind.as_str().to_owned(),
        config,
    }
}

/// `params.auth_strategy`, which wins over the rest.
fn own_strategy(profile: &ProviderProfile) -> Option<Strategy> {
    let strategy = profile.params.get("auth_strategy")?;
    let kind = strategy
        .get("type")?
        .as_str()
        .filter(|kind| !kind.is_empty())?
        .to_owned();
    let config = strategy
        .get("config")
        .and_then(Value::as_object)
        .map(scalars)
        .unwrap_or_default();
    Some(Strategy { kind, config })
}

/// The settings among `params`, as texts. Secrets are none.
fn scalars(params: &Map<String, Value>) -> BTreeMap<String, String> {
    let settings = params
        .iter()
        .filter(|(name, _)| !NAMED_PARAMS.contains(&name.as_str()) && !is_secret(name));
    settings
        .filter_map(|(name, value)| Some((name.clone(), scalar(value)?)))
        .collect()
}

/// A scalar as the text it is sent and served as; none for what nests, and for null.
#[must_use]
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The header's name, and for an API key in `Authorization` the scheme before it.
fn complete_header(config: &mut BTreeMap<String, String>, profile: &ProviderProfile) {
    let param_name = config.remove("param_name");
    let auth_header = profile
        .auth_header
        .clone()
        .filter(|name| !OAUTH_METHODS.contains(&name.as_str()));
    let named = config
        .remove("header_name")
        .into_iter()
        .chain(param_name)
        .chain(auth_header)
        .find(|name| !name.is_empty());
    let header_name = named.unwrap_or_else(|| "Authorization".to_owned());
    if profile.auth_type == AuthType::ApiKey && header_name.eq_ignore_ascii_case("Authorization") {
        config
            .entry("value_prefix".to_owned())
            .or_insert_with(|| "Bearer ".to_owned());
    }
    config.insert("header_name".to_owned(), header_name);
}

/// The settings of a way, each with what it is when nothing is said.
const fn settings_of(kind: AuthType) -> &'static [(&'static str, Option<&'static str>)] {
    match kind {
        AuthType::ApiKey | AuthType::Header => &[
            ("header_name", Some("Authorization")),
            ("credential_field", Some("api_key")),
            ("value_prefix", None),
        ],
        AuthType::QueryParam => &[
            ("param_name", Some("api_key")),
            ("credential_field", Some("api_key")),
        ],
        AuthType::BasicAuth => &[
            ("username_field", Some("username")),
            ("password_field", Some("password")),
        ],
        AuthType::HmacPayload => &[
            ("header_name", Some("X-Signature")),
            ("secret_field", Some("secret")),
            ("algo", Some("sha256")),
            ("encoding", Some("hex")),
        ],
        AuthType::AwsSigv4 => &[("service", None), ("region", Some("us-east-1"))],
        AuthType::Oauth2 | AuthType::Saml | AuthType::Path => &[],
    }
}

/// The JSON Schema of the form that asks for this provider's credential: `params.credential_schema`,
/// or one made of the fields that its strategy uses. Fields with `"format": "password"` are masked.
#[must_use]
pub fn default_credential_schema(profile: &ProviderProfile) -> Value {
    if let Some(schema) = profile
        .params
        .get("credential_schema")
        .filter(|schema| schema.is_object())
    {
        return schema.clone();
    }
    let fields = fields_of(profile);
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name.as_str())
        .collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.clone(), field.schema()))
        .collect();
    json!({ "title": profile.name, "type": "object", "required": required, "properties": properties })
}

struct Field {
    name: String,
    secret: bool,
    required: bool,
}

impl Field {
    fn secret(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            secret: true,
            required: true,
        }
    }

    fn public(name: &str) -> Self {
        Self {
            secret: false,
            ..Self::secret(name)
        }
    }

    fn optional(self) -> Self {
        Self {
            required: false,
            ..self
        }
    }

    fn schema(&self) -> Value {
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "string".into());
        schema.insert("title".to_owned(), title(&self.name).into());
        if self.secret {
            schema.insert("format".to_owned(), "password".into());
        }
        if self.required {
            schema.insert("minLength".to_owned(), 1.into());
        }
        schema.into()
    }
}

/// `secret_key` as `Secret key`.
fn title(name: &str) -> String {
    let words = name.replace(['_', '-'], " ");
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

/// The fields of a credential that a strategy uses.
fn fields_of(profile: &ProviderProfile) -> Vec<Field> {
    let strategy = strategy_of(profile);
    let named = |setting: &str, default: &'static str| {
        strategy
            .config
            .get(setting)
            .map_or(default, String::as_str)
            .to_owned()
    };
    match strategy.kind.as_str() {
        "oauth2" | "saml" => Vec::new(),
        "basic_auth" => vec![
            Field::public(&named("username_field", "username")),
            Field::secret(&named("password_field", "password")),
        ],
        "hmac_payload" => vec![Field::secret(&named("secret_field", "secret"))],
        "aws_sigv4" => vec![
            Field::public("access_key"),
            Field::secret("secret_key"),
            Field::secret("session_token").optional(),
        ],
        "path" if !placeholders(profile).is_empty() => placeholders(profile)
            .iter()
            .map(|name| Field::secret(name))
            .collect(),
        _ => vec![Field::secret(&named("credential_field", "api_key"))],
    }
}

/// The names of the `{placeholder}`s in the provider's endpoint templates.
fn placeholders(profile: &ProviderProfile) -> BTreeSet<String> {
    let endpoints = [&profile.api_base_url, &profile.user_info_endpoint];
    let endpoints = endpoints.into_iter().flatten().cloned();
    let templates = endpoints.chain(strategy_of(profile).config.into_values());
    templates.flat_map(|template| names_in(&template)).collect()
}

fn names_in(template: &str) -> Vec<String> {
    let openings = template.split('{').skip(1);
    openings
        .filter_map(|opening| opening.split_once('}'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests;
