//! What is known of a call to a token endpoint that brought no tokens.

use std::cmp::Reverse;
use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, StatusCode};
pub use nexus_domain::connection::Outcome;

use super::error::UpstreamError;
use super::http::SendError;
use super::wire::ErrorBody;

/// No `Retry-After` is taken for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
const MAX_DESCRIPTION: usize = 256;
const MAX_CODE: usize = 64;

/// A call to a token endpoint that brought no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider's token endpoint gave no tokens ({error})")]
pub struct CallFailure {
    /// Whether the call may have had its effect.
    pub outcome: Outcome,
    /// The OAuth error code (RFC 6749 §5.2), or a word of ours: `connect`, `timeout`, `interrupted`,
    /// `response_too_large`, `status_503`, `invalid_response`, `discovery`, …
    pub error: String,
    /// What the provider said about it: at most 256 characters, without control characters and without the secrets of
    /// the request.
    pub description: Option<String>,
    /// The answer's status, when a complete one came.
    pub http_status: Option<u16>,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl CallFailure {
    /// Nothing was sent because the provider's endpoints are not known.
    #[must_use]
    pub fn unresolved(error: &UpstreamError) -> CallFailure {
        CallFailure {
            error: error.code().to_owned(),
            ..CallFailure::known()
        }
    }

    pub(crate) fn unsent(error: &str) -> CallFailure {
        CallFailure {
            error: error.to_owned(),
            ..CallFailure::known()
        }
    }

    pub(super) fn unanswered(error: &SendError) -> CallFailure {
        CallFailure {
            outcome: error.outcome(),
            ..CallFailure::unsent(error.code())
        }
    }

    /// A complete answer without tokens. A status of 429 or 5xx speaks for itself, whatever error the body names: it
    /// is the endpoint's trouble and not the grant's.
    pub(super) fn answered(
        facts: &Facts,
        body: Option<ErrorBody>,
        secrets: &[&str],
    ) -> CallFailure {
        let status = facts.status;
        let in_trouble = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        let code = body
            .as_ref()
            .and_then(|body| code(&body.error, secrets))
            .filter(|_| !in_trouble);
        let own = if status.is_success() {
            "invalid_response".to_owned()
        } else {
            code_of(status.as_u16())
        };
        CallFailure {
            error: code.unwrap_or(own),
            description: body.and_then(|body| describe(&body, secrets)),
            http_status: Some(status.as_u16()),
            retry_after: facts.retry_after,
            ..CallFailure::known()
        }
    }

    /// Whether the answer was a refusal that named no error.
    pub(super) fn is_wordless(&self) -> bool {
        self.http_status
            .is_some_and(|status| self.error == code_of(status))
    }

    fn known() -> CallFailure {
        CallFailure {
            outcome: Outcome::Known,
            error: String::new(),
            description: None,
            http_status: None,
            retry_after: None,
        }
    }
}

/// A refusal that has a status and no error code, in our words.
fn code_of(status: u16) -> String {
    format!("status_{status}")
}

/// What the headers of an answer say.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    status: StatusCode,
    retry_after: Option<Duration>,
}

impl Facts {
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Facts {
        Facts {
            status,
            retry_after: retry_after(headers),
        }
    }
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date that is measured against the answer's own `Date`, since the
/// clock it was made by is the provider's.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = text_of(headers, RETRY_AFTER)?;
    let seconds = text
        .parse()
        .ok()
        .or_else(|| seconds_until(date(text)?, headers))?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn seconds_until(then: i64, headers: &HeaderMap) -> Option<u64> {
    let now = date(text_of(headers, DATE)?)?;
    Some(u64::try_from(then.saturating_sub(now)).unwrap_or_default())
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn date(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|date| date.timestamp())
}

/// An error code, when it looks like one.
fn code(text: &str, secrets: &[&str]) -> Option<String> {
    let sane =
        (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    (sane && !secrets.iter().any(|secret| text.contains(secret))).then(|| text.to_owned())
}

/// The provider's sentence, or failing that its code. Some providers repeat the token they refuse.
fn describe(body: &ErrorBody, secrets: &[&str]) -> Option<String> {
    let text = body.error_description.as_deref().unwrap_or(&body.error);
    // One may be a part of another, which would then not be found any more.
    let mut secrets = secrets.to_vec();
    secrets.sort_by_key(|secret| Reverse(secret.len()));
    let text = secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| {
            text.replace(secret, "[redacted]")
        });
    let printable: String = text
        .chars()
        .filter(|char| !char.is_control())
        .take(MAX_DESCRIPTION)
        .collect();
    (!printable.is_empty()).then_some(printable)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answered(status: u16, body: &str, secrets: &[&str]) -> CallFailure {
        let facts = Facts::of(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
        CallFailure::answered(&facts, serde_json::from_str(body).ok(), secrets)
    }

    fn waits(headers: &[(HeaderName, &'static str)]) -> Option<Duration> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Facts::of(StatusCode::OK, &headers.collect()).retry_after
    }

    #[test]
    fn an_oauth_error_is_taken_as_it_is() {
        let failure = answered(
            400,
            r#"{"error":"invalid_grant","error_description":"gone"}"#,
            &[],
        );
        assert_eq!(
            (failure.outcome, failure.error.as_str()),
            (Outcome::Known, "invalid_grant")
        );
        assert_eq!(failure.description.as_deref(), Some("gone"));
        assert_eq!(failure.http_status, Some(400));
    }

    #[test]
    fn trouble_of_the_endpoint_is_told_by_the_status_whatever_the_body_says() {
        for status in [429, 500, 503] {
            let failure = answered(status, r#"{"error":"invalid_grant"}"#, &[]);
            assert_eq!(failure.error, format!("status_{status}"));
        }
    }

    #[test]
    fn a_body_without_an_error_is_named_by_its_status() {
        assert_eq!(answered(403, "<html>", &[]).error, "status_403");
        assert_eq!(answered(302, "", &[]).error, "status_302");
        assert_eq!(answered(200, "<html>", &[]).error, "invalid_response");
        assert_eq!(
            answered(400, r#"{"error":{"message":"nested"}}"#, &[]).error,
            "status_400"
        );
        assert_eq!(
            answered(400, r#"{"error":"a sentence, not a code"}"#, &[]).error,
            "status_400"
        );
    }

    #[test]
    fn secrets_of_the_request_never_come_back_in_code_or_description() {
        let failure = answered(
            400,
            r#"{"error":"s3cret","error_description":"token s3cret\n is old"}"#,
            &["s3cret"],
        );
        assert_eq!(failure.error, "status_400");
        assert_eq!(
            failure.description.as_deref(),
            Some("token [redacted] is old")
        );
        let within = answered(
            400,
            r#"{"error":"e","error_description":"an-art-ifact is old, rt too"}"#,
            &["rt", "an-art-ifact"],
        );
        assert_eq!(
            within.description.as_deref(),
            Some("[redacted] is old, [redacted] too")
        );
        let long = format!(
            r#"{{"error":"e","error_description":"{}"}}"#,
            "ä".repeat(300)
        );
        assert_eq!(
            answered(400, &long, &[""])
                .description
                .unwrap()
                .chars()
                .count(),
            256
        );
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        assert_eq!(waits(&[(RETRY_AFTER, "120")]), Some(Duration::from_mins(2)));
        let now = (DATE, "Tue, 24 Nov 2026 15:04:05 GMT");
        let later = (RETRY_AFTER, "Tue, 24 Nov 2026 15:05:05 GMT");
        assert_eq!(
            waits(&[now.clone(), later.clone()]),
            Some(Duration::from_mins(1))
        );
        assert_eq!(
            waits(&[now, (RETRY_AFTER, "Tue, 24 Nov 2026 15:00:00 GMT")]),
            Some(Duration::ZERO)
        );
        assert_eq!(waits(&[later]), None);
        assert_eq!(waits(&[(RETRY_AFTER, "soon")]), None);
        assert_eq!(waits(&[(RETRY_AFTER, "9999999999")]), Some(MAX_RETRY_AFTER));
    }
}
