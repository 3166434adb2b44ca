//! Pages: `limit` and `cursor` in the query, the next page in `Link` (RFC 8288) and `X-Next-Cursor`.

use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::LINK;
use http::{HeaderName, HeaderValue, Uri};

use super::error::ApiError;

/// How many entries are returned when the caller does not say.
const DEFAULT_LIMIT: u32 = 50;
/// The most entries of one page.
const MAX_LIMIT: u32 = 1_000;

const X_NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// How many entries a page holds.
pub(crate) fn limit(given: Option<&str>) -> Result<u32, ApiError> {
    let Some(text) = given else {
        return Ok(DEFAULT_LIMIT);
    };
    let limit = text.parse().ok();
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::invalid_limit("limit must be a number from 1 to 1000."))
}

/// What a cursor of an earlier page says.
pub(crate) fn cursor(given: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(text) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let said = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    said.map(Some).ok_or_else(invalid_cursor)
}

/// A cursor that no page gave.
pub(crate) fn invalid_cursor() -> ApiError {
    ApiError::invalid_cursor("cursor must be one that an earlier page gave.")
}

/// The answer, saying where the next page is: at the same address with a cursor that says `next`.
pub(crate) fn with_next(mut response: Response, uri: &Uri, next: Option<&str>) -> Response {
    let Some(next) = next else {
        return response;
    };
    let cursor = BASE64_URL_SAFE_NO_PAD.encode(next);
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let asked = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    query.extend_pairs(asked.filter(|(name, _)| name != "cursor"));
    query.append_pair("cursor", &cursor);
    let link = format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish());
    let headers = response.headers_mut();
    if let (Ok(link), Ok(cursor)) = (HeaderValue::try_from(link), HeaderValue::try_from(cursor)) {
        headers.insert(LINK, link);
        headers.insert(X_NEXT_CURSOR, cursor);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn the_next_page_is_linked_with_what_was_asked() {
        let uri = Uri::from_static("/audit?event_type=a%20b&cursor=old&limit=2");
        let response = with_next("[]".into_response(), &uri, Some("7"));
        assert_eq!(
            response.headers()[LINK],
            "</audit?event_type=a+b&limit=2&cursor=Nw>; rel=\"next\""
        );
        let next = response.headers()[X_NEXT_CURSOR].to_str().unwrap();
        assert_eq!(cursor(Some(next)).unwrap().as_deref(), Some("7"));
        let last = with_next("[]".into_response(), &uri, None);
        assert!(!last.headers().contains_key(LINK));
    }

    #[test]
    fn a_cursor_that_no_page_gave_is_refused() {
        for text in ["?", "a b", "_w"] {
            assert_eq!(cursor(Some(text)).unwrap_err().code(), "invalid_cursor");
        }
        assert_eq!(cursor(None).unwrap(), None);
    }
}
