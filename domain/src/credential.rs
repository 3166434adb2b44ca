//! What a connection is for: the credential, in clear, before it is sealed and after it is opened.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretMap, to_secret_json};
use crate::time::Timestamp;

/// A credential in clear.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The tokens of an OAuth 2.0 provider.
    OAuth2(OAuth2Credential),
    /// What the user typed into a form.
    Static(StaticCredential),
}

/// The tokens of an OAuth 2.0 provider (RFC 6749, section 5.1).
#[derive(Clone, Debug, Deserialize)]
pub struct OAuth2Credential {
    /// The access token.
    pub access_token: Secret,
    /// How it is presented; usually `Bearer`.
    pub token_type: String,
    /// The refresh token, if the provider gave one.
    pub refresh_token: Option<Secret>,
    /// The ID token, if the provider gave one.
    pub id_token: Option<Secret>,
    /// The granted scopes.
    pub scope: Vec<String>,
    /// When the access token expires, if the provider told.
    pub expires_at: Option<Timestamp>,
    /// What else agents are given of the provider's answer, as texts: `params.token_answer.fields`.
    #[serde(default)]
    pub fields: SecretMap,
}

/// What the user typed into a form: the fields that the provider's credential schema names.
#[derive(Clone, Debug, Deserialize)]
pub struct StaticCredential {
    /// The fields.
    pub fields: SecretMap,
}

/// A plaintext is not a credential. It does not say why, for that would quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plaintext is not a credential")]
pub struct InvalidCredential;

impl Credential {
    /// The plaintext to be sealed: JSON, `{"oauth2":{…}}` or `{"static":{"fields":{…}}}`.
    #[must_use]
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        to_secret_json(&match self {
            Self::OAuth2(credential) => Written::OAuth2(credential.into()),
            Self::Static(credential) => Written::Static {
                fields: credential.fields.expose(),
            },
        })
    }

    /// Reads the plaintext of an opened blob. Members that are not known are passed over.
    ///
    /// # Errors
    /// [`InvalidCredential`].
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, InvalidCredential> {
        serde_json::from_slice(plaintext)
            .map_err(|_| InvalidCredential)
            .map(|read| match read {
                Read::OAuth2(credential) => Self::OAuth2(credential),
                Read::Static(credential) => Self::Static(credential),
            })
    }
}

/// The plaintext, read. It is tagged from outside because every other way of tagging makes serde
/// keep copies of the secrets until it has found the tag.
#[derive(Deserialize)]
enum Read {
    #[serde(rename = "oauth2")]
    OAuth2(OAuth2Credential),
    #[serde(rename = "static")]
    Static(StaticCredential),
}

/// The plaintext, to be written, of borrowed secrets.
#[derive(Serialize)]
enum Written<'a> {
    #[serde(rename = "oauth2")]
    OAuth2(WrittenOAuth2<'a>),
    #[serde(rename = "static")]
    Static { fields: &'a Map<String, Value> },
}

#[derive(Serialize)]
struct WrittenOAuth2<'a> {
    access_token: &'a str,
    token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
    scope: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: &'a Map<String, Value>,
}

impl<'a> From<&'a OAuth2Credential> for WrittenOAuth2<'a> {
    fn from(credential: &'a OAuth2Credential) -> Self {
        Self {
            access_token: credential.access_token.expose(),
            token_type: &credential.token_type,
            refresh_token: credential.refresh_token.as_ref().map(Secret::expose),
            id_token: credential.id_token.as_ref().map(Secret::expose),
            scope: &credential.scope,
            expires_at: credential.expires_at,
            fields: credential.fields.expose(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FULL: &str = r#"{"oauth2":{"access_token":"access-canary","token_type":"Bearer","refresh_token":"refresh-canary","id_token":"id-canary","scope":["openid","email"],"expires_at":"2026-11-24T15:04:05.123456Z"}}"#;
    const BARE: &str =
        r#"{"oauth2":{"access_token":"access-canary","token_type":"Bearer","scope":[]}}"#;
    const WITH_FIELDS: &str = r#"{"oauth2":{"access_token":"access-canary","token_type":"Bearer","scope":[],"fields":{"instance_url":"https://canary.test"}}}"#;
    const STATIC: &str = r#"{"static":{"fields":{"api_key":"static-canary","region":"eu"}}}"#;

    fn written(credential: &Credential) -> String {
        String::from_utf8(credential.to_plaintext().to_vec()).unwrap()
    }

    fn full() -> Credential {
        Credential::OAuth2(OAuth2Credential {
            access_token: Secret::new("access-canary"),
            token_type: "Bearer".into(),
            refresh_token: Some(Secret::new("refresh-canary")),
            id_token: Some(Secret::new("id-canary")),
            scope: vec!["openid".into(), "email".into()],
            expires_at: Some(Timestamp::from_micros(1_795_532_645_123_456)),
            fields: SecretMap::default(),
        })
    }

    fn typed() -> Credential {
        let fields =
            serde_json::from_value(json!({"api_key": "static-canary", "region": "eu"})).unwrap();
        Credential::Static(StaticCredential {
            fields: SecretMap::new(fields),
        })
    }

    #[test]
    fn the_plaintext_of_every_kind_is_frozen() {
        assert_eq!(written(&full()), FULL);
        assert_eq!(written(&typed()), STATIC);
    }

    #[test]
    fn a_frozen_plaintext_of_every_kind_reads_back() {
        for frozen in [FULL, BARE, WITH_FIELDS, STATIC] {
            assert_eq!(
                written(&Credential::from_plaintext(frozen.as_bytes()).unwrap()),
                frozen
            );
        }
    }

    #[test]
    fn what_the_provider_did_not_give_is_absent() {
        let Credential::OAuth2(credential) = Credential::from_plaintext(BARE.as_bytes()).unwrap()
        else {
            panic!("it is of the other kind");
        };
        assert_eq!(credential.access_token.expose(), "access-canary");
        assert!(
            credential.refresh_token.is_none()
                && credential.id_token.is_none()
                && credential.expires_at.is_none()
        );
    }

    #[test]
    fn a_member_of_a_later_time_is_passed_over() {
        let later = BARE.replace(r#""scope""#, r#""later":{"a":1},"scope""#);
        assert_eq!(
            written(&Credential::from_plaintext(later.as_bytes()).unwrap()),
            BARE
        );
    }

    #[test]
    fn what_is_not_a_credential_is_refused_without_quoting_it() {
        let malformed = [
            "",
            "canary",
            "\"canary\"",
            "{}",
            r#"{"canary":{}}"#,
            r#"{"oauth2":{}}"#,
            r#"{"oauth2":"canary"}"#,
            r#"{"oauth2":{"access_token":7,"token_type":"Bearer","scope":[]}}"#,
            r#"{"oauth2":{"access_token":"a","token_type":"Bearer","scope":[],"expires_at":"canary"}}"#,
            r#"{"oauth2":{"access_token":"a","token_type":"Bearer","scope":[]}} canary"#,
            r#"{"static":{"fields":["canary"]}}"#,
            r#"{"static":{},"oauth2":{}}"#,
        ];
        for text in malformed {
            let error = Credential::from_plaintext(text.as_bytes()).unwrap_err();
            assert_eq!(error, InvalidCredential, "{text}");
            assert_eq!(error.to_string(), "the plaintext is not a credential");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        for credential in [full(), typed()] {
            let shown = format!("{credential:?} {credential:#?}");
            assert!(
                shown.contains("[redacted]") && !shown.contains("canary"),
                "{shown}"
            );
        }
    }

    fn any_oauth2() -> impl Strategy<Value = Credential> {
        let secret = || any::<String>().prop_map(Secret::new);
        let expiry = any::<i64>().prop_map(Timestamp::from_micros);
        let parts = (
            secret(),
            any::<String>(),
            option::of(secret()),
            option::of(secret()),
            vec(any::<String>(), 0..3),
            option::of(expiry),
            vec((any::<String>(), any::<String>()), 0..3).prop_map(texts),
        );
        parts.prop_map(
            |(access_token, token_type, refresh_token, id_token, scope, expires_at, fields)| {
                Credential::OAuth2(OAuth2Credential {
                    access_token,
                    token_type,
                    refresh_token,
                    id_token,
                    scope,
                    expires_at,
                    fields,
                })
            },
        )
    }

    fn any_static() -> impl Strategy<Value = Credential> {
        vec((any::<String>(), any::<String>()), 0..4).prop_map(|fields| {
            Credential::Static(StaticCredential {
                fields: texts(fields),
            })
        })
    }

    fn texts(fields: Vec<(String, String)>) -> SecretMap {
        let fields = fields.into_iter();
        SecretMap::new(
            fields
                .map(|(name, text)| (name, Value::String(text)))
                .collect(),
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(credential in prop_oneof![any_oauth2(), any_static()]) {
            let plaintext = credential.to_plaintext();
            let read = Credential::from_plaintext(&plaintext).unwrap();
            prop_assert_eq!(read.to_plaintext(), plaintext);
        }
    }
}
