//! How a provider departs from the RFCs: members of its `params`, read once, heeded where they matter.

use nexus_domain::secret::Secret;
use nexus_domain::token_reading::TokenReading;
use serde_json::{Map, Value};

use super::call::CallFailure;
use super::token::TokenAnswer;

/// What is different about a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quirks {
    /// `skip_scope_on_auth`: the authorization request carries no scope.
    pub skip_scope_on_auth: bool,
    /// `scope_separator`: what stands between scopes instead of a space, both ways.
    pub(super) scope_separator: Option<String>,
    /// `token_request_format`: requests to the token endpoint are JSON.
    pub(super) json_requests: bool,
    /// `basic_auth_encoding`: how id and secret are written in HTTP Basic.
    pub(super) basic_encoding: BasicEncoding,
    /// `error_in_200`: an answer of success is an error when it says so.
    pub(super) error_in_200: Option<ErrorIn200>,
    /// `invalid_grant_status`: a refusal of this status that names no error is `invalid_grant`.
    pub(super) invalid_grant_status: Option<u16>,
    /// `id_token_as_access_token`: the provider's API takes the id token.
    pub(super) id_token_as_access_token: bool,
    /// `token_answer`: where answers say what.
    pub(super) reading: TokenReading,
}

/// How id and secret are written in HTTP Basic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum BasicEncoding {
    /// Form-encoded (RFC 6749 §2.3.1).
    #[default]
    Form,
    /// As they are.
    None,
}

/// Where an answer of success says that it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorIn200 {
    /// A JSON pointer (RFC 6901).
    pointer: String,
    /// What is there then.
    values: Vec<Value>,
}

impl Quirks {
    /// Reads what a validated profile says.
    pub(super) fn of(params: &Map<String, Value>) -> Self {
        let switch = |name: &str| params.get(name) == Some(&Value::Bool(true));
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        Self {
            skip_scope_on_auth: switch("skip_scope_on_auth"),
            scope_separator: text("scope_separator")
                .filter(|separator| *separator != " ")
                .map(str::to_owned),
            json_requests: text("token_request_format") == Some("json"),
            basic_encoding: match text("basic_auth_encoding") {
                Some("none") => BasicEncoding::None,
                _ => BasicEncoding::Form,
            },
            error_in_200: params.get("error_in_200").and_then(ErrorIn200::of),
            invalid_grant_status: params
                .get("invalid_grant_status")
                .and_then(Value::as_u64)
                .and_then(|status| status.try_into().ok()),
            id_token_as_access_token: switch("id_token_as_access_token"),
            reading: TokenReading::of(params),
        }
    }

    /// The scopes as they are sent, where they are not separated by spaces.
    pub(super) fn joined(&self, scopes: &[String]) -> Option<String> {
        let separator = self.scope_separator.as_ref()?;
        Some(scopes.join(separator))
    }

    /// The scopes as they are meant.
    pub(super) fn split(&self, scopes: Vec<String>) -> Vec<String> {
        let Some(separator) = &self.scope_separator else {
            return scopes;
        };
        let parts = scopes
            .iter()
            .flat_map(|scope| scope.split(separator.as_str()));
        parts
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// What a provider says without words, or in words of its own, in those of RFC 6749.
    pub(super) fn named(&self, mut failure: CallFailure) -> CallFailure {
        let status = failure.http_status;
        let wordless =
            failure.is_wordless() && status.is_some() && status == self.invalid_grant_status;
        if wordless || self.reading.grant_gone.contains(&failure.error) {
            "invalid_grant".clone_into(&mut failure.error);
        }
        failure
    }

    /// Whether agents are given the id token.
    #[must_use]
    pub fn gives_id_token(&self) -> bool {
        self.id_token_as_access_token
    }

    /// The tokens as agents use them. An id token that was not verified is given to nobody.
    #[must_use]
    pub fn as_used(&self, mut answer: TokenAnswer, is_verified: bool) -> TokenAnswer {
        if self.gives_id_token()
            && is_verified
            && let Some(id_token) = &answer.id_token
        {
            answer.access_token = Secret::new(id_token.expose().to_owned());
        }
        answer
    }
}

impl ErrorIn200 {
    fn of(value: &Value) -> Option<Self> {
        Some(Self {
            pointer: value.get("pointer")?.as_str()?.to_owned(),
            values: value.get("values")?.as_array()?.clone(),
        })
    }

    /// Whether a body says that it is an error.
    pub(super) fn is_said_by(&self, body: &[u8]) -> bool {
        let body: Option<Value> = serde_json::from_slice(body).ok();
        let said = body.as_ref().and_then(|body| body.pointer(&self.pointer));
        said.is_some_and(|said| self.values.contains(said))
    }
}

/// A form as a JSON object of strings.
pub(super) fn form_as_json(form: &[u8]) -> Vec<u8> {
    let fields = url::form_urlencoded::parse(form).into_owned();
    let object: Map<String, Value> = fields.map(|(name, value)| (name, value.into())).collect();
    Value::Object(object).to_string().into_bytes()
}
