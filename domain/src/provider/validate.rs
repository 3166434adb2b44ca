//! What must be true of a profile.

use serde_json::Value;
use url::Url;

use super::profile::present;
use super::{AuthType, InvalidProfile, ProviderProfile};
use crate::credential_check;
use crate::strategy::{self, is_token};
use crate::token_reading;

const NAME_LENGTH: usize = 64;
const A_DAY: u64 = 86_400;

type Validity = Result<(), InvalidProfile>;

impl ProviderProfile {
    /// Whether it may be registered. Nothing is resolved or fetched: URLs are checked as literals.
    ///
    /// # Errors
    /// The first rule that it breaks. Of `name`, the wire has a code of its own.
    pub fn validate(&self, has_client_secret: bool) -> Result<(), InvalidProfile> {
        self.validate_name()?;
        self.validate_urls()?;
        self.validate_params()?;
        match self.auth_type {
            AuthType::Saml => broken("auth_type", "`saml` is reserved"),
            AuthType::Oauth2 => self.validate_oauth2(has_client_secret),
            AuthType::ApiKey | AuthType::Header => self.validate_header_name(),
            AuthType::QueryParam
            | AuthType::BasicAuth
            | AuthType::HmacPayload
            | AuthType::AwsSigv4
            | AuthType::Path => Ok(()),
        }?;
        strategy::check(self)
    }

    fn validate_name(&self) -> Validity {
        let name = self.name.trim();
        rule(!name.is_empty(), "name", "must not be empty")?;
        rule(
            name.chars().count() <= NAME_LENGTH,
            "name",
            "must not be longer than 64 characters",
        )?;
        rule(
            !name.contains(|c: char| c.is_control() || c == '/'),
            "name",
            "must not hold control characters or `/`",
        )
    }

    fn validate_urls(&self) -> Validity {
        for (field, url) in self.urls() {
            validate_url(field, url)?;
        }
        if let Some(template) = present(self.api_base_url.as_ref()) {
            validate_url("api_base_url", &fill_template(template))?;
        }
        // It may be a path below `api_base_url`.
        match present(self.user_info_endpoint.as_ref()) {
            Some(url) if !url.starts_with('/') => {
                validate_url("user_info_endpoint", &fill_template(url))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn validate_params(&self) -> Validity {
        for (name, value) in &self.params {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("revocation_endpoint", value) => {
                    rule(value.is_string(), "params.revocation_endpoint", NOT_A_URL)?;
                }
                ("refresh_rotation", value) => validate_rotation(value)?,
                ("refresh_reuse_grace_seconds", value) => rule(
                    value.as_u64().is_some_and(|seconds| seconds <= A_DAY),
                    "params.refresh_reuse_grace_seconds",
                    "must be a whole number of seconds from 0 to 86400",
                )?,
                ("skip_scope_on_auth", value) => {
                    rule(
                        value.is_boolean(),
                        "params.skip_scope_on_auth",
                        NOT_A_SWITCH,
                    )?;
                }
                ("skip_scope_on_exchange", value) => rule(
                    value.is_boolean(),
                    "params.skip_scope_on_exchange",
                    NOT_A_SWITCH,
                )?,
                ("id_token_as_access_token", value) => {
                    let field = "params.id_token_as_access_token";
                    rule(value.is_boolean(), field, NOT_A_SWITCH)?;
                    let verifiable = self.issuer.is_some() || *value == Value::Bool(false);
                    rule(verifiable, field, "needs an `issuer` to verify id tokens")?;
                }
                ("scope_separator", value) => rule(
                    value
                        .as_str()
                        .is_some_and(|text| (1..=3).contains(&text.len())),
                    "params.scope_separator",
                    "must be one to three characters",
                )?,
                ("token_request_format", value) => rule(
                    matches!(value.as_str(), Some("form" | "json")),
                    "params.token_request_format",
                    "must be `form` or `json`",
                )?,
                ("basic_auth_encoding", value) => rule(
                    matches!(value.as_str(), Some("form" | "none")),
                    "params.basic_auth_encoding",
                    "must be `form` or `none`",
                )?,
                ("error_in_200", value) => validate_error_in_200(value)?,
                ("token_answer", value) => token_reading::check(value)?,
                ("invalid_grant_status", value) => rule(
                    value
                        .as_u64()
                        .is_some_and(|status| (400..500).contains(&status) && status != 429),
                    "params.invalid_grant_status",
                    "must be a status from 400 to 499 and not 429",
                )?,
                ("credential_schema", value) => rule(
                    value.is_object(),
                    "params.credential_schema",
                    "must be a JSON Schema in an object",
                )?,
                ("auth_strategy", value) => validate_strategy(value)?,
                ("validation", value) => credential_check::check(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn validate_oauth2(&self, has_client_secret: bool) -> Validity {
        let needs_secret = match present(self.auth_header.as_ref()) {
            None | Some("client_secret_post" | "client_secret_basic") => true,
            Some("none") => false,
            Some("private_key_jwt") => {
                self.validate_private_key()?;
                false
            }
            Some(_) => {
                return broken(
                    "auth_header",
                    "must be `client_secret_post`, `client_secret_basic`, `private_key_jwt` or `none`",
                );
            }
        };
        rule(
            present(self.client_id.as_ref()).is_some(),
            "client_id",
            "is required for `oauth2`",
        )?;
        rule(
            has_client_secret || !needs_secret,
            "client_secret",
            "is required for `oauth2` unless `auth_header` is `none` or `private_key_jwt`",
        )?;
        if self.enable_discovery && present(self.issuer.as_ref()).is_some() {
            return Ok(());
        }
        let message = "is required for `oauth2` without an `issuer` and `enable_discovery`";
        rule(
            present(self.auth_url.as_ref()).is_some(),
            "auth_url",
            message,
        )?;
        rule(
            present(self.token_url.as_ref()).is_some(),
            "token_url",
            message,
        )
    }

    /// What is public of the key that the client signs assertions with (RFC 7523). Whether the key itself can be read
    /// is for whoever holds it to say.
    fn validate_private_key(&self) -> Validity {
        let text = |name: &str| self.params.get(name).and_then(Value::as_str);
        rule(
            text("private_key").is_some_and(|key| !key.is_empty()),
            "params.private_key",
            "is required for `private_key_jwt`: a private key in PEM (PKCS#8)",
        )?;
        match self.params.get("private_key_id") {
            None | Some(Value::Null) => {}
            Some(id) => rule(
                id.as_str().is_some_and(|id| (1..=255).contains(&id.len())),
                "params.private_key_id",
                "must be a text of 1 to 255 characters",
            )?,
        }
        match self.params.get("private_key_alg") {
            None | Some(Value::Null) => Ok(()),
            Some(algorithm) => rule(
                matches!(
                    algorithm.as_str(),
                    Some("RS256" | "PS256" | "ES256" | "EdDSA")
                ),
                "params.private_key_alg",
                "must be `RS256`, `PS256`, `ES256` or `EdDSA`",
            ),
        }
    }

    fn validate_header_name(&self) -> Validity {
        let named = self
            .params
            .get("header_name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        rule(
            is_token(named),
            "params.header_name",
            "must be the name of a header",
        )?;
        rule(
            is_token(self.auth_header.as_deref().unwrap_or_default()),
            "auth_header",
            "must be the name of a header",
        )
    }
}

const NOT_A_URL: &str = "must be an absolute http or https URL without a user or a fragment";

fn validate_url(field: &'static str, url: &str) -> Validity {
    let accepted = Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    // The parser forgives `https:host`, backslashes and blanks; other readers of the URL may not.
    let literal = url
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case("https://"))
        || url
            .get(..7)
            .is_some_and(|start| start.eq_ignore_ascii_case("http://"));
    rule(
        accepted
            && literal
            && !url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\'),
        field,
        NOT_A_URL,
    )
}

/// A template with each `{placeholder}` replaced by a letter.
fn fill_template(template: &str) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{')
        && let Some((_, behind)) = after.split_once('}')
    {
        filled.push_str(before);
        filled.push('x');
        rest = behind;
    }
    filled + rest
}

fn validate_rotation(value: &Value) -> Validity {
    let known = matches!(value.as_str(), Some("auto" | "always" | "never"));
    rule(
        known,
        "params.refresh_rotation",
        "must be `auto`, `always` or `never`",
    )
}

const NOT_A_SWITCH: &str = "must be true or false";

/// A JSON pointer (RFC 6901), and the values there that mean an error.
fn validate_error_in_200(value: &Value) -> Validity {
    let pointer = value.get("pointer").and_then(Value::as_str);
    let values = value.get("values").and_then(Value::as_array);
    rule(
        pointer.is_some_and(|pointer| pointer.starts_with('/'))
            && values.is_some_and(|values| !values.is_empty()),
        "params.error_in_200",
        "must have a `pointer` such as `/ok` and some `values`",
    )
}

fn validate_strategy(value: &Value) -> Validity {
    let named = value
        .get("type")
        .and_then(Value::as_str)
        .is_some_and(|kind| !kind.is_empty());
    rule(
        named,
        "params.auth_strategy",
        "must be an object with a `type`",
    )?;
    let configured = value
        .get("config")
        .is_none_or(|config| config.is_object() || config.is_null());
    rule(
        configured,
        "params.auth_strategy",
        "must have an object as its `config`",
    )
}

const fn broken(field: &'static str, message: &'static str) -> Validity {
    Err(InvalidProfile::new(field, message))
}

const fn rule(holds: bool, field: &'static str, message: &'static str) -> Validity {
    if holds {
        Ok(())
    } else {
        broken(field, message)
    }
}

#[cfg(test)]
mod tests;
