//! Pages for people: whole without scripts, in light and dark, on wide and narrow screens.

use std::sync::LazyLock;

use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::headers::no_store;

/// The one style sheet. It stands in the page, whose policy names its digest.
const STYLE: &str = include_str!("html/style.css");

/// Nothing is loaded but the style sheet. A form may be sent on from here to wherever the application wants its user
/// back: browsers hold redirects after a form against `form-action`, too.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; form-action 'self' https: http:; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Whether the caller is a browser that shows pages, rather than a program.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let mut accepted = accepted.filter_map(|accept| accept.to_str().ok());
    accepted.any(|accept| accept.contains("text/html"))
}

/// What the choice between a page and a program's answer hangs on.
pub(super) fn varies() -> HeaderValue {
    HeaderValue::from_name(ACCEPT)
}

/// A page, which no cache keeps: its name in the window's title, its heading, and what stands below.
pub(super) fn page(
    status: StatusCode,
    title: &str,
    heading: &Markup,
    content: &Markup,
) -> Response {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { p.vault { "Credential vault" } h1 { (heading) } (content) } }
        }
    };
    let mut response = (status, Html(whole.into_string())).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(VARY, varies());
    no_store(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_want_pages_and_programs_do_not() {
        let wants = |accept: &'static str| {
            let header = (ACCEPT, HeaderValue::from_static(accept));
            is_wanted(&HeaderMap::from_iter([header]))
        };
        assert!(wants("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"));
        assert!(!wants("*/*"));
        assert!(!wants("application/json"));
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn a_page_loads_nothing_but_its_own_style_and_is_escaped() {
        let (heading, content) = (html! { "<i>" }, html! { p { "a & b" } });
        let response = page(StatusCode::OK, "<b>", &heading, &content);
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("unsafe"));
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
}
