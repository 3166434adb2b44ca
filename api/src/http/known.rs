//! Answers that the caller knows already (RFC 9110, section 13.1.2).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::IF_NONE_MATCH;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

/// The entity tags that the caller knows (`If-None-Match`), copied: a header keeps the whole buffer that the request was
/// read into, which is no longer needed while the answer waits.
pub(crate) struct Known(Box<[Box<str>]>);

impl Known {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let named = headers.get_all(IF_NONE_MATCH).iter();
        Self(
            named
                .filter_map(|value| Some(value.to_str().ok()?.into()))
                .collect(),
        )
    }

    /// Whether an entity tag is among them (RFC 9110, section 13.1.2: compared weakly).
    pub(crate) fn includes(&self, etag: &HeaderValue) -> bool {
        self.0.iter().flat_map(|value| value.split(',')).any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_a_list_and_when_it_is_weak() {
        let etag = HeaderValue::from_static("\"7\"");
        for (sent, known) in [
            ("\"7\"", true),
            ("W/\"7\"", true),
            ("\"6\", \"7\"", true),
            ("*", true),
            ("\"7.lapsed\"", false),
            ("7", false),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(sent))]);
            assert_eq!(Known::of(&headers).includes(&etag), known, "{sent}");
        }
        assert!(!Known::of(&HeaderMap::new()).includes(&etag));
    }
}
