//! One id per request: taken from the caller when it is sane, made here otherwise, always returned.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::random;

/// Carries the id, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LENGTH: usize = 128;

/// The id under which a request is logged, recorded and answered: 1 to 128 of `[A-Za-z0-9._:-]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Accepts a caller's id, or says that it is not sane by `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<RequestId> {
        let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let fits = (1..=MAX_LENGTH).contains(&text.len());
        (fits && text.bytes().all(sane)).then(|| RequestId(text.into()))
    }

    /// A fresh id. Should the random generator fail, the request still gets an answer, under a constant one.
    fn make() -> RequestId {
        let mut buffer = uuid::Uuid::encode_buffer();
        RequestId(match random::make_uuid() {
            Ok(id) => (&*id.hyphenated().encode_lower(&mut buffer)).into(),
            Err(_) => "unavailable".into(),
        })
    }

    /// The caller's id when it sent a sane one, a fresh one otherwise.
    pub(crate) fn of(headers: &HeaderMap) -> RequestId {
        let sent = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        sent.and_then(RequestId::parse)
            .unwrap_or_else(RequestId::make)
    }

    /// The id as a header's value.
    pub(crate) fn to_header(&self) -> HeaderValue {
        // Sane ids are visible ASCII.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("unavailable"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept() {
        assert_eq!(
            RequestId::parse("Trace-7:a.b_c").unwrap().as_str(),
            "Trace-7:a.b_c"
        );
        assert!(RequestId::parse(&"x".repeat(128)).is_some());
    }

    #[test]
    fn an_empty_long_or_strange_id_is_refused() {
        for text in ["", &"x".repeat(129), "a b", "a\nb", "ä", "a/b"] {
            assert_eq!(RequestId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn made_ids_differ() {
        assert_ne!(RequestId::make(), RequestId::make());
    }
}
