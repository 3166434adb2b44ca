//! `GET /v1/connections`, `GET /v1/resolve`, and the Broker's doors of the same kind.
//!
//! - `GET /v1/connections`
//! - `GET /v1/resolve`
//! - `GET /connections`
//! - `GET /connections/resolve`
//! - `GET /connections/{id}/token`
//! - `POST /connections/{id}/refresh`
//! - `POST /auth/consent-spec`

use nexus_tests::{
    Answer, Client, Database, Nexus, ScriptedProvider, TestNexus, on_both_databases,
};
use serde_json::{Value, json};

on_both_databases! {
    a_workspaces_connections_are_listed_newest_first,
    a_listing_goes_on_from_page_to_page,
    a_listing_that_is_asked_for_wrongly_is_refused,
    the_newest_active_connection_is_resolved,
    what_cannot_be_resolved_is_not_found,
    the_broker_has_the_connection_doors_too,
    expires_at_is_text_for_clients_that_need_text,
}

const RETURN_URL: &str = "http://127.0.0.1:9/done";

async fn started(database: Database) -> TestNexus {
    let nexus = TestNexus::start(database).await;
    for name in ["weather", "maps"] {
        nexus
            .register(json!({"name": name, "auth_type": "api_key"}))
            .await;
    }
    nexus
}

async fn request(nexus: &TestNexus, workspace: &str, provider: &str) -> Value {
    let asked = json!({"workspace_id": workspace, "provider_name": provider, "return_url": RETURN_URL,
        "metadata": {"note": provider}});
    let answer = nexus.gateway().post("/v1/request-connection", asked).await;
    answer.expect(200)
}

/// Connects; returns the connection's id.
async fn connect(nexus: &TestNexus, workspace: &str, provider: &str, key: &str) -> String {
    let requested = request(nexus, workspace, provider).await;
    let body = json!({"state": requested["state"], "credentials": {"api_key": key}});
    let captured = nexus.gateway().post("/v1/capture-credential", body).await;
    captured.expect(200);
    text(&requested["connection_id"])
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn ids(page: &Answer) -> Vec<String> {
    let body = page.expect(200);
    let listed = body.as_array().expect("an array").iter();
    listed.map(|one| text(&one["id"])).collect()
}

async fn a_workspaces_connections_are_listed_newest_first(database: Database) {
    let nexus = started(database).await;
    let first = connect(&nexus, "ann", "weather", "k-1").await;
    let second = connect(&nexus, "ann", "maps", "k-2").await;
    connect(&nexus, "bob", "maps", "k-3").await;
    request(&nexus, "ann", "maps").await;
    let listing = nexus.admin().get("/v1/connections?workspace_id=ann").await;
    assert_eq!(ids(&listing), [second, first]);
    assert_eq!(listing.header("cache-control"), Some("no-store"));
    let newest = &listing.expect(200)[0];
    for (name, value) in [
        ("provider_name", json!("maps")),
        ("auth_type", json!("api_key")),
        ("status", json!("active")),
        ("health_status", json!("healthy")),
        ("metadata", json!({"note": "maps"})),
    ] {
        assert_eq!(newest[name], value, "{name}");
    }
    let empty = nexus.admin().get("/v1/connections?workspace_id=eve").await;
    assert_eq!(empty.expect(200), json!([]));
}

async fn a_listing_goes_on_from_page_to_page(database: Database) {
    let nexus = started(database).await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.insert(
            0,
            connect(&nexus, "ann", "maps", &format!("k-{number}")).await,
        );
    }
    let client = nexus.admin();
    let mut found = Vec::new();
    let mut path = "/v1/connections?workspace_id=ann&limit=2".to_owned();
    loop {
        let page = client.get(&path).await;
        found.extend(ids(&page));
        let Some(cursor) = page.header("x-next-cursor") else {
            assert_eq!(page.header("link"), None);
            break;
        };
        let next = format!("/v1/connections?workspace_id=ann&limit=2&cursor={cursor}");
        let link = format!("<{next}>; rel=\"next\"");
        assert_eq!(page.header("link"), Some(link.as_str()));
        path = next;
    }
    assert_eq!(found, made);
}

async fn a_listing_that_is_asked_for_wrongly_is_refused(database: Database) {
    let nexus = started(database).await;
    let refused = [
        ("", "missing_workspace_id"),
        ("?workspace_id=", "missing_workspace_id"),
        ("?workspace_id=ann&limit=0", "invalid_limit"),
        ("?workspace_id=ann&limit=1001", "invalid_limit"),
        ("?workspace_id=ann&cursor=!", "invalid_cursor"),
        ("?workspace_id=ann&cursor=Nw", "invalid_cursor"),
    ];
    for (query, code) in refused {
        let path = format!("/v1/connections{query}");
        nexus.admin().get(&path).await.refused(400, code);
    }
    let open = nexus
        .gateway()
        .get("/v1/connections?workspace_id=ann")
        .await;
    open.refused(401, "missing_api_key");
}

async fn the_newest_active_connection_is_resolved(database: Database) {
    let nexus = started(database).await;
    connect(&nexus, "ann", "maps", "k-old").await;
    let newest = connect(&nexus, "ann", "maps", "k-new").await;
    connect(&nexus, "bob", "maps", "k-bob").await;
    request(&nexus, "ann", "maps").await;
    let path = "/v1/resolve?workspace_id=ann&provider_name=MAPS";
    let resolved = nexus.admin().get(path).await.expect(200);
    assert_eq!(resolved["credentials"], json!({"api_key": "k-new"}));
    assert_eq!(resolved["connection_id"], newest.as_str());
    let entry = nexus.audit().await.pop().expect("an entry");
    assert_eq!(entry["event_type"], "credential.retrieved");
    assert!(
        text(&entry["event_data"]).contains("\"door\":\"resolve\""),
        "{entry}"
    );
    nexus
        .gateway()
        .get(path)
        .await
        .refused(401, "missing_api_key");
    let open = nexus
        .into_stopped()
        .await
        .set("RESOLVE_REQUIRE_API_KEY", "false");
    open.start().await.gateway().get(path).await.expect(200);
}

async fn what_cannot_be_resolved_is_not_found(database: Database) {
    let nexus = started(database).await;
    request(&nexus, "ann", "maps").await;
    for query in [
        "workspace_id=ann&provider_name=maps",
        "workspace_id=eve&provider_name=maps",
        "workspace_id=ann&provider_name=nobody",
    ] {
        let answer = nexus.admin().get(&format!("/v1/resolve?{query}")).await;
        answer.refused(404, "connection_not_found");
    }
    for query in [
        "workspace_id=ann",
        "provider_name=maps",
        "workspace_id=&provider_name=maps",
    ] {
        let answer = nexus.admin().get(&format!("/v1/resolve?{query}")).await;
        answer.refused(400, "missing_fields");
    }
}

async fn the_broker_has_the_connection_doors_too(database: Database) {
    let provider = ScriptedProvider::start().await;
    let nexus = started(database).await;
    nexus.register(provider.profile("google")).await;
    let broker = nexus.broker();
    let asked =
        json!({"workspace_id": "user-1", "provider_name": "google", "return_url": RETURN_URL});
    let consent = broker.post("/auth/consent-spec", asked).await.expect(200);
    let auth_url = text(&consent["authUrl"]).parse().expect("a URL");
    let callback = provider.consent(&auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    let id = text(&consent["connection_id"]);
    assert_eq!(
        ids(&broker.get("/connections?workspace_id=user-1").await),
        std::slice::from_ref(&id)
    );
    let token = format!("/connections/{id}/token");
    assert!(broker.get(&token).await.expect(200)["access_token"].is_string());
    let resolve = "/connections/resolve?workspace_id=user-1&provider_name=google";
    let resolved = broker.get(resolve).await.expect(200);
    assert!(text(&resolved["expires_at"]).ends_with('Z'), "{resolved}");
    assert_eq!(
        resolved["credentials"]["expires_at"],
        resolved["expires_at"]
    );
    let refresh = format!("/connections/{id}/refresh");
    broker.request("POST", &refresh).send().await.expect(200);
    let without: Client = nexus.broker_without_key();
    for path in [token.as_str(), resolve, "/connections?workspace_id=user-1"] {
        without.get(path).await.refused(401, "missing_api_key");
    }
}

async fn expires_at_is_text_for_clients_that_need_text(database: Database) {
    let provider = ScriptedProvider::start().await;
    let nexus = Nexus::new(database)
        .set("TOKEN_EXPIRES_AT", "rfc3339")
        .start()
        .await;
    let connected = nexus.connected(&provider, "google").await;
    let token = nexus.token(&connected.id).await.expect(200);
    assert!(text(&token["expires_at"]).ends_with('Z'), "{token}");
    assert_eq!(token["credentials"]["expires_at"], token["expires_at"]);
}
