//! A provider's public settings.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    pub enable_discovery: bool,
    /// What is asked for when a request names no scopes.
    pub scopes: Vec<String>,
    /// Where agents find the provider's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_base_url: Option<String>,
    /// Where agents find out about the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_info_endpoint: Option<String>,
    /// Further authorization parameters for `oauth2`, strategy configuration for static types, and
    /// the settings that the contract names. Secrets in it are masked.
    pub params: Map<String, Value>,
}
