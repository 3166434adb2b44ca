//! A provider's public settings.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::connection::Rotation;

/// Members of `params` that configure the vault. Every other one is an authorization parameter
/// (`oauth2`) or configures the strategy (static types).
pub const NAMED_PARAMS: &[&str] = &[
    "auth_strategy",
    "basic_auth_encoding",
    "credential_schema",
    "error_in_200",
    "id_token_as_access_token",
    "invalid_grant_status",
    "refresh_reuse_grace_seconds",
    "refresh_rotation",
    "revocation_endpoint",
    "scope_separator",
    "skip_scope_on_auth",
    "skip_scope_on_exchange",
    "token_answer",
    "token_request_format",
    "validation",
];

/// How a provider's accounts are authenticated.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AuthType {
    /// OAuth 2.0 or `OpenID` Connect, by the user's consent.
    #[default]
    Oauth2,
    /// Reserved: no profile of this type is accepted.
    Saml,
    /// A key in a header.
    ApiKey,
    /// A value in a header.
    Header,
    /// A value in the query.
    QueryParam,
    /// HTTP Basic (RFC 7617).
    BasicAuth,
    /// A signature over the request's body.
    HmacPayload,
    /// AWS Signature Version 4.
    AwsSigv4,
    /// A value in the path.
    Path,
}

impl AuthType {
    const ALL: [Self; 9] = [
        Self::Oauth2,
        Self::Saml,
        Self::ApiKey,
        Self::Header,
        Self::QueryParam,
        Self::BasicAuth,
        Self::HmacPayload,
        Self::AwsSigv4,
        Self::Path,
    ];

    /// The one that is written so on the wire.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oauth2 => "oauth2",
            Self::Saml => "saml",
            Self::ApiKey => "api_key",
            Self::Header => "header",
            Self::QueryParam => "query_param",
            Self::BasicAuth => "basic_auth",
            Self::HmacPayload => "hmac_payload",
            Self::AwsSigv4 => "aws_sigv4",
            Self::Path => "path",
        }
    }
}

/// A provider's public settings, with the names of the wire. An absent field and an empty one are
/// different: what is stored is what is returned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderProfile {
    /// What people and agents call it; unique by [`Self::name_key`].
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How its accounts are authenticated.
    #[serde(deserialize_with = "null_is_default")]
    pub auth_type: AuthType,
    /// For `oauth2`, how the client authenticates at the token endpoint; for `api_key`, the
    /// header's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_header: Option<String>,
    /// The OAuth client's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The authorization endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_url: Option<String>,
    /// The token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// The `OpenID` Connect issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Whether the endpoints come from the issuer's discovery document.
    #[serde(deserialize_with = "null_is_default")]
    pub enable_discovery: bool,
    /// What is asked for when a request names no scopes.
    #[serde(deserialize_with = "null_is_default")]
    pub scopes: Vec<String>,
    /// Where agents find the provider's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_base_url: Option<String>,
    /// Where agents find out about the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_info_endpoint: Option<String>,
    /// Further authorization parameters for `oauth2`, strategy configuration for static types, and
    /// the settings that the contract names. Secrets in it are masked.
    #[serde(deserialize_with = "null_is_default")]
    pub params: Map<String, Value>,
    /// Whether a client secret is among its sealed secrets. What a caller says here does not
    /// count: whoever seals secrets says it of them, and while they stay, it stays.
    #[serde(deserialize_with = "null_is_default")]
    pub has_client_secret: bool,
}

/// On the wire, `null` clears a field.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl ProviderProfile {
    /// What its name is unique by: the name without regard to case.
    #[must_use]
    pub fn name_key(&self) -> String {
        // Upper case first: letters with more than one lower case form (σ, ς) then agree.
        self.name.trim().to_uppercase().to_lowercase()
    }

    /// Whether the provider replaces a refresh token when it is redeemed: `params.refresh_rotation`.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        match self.params.get("refresh_rotation").and_then(Value::as_str) {
            Some("always") => Rotation::Always,
            Some("never") => Rotation::Never,
            Some(_) | None => Rotation::Auto,
        }
    }

    /// How long after its first use it takes a refresh token again, although it has replaced it:
    /// `params.refresh_reuse_grace_seconds`. None when it does not.
    #[must_use]
    pub fn reuse_grace(&self) -> Option<Duration> {
        let seconds = self.params.get("refresh_reuse_grace_seconds")?.as_u64()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// `params.revocation_endpoint` (RFC 7009).
    #[must_use]
    pub fn revocation_endpoint(&self) -> Option<&str> {
        self.params
            .get("revocation_endpoint")
            .and_then(Value::as_str)
            .filter(|url| !url.is_empty())
    }

    /// Where the provider says who the user is: `user_info_endpoint`, absolute or below
    /// `api_base_url`. It may be a template.
    #[must_use]
    pub fn user_info_url(&self) -> Option<String> {
        let endpoint = present(self.user_info_endpoint.as_ref())?;
        if !endpoint.starts_with('/') {
            return Some(endpoint.to_owned());
        }
        let base = present(self.api_base_url.as_ref())?;
        Some(format!("{}{endpoint}", base.trim_end_matches('/')))
    }

    /// The URLs of its OAuth endpoints, which are called or which users are sent to, and which are
    /// given: each with its field.
    #[must_use]
    pub fn urls(&self) -> Vec<(&'static str, &str)> {
        let fields = [
            ("auth_url", present(self.auth_url.as_ref())),
            ("token_url", present(self.token_url.as_ref())),
            ("issuer", present(self.issuer.as_ref())),
            ("params.revocation_endpoint", self.revocation_endpoint()),
        ];
        fields
            .into_iter()
            .filter_map(|(field, url)| Some((field, url?)))
            .collect()
    }

    /// Whom it entrusts with secrets and tokens: the field, and the scheme, host and port of its
    /// URL, as `https://accounts.example.test`.
    #[must_use]
    pub fn upstream_hosts(&self) -> Vec<(&'static str, String)> {
        let entrusted = self
            .urls()
            .into_iter()
            .filter(|(field, _)| *field != "auth_url");
        entrusted
            .filter_map(|(field, url)| Some((field, origin(url)?)))
            .collect()
    }

    /// The first field of `next` that entrusts a host which this profile does not. A caller who
    /// changes one must give the client secret again, and the provider's epoch rises.
    #[must_use]
    pub fn changed_host(&self, next: &Self) -> Option<&'static str> {
        let trusted = self.upstream_hosts();
        let is_trusted = |host: &String| trusted.iter().any(|(_, known)| known == host);
        next.upstream_hosts()
            .into_iter()
            .find(|(_, host)| !is_trusted(host))
            .map(|(field, _)| field)
    }

    /// The names of the fields in which `next` differs.
    pub(super) fn differences(&self, next: &Self) -> Vec<String> {
        let fields = |profile| match serde_json::to_value(profile) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        };
        let (old, new): (Map<_, _>, Map<_, _>) = (fields(self), fields(next));
        let mut changed: Vec<String> = old
            .keys()
            .chain(new.keys())
            .filter(|name| old.get(*name) != new.get(*name))
            .cloned()
            .collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

/// A text that is neither absent nor empty.
pub(super) fn present(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn origin(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> ProviderProfile {
        serde_json::from_value(value).unwrap()
    }

    fn named(name: &str) -> ProviderProfile {
        ProviderProfile {
            name: name.to_owned(),
            ..ProviderProfile::default()
        }
    }

    #[test]
    fn what_is_stored_is_what_is_returned() {
        let full = json!({
            "name": "Example", "description": "", "category": "c", "auth_type": "header", "auth_header": "X-Key", "client_id": "c", "auth_url": "https://a.test",
            "token_url": "https://t.test", "issuer": "https://i.test", "enable_discovery": false, "scopes": ["a", "b"], "api_base_url": "https://b.test",
            "user_info_endpoint": "/me", "params": {"n": 1.5, "o": {"z": [null], "a": true}}, "has_client_secret": false,
        });
        assert_eq!(serde_json::to_value(read(full.clone())).unwrap(), full);
    }

    #[test]
    fn absent_and_null_fields_have_their_defaults() {
        let null = json!({"name": "x", "auth_type": null, "client_id": null, "enable_discovery": null, "scopes": null, "params": null, "unknown": 1});
        assert_eq!(read(null), read(json!({"name": "x"})));
        let stored = json!({"name": "x", "auth_type": "oauth2", "enable_discovery": false, "scopes": [], "params": {}, "has_client_secret": false});
        assert_eq!(serde_json::to_value(named("x")).unwrap(), stored);
    }

    #[test]
    fn an_auth_type_is_written_as_it_is_read() {
        for name in [
            "oauth2",
            "saml",
            "api_key",
            "header",
            "query_param",
            "basic_auth",
            "hmac_payload",
            "aws_sigv4",
            "path",
        ] {
            let auth_type: AuthType = serde_json::from_value(json!(name)).unwrap();
            assert_eq!(AuthType::parse(name), Some(auth_type));
            assert_eq!(
                (auth_type.as_str(), serde_json::to_value(auth_type).unwrap()),
                (name, json!(name))
            );
        }
    }

    #[test]
    fn names_are_the_same_without_regard_to_case_and_blanks_around() {
        for (one, other) in [
            ("Google", " gOOGLE "),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("Straße", "STRASSE"),
            ("é", "É"),
        ] {
            assert_eq!(named(one).name_key(), named(other).name_key());
        }
        assert_ne!(named("google").name_key(), named("google 2").name_key());
    }

    #[test]
    fn rotation_is_found_out_unless_it_is_said() {
        for (params, rotation) in [
            (json!({}), Rotation::Auto),
            (json!({"refresh_rotation": "auto"}), Rotation::Auto),
            (json!({"refresh_rotation": "always"}), Rotation::Always),
            (json!({"refresh_rotation": "never"}), Rotation::Never),
        ] {
            assert_eq!(read(json!({"params": params})).rotation(), rotation);
        }
    }

    #[test]
    fn a_provider_takes_refresh_tokens_again_only_where_it_is_said() {
        for (params, grace) in [
            (json!({}), None),
            (json!({"refresh_reuse_grace_seconds": null}), None),
            (json!({"refresh_reuse_grace_seconds": 0}), None),
            (
                json!({"refresh_reuse_grace_seconds": 30}),
                Some(Duration::from_secs(30)),
            ),
        ] {
            assert_eq!(read(json!({"params": params})).reuse_grace(), grace);
        }
    }

    #[test]
    fn the_hosts_that_are_sent_secrets_are_known() {
        let profile = read(json!({
            "auth_url": "https://a.test/", "token_url": "https://T.test:443/token", "issuer": "http://i.test:8080", "params": {"revocation_endpoint": "https://r.test/x"},
        }));
        let hosts = [
            ("token_url", "https://t.test"),
            ("issuer", "http://i.test:8080"),
            ("params.revocation_endpoint", "https://r.test"),
        ];
        assert_eq!(
            profile.upstream_hosts(),
            hosts.map(|(field, host)| (field, host.to_owned()))
        );
        assert_eq!(
            profile.urls().first(),
            Some(&("auth_url", "https://a.test/"))
        );
        assert_eq!(named("x").urls(), []);
    }

    proptest! {
        #[test]
        fn a_name_and_its_cases_have_one_key(name in "\\PC{1,12}") {
            prop_assert_eq!(named(&name).name_key(), named(&name.to_uppercase()).name_key());
        }
    }
}
