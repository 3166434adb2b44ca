//! The doors of `/v1/providers`, and of `/providers` on the Broker.
//!
//! - `GET /v1/providers`
//! - `POST /v1/providers`
//! - `GET /v1/providers/metadata`
//! - `GET /v1/providers/{id}`
//! - `PATCH /v1/providers/{id}`
//! - `PUT /v1/providers/{id}`
//! - `DELETE /v1/providers/{id}`
//! - `GET /providers`
//! - `POST /providers`
//! - `GET /providers/metadata`
//! - `GET /providers/by-name/{name}`
//! - `DELETE /providers/by-name/{name}`
//! - `GET /providers/{id}`
//! - `PATCH /providers/{id}`
//! - `PUT /providers/{id}`
//! - `DELETE /providers/{id}`

use nexus_tests::{Database, TestNexus, on_both_databases};
use serde_json::{Value, json};

on_both_databases! {
    a_registered_provider_shows_its_profile_without_its_secret,
    a_profile_may_come_wrapped_in_profile,
    every_door_needs_a_key,
    a_body_that_is_no_profile_is_refused,
    a_profile_that_breaks_a_rule_is_refused_by_its_field,
    a_name_is_taken_once_without_regard_to_case,
    the_name_of_a_deleted_provider_is_free_again,
    an_unknown_provider_is_not_found_and_a_malformed_id_refused,
    patch_changes_the_given_fields_and_null_clears_one,
    put_replaces_everything_but_the_secret,
    the_host_that_gets_the_tokens_changes_only_together_with_the_secret,
    a_client_that_signs_moves_only_together_with_its_key,
    secrets_among_the_parameters_come_back_masked_and_survive_an_update,
    the_list_is_grouped_by_kind_and_name,
    the_broker_lists_and_finds_by_name,
    a_change_that_changes_nothing_is_no_event,
    the_broker_is_planned_and_applied_from_a_manifest,
}

/// The example key of RFC 8410 §10.3.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

fn google() -> Value {
    json!({
        "name": "Google", "auth_type": "oauth2", "client_id": "client-1", "client_secret": "canary-secret",
        "issuer": "https://accounts.example.test", "token_url": "https://accounts.example.test/token",
        "auth_url": "https://accounts.example.test/auth", "enable_discovery": false,
        "scopes": ["openid", "email"], "params": {"access_type": "offline", "weights": [1, {"deep": null}]},
        "api_base_url": "https://api.example.test",
    })
}

async fn a_registered_provider_shows_its_profile_without_its_secret(database: Database) {
    let nexus = TestNexus::start(database).await;
    let answer = nexus.admin().post("/v1/providers", google()).await;
    let id = answer.expect(201)["id"].as_str().expect("an id").to_owned();
    assert!(!answer.text.contains("canary-secret"), "{}", answer.text);

    let answer = nexus.admin().get(&format!("/v1/providers/{id}")).await;
    let shown = answer.expect(200);
    assert!(!answer.text.contains("canary-secret"), "{}", answer.text);
    assert_eq!(shown["has_client_secret"], true);
    for field in [
        "name",
        "auth_type",
        "client_id",
        "auth_url",
        "token_url",
        "issuer",
        "enable_discovery",
        "scopes",
        "api_base_url",
        "params",
    ] {
        assert_eq!(
            shown[field],
            google()[field],
            "{field} is returned as it was given"
        );
    }
    assert_eq!(nexus.provider_history().await, ["provider.registered"]);
}

async fn a_profile_may_come_wrapped_in_profile(database: Database) {
    let nexus = TestNexus::start(database).await;
    let id = nexus
        .register(
            json!({"profile": {"name": "weather", "auth_type": "api_key", "auth_header": "X-Key"}}),
        )
        .await;
    let shown = nexus
        .admin()
        .get(&format!("/v1/providers/{id}"))
        .await
        .expect(200);
    assert_eq!(
        (&shown["name"], &shown["auth_header"]),
        (&json!("weather"), &json!("X-Key"))
    );
    assert_eq!(shown["has_client_secret"], false);
}

async fn every_door_needs_a_key(database: Database) {
    let nexus = TestNexus::start(database).await;
    let id = nexus.register(google()).await;
    let one = format!("/v1/providers/{id}");
    let doors = [
        ("GET", "/v1/providers"),
        ("GET", "/v1/providers/metadata"),
        ("POST", "/v1/providers"),
        ("GET", &one),
        ("PATCH", &one),
        ("PUT", &one),
        ("DELETE", &one),
    ];
    for (method, path) in doors {
        let body = json!({"name": "other"});
        let without = nexus
            .gateway()
            .request(method, path)
            .json(&body)
            .send()
            .await;
        without.refused(401, "missing_api_key");
        let wrong = nexus
            .gateway()
            .with_key("nxs_wrong")
            .request(method, path)
            .json(&body)
            .send()
            .await;
        wrong.refused(401, "invalid_api_key");
    }
    let shown = nexus.admin().get(&one).await.expect(200);
    assert_eq!(shown["name"], "Google", "nothing happened");
}

async fn a_body_that_is_no_profile_is_refused(database: Database) {
    let nexus = TestNexus::start(database).await;
    let send = |kind: &'static str, body: String| {
        nexus
            .admin()
            .request("POST", "/v1/providers")
            .body(kind, body)
            .send()
    };
    let broken = send("application/json", "{\n \"name\": oops}".to_owned())
        .await
        .refused(400, "invalid_json");
    assert_eq!(
        (&broken["line"], broken["column"].is_u64()),
        (&json!(2), true)
    );
    send("application/json", String::new())
        .await
        .refused(400, "missing_profile");
    send("application/json", "{}".to_owned())
        .await
        .refused(400, "missing_profile");
    let wrong = send(
        "application/json",
        json!({"name": "x", "scopes": "openid"}).to_string(),
    )
    .await
    .refused(400, "invalid_provider");
    assert_eq!(wrong["field"], "scopes");
    send("text/plain", "{}".to_owned())
        .await
        .refused(415, "unsupported_media_type");
    let long = json!({"name": "x", "description": "x".repeat(300 * 1024)}).to_string();
    send("application/json", long)
        .await
        .refused(413, "body_too_large");
    assert_eq!(nexus.provider_history().await, Vec::<String>::new());
}

async fn a_profile_that_breaks_a_rule_is_refused_by_its_field(database: Database) {
    let nexus = TestNexus::start(database).await;
    let wrong = [
        ("client_secret", json!(null)),
        ("token_url", json!("/token")),
        ("token_url", json!("ftp://accounts.example.test/token")),
        (
            "token_url",
            json!("https://user:pass@accounts.example.test/token"),
        ),
        ("auth_url", json!("https://accounts.example.test/auth#here")),
        ("auth_header", json!("carrier_pigeon")),
        ("auth_type", json!("saml")),
    ];
    for (field, value) in wrong {
        let mut profile = google();
        profile[field] = value;
        let refused = nexus
            .admin()
            .post("/v1/providers", profile)
            .await
            .refused(400, "invalid_provider");
        assert_eq!(refused["field"], field, "{refused}");
    }
    for (params, field) in [
        (json!({}), "params.private_key"),
        (json!({"private_key": "********"}), "params.private_key"),
        (
            json!({"private_key": "canary-private-key"}),
            "params.private_key",
        ),
        (json!({"private_key": {"kty": "EC"}}), "params.private_key"),
        (
            json!({"private_key": ED25519, "private_key_alg": "HS256"}),
            "params.private_key_alg",
        ),
        (
            json!({"private_key": ED25519, "private_key_alg": "RS256"}),
            "params.private_key_alg",
        ),
        (
            json!({"private_key": ED25519, "private_key_id": 7}),
            "params.private_key_id",
        ),
    ] {
        let mut profile = google();
        profile["auth_header"] = json!("private_key_jwt");
        profile["params"] = params;
        let answer = nexus.admin().post("/v1/providers", profile).await;
        let refused = answer.refused(400, "invalid_provider");
        assert_eq!(refused["field"], field, "{refused}");
        assert!(!answer.text.contains("canary"));
    }
    for grace in [json!(-1), json!(1.5), json!("30"), json!(86_401)] {
        let mut profile = google();
        profile["params"] = json!({"refresh_reuse_grace_seconds": grace});
        let answer = nexus.admin().post("/v1/providers", profile).await;
        let refused = answer.refused(400, "invalid_provider");
        assert_eq!(refused["field"], "params.refresh_reuse_grace_seconds");
    }
    for name in ["", "   ", "a/b", "tab\tbed", &"x".repeat(65)] {
        let mut profile = google();
        profile["name"] = json!(name);
        nexus
            .admin()
            .post("/v1/providers", profile)
            .await
            .refused(400, "invalid_provider_name");
    }
}

async fn a_name_is_taken_once_without_regard_to_case(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus.register(google()).await;
    let other = nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let mut again = google();
    again["name"] = json!(" gOOGLE ");
    nexus
        .admin()
        .post("/v1/providers", again)
        .await
        .refused(409, "provider_exists");
    let renamed = nexus
        .admin()
        .patch(&format!("/v1/providers/{other}"), json!({"name": "GOOGLE"}))
        .await;
    renamed.refused(409, "provider_exists");
    let spelled = nexus
        .admin()
        .patch(
            &format!("/v1/providers/{other}"),
            json!({"name": "Weather"}),
        )
        .await
        .expect(200);
    assert_eq!(
        spelled["name"], "Weather",
        "a name may change its own spelling"
    );
}

async fn the_name_of_a_deleted_provider_is_free_again(database: Database) {
    let nexus = TestNexus::start(database).await;
    let id = nexus.register(google()).await;
    let deleted = nexus
        .admin()
        .delete(&format!("/v1/providers/{id}"))
        .await
        .expect(200);
    assert_eq!(deleted["id"], json!(id));
    nexus
        .admin()
        .get(&format!("/v1/providers/{id}"))
        .await
        .refused(404, "provider_not_found");
    nexus
        .admin()
        .delete(&format!("/v1/providers/{id}"))
        .await
        .refused(404, "provider_not_found");
    assert_ne!(nexus.register(google()).await, id);
}

async fn an_unknown_provider_is_not_found_and_a_malformed_id_refused(database: Database) {
    let nexus = TestNexus::start(database).await;
    for (id, status, code) in [
        (
            "8f14e45f-ceea-467f-a8f5-1f8a5bd0e2f1",
            404,
            "provider_not_found",
        ),
        ("not-a-uuid", 400, "invalid_provider_id"),
    ] {
        let path = format!("/v1/providers/{id}");
        nexus.admin().get(&path).await.refused(status, code);
        nexus
            .admin()
            .patch(&path, json!({"description": "x"}))
            .await
            .refused(status, code);
        nexus
            .admin()
            .put(&path, google())
            .await
            .refused(status, code);
        nexus.admin().delete(&path).await.refused(status, code);
    }
}

async fn patch_changes_the_given_fields_and_null_clears_one(database: Database) {
    let nexus = TestNexus::start(database).await;
    let id = nexus.register(google()).await;
    let path = format!("/v1/providers/{id}");
    let patched = nexus
        .admin()
        .patch(
            &path,
            json!({"description": "Search", "api_base_url": null, "unknown_field": 1}),
        )
        .await
        .expect(200);
    assert_eq!(patched["description"], "Search");
    assert!(
        patched["api_base_url"]
            .as_str()
            .unwrap_or_default()
            .is_empty(),
        "{patched}"
    );
    assert_eq!(patched["client_id"], "client-1");
    assert_eq!(patched["has_client_secret"], true);
    assert_eq!(nexus.admin().get(&path).await.expect(200), patched);
    assert_eq!(
        nexus.provider_history().await,
        ["provider.registered", "provider.updated"]
    );
    nexus
        .admin()
        .patch(&path, json!({"client_secret": null}))
        .await
        .refused(400, "invalid_provider");
    nexus
        .admin()
        .patch(&path, json!({"scopes": 7}))
        .await
        .refused(400, "invalid_provider");
    for schema in [
        json!({"type": "nothing"}),
        json!({"$ref": "https://elsewhere.example/schema"}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
    ] {
        let change = json!({"params": {"credential_schema": schema}});
        let refused = nexus.admin().patch(&path, change).await;
        assert_eq!(
            refused.refused(400, "invalid_provider")["field"],
            "params.credential_schema"
        );
    }
}

async fn put_replaces_everything_but_the_secret(database: Database) {
    let nexus = TestNexus::start(database).await;
    let id = nexus.register(google()).await;
    let mut next = google();
    next.as_object_mut()
        .expect("an object")
        .retain(|field, _| !["client_secret", "api_base_url", "params"].contains(&field.as_str()));
    let replaced = nexus
        .admin()
        .put(&format!("/v1/providers/{id}"), next)
        .await
        .expect(200);
    assert!(
        replaced["api_base_url"]
            .as_str()
            .unwrap_or_default()
            .is_empty(),
        "{replaced}"
    );
    assert_eq!(replaced["params"], json!({}));
    assert_eq!(replaced["has_client_secret"], true);
}

async fn the_host_that_gets_the_tokens_changes_only_together_with_the_secret(database: Database) {
    let nexus = TestNexus::start(database).await;
    let path = format!("/v1/providers/{}", nexus.register(google()).await);
    let elsewhere = json!({"token_url": "https://elsewhere.example.test/token"});
    let refused = nexus
        .admin()
        .patch(&path, elsewhere)
        .await
        .refused(400, "invalid_provider");
    assert_eq!(refused["field"], "token_url");
    let same_host = json!({"token_url": "https://accounts.example.test/v2/token"});
    nexus.admin().patch(&path, same_host).await.expect(200);
    let together = json!({"token_url": "https://elsewhere.example.test/token", "client_secret": "canary-secret-2"});
    let moved = nexus.admin().patch(&path, together).await.expect(200);
    assert_eq!(moved["token_url"], "https://elsewhere.example.test/token");
}

async fn a_client_that_signs_moves_only_together_with_its_key(database: Database) {
    let nexus = TestNexus::start(database).await;
    let mut profile = google();
    profile["auth_header"] = json!("private_key_jwt");
    profile["params"] = json!({"private_key": ED25519, "private_key_id": "k-1"});
    // A secret that it had as well would be sent to the new host by the next change of `auth_header`.
    let path = format!("/v1/providers/{}", nexus.register(profile).await);
    let elsewhere = |more: Value| {
        let mut change = json!({"token_url": "https://elsewhere.example.test/token"});
        let change_fields = change.as_object_mut().expect("an object");
        change_fields.extend(more.as_object().expect("an object").clone());
        change
    };
    let key = json!({"private_key": ED25519});
    for partly in [
        json!({}),
        json!({"client_secret": "canary-secret-2"}),
        json!({"params": {"private_key": "********"}, "client_secret": "canary-secret-2"}),
        json!({"params": key}),
        json!({"params": {}, "client_secret": "canary-secret-2", "auth_header": "none"}),
    ] {
        let refused = nexus.admin().patch(&path, elsewhere(partly)).await;
        let refused = refused.refused(400, "invalid_provider");
        assert_eq!(refused["field"], "token_url", "{refused}");
    }
    let both = json!({"params": key, "client_secret": "canary-secret-2"});
    nexus
        .admin()
        .patch(&path, elsewhere(both))
        .await
        .expect(200);
    let without = json!({"client_secret": null});
    nexus.admin().patch(&path, without).await.expect(200);
    let mut back = json!({"token_url": "https://third.example.test/token"});
    let refused = nexus.admin().patch(&path, back.clone()).await;
    refused.refused(400, "invalid_provider");
    // The same key again is enough.
    back["params"] = key;
    nexus.admin().patch(&path, back).await.expect(200);
}

async fn secrets_among_the_parameters_come_back_masked_and_survive_an_update(database: Database) {
    let nexus = TestNexus::start(database).await;
    let mut profile = google();
    profile["params"] = json!({"audience": "x", "private_key": "canary-private-key"});
    let path = format!("/v1/providers/{}", nexus.register(profile).await);
    let shown = nexus.admin().get(&path).await.expect(200);
    assert_eq!(
        shown["params"],
        json!({"audience": "x", "private_key": "********"})
    );
    let patched = nexus
        .admin()
        .patch(
            &path,
            json!({"params": shown["params"], "description": "new"}),
        )
        .await
        .expect(200);
    assert_eq!(patched["params"], shown["params"]);
    let everything = format!("{:?}", nexus.audit().await);
    assert!(!everything.contains("canary-private-key"));
}

async fn the_list_is_grouped_by_kind_and_name(database: Database) {
    let nexus = TestNexus::start(database).await;
    assert_eq!(
        nexus.admin().get("/v1/providers").await.expect(200),
        json!({})
    );
    let id = nexus.register(google()).await;
    let weather = nexus
        .register(json!({"name": "weather", "auth_type": "api_key", "category": "data"}))
        .await;
    let listed = nexus.admin().get("/v1/providers").await.expect(200);
    assert_eq!(
        listed,
        json!({
            "oauth2": {"Google": {
                "id": id, "api_base_url": "https://api.example.test", "user_info_endpoint": "", "scopes": ["openid", "email"],
                "description": "", "category": "",
            }},
            "api_key": {"weather": {
                "id": weather, "api_base_url": "", "user_info_endpoint": "", "scopes": [], "description": "", "category": "data",
            }},
        })
    );
    assert_eq!(
        nexus
            .admin()
            .get("/v1/providers/metadata")
            .await
            .expect(200),
        listed
    );
    assert_eq!(
        nexus.broker().get("/providers/metadata").await.expect(200),
        listed
    );
}

async fn the_broker_lists_and_finds_by_name(database: Database) {
    let nexus = TestNexus::start(database).await;
    assert_eq!(
        nexus.broker().get("/providers").await.expect(200),
        json!([])
    );
    let id = nexus
        .broker()
        .post("/providers", google())
        .await
        .expect(201)["id"]
        .clone();
    let listed = nexus.broker().get("/providers").await.expect(200);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["name"]),
        (&id, &json!("Google"))
    );
    assert_eq!(
        nexus
            .broker()
            .get("/providers/by-name/GOOGLE")
            .await
            .expect(200),
        json!({"id": id})
    );
    nexus
        .broker()
        .get("/providers/by-name/nobody")
        .await
        .refused(404, "provider_not_found");
    nexus
        .broker_without_key()
        .get("/providers")
        .await
        .refused(401, "missing_api_key");
    nexus
        .broker()
        .delete("/providers/by-name/google")
        .await
        .expect(200);
    assert_eq!(
        nexus.broker().get("/providers").await.expect(200),
        json!([])
    );
    nexus
        .admin()
        .get("/providers")
        .await
        .refused(404, "not_found");
    nexus
        .broker()
        .get("/v1/providers")
        .await
        .refused(404, "not_found");
}

async fn a_change_that_changes_nothing_is_no_event(database: Database) {
    let nexus = TestNexus::start(database).await;
    let path = format!("/v1/providers/{}", nexus.register(google()).await);
    nexus
        .admin()
        .patch(
            &path,
            json!({"name": "Google", "scopes": ["openid", "email"]}),
        )
        .await
        .expect(200);
    assert_eq!(nexus.provider_history().await, ["provider.registered"]);
}

/// What an operator's tool asks that keeps providers as a manifest says: list, look at each, register, change, delete.
async fn the_broker_is_planned_and_applied_from_a_manifest(database: Database) {
    let nexus = TestNexus::start(database).await;
    let broker = nexus.broker();
    assert_eq!(broker.get("/providers").await.expect(200), json!([]));
    let manifest = json!({
        "name": "google", "auth_type": "oauth2", "auth_header": "client_secret_basic", "client_id": "client-1",
        "client_secret": "canary-secret", "auth_url": "https://idp.example/authorize", "token_url": "https://idp.example/token",
        "scopes": ["read"], "api_base_url": "https://api.example", "params": {"access_type": "offline"},
    });
    let registered = broker
        .post("/providers", json!({"profile": manifest}))
        .await;
    let path = format!(
        "/providers/{}",
        registered.expect(201)["id"].as_str().expect("an id")
    );
    let listed = broker.get("/providers").await.expect(200);
    assert_eq!(listed[0]["name"], "google");
    let shown = broker.get(&path).await.expect(200);
    for field in [
        "auth_type",
        "auth_header",
        "client_id",
        "auth_url",
        "token_url",
        "scopes",
        "api_base_url",
        "params",
    ] {
        assert_eq!(shown[field], manifest[field], "{field}");
    }
    assert_eq!(shown["enable_discovery"], false);
    let changed = broker
        .patch(&path, json!({"scopes": ["read", "write"]}))
        .await;
    assert_eq!(changed.expect(200)["scopes"], json!(["read", "write"]));
    let replaced = broker.request("PUT", &path).json(&json!({
        "name": "google", "client_id": "client-2", "auth_url": "https://idp.example/authorize", "token_url": "https://idp.example/token",
    }));
    let replaced = replaced.send().await.expect(200);
    assert_eq!(
        (&replaced["client_id"], &replaced["scopes"]),
        (&json!("client-2"), &json!([]))
    );
    assert_eq!(replaced["has_client_secret"], true);
    let deleted = broker.delete(&path).await.expect(200);
    assert_eq!(
        format!("/providers/{}", deleted["id"].as_str().expect("an id")),
        path
    );
    broker.get(&path).await.refused(404, "provider_not_found");
}
