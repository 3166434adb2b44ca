//! `/docs`: each surface shows its own document, from the binary alone.
//!
//! - `GET /docs`
//! - `GET /docs/{file}`
//! - `GET /openapi.yaml`

use std::fs;

use nexus_tests::{Answer, Client, Database, Nexus, TestNexus, root};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The surfaces, without keys, each with its document's place in the repository.
fn surfaces(nexus: &TestNexus) -> [(Client, &'static str); 2] {
    [
        (nexus.gateway(), "openapi.yaml"),
        (nexus.broker_without_key(), "broker-admin/openapi.yaml"),
    ]
}

/// Asserts that the answer is a file of this kind, which caches ask about again.
#[track_caller]
fn assert_file(answer: &Answer, kind: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some(kind));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn both_surfaces_have_a_page_that_loads_from_them_alone() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    for (client, _) in surfaces(&nexus) {
        let page = client.get("/docs").await;
        assert_file(&page, "text/html; charset=utf-8");
        assert_eq!(page.header("content-security-policy"), Some(POLICY));
        assert!(!page.text.contains("http"), "{}", page.text);
        let linked = page.text.split("=\"docs/").skip(1);
        let linked = linked.filter_map(|rest| rest.split('"').next());
        for name in linked {
            let answer = client.get(&format!("/docs/{name}")).await;
            assert_eq!(answer.status, 200, "{name}");
        }
    }
}

#[tokio::test]
async fn the_document_is_the_repositorys() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    for (client, file) in surfaces(&nexus) {
        let document = client.get("/docs/openapi.yaml").await;
        assert_file(&document, "application/yaml");
        let text = fs::read_to_string(root().join(file)).expect("the document");
        assert_eq!(document.text, text);
        let parsed: Value = serde_saphyr::from_str(&document.text).expect("YAML");
        assert_eq!(parsed["openapi"], "3.0.3");
        // Requests that are tried go to where the document came from.
        assert_eq!(parsed["servers"][0]["url"], "/");
    }
    // The Broker's refers to the Gateway's, as its neighbour.
    let gateway = nexus.gateway().get("/docs/openapi.yaml").await;
    let referred = nexus.broker_without_key().get("/openapi.yaml").await;
    assert_file(&referred, "application/yaml");
    assert_eq!(referred.text, gateway.text);
}

#[tokio::test]
async fn scripts_styles_and_licences_are_what_they_say() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    for (client, _) in surfaces(&nexus) {
        for (name, kind, holds) in [
            (
                "start.js",
                "text/javascript; charset=utf-8",
                "docs/openapi.yaml",
            ),
            (
                "swagger-ui-bundle.js",
                "text/javascript; charset=utf-8",
                "SwaggerUIBundle",
            ),
            ("swagger-ui.css", "text/css; charset=utf-8", ".swagger-ui"),
            ("LICENSE", "text/plain; charset=utf-8", "Apache License"),
            ("NOTICE", "text/plain; charset=utf-8", "swagger-ui"),
        ] {
            let answer = client.get(&format!("/docs/{name}")).await;
            assert_file(&answer, kind);
            assert!(answer.text.contains(holds), "{name}");
        }
    }
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    for (client, _) in surfaces(&nexus) {
        for path in ["/docs", "/docs/openapi.yaml", "/docs/swagger-ui-bundle.js"] {
            let first = client.get(path).await;
            let tag = first.header("etag").expect("a tag").to_owned();
            let ask = |tag: &str| {
                client
                    .request("GET", path)
                    .header("if-none-match", tag)
                    .send()
            };
            let again = ask(&tag).await;
            assert_eq!((again.status, again.text.as_str()), (304, ""));
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            assert_eq!(ask("\"other\"").await.status, 200);
        }
    }
}

#[tokio::test]
async fn neither_a_key_nor_an_allowed_address_is_asked_for() {
    let nexus = Nexus::new(Database::Sqlite)
        .set("GATEWAY_REQUIRE_API_KEY", "true")
        .set("METRICS_REQUIRE_API_KEY", "true")
        .set("ALLOWED_CIDRS", "192.0.2.0/24")
        .start()
        .await;
    for (client, _) in surfaces(&nexus) {
        for path in ["/docs", "/docs/openapi.yaml"] {
            assert_eq!(client.get(path).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn no_other_file_is_found() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    for (client, _) in surfaces(&nexus) {
        for name in [
            "swagger-ui.js",
            "openapi.json",
            "OPENAPI.YAML",
            "..%2fopenapi.yaml",
            "..%2f..%2f..%2fetc%2fpasswd",
            "%2fetc%2fpasswd",
            "start.js%00",
            "start.js/",
        ] {
            let answer = client.get(&format!("/docs/{name}")).await;
            answer.refused(404, "not_found");
        }
    }
}

/// As a path stands on the wire: clients resolve dots before they send it.
async fn status_of(client: &Client, path: &str) -> String {
    let base = client.base();
    let address = (
        base.host_str().expect("a host"),
        base.port().expect("a port"),
    );
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: nexus\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn dots_on_the_wire_lead_nowhere() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    for (client, _) in surfaces(&nexus) {
        assert_eq!(status_of(&client, "/docs/NOTICE").await, "HTTP/1.1 200 OK");
        for path in [
            "/docs/../openapi.yaml",
            "/docs/..",
            "/docs/.",
            "/docs/%2e%2e/Cargo.toml",
            "/docs/../../../../etc/passwd",
            "/docs//etc/passwd",
        ] {
            let status = status_of(&client, path).await;
            assert_eq!(status, "HTTP/1.1 404 Not Found", "{path}");
        }
    }
}
