//! A strategy, read and checked: which way, with settings that are known to make sense.

use super::{Strategy, settings_of};
use crate::provider::AuthType;

/// How a credential goes into a request. The `…_field`s name members of the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The access token as a bearer token (RFC 6750, section 2.1).
    Bearer,
    /// A field in a header, after a prefix.
    Header {
        /// The header.
        name: String,
        /// The field.
        field: String,
        /// What stands before it.
        prefix: String,
    },
    /// A field in the query.
    QueryParam {
        /// The parameter.
        name: String,
        /// The field.
        field: String,
    },
    /// HTTP Basic (RFC 7617).
    BasicAuth {
        /// The field with the user's name.
        username_field: String,
        /// The field with the password.
        password_field: String,
    },
    /// An HMAC (RFC 2104) of the body in a header.
    HmacPayload {
        /// The header.
        header_name: String,
        /// The field with the key.
        secret_field: String,
        /// Over which hash.
        algo: HmacAlgo,
        /// How the signature is written.
        encoding: Encoding,
    },
    /// AWS Signature Version 4, by `access_key`, `secret_key` and perhaps `session_token`.
    AwsSigv4 {
        /// The service. Without one, nothing can be signed here.
        service: Option<String>,
        /// The region.
        region: String,
    },
    /// Fields in the URL, where its template has `{field}`.
    Path,
}

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacAlgo {
    /// SHA-256.
    Sha256,
    /// SHA-1.
    Sha1,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, in small letters (RFC 4648, section 8).
    Hex,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
}

/// A setting that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` {message}")]
pub struct InvalidSetting {
    /// The setting.
    pub setting: &'static str,
    /// What must be true of it: the end of a sentence that begins with its name.
    pub message: &'static str,
}

/// Headers that say where a message goes or where it ends.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Scheme {
    /// What a strategy says; none for a way of the provider's own, which only its agents know.
    ///
    /// # Errors
    /// [`InvalidSetting`], the first one.
    pub fn of(strategy: &Strategy) -> Result<Option<Self>, InvalidSetting> {
        let kind = kind_of(strategy);
        let settings = Settings { strategy, kind };
        Ok(Some(match kind {
            None | Some(AuthType::Saml) => return Ok(None),
            Some(AuthType::Oauth2) => Self::Bearer,
            Some(AuthType::ApiKey | AuthType::Header) => settings.header()?,
            Some(AuthType::QueryParam) => Self::QueryParam {
                name: settings.name("param_name")?,
                field: settings.name("credential_field")?,
            },
            Some(AuthType::BasicAuth) => Self::BasicAuth {
                username_field: settings.name("username_field")?,
                password_field: settings.name("password_field")?,
            },
            Some(AuthType::HmacPayload) => settings.hmac()?,
            Some(AuthType::AwsSigv4) => Self::AwsSigv4 {
                service: settings.scope("service")?,
                region: settings
                    .scope("region")?
                    .unwrap_or_else(|| "us-east-1".to_owned()),
            },
            Some(AuthType::Path) => Self::Path,
        }))
    }
}

/// The way that a strategy's type names.
pub(super) fn kind_of(strategy: &Strategy) -> Option<AuthType> {
    match strategy.kind.as_str() {
        "bearer" => Some(AuthType::ApiKey),
        kind => AuthType::parse(kind),
    }
}

/// A strategy's settings, with those that are known when nothing is said.
struct Settings<'a> {
    strategy: &'a Strategy,
    kind: Option<AuthType>,
}

impl Settings<'_> {
    fn text(&self, setting: &str) -> Option<&str> {
        let said = self.strategy.config.get(setting).map(String::as_str);
        said.or_else(|| {
            let mut known = settings_of(self.kind?).iter();
            known.find_map(|(name, default)| (*name == setting).then_some(*default)?)
        })
    }

    fn name(&self, setting: &'static str) -> Result<String, InvalidSetting> {
        let name = self.text(setting).unwrap_or_default();
        rule(!name.is_empty(), setting, "must not be empty")?;
        Ok(name.to_owned())
    }

    fn header_name(&self) -> Result<String, InvalidSetting> {
        let name = self.name("header_name")?;
        let message = "must be the name of a header";
        rule(is_token(&name), "header_name", message)?;
        let message = "must not be a header that says where a message goes or ends";
        rule(!is_framing(&name), "header_name", message)?;
        Ok(name)
    }

    fn header(&self) -> Result<Scheme, InvalidSetting> {
        let name = self.header_name()?;
        let bearer =
            self.kind == Some(AuthType::ApiKey) && name.eq_ignore_ascii_case("Authorization");
        let usual = if bearer { "Bearer " } else { "" };
        let prefix = self.text("value_prefix").unwrap_or(usual);
        let fits = prefix
            .bytes()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        rule(fits, "value_prefix", "must be what a header can hold")?;
        Ok(Scheme::Header {
            prefix: prefix.to_owned(),
            field: self.name("credential_field")?,
            name,
        })
    }

    fn hmac(&self) -> Result<Scheme, InvalidSetting> {
        let algo = match self.text("algo") {
            Some("sha256") => HmacAlgo::Sha256,
            Some("sha1") => HmacAlgo::Sha1,
            Some(_) | None => return Err(broken("algo", "must be `sha256` or `sha1`")),
        };
        let encoding = match self.text("encoding") {
            Some("hex") => Encoding::Hex,
            Some("base64") => Encoding::Base64,
            Some(_) | None => return Err(broken("encoding", "must be `hex` or `base64`")),
        };
        Ok(Scheme::HmacPayload {
            header_name: self.header_name()?,
            secret_field: self.name("secret_field")?,
            algo,
            encoding,
        })
    }

    /// A part of a signature's scope, which slashes separate.
    fn scope(&self, setting: &'static str) -> Result<Option<String>, InvalidSetting> {
        let part = self.text(setting).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let message = "must be letters, digits and hyphens";
        rule(part.bytes().all(plain), setting, message)?;
        Ok((!part.is_empty()).then(|| part.to_owned()))
    }
}

/// Whether it has the characters of an HTTP field name (RFC 9110, section 5.1); it may be empty.
pub(crate) fn is_token(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether it is the name of a header that says where a message goes or ends.
pub(crate) fn is_framing(name: &str) -> bool {
    FRAMING
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
}

const fn broken(setting: &'static str, message: &'static str) -> InvalidSetting {
    InvalidSetting { setting, message }
}

const fn rule(
    holds: bool,
    setting: &'static str,
    message: &'static str,
) -> Result<(), InvalidSetting> {
    if holds {
        Ok(())
    } else {
        Err(broken(setting, message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: &str, config: &Value) -> Result<Option<Scheme>, InvalidSetting> {
        let strategy = json!({"type": kind, "config": config});
        Scheme::of(&serde_json::from_value(strategy).unwrap())
    }

    fn header(name: &str, prefix: &str) -> Scheme {
        Scheme::Header {
            name: name.to_owned(),
            field: "api_key".to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn every_way_has_its_settings_when_nothing_is_said() {
        let text = str::to_owned;
        let hmac = Scheme::HmacPayload {
            header_name: text("X-Signature"),
            secret_field: text("secret"),
            algo: HmacAlgo::Sha256,
            encoding: Encoding::Hex,
        };
        let query = Scheme::QueryParam {
            name: text("api_key"),
            field: text("api_key"),
        };
        let basic = Scheme::BasicAuth {
            username_field: text("username"),
            password_field: text("password"),
        };
        let aws = Scheme::AwsSigv4 {
            service: None,
            region: text("us-east-1"),
        };
        for (kind, scheme) in [
            ("oauth2", Scheme::Bearer),
            ("api_key", header("Authorization", "Bearer ")),
            ("bearer", header("Authorization", "Bearer ")),
            ("header", header("Authorization", "")),
            ("query_param", query),
            ("basic_auth", basic),
            ("hmac_payload", hmac),
            ("aws_sigv4", aws),
            ("path", Scheme::Path),
        ] {
            assert_eq!(read(kind, &json!({})), Ok(Some(scheme)), "{kind}");
        }
    }

    #[test]
    fn what_is_said_counts() {
        let config = json!({"header_name": "X-Key", "value_prefix": "Token "});
        assert_eq!(read("header", &config), Ok(Some(header("X-Key", "Token "))));
        let raw = json!({"value_prefix": ""});
        assert_eq!(read("api_key", &raw), Ok(Some(header("Authorization", ""))));
        let config = json!({"service": "s3", "region": "eu-central-1"});
        let aws = Scheme::AwsSigv4 {
            service: Some("s3".to_owned()),
            region: "eu-central-1".to_owned(),
        };
        assert_eq!(read("aws_sigv4", &config), Ok(Some(aws)));
    }

    #[test]
    fn a_way_of_the_providers_own_is_none_of_ours() {
        for kind in ["own", "saml"] {
            assert_eq!(read(kind, &json!({"algo": "md5"})), Ok(None));
        }
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        for (kind, setting, value) in [
            ("header", "header_name", ""),
            ("header", "header_name", "X Key:"),
            ("header", "header_name", "Transfer-Encoding"),
            ("hmac_payload", "header_name", "host"),
            ("header", "credential_field", ""),
            ("header", "value_prefix", "Token\r\nX-Other: "),
            ("query_param", "param_name", ""),
            ("basic_auth", "username_field", ""),
            ("basic_auth", "password_field", ""),
            ("hmac_payload", "secret_field", ""),
            ("hmac_payload", "algo", "md5"),
            ("hmac_payload", "algo", "SHA256"),
            ("hmac_payload", "encoding", "base32"),
            ("aws_sigv4", "service", "s3/aws4_request"),
            ("aws_sigv4", "region", "eu west"),
        ] {
            let refused = read(kind, &json!({setting: value})).unwrap_err();
            assert_eq!(refused.setting, setting, "{kind} {value}");
        }
    }
}
