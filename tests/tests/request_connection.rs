//! `POST /v1/request-connection`.

use std::collections::BTreeMap;

use nexus_tests::{Database, Nexus, ScriptedProvider, TestNexus, on_both_databases};
use serde_json::{Value, json};

on_both_databases! {
    the_answer_says_where_to_send_the_person,
    the_bearer_id_is_in_no_address_that_a_provider_or_a_log_sees,
    a_static_provider_sends_the_person_to_the_form,
    a_provider_is_found_by_id_or_by_name_without_regard_to_case,
    an_unknown_provider_is_not_found,
    the_user_has_two_names_that_must_agree,
    a_missing_or_wrong_field_is_refused_by_name,
    a_return_url_must_be_allowed,
    a_default_return_url_may_stand_in,
    scopes_are_the_providers_unless_given,
    an_unreadable_discovery_document_is_an_upstream_error_and_leaves_nothing,
    a_key_can_be_demanded,
}

fn asked() -> Value {
    json!({"workspace_id": "user-1", "provider_name": "google", "return_url": "http://localhost:3000/done"})
}

async fn ask(nexus: &TestNexus, change: Value) -> nexus_tests::Answer {
    let mut body = asked();
    for (field, value) in change.as_object().expect("an object") {
        body[field] = value.clone();
    }
    nexus.gateway().post("/v1/request-connection", body).await
}

async fn the_answer_says_where_to_send_the_person(database: Database) {
    let nexus = TestNexus::start(database).await;
    let provider = ScriptedProvider::start().await;
    let mut profile = provider.profile("google");
    profile["params"] = json!({"access_type": "offline", "prompt": "consent", "refresh_rotation": "always", "nested": {"not": "sent"}});
    nexus.register(profile).await;
    let body = ask(&nexus, json!({"metadata": {"note": "x"}, "action": "sync"}))
        .await
        .expect(200);
    assert_eq!(body["authUrl"], body["auth_url"]);

    let requested = nexus.request("google").await;
    let query: BTreeMap<String, String> = requested.auth_url.query_pairs().into_owned().collect();
    assert_eq!(requested.auth_url.path(), "/authorize");
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["client_id"], "client-1");
    assert_eq!(query["scope"], "openid email");
    assert_eq!(query["state"], requested.state);
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["code_challenge"].len(), 43);
    assert_eq!(
        query["redirect_uri"],
        format!("{}auth/callback", nexus.gateway().base())
    );
    assert!(query["nonce"].len() >= 16);
    assert_eq!(
        (query["access_type"].as_str(), query["prompt"].as_str()),
        ("offline", "consent")
    );
    assert!(
        !query.contains_key("refresh_rotation") && !query.contains_key("nested"),
        "{query:?}"
    );
    assert_eq!(
        nexus.history(&requested.reference()).await,
        ["connection.requested"]
    );
}

async fn the_bearer_id_is_in_no_address_that_a_provider_or_a_log_sees(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    assert!(!requested.auth_url.as_str().contains(&requested.id));
    assert!(
        !requested
            .auth_url
            .as_str()
            .contains(&requested.id.replace('-', ""))
    );
    assert!(!format!("{:?}", nexus.audit().await).contains(&requested.id));
    assert_ne!(nexus.request("google").await.state, requested.state);
}

async fn a_static_provider_sends_the_person_to_the_form(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let requested = nexus.request("weather").await;
    let expected = format!(
        "{}auth/capture-schema?state={}",
        nexus.gateway().base(),
        requested.state
    );
    assert_eq!(requested.auth_url.as_str(), expected);
    nexus.gateway().visit(&requested.auth_url).await.expect(200);
}

async fn a_provider_is_found_by_id_or_by_name_without_regard_to_case(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let by_name = ask(&nexus, json!({"provider_name": "GooGle"}))
        .await
        .expect(200);
    let by_id = ask(
        &nexus,
        json!({"provider_name": null, "provider_id": by_name["provider_id"]}),
    )
    .await
    .expect(200);
    assert_eq!(by_id["provider_id"], by_name["provider_id"]);
}

async fn an_unknown_provider_is_not_found(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let name = ask(&nexus, json!({"provider_name": "nobody"}))
        .await
        .refused(404, "provider_not_found");
    assert_eq!(name["provider_name"], "nobody");
    let id = "8f14e45f-ceea-467f-a8f5-1f8a5bd0e2f1";
    let unknown = ask(&nexus, json!({"provider_id": id}))
        .await
        .refused(404, "provider_not_found");
    assert_eq!(unknown["provider_id"], id);
    ask(&nexus, json!({"provider_id": "google"}))
        .await
        .refused(400, "invalid_provider_id");
}

async fn the_user_has_two_names_that_must_agree(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    ask(&nexus, json!({"workspace_id": null, "user_id": "user-1"}))
        .await
        .expect(200);
    ask(&nexus, json!({"user_id": "user-1"})).await.expect(200);
    ask(&nexus, json!({"user_id": "user-2"}))
        .await
        .refused(400, "invalid_field");
    ask(&nexus, json!({"workspace_id": null}))
        .await
        .refused(400, "missing_fields");
    ask(&nexus, json!({"workspace_id": "x".repeat(256)}))
        .await
        .refused(400, "invalid_field");
}

async fn a_missing_or_wrong_field_is_refused_by_name(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    ask(&nexus, json!({"provider_name": null}))
        .await
        .refused(400, "missing_fields");
    ask(&nexus, json!({"return_url": null}))
        .await
        .refused(400, "missing_fields");
    let wrong = ask(&nexus, json!({"scopes": "openid"}))
        .await
        .refused(400, "invalid_field");
    assert_eq!(wrong["field"], "scopes");
    ask(&nexus, json!({"metadata": {"long": "x".repeat(5000)}}))
        .await
        .refused(400, "invalid_field");
    let send = |kind: &'static str, body: &'static str| {
        nexus
            .gateway()
            .request("POST", "/v1/request-connection")
            .body(kind, body)
            .send()
    };
    send("application/json", "{")
        .await
        .refused(400, "invalid_json");
    send("text/plain", "{}")
        .await
        .refused(415, "unsupported_media_type");
    nexus
        .gateway()
        .get("/v1/request-connection")
        .await
        .refused(405, "method_not_allowed");
    let log = nexus.audit().await;
    assert!(
        log.iter()
            .all(|entry| entry["event_type"] != "connection.requested"),
        "{log:?}"
    );
}

async fn a_return_url_must_be_allowed(database: Database) {
    let nexus = Nexus::new(database)
        .set("ALLOWED_RETURN_DOMAINS", "example.test")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("google")).await;
    for allowed in [
        "https://example.test/",
        "https://app.example.test/x?y=1#z",
        "http://127.0.0.1:3000/",
        "http://localhost/",
    ] {
        ask(&nexus, json!({"return_url": allowed}))
            .await
            .expect(200);
    }
    let refused = [
        "https://evil.test/",
        "https://evilexample.test/",
        "https://example.test.evil.test/",
        "javascript:alert(1)",
        "/done",
        "ftp://example.test/",
        "https://user@example.test/",
        "https://evil.test#.example.test",
        "",
    ];
    for refused in refused {
        ask(&nexus, json!({"return_url": refused}))
            .await
            .refused(400, "invalid_return_url");
    }
}

async fn a_default_return_url_may_stand_in(database: Database) {
    let nexus = Nexus::new(database)
        .set("DEFAULT_RETURN_URL", "http://localhost:3000/default")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("google")).await;
    let body = ask(&nexus, json!({"return_url": null})).await.expect(200);
    let callback = provider
        .consent(
            &body["auth_url"]
                .as_str()
                .expect("text")
                .parse()
                .expect("a URL"),
        )
        .await;
    let location = nexus.gateway().visit(&callback).await.location();
    assert_eq!(location.path(), "/default");
}

async fn scopes_are_the_providers_unless_given(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    assert_eq!(
        ask(&nexus, json!({})).await.expect(200)["scopes"],
        json!(["openid", "email"])
    );
    let given = ask(&nexus, json!({"scopes": ["calendar"]}))
        .await
        .expect(200);
    assert_eq!(given["scopes"], json!(["calendar"]));
    let url = given["auth_url"].as_str().expect("text");
    assert!(
        url.contains("scope=calendar") && !url.contains("nonce="),
        "{url}"
    );
    for scopes in [
        json!([" "]),
        json!(["a b"]),
        json!(["quo\"te"]),
        json!(["é"]),
    ] {
        ask(&nexus, json!({"scopes": scopes}))
            .await
            .refused(400, "invalid_scope");
    }
}

async fn an_unreadable_discovery_document_is_an_upstream_error_and_leaves_nothing(
    database: Database,
) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let stranger = json!({"issuer": "https://elsewhere.test", "authorization_endpoint": "https://elsewhere.test/a", "token_endpoint": "https://elsewhere.test/t", "jwks_uri": "https://elsewhere.test/j", "response_types_supported": ["code"], "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"]});
    for (status, document) in [
        (500, "{}".to_owned()),
        (200, "not json".to_owned()),
        (200, stranger.to_string()),
    ] {
        provider.discovery(status, &document);
        ask(&nexus, json!({})).await.refused(502, "upstream_error");
    }
    let log = nexus.audit().await;
    assert!(
        log.iter()
            .all(|entry| entry["event_type"] != "connection.requested"),
        "{log:?}"
    );
}

async fn a_key_can_be_demanded(database: Database) {
    let nexus = Nexus::new(database)
        .set("GATEWAY_REQUIRE_API_KEY", "true")
        .start()
        .await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let body = json!({"workspace_id": "user-1", "provider_name": "weather", "return_url": "http://localhost/"});
    nexus
        .gateway()
        .post("/v1/request-connection", body.clone())
        .await
        .refused(401, "missing_api_key");
    let requested = nexus
        .admin()
        .post("/v1/request-connection", body)
        .await
        .expect(200);
    let id = requested["connection_id"].as_str().expect("text");
    for path in [
        format!("/v1/check-connection/{id}"),
        format!("/v1/token/{id}"),
    ] {
        nexus
            .gateway()
            .get(&path)
            .await
            .refused(401, "missing_api_key");
    }
    nexus
        .gateway()
        .get(&format!(
            "/v1/capture-schema?state={}",
            requested["state"].as_str().expect("text")
        ))
        .await
        .expect(200);
    nexus.gateway().get("/v1/health").await.expect(200);
}
