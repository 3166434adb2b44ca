//! Which settings a provider may have. Nothing is resolved or fetched.

use serde_json::Value;
use url::Url;

use super::{AuthType, ProviderProfile};

/// The longest name, in characters.
const MAX_NAME: usize = 64;

/// A setting is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidProfile {
    /// The setting, as it is written on the wire.
    pub field: String,
    /// What is wrong with it, as a clause.
    pub message: String,
}

type Valid = Result<(), InvalidProfile>;

fn invalid(field: &str, message: impl Into<String>) -> Valid {
    Err(InvalidProfile { field: field.to_owned(), message: message.into() })
}

impl ProviderProfile {
    /// Whether a provider may have these settings, and a client secret or none.
    ///
    /// # Errors
    /// The first setting that is not valid, by name.
    pub fn validate(&self, has_client_secret: bool) -> Result<(), InvalidProfile> {
        valid_name(&self.name)?;
        self.valid_urls()?;
        self.valid_params()?;
        match self.auth_type {
            AuthType::Oauth2 => self.valid_oauth2(has_client_secret),
            AuthType::Saml => invalid("auth_type", "saml is not supported yet"),
            AuthType::ApiKey | AuthType::Header => self.valid_header_name(),
            AuthType::QueryParam | AuthType::BasicAuth | AuthType::HmacPayload | AuthType::AwsSigv4 | AuthType::Path => Ok(()),
        }
    }

    fn valid_oauth2(&self, has_client_secret: bool) -> Valid {
        let needs_secret = match given(self.auth_header.as_deref()) {
            None | Some("client_secret_post" | "client_secret_basic") => true,
            Some("none") => false,
            Some("private_key_jwt") => return invalid("auth_header", "private_key_jwt is not supported yet"),
            Some(_) => return invalid("auth_header", "must be client_secret_post, client_secret_basic or none"),
        };
        if given(self.client_id.as_deref()).is_none() {
            return invalid("client_id", "is required for oauth2");
        }
        if needs_secret && !has_client_secret {
            return invalid("client_secret", "is required for oauth2 unless auth_header is none");
        }
        self.valid_endpoints()
    }

    fn valid_endpoints(&self) -> Valid {
        let discovers = self.enable_discovery && given(self.issuer.as_deref()).is_some();
        for (field, url) in [("auth_url", &self.auth_url), ("token_url", &self.token_url)] {
            if !discovers && given(url.as_deref()).is_none() {
                return invalid(field, "is required for oauth2 unless endpoints are discovered at an issuer");
            }
        }
        Ok(())
    }

    fn valid_urls(&self) -> Valid {
        valid_url("auth_url", self.auth_url.as_deref())?;
        valid_url("token_url", self.token_url.as_deref())?;
        valid_url("issuer", self.issuer.as_deref())?;
        valid_url("api_base_url", self.api_base_url.as_deref().map(fill_template).as_deref())?;
        match self.user_info_endpoint.as_deref() {
            Some(path) if path.starts_with('/') => Ok(()),
            url => valid_url("user_info_endpoint", url),
        }
    }

    fn valid_params(&self) -> Valid {
        match self.params.get("revocation_endpoint") {
            None | Some(Value::Null) => {}
            Some(Value::String(url)) => valid_url("params.revocation_endpoint", Some(url))?,
            Some(_) => return invalid("params.revocation_endpoint", "must be a URL"),
        }
        if self.params.get("credential_schema").is_some_and(|schema| !schema.is_object()) {
            return invalid("params.credential_schema", "must be a JSON Schema that is an object");
        }
        if self.params.get("auth_strategy").is_some_and(|strategy| !strategy.get("type").is_some_and(Value::is_string)) {
            return invalid("params.auth_strategy", "must be an object with a type");
        }
        match self.params.get("refresh_rotation").map(Value::as_str) {
            None | Some(Some("auto" | "always" | "never")) => Ok(()),
            Some(_) => invalid("params.refresh_rotation", "must be auto, always or never"),
        }
    }

    /// RFC 9110, section 5.6.2.
    fn valid_header_name(&self) -> Valid {
        let is_token = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        match given(self.auth_header.as_deref()) {
            Some(name) if !is_token(name) => invalid("auth_header", "must be the name of a header"),
            _ => Ok(()),
        }
    }
}

/// A setting that is not empty.
fn given(setting: Option<&str>) -> Option<&str> {
    setting.filter(|text| !text.is_empty())
}

fn valid_name(name: &str) -> Valid {
    let name = name.trim();
    match name.chars().count() {
        0 => return invalid("name", "is required"),
        1..=MAX_NAME => {}
        _ => return invalid("name", format!("must not be longer than {MAX_NAME} characters")),
    }
    if name.contains(|character: char| character.is_control() || character == '/') {
        return invalid("name", "must not hold control characters or a slash");
    }
    Ok(())
}

fn valid_url(field: &str, text: Option<&str>) -> Valid {
    let Some(text) = given(text) else { return Ok(()) };
    let Ok(url) = Url::parse(text) else { return invalid(field, "must be an absolute URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return invalid(field, "must be an http or https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return invalid(field, "must not hold a user name or password");
    }
    if url.fragment().is_some() {
        return invalid(field, "must not have a fragment");
    }
    // The parser forgives these, other readers of the URL may not.
    if text.contains(|character: char| character.is_control() || character.is_whitespace() || character == '\\') {
        return invalid(field, "must not hold spaces, control characters or backslashes");
    }
    Ok(())
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
