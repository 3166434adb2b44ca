//! `GET /docs`: the surface's own document, to browse and to try. All of it is in the binary.

use std::future::ready;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use maud::{DOCTYPE, html};
use sha2::{Digest, Sha256};

use super::Doors;
use crate::http::error::ApiError;
use crate::http::known::Known;
use crate::http::segment::Segment;
use crate::metrics::Surface;

const YAML: &str = "application/yaml";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const PAGE: &str = "text/html; charset=utf-8";

/// Scripts and styles come from this server alone, and stand in files: none is inline. The style sheet's pictures are
/// `data:`; requests that are tried go to this server.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The doors of a surface's documentation.
pub(super) fn routes(surface: Surface) -> Router<Doors> {
    let page = move |known: Known| ready(page(surface).answer(&known));
    let file = move |Segment(name): Segment, known: Known| {
        let file = file(surface, &name);
        ready(file.map_or_else(
            || ApiError::not_found().into_response(),
            |file| file.answer(&known),
        ))
    };
    Router::new()
        .route("/docs", get(page))
        .route("/docs/{file}", get(file))
}

/// The Gateway's document, on the Broker: where the Broker's own says it is.
pub(super) async fn gateway_document(known: Known) -> Response {
    GATEWAY.answer(&known)
}

/// What the binary holds to be answered as it is.
struct File {
    kind: HeaderValue,
    content: Bytes,
    etag: HeaderValue,
}

impl File {
    fn new(kind: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&content));
        let etag = HeaderValue::try_from(format!("\"{digest}\""));
        Self {
            kind: HeaderValue::from_static(kind),
            content,
            etag: etag.unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    fn fixed(kind: &'static str, content: &'static str) -> Self {
        Self::new(kind, Bytes::from_static(content.as_bytes()))
    }

    /// The file, or 304 when the caller knows it. Another version of the server may have another, so caches ask again.
    fn answer(&self, known: &Known) -> Response {
        let mut response = if known.includes(&self.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(CONTENT_TYPE, self.kind.clone())], self.content.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(ETAG, self.etag.clone());
        if self.kind == PAGE {
            headers.insert(CONTENT_SECURITY_POLICY, POLICY);
        }
        response
    }
}

/// Only these names are known; nothing is looked up anywhere.
fn file(surface: Surface, name: &str) -> Option<&'static File> {
    let file: &LazyLock<File> = match (name, surface) {
        ("openapi.yaml", Surface::Gateway) => &GATEWAY,
        ("openapi.yaml", Surface::Broker) => &BROKER,
        ("start.js", _) => &START,
        ("swagger-ui-bundle.js", _) => &SWAGGER_SCRIPT,
        ("swagger-ui.css", _) => &SWAGGER_STYLE,
        ("LICENSE", _) => &SWAGGER_LICENCE,
        ("NOTICE", _) => &SWAGGER_NOTICE,
        _ => return None,
    };
    Some(file)
}

static GATEWAY: LazyLock<File> =
    LazyLock::new(|| File::fixed(YAML, include_str!("../../../../openapi.yaml")));
static BROKER: LazyLock<File> =
    LazyLock::new(|| File::fixed(YAML, include_str!("../../../../broker-admin/openapi.yaml")));
static START: LazyLock<File> =
    LazyLock::new(|| File::fixed(SCRIPT, include_str!("../html/start.js")));
static SWAGGER_SCRIPT: LazyLock<File> = LazyLock::new(|| {
    File::fixed(
        SCRIPT,
        include_str!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js")),
    )
});
static SWAGGER_STYLE: LazyLock<File> = LazyLock::new(|| {
    File::fixed(
        STYLE,
        include_str!(concat!(env!("OUT_DIR"), "/swagger-ui.css")),
    )
});
static SWAGGER_LICENCE: LazyLock<File> =
    LazyLock::new(|| File::fixed(TEXT, include_str!(concat!(env!("OUT_DIR"), "/LICENSE"))));
static SWAGGER_NOTICE: LazyLock<File> =
    LazyLock::new(|| File::fixed(TEXT, include_str!(concat!(env!("OUT_DIR"), "/NOTICE"))));
static GATEWAY_PAGE: LazyLock<File> = LazyLock::new(|| File::new(PAGE, html_of("Nexus Gateway")));
static BROKER_PAGE: LazyLock<File> = LazyLock::new(|| File::new(PAGE, html_of("Nexus Broker")));

fn page(surface: Surface) -> &'static File {
    match surface {
        Surface::Gateway => &GATEWAY_PAGE,
        Surface::Broker => &BROKER_PAGE,
    }
}

/// Nothing stands in the page itself but the names of what it loads.
fn html_of(title: &str) -> String {
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href="docs/swagger-ui.css";
                script defer src="docs/swagger-ui-bundle.js" {}
                script defer src="docs/start.js" {}
            }
            body {
                noscript { p { "Without scripts: " a href="docs/openapi.yaml" { "the document itself" } "." } }
                div id="docs" {}
                p {
                    "Shown with Swagger UI: "
                    a href="docs/LICENSE" { "licence" } ", " a href="docs/NOTICE" { "notice" } "."
                }
            }
        }
    };
    whole.into_string()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn the_page_has_no_script_or_style_of_its_own() {
        let html = html_of("Nexus <Gateway>");
        assert!(html.contains("Nexus &lt;Gateway&gt;"));
        assert_eq!(
            html.matches("<script").count(),
            html.matches("<script defer src=").count()
        );
        assert!(!html.contains("style=") && !html.contains("<style"));
    }

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let html = html_of("Nexus");
        let named = html
            .split("\"docs/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        for name in named.chain(["openapi.yaml"]) {
            assert!(file(Surface::Broker, name).is_some(), "{name}");
        }
        assert!(file(Surface::Gateway, "../Cargo.toml").is_none());
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let file = File::fixed(TEXT, "text");
        let known = |tag: &HeaderValue| {
            Known::of(&HeaderMap::from_iter([(
                http::header::IF_NONE_MATCH,
                tag.clone(),
            )]))
        };
        assert_eq!(
            file.answer(&known(&file.etag)).status(),
            StatusCode::NOT_MODIFIED
        );
        let other = HeaderValue::from_static("\"other\"");
        assert_eq!(file.answer(&known(&other)).status(), StatusCode::OK);
    }
}
