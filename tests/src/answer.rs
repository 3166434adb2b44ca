//! What a server answered.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// An answer whose conformance to the contract has been checked.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request it answers, method and path, for messages.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// Asserts the status; returns the JSON body (`Null` when there is none).
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(
            self.status, status,
            "{} answered {}",
            self.request, self.text
        );
        self.json()
    }

    /// Asserts a refusal's status and code; returns the envelope.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(
            body["error"], code,
            "{} answered {}",
            self.request, self.text
        );
        body
    }

    /// The JSON body, `Null` when the body is empty.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{}: {error} in {}", self.request, self.text))
    }

    /// A header's value, if it came and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Asserts a redirect; returns where to.
    #[track_caller]
    pub fn location(&self) -> url::Url {
        assert_eq!(self.status, 302, "{} answered {}", self.request, self.text);
        let location = self
            .header("location")
            .expect("a redirect names its location");
        location.parse().expect("a location is an absolute URL")
    }

    /// Asserts a redirect; returns a parameter of the address it leads to.
    #[track_caller]
    pub fn location_param(&self, name: &str) -> Option<String> {
        param(&self.location(), name)
    }
}

/// The value of a query parameter.
pub(crate) fn param(url: &url::Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
