//! From where and how often the surfaces may be called.

use std::time::Duration;

use nexus_tests::{Answer, Client, Database, Nexus, TestNexus, on_both_databases};
use serde_json::json;

on_both_databases! {
    addresses_that_are_not_allowed_reach_only_what_is_for_everybody,
    a_client_behind_a_trusted_proxy_is_known_by_its_own_address,
    a_client_that_calls_too_often_is_told_to_wait,
    web_pages_of_allowed_origins_may_call,
    a_start_without_the_list_that_it_requires_is_refused,
}

async fn started(database: Database, settings: &[(&str, &str)]) -> TestNexus {
    let nexus = settings
        .iter()
        .fold(Nexus::new(database), |nexus, (name, value)| {
            nexus.set(name, value)
        });
    nexus.start().await
}

async fn from(client: &Client, address: &str, path: &str) -> Answer {
    let request = client.request("GET", path);
    request.header("x-forwarded-for", address).send().await
}

const UNKNOWN: &str = "/v1/token/0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90";

async fn addresses_that_are_not_allowed_reach_only_what_is_for_everybody(database: Database) {
    let nexus = started(database, &[("ALLOWED_CIDRS", "10.0.0.0/8, 192.0.2.7")]).await;
    for path in [UNKNOWN, "/v1/providers", "/v1/connections?workspace_id=a"] {
        let clients = [
            nexus.admin(),
            nexus.gateway(),
            nexus.gateway().with_key("wrong"),
        ];
        for client in clients {
            client.get(path).await.refused(403, "ip_not_allowed");
        }
    }
    nexus
        .broker()
        .get("/audit")
        .await
        .refused(403, "ip_not_allowed");
    for path in ["/livez", "/v1/health", "/health"] {
        nexus.gateway().get(path).await.expect(200);
    }
    let callback = nexus.gateway().get("/auth/callback?state=x&code=y").await;
    callback.refused(400, "invalid_state");
    let schema = nexus.gateway().get("/v1/capture-schema?state=x").await;
    schema.refused(400, "invalid_state");
    // Nobody is believed who is no trusted proxy.
    let forged = from(&nexus.gateway(), "10.1.2.3", UNKNOWN).await;
    forged.refused(403, "ip_not_allowed");
}

async fn a_client_behind_a_trusted_proxy_is_known_by_its_own_address(database: Database) {
    let settings = [
        ("ALLOWED_CIDRS", "10.0.0.0/8,127.0.0.1"),
        ("TRUSTED_PROXIES", "127.0.0.1,10.9.0.0/16"),
    ];
    let nexus = started(database, &settings).await;
    let gateway = nexus.gateway();
    from(&gateway, "10.1.2.3", UNKNOWN)
        .await
        .refused(404, "connection_not_found");
    from(&gateway, "10.1.2.3, 10.9.0.1", UNKNOWN)
        .await
        .refused(404, "connection_not_found");
    from(&gateway, "10.1.2.3, 192.0.2.1", UNKNOWN)
        .await
        .refused(403, "ip_not_allowed");
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let captured = nexus.capture("weather", json!({"api_key": "k"})).await;
    let token = format!("/v1/token/{}", captured.id);
    from(&gateway, "10.1.2.3", &token).await.expect(200);
    let entry = nexus.audit().await.pop().expect("an entry");
    assert_eq!(entry["ip_address"], "10.1.2.3");
}

async fn a_client_that_calls_too_often_is_told_to_wait(database: Database) {
    let settings = [
        ("RATE_LIMIT_ENABLED", "true"),
        ("RATE_LIMIT_TOKEN_RPM", "3"),
        ("RATE_LIMIT_CALLBACK_RPM", "2"),
        ("RATE_LIMIT_REQUEST_CONNECTION_RPM", "1"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let nexus = started(database, &settings).await;
    let gateway = nexus.gateway();
    for _ in 0..3 {
        from(&gateway, "192.0.2.1", UNKNOWN)
            .await
            .refused(404, "connection_not_found");
    }
    let limited = from(&gateway, "192.0.2.1", UNKNOWN).await;
    limited.refused(429, "rate_limited");
    let wait: u64 = limited
        .header("retry-after")
        .expect("a header")
        .parse()
        .expect("seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    // Everybody else goes on; of an IPv6 network all addresses are one client.
    from(&gateway, "192.0.2.2", UNKNOWN)
        .await
        .refused(404, "connection_not_found");
    for host in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
        from(&gateway, host, UNKNOWN)
            .await
            .refused(404, "connection_not_found");
    }
    from(&gateway, "2001:db8::4", UNKNOWN)
        .await
        .refused(429, "rate_limited");
    from(&gateway, "2001:db8:0:1::1", UNKNOWN)
        .await
        .refused(404, "connection_not_found");
    // Polling is not limited, the callback and requests are.
    for _ in 0..10 {
        from(&gateway, "192.0.2.1", "/v1/check-connection/x")
            .await
            .expect(200);
    }
    let callback = "/auth/callback?state=x&code=y";
    for _ in 0..2 {
        from(&gateway, "192.0.2.1", callback)
            .await
            .refused(400, "invalid_state");
    }
    from(&gateway, "192.0.2.1", callback)
        .await
        .refused(429, "rate_limited");
    for path in ["/auth/capture-credential", "/v1/capture-credential"] {
        for status in [400, 400, 429] {
            let capture = gateway.request("POST", path);
            let capture = capture.json(&json!({"state": "x", "credentials": {}}));
            let capture = capture.header("x-forwarded-for", "192.0.2.1");
            capture.send().await.expect(status);
        }
    }
    let asked = json!({"workspace_id": "a", "provider_name": "nobody", "return_url": "http://127.0.0.1:9/"});
    for status in [404, 429] {
        let request = gateway
            .request("POST", "/v1/request-connection")
            .json(&asked);
        request
            .header("x-forwarded-for", "192.0.2.1")
            .send()
            .await
            .expect(status);
    }
}

async fn web_pages_of_allowed_origins_may_call(database: Database) {
    let nexus = started(database, &[("CORS_ALLOWED_ORIGINS", "https://app.example")]).await;
    for (origin, allowed) in [
        ("https://app.example", Some("https://app.example")),
        ("https://evil.example", None),
    ] {
        let request = nexus.gateway().request("GET", "/v1/check-connection/x");
        let answer = request.header("origin", origin).send().await;
        answer.expect(200);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            allowed,
            "{origin}"
        );
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    let url = nexus
        .gateway()
        .base()
        .join("/v1/request-connection")
        .expect("a URL");
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .no_proxy();
    let preflight = client
        .build()
        .expect("a client")
        .request(reqwest::Method::OPTIONS, url)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "content-type,idempotency-key",
        )
        .send()
        .await
        .expect("an answer");
    assert_eq!(preflight.status(), 200);
    let allowed = &preflight.headers()["access-control-allow-headers"];
    assert!(allowed.to_str().expect("text").contains("idempotency-key"));
    let request = nexus.broker().request("GET", "/audit");
    let broker = request.header("origin", "https://app.example").send().await;
    assert_eq!(broker.header("access-control-allow-origin"), None);
}

async fn a_start_without_the_list_that_it_requires_is_refused(database: Database) {
    let nexus = Nexus::new(database).set("REQUIRE_ALLOWLIST", "true");
    let outcome = nexus.run(&[]).await;
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("REQUIRE_ALLOWLIST"),
        "{}",
        outcome.stderr
    );
    for (name, value) in [
        ("ALLOWED_CIDRS", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "proxy"),
        ("CORS_ALLOWED_ORIGINS", "https://app.example/page"),
        ("RATE_LIMIT_TOKEN_RPM", "0"),
    ] {
        let outcome = Nexus::new(database)
            .set(name, value)
            .run(&["check-config"])
            .await;
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
    }
}
