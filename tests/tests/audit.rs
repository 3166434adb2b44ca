//! `GET /audit` and the projections' doors on the Broker.
//!
//! - `GET /audit`
//! - `GET /v1/audit`
//! - `GET /admin/v1/projections`
//! - `POST /admin/v1/projections/{name}/rebuild`
//! - `POST /admin/v1/projections/{name}/verify`

use nexus_tests::{Connected, Database, ScriptedProvider, TestNexus, on_both_databases, until};
use serde_json::{Value, json};

on_both_databases! {
    the_trail_tells_who_did_what_newest_first,
    filters_narrow_the_trail,
    older_names_of_events_are_understood,
    one_connections_trail_is_found_by_its_id_and_by_its_reference,
    the_trail_goes_on_from_page_to_page,
    a_filter_that_is_none_is_refused,
    the_trail_needs_a_key,
    a_rebuilt_projection_is_as_it_was_and_the_trail_says_so,
    an_unknown_projection_is_not_found,
}

async fn lived(database: Database) -> (TestNexus, Connected) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    nexus.token(&connected.id).await.expect(200);
    nexus.refresh(&connected.id).await.expect(200);
    (nexus, connected)
}

async fn filtered(nexus: &TestNexus, query: &str) -> Vec<Value> {
    let body = nexus
        .broker()
        .get(&format!("/audit?{query}"))
        .await
        .expect(200);
    body.as_array().expect("an array").clone()
}

fn types(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry["event_type"].as_str().expect("text"))
        .collect()
}

async fn one_connections_trail_is_found_by_its_id_and_by_its_reference(database: Database) {
    let (nexus, connected) = lived(database).await;
    nexus.request("google").await;
    let own = filtered(&nexus, "").await[1..8].to_vec();
    for name in [connected.id.clone(), connected.reference()] {
        let query = format!("connection_id={name}");
        assert_eq!(filtered(&nexus, &query).await, own);
        let reads = format!("{query}&event_type=credential.retrieved");
        assert_eq!(
            types(&filtered(&nexus, &reads).await),
            ["credential.retrieved"; 2]
        );
        let refreshes = format!("{query}&event_type=connection.refreshed&limit=5");
        assert_eq!(
            types(&filtered(&nexus, &refreshes).await),
            ["connection.refreshed"]
        );
    }
    for nobody in ["x", "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90"] {
        let query = format!("connection_id={nobody}");
        assert!(filtered(&nexus, &query).await.is_empty());
    }
}

async fn the_trail_goes_on_from_page_to_page(database: Database) {
    let (nexus, _connected) = lived(database).await;
    for filter in [
        "",
        "&event_type=connection.created",
        "&event_type=credential.retrieved",
    ] {
        let whole = filtered(&nexus, &format!("limit=1000{filter}")).await;
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/audit?limit=1{filter}&cursor={cursor}");
            let page = nexus.broker().get(&path).await;
            found.extend(page.expect(200).as_array().expect("an array").clone());
            match page.header("x-next-cursor") {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!(found, whole, "{filter}");
    }
}

async fn the_trail_tells_who_did_what_newest_first(database: Database) {
    let (nexus, connected) = lived(database).await;
    let entries = filtered(&nexus, "").await;
    let expected = [
        "credential.retrieved",
        "connection.refreshed",
        "connection.refresh_started",
        "credential.retrieved",
        "connection.activated",
        "connection.consent_returned",
        "connection.requested",
        "provider.registered",
    ];
    assert_eq!(types(&entries), expected);
    let positions: Vec<i64> = entries
        .iter()
        .map(|entry| entry["position"].as_i64().expect("a number"))
        .collect();
    assert_eq!(positions, [8, 7, 6, 5, 4, 3, 2, 1]);
    for entry in &entries[..7] {
        assert_eq!(entry["connection_id"], json!(connected.reference()));
        assert!(
            !entry.to_string().contains(&connected.id),
            "the bearer id is nowhere"
        );
    }
    assert_eq!(entries[7]["connection_id"], Value::Null);
    assert!(
        entries[7]["actor"].is_string(),
        "an admin key registered the provider: {}",
        entries[7]
    );
    let data: Value =
        serde_json::from_str(entries[1]["event_data"].as_str().expect("text")).expect("JSON");
    assert_eq!(data["attempt"], 1);
    assert_eq!(
        nexus.broker().get("/v1/audit").await.expect(200),
        json!(entries)
    );
}

async fn filters_narrow_the_trail(database: Database) {
    let (nexus, _connected) = lived(database).await;
    assert_eq!(
        types(&filtered(&nexus, "limit=2").await),
        ["credential.retrieved", "connection.refreshed"]
    );
    assert_eq!(
        types(&filtered(&nexus, "event_type=connection.activated").await),
        ["connection.activated"]
    );
    assert_eq!(
        filtered(&nexus, "event_type=nothing.of_this_name").await,
        Vec::<Value>::new()
    );
    let all = filtered(&nexus, "").await;
    let since = all[3]["created_at"].as_str().expect("text");
    let newer = filtered(&nexus, &format!("since={since}")).await;
    let expected: Vec<&Value> = all
        .iter()
        .filter(|entry| entry["created_at"].as_str().expect("text") >= since)
        .collect();
    assert_eq!(newer.iter().collect::<Vec<_>>(), expected);
    assert_eq!(
        filtered(&nexus, "since=2999-01-01T00:00:00Z").await,
        Vec::<Value>::new()
    );
    assert_eq!(
        filtered(&nexus, "since=1999-01-01T01:00:00%2B01:00&limit=1000").await,
        all
    );
    let both = filtered(
        &nexus,
        &format!("event_type=credential.retrieved&since={since}&limit=1"),
    )
    .await;
    assert_eq!(both, all[..1]);
}

async fn older_names_of_events_are_understood(database: Database) {
    let (nexus, _connected) = lived(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    nexus.capture("weather", json!({"api_key": "k"})).await;
    let aliases = [
        (
            "connection.created",
            vec!["connection.credential_captured", "connection.activated"],
        ),
        (
            "token_retrieved",
            vec!["credential.retrieved", "credential.retrieved"],
        ),
        (
            "provider.created",
            vec!["provider.registered", "provider.registered"],
        ),
        ("token_refresh_fatal", vec![]),
    ];
    for (alias, expected) in aliases {
        let found = filtered(&nexus, &format!("event_type={alias}")).await;
        assert_eq!(types(&found), expected, "{alias}");
        assert!(
            found
                .iter()
                .all(|entry| entry["legacy_event_type"] == alias),
            "{found:?}"
        );
    }
}

async fn a_filter_that_is_none_is_refused(database: Database) {
    let nexus = TestNexus::start(database).await;
    for since in ["yesterday", "2026-11-24", "1700000000"] {
        nexus
            .broker()
            .get(&format!("/audit?since={since}"))
            .await
            .refused(400, "invalid_since");
    }
    for limit in ["0", "1001", "-1", "many", "1.5"] {
        nexus
            .broker()
            .get(&format!("/audit?limit={limit}"))
            .await
            .refused(400, "invalid_limit");
    }
    assert_eq!(nexus.broker().get("/audit").await.expect(200), json!([]));
}

async fn the_trail_needs_a_key(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus
        .broker_without_key()
        .get("/audit")
        .await
        .refused(401, "missing_api_key");
    nexus
        .broker_without_key()
        .with_key("wrong")
        .get("/audit")
        .await
        .refused(401, "invalid_api_key");
    nexus
        .broker_without_key()
        .get("/admin/v1/projections")
        .await
        .refused(401, "missing_api_key");
    nexus.admin().get("/audit").await.refused(404, "not_found");
}

async fn a_rebuilt_projection_is_as_it_was_and_the_trail_says_so(database: Database) {
    let (nexus, connected) = lived(database).await;
    let listed = || async {
        nexus
            .broker()
            .get("/admin/v1/projections")
            .await
            .expect(200)["projections"]
            .clone()
    };
    let named = |all: &Value, name: &str| {
        all.as_array()
            .expect("an array")
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
            .expect("the projection")
    };
    for name in ["connections", "providers"] {
        let before = named(&listed().await, name);
        let path = format!("/admin/v1/projections/{name}/rebuild");
        nexus
            .broker()
            .request("POST", &path)
            .send()
            .await
            .expect(202);
        let after = until("the rebuild has ended", || async {
            let now = named(&listed().await, name);
            (now["rebuild"]["state"] != "running").then_some(now)
        })
        .await;
        assert_eq!(
            (&after["rebuild"]["state"], &after["rebuild"]["differences"]),
            (&json!("done"), &json!(0)),
            "{after}"
        );
        assert_eq!(after["rebuild"]["rows"], 1);
        assert!(
            after["generation"].as_i64() > before["generation"].as_i64(),
            "{before} {after}"
        );
    }
    nexus.token(&connected.id).await.expect(200);
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
    let rebuilt = filtered(&nexus, "event_type=vault.projection_rebuilt").await;
    assert_eq!(rebuilt.len(), 2);
}

async fn an_unknown_projection_is_not_found(database: Database) {
    let nexus = TestNexus::start(database).await;
    nexus
        .broker()
        .request("POST", "/admin/v1/projections/everything/rebuild")
        .send()
        .await
        .refused(404, "not_found");
}
