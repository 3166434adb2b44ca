//! Token endpoint answers as real providers give them.

use std::fmt;
use std::time::Duration;

use nexus_domain::secret::Secret;
use oauth2::basic::{BasicRevocationErrorResponse, BasicTokenIntrospectionResponse};
use oauth2::{
    AccessToken, Client, EndpointNotSet, ErrorResponse, RefreshToken, Scope,
    StandardRevocableToken, TokenResponse, TokenType,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The oauth2 crate's client over our reading of answers.
pub(super) type TokenClient<HasAuthUrl = EndpointNotSet, HasTokenUrl = EndpointNotSet> = Client<
    ErrorBody,
    TokenBody,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    HasAuthUrl,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    HasTokenUrl,
>;

/// A successful answer (RFC 6749 §5.1), read generously: the type may be absent or spelt in any case, the lifetime a
/// number or a string, the scope a string or an array; empty and null members count as absent.
///
/// It serializes only because the crate's trait asks for it, and to nothing.
#[derive(Serialize, Deserialize)]
pub(super) struct TokenBody {
    #[serde(skip_serializing, deserialize_with = "access_token")]
    pub(super) access_token: AccessToken,
    #[serde(skip_serializing, default, deserialize_with = "token_type")]
    pub(super) token_type: TypeName,
    #[serde(skip_serializing, default, deserialize_with = "expires_in")]
    pub(super) expires_in: Option<Duration>,
    #[serde(skip_serializing, default, deserialize_with = "refresh_token")]
    pub(super) refresh_token: Option<RefreshToken>,
    #[serde(skip_serializing, default, deserialize_with = "secret")]
    pub(super) id_token: Option<Secret>,
    #[serde(
        skip_serializing,
        default,
        rename = "scope",
        deserialize_with = "scopes"
    )]
    pub(super) scopes: Option<Vec<Scope>>,
}

impl fmt::Debug for TokenBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenBody")
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The token's type, `Bearer` in its usual spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TypeName(pub(super) String);

impl Default for TypeName {
    fn default() -> TypeName {
        TypeName("Bearer".to_owned())
    }
}

impl TokenType for TypeName {}

impl TokenResponse for TokenBody {
    type TokenType = TypeName;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &TypeName {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scopes.as_ref()
    }
}

/// A string that is not empty.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn access_token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccessToken, D::Error> {
    let token = text(deserializer)?;
    token
        .map(AccessToken::new)
        .ok_or_else(|| serde::de::Error::custom("there is no access token"))
}

fn refresh_token<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<RefreshToken>, D::Error> {
    Ok(text(deserializer)?.map(RefreshToken::new))
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(text(deserializer)?.map(Secret::new))
}

fn token_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TypeName, D::Error> {
    let named = text(deserializer)?.filter(|name| !name.eq_ignore_ascii_case("bearer"));
    Ok(named.map_or_else(TypeName::default, TypeName))
}

/// A lifetime that makes no sense is none: to refuse the answer for it would lose the tokens.
fn expires_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    Ok(seconds.and_then(|seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).ok()))
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Scope>>, D::Error> {
    let scope = |text: &str| Scope::new(text.to_owned());
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text.split_whitespace().map(scope).collect()),
        Value::Array(several) => Some(
            several
                .iter()
                .filter_map(Value::as_str)
                .map(scope)
                .collect(),
        ),
        _ => None,
    })
}

/// An error answer (RFC 6749 §5.2).
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: String,
    #[serde(default, deserialize_with = "description")]
    pub(super) error_description: Option<String>,
}

/// A description of another type than string is none.
fn description<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// Some providers repeat what they were sent.
impl fmt::Debug for ErrorBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ErrorBody").finish_non_exhaustive()
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the token endpoint answered with an error")
    }
}

impl ErrorResponse for ErrorBody {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> TokenBody {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn an_access_token_alone_is_enough() {
        let body = read(json!({"access_token": "t"}));
        assert_eq!(body.access_token.secret(), "t");
        assert_eq!(body.token_type.0, "Bearer");
        assert!(body.expires_in.is_none() && body.refresh_token.is_none());
        assert!(body.id_token.is_none() && body.scopes.is_none());
    }

    #[test]
    fn null_and_empty_members_count_as_absent() {
        let body = read(
            json!({"access_token": "t", "token_type": null, "expires_in": null, "refresh_token": "",
            "id_token": null, "scope": null, "extra": {"any": 1}}),
        );
        assert_eq!(body.token_type.0, "Bearer");
        assert!(body.expires_in.is_none() && body.refresh_token.is_none());
        assert!(body.id_token.is_none() && body.scopes.is_none());
    }

    #[test]
    fn the_type_is_read_in_any_case() {
        for (sent, read_as) in [("bearer", "Bearer"), ("BEARER", "Bearer"), ("DPoP", "DPoP")] {
            assert_eq!(
                read(json!({"access_token": "t", "token_type": sent}))
                    .token_type
                    .0,
                read_as
            );
        }
    }

    #[test]
    fn the_lifetime_is_a_number_or_a_string() {
        for (sent, seconds) in [
            (json!(3600), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(3600.0), Some(3600)),
            (json!(-5), Some(0)),
            (json!("soon"), None),
            (json!("NaN"), Some(0)),
            (json!(1e300), None),
        ] {
            let read = read(json!({"access_token": "t", "expires_in": sent})).expires_in;
            assert_eq!(read, seconds.map(Duration::from_secs), "{sent}");
        }
    }

    #[test]
    fn the_scope_is_a_string_or_an_array() {
        for sent in [json!("a  b"), json!(["a", "b"])] {
            let scopes = read(json!({"access_token": "t", "scope": sent}))
                .scopes
                .unwrap();
            assert_eq!(
                scopes,
                [Scope::new("a".to_owned()), Scope::new("b".to_owned())]
            );
        }
        assert_eq!(
            read(json!({"access_token": "t", "scope": ""})).scopes,
            Some(vec![])
        );
    }

    #[test]
    fn an_answer_without_an_access_token_is_none() {
        for body in [
            json!({}),
            json!({"access_token": null}),
            json!({"access_token": ""}),
            json!({"access_token": 1}),
        ] {
            assert!(serde_json::from_value::<TokenBody>(body).is_err());
        }
    }

    #[test]
    fn neither_debug_nor_serialization_shows_a_token() {
        let body = read(
            json!({"access_token": "s3cret", "refresh_token": "s3cret", "id_token": "s3cret"}),
        );
        assert!(!format!("{body:?}").contains("s3cret"));
        assert_eq!(serde_json::to_value(&body).unwrap(), json!({}));
    }
}
