//! API keys: caller keys beside admin keys, and keys in files that change while the server runs.

use std::fs;

use nexus_tests::{Database, Nexus, TestNexus, on_both_databases, until};
use serde_json::json;

on_both_databases! {
    a_callers_key_opens_what_callers_need,
    keys_in_files_change_while_the_server_runs,
}

async fn a_callers_key_opens_what_callers_need(database: Database) {
    let nexus = Nexus::new(database)
        .set("GATEWAY_API_KEYS", "caller-1, caller-2")
        .set("GATEWAY_REQUIRE_API_KEY", "true")
        .start()
        .await;
    let profile = json!({"name": "weather", "auth_type": "api_key"});
    let id = nexus.register(profile.clone()).await;
    let asked = json!({"workspace_id": "ann", "provider_name": "weather", "return_url": "http://127.0.0.1:9/"});
    for key in ["caller-1", "caller-2"] {
        let caller = nexus.gateway().with_key(key);
        let requested = caller.post("/v1/request-connection", asked.clone()).await;
        let requested = requested.expect(200);
        let connection = requested["connection_id"].as_str().expect("an id");
        let capture = json!({"state": requested["state"], "credentials": {"api_key": "k"}});
        caller
            .post("/v1/capture-credential", capture)
            .await
            .expect(200);
        for path in [
            format!("/v1/check-connection/{connection}"),
            format!("/v1/token/{connection}"),
            "/v1/resolve?workspace_id=ann&provider_name=weather".to_owned(),
            "/v1/providers".to_owned(),
            format!("/v1/providers/{id}"),
        ] {
            caller.get(&path).await.expect(200);
        }
        let provider = format!("/v1/providers/{id}");
        let code = "api_key_not_permitted";
        caller
            .post("/v1/providers", profile.clone())
            .await
            .refused(403, code);
        caller
            .patch(&provider, json!({"description": "x"}))
            .await
            .refused(403, code);
        caller
            .put(&provider, profile.clone())
            .await
            .refused(403, code);
        caller.delete(&provider).await.refused(403, code);
        caller
            .get("/v1/connections?workspace_id=ann")
            .await
            .refused(403, code);
        let broker = nexus.broker_without_key().with_key(key);
        broker.get("/audit").await.refused(401, "invalid_api_key");
    }
    nexus
        .gateway()
        .get("/v1/providers")
        .await
        .refused(401, "missing_api_key");
}

async fn keys_in_files_change_while_the_server_runs(database: Database) {
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("keys");
    fs::write(&file, "first\nsecond\n").expect("written");
    let nexus = Nexus::new(database)
        .set("API_KEYS_FILE", &file.display().to_string())
        .set("API_KEY_RELOAD_INTERVAL", "50ms")
        .start()
        .await;
    let opens = |key: &'static str| {
        let nexus: &TestNexus = &nexus;
        async move {
            nexus
                .gateway()
                .with_key(key)
                .get("/v1/providers")
                .await
                .status
        }
    };
    assert_eq!((opens("first").await, opens("third").await), (200, 401));
    // What cannot be used changes nothing.
    fs::write(&file, "two words\n").expect("written");
    until("the bad file is noticed", || async {
        nexus
            .log()
            .contains("the API keys stay as they are")
            .then_some(())
    })
    .await;
    assert_eq!(opens("first").await, 200);
    fs::write(&file, "second\nthird\n").expect("written");
    until("the new key opens", || async {
        (opens("third").await == 200).then_some(())
    })
    .await;
    assert_eq!((opens("first").await, opens("second").await), (401, 200));
    let broker = nexus.broker_without_key().with_key("second");
    let recorded = until("the change is recorded", || async {
        let found = broker
            .get("/audit?event_type=vault.api_keys_changed")
            .await
            .expect(200);
        found.as_array().expect("an array").first().cloned()
    })
    .await;
    let said = recorded["event_data"].as_str().expect("text");
    let said: serde_json::Value = serde_json::from_str(said).expect("JSON");
    for list in ["added", "removed"] {
        assert_eq!(said[list].as_array().map(Vec::len), Some(1), "{said}");
    }
    assert!(
        !recorded.to_string().contains("third"),
        "no key is in the log"
    );
}
