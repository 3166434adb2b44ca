//! A provider's public settings.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::connection::Rotation;

/// How a provider's accounts are authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
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

    /// `params.revocation_endpoint` (RFC 7009).
    #[must_use]
    pub fn revocation_endpoint(&self) -> Option<&str> {
        self.params.get("revocation_endpoint").and_then(Value::as_str).filter(|url| !url.is_empty())
    }

    /// The URLs that this program itself calls or sends users to, and which are given: each with
    /// its field.
    #[must_use]
    pub fn urls(&self) -> Vec<(&'static str, &str)> {
        let fields = [
            ("auth_url", present(self.auth_url.as_ref())),
            ("token_url", present(self.token_url.as_ref())),
            ("issuer", present(self.issuer.as_ref())),
            ("params.revocation_endpoint", self.revocation_endpoint()),
        ];
        fields.into_iter().filter_map(|(field, url)| Some((field, url?))).collect()
    }

    /// Whom it entrusts with secrets and tokens: the field, and the scheme, host and port of its
    /// URL, as `https://accounts.example.test`.
    #[must_use]
    pub fn upstream_hosts(&self) -> Vec<(&'static str, String)> {
        let entrusted = self.urls().into_iter().filter(|(field, _)| *field != "auth_url");
        entrusted.filter_map(|(field, url)| Some((field, origin(url)?))).collect()
    }

    /// The first field of `next` that entrusts a host which this profile does not. A caller who
    /// changes one must give the client secret again, and the provider's epoch rises.
    #[must_use]
    pub fn changed_host(&self, next: &Self) -> Option<&'static str> {
        let trusted = self.upstream_hosts();
        let is_trusted = |host: &String| trusted.iter().any(|(_, known)| known == host);
        next.upstream_hosts().into_iter().find(|(_, host)| !is_trusted(host)).map(|(field, _)| field)
    }

    /// The names of the fields in which `next` differs.
    pub(super) fn differences(&self, next: &Self) -> Vec<String> {
        let fields = |profile| match serde_json::to_value(profile) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        };
        let (old, new): (Map<_, _>, Map<_, _>) = (fields(self), fields(next));
        let mut changed: Vec<String> = old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).cloned().collect();
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
