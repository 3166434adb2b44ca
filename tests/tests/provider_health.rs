//! `GET /providers/health` and the looks at providers behind it.

use nexus_tests::{Database, Nexus, ScriptedProvider, TestNexus, on_both_databases, until};
use serde_json::{Value, json};
use tokio::net::TcpListener;

on_both_databases! {
    before_anybody_looked_every_provider_is_unknown,
    a_provider_is_healthy_as_long_as_it_answers,
    what_stands_in_the_way_of_a_provider_is_said_in_a_sentence_of_ours,
    looking_redeems_nothing_and_changes_no_connection,
    a_provider_that_was_deleted_is_not_listed,
    a_look_that_is_under_way_does_not_hold_up_the_end,
}

/// A server that looks often.
async fn looking(database: Database) -> TestNexus {
    Nexus::new(database)
        .set("HEALTH_CHECK_INTERVAL", "500ms")
        .start()
        .await
}

async fn health(nexus: &TestNexus) -> Vec<Value> {
    let body = nexus.broker().get("/providers/health").await.expect(200);
    body.as_array().expect("an array").clone()
}

async fn of(nexus: &TestNexus, name: &str) -> Option<Value> {
    let all = health(nexus).await;
    all.into_iter().find(|entry| entry["name"] == name)
}

/// Waits until a provider is seen like this; returns its entry.
async fn seen(nexus: &TestNexus, name: &str, status: &str, message: Option<&str>) -> Value {
    until(&format!("{name} is {status}, {message:?}"), || async move {
        let entry = of(nexus, name).await?;
        (entry["health_status"] == status && entry["health_message"] == json!(message))
            .then_some(entry)
    })
    .await
}

async fn before_anybody_looked_every_provider_is_unknown(database: Database) {
    let nexus = TestNexus::start(database).await;
    assert_eq!(health(&nexus).await, Vec::<Value>::new());
    let (provider, mut ids) = (ScriptedProvider::start().await, Vec::new());
    for name in ["weather", "Google", "acme"] {
        ids.push(nexus.register(provider.profile(name)).await);
    }
    let unknown = |id: &str, name: &str| {
        json!({
            "id": id, "name": name, "health_status": "unknown", "last_health_check_at": null, "health_message": null,
        })
    };
    assert_eq!(
        health(&nexus).await,
        [
            unknown(&ids[2], "acme"),
            unknown(&ids[1], "Google"),
            unknown(&ids[0], "weather")
        ]
    );
    let without = nexus.broker_without_key().get("/providers/health").await;
    without.refused(401, "missing_api_key");
    let elsewhere = nexus.admin().get("/v1/providers/health").await;
    elsewhere.refused(400, "invalid_provider_id");
    assert_eq!(provider.urls(), Vec::<String>::new());
}

async fn a_provider_is_healthy_as_long_as_it_answers(database: Database) {
    let nexus = looking(database).await;
    let (openid, plain) = (
        ScriptedProvider::start().await,
        ScriptedProvider::start().await,
    );
    nexus.register(openid.profile("openid")).await;
    nexus.register(plain.plain_profile("plain")).await;
    let first = seen(&nexus, "openid", "healthy", None).await;
    assert!(first["last_health_check_at"].is_string());
    seen(&nexus, "plain", "healthy", None).await;
    let metrics = nexus.broker().get("/metrics").await.text;
    let counted = r#"nexus_providers_checked{health_status="healthy"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    plain.answer_looks(500);
    let message = "It answered with status 500.";
    seen(&nexus, "plain", "unhealthy", Some(message)).await;
    plain.answer_looks(401);
    seen(&nexus, "plain", "healthy", None).await;
    openid.discovery(503, r#"{"error": "canary-of-the-provider"}"#);
    let message = "It answered with status 503.";
    let unhealthy = seen(&nexus, "openid", "unhealthy", Some(message)).await;
    assert_ne!(
        unhealthy["last_health_check_at"],
        first["last_health_check_at"]
    );
    openid.discovery(200, r#"{"issuer": "canary-of-the-provider"}"#);
    let message = "The discovery document or its key set is not valid.";
    seen(&nexus, "openid", "unhealthy", Some(message)).await;
    assert!(plain.looks() > 2 && openid.discoveries() > 2);
    assert!(plain.calls().is_empty() && openid.calls().is_empty());
    assert!(!nexus.log().contains("canary-of-the-provider"));
}

async fn what_stands_in_the_way_of_a_provider_is_said_in_a_sentence_of_ours(database: Database) {
    let mut nexus = looking(database).await;
    let gone = ScriptedProvider::start().await;
    nexus.register(gone.plain_profile("gone")).await;
    drop(gone);
    let there = ScriptedProvider::start().await;
    nexus.register(there.profile("there")).await;
    for (name, base) in [
        ("inside", json!("https://169.254.169.254/latest/meta-data")),
        ("untold", json!(null)),
    ] {
        let profile = json!({"name": name, "auth_type": "api_key", "api_base_url": base});
        nexus.register(profile).await;
    }
    for (name, status, message) in [
        ("gone", "unhealthy", Some("No connection came about.")),
        ("inside", "unhealthy", Some("The address is not allowed.")),
        ("there", "healthy", None),
        ("untold", "unknown", Some("There is no URL to check.")),
    ] {
        seen(&nexus, name, status, message).await;
    }
    // What was allowed when it was registered is judged again.
    nexus.terminate().await;
    nexus.change("ALLOW_PRIVATE_UPSTREAMS", Some("false"));
    nexus.start_again().await;
    let before = there.urls().len();
    let message = "The address is not allowed.";
    seen(&nexus, "there", "unhealthy", Some(message)).await;
    assert_eq!(there.urls().len(), before);
}

async fn looking_redeems_nothing_and_changes_no_connection(database: Database) {
    let nexus = looking(database).await;
    let provider = ScriptedProvider::start().await;
    let connected = nexus.connected(&provider, "google").await;
    let history = nexus.history(&connected.reference()).await;
    let first = seen(&nexus, "google", "healthy", None).await;
    until("it is looked at again", || async {
        let again = of(&nexus, "google").await?;
        (again["last_health_check_at"] != first["last_health_check_at"]).then_some(())
    })
    .await;
    provider.discovery(500, "{}");
    let message = "It answered with status 500.";
    seen(&nexus, "google", "unhealthy", Some(message)).await;
    // The consent's own exchange.
    assert_eq!(provider.calls().len(), 1);
    assert!(provider.revocations().is_empty());
    assert_eq!(nexus.history(&connected.reference()).await, history);
    let status = nexus.status(&connected.id).await;
    assert_eq!(
        (&status["status"], &status["health_status"]),
        (&json!("active"), &json!("healthy"))
    );
    nexus.token(&connected.id).await.expect(200);
}

async fn a_provider_that_was_deleted_is_not_listed(database: Database) {
    let nexus = looking(database).await;
    let provider = ScriptedProvider::start().await;
    let id = nexus.register(provider.profile("google")).await;
    seen(&nexus, "google", "healthy", None).await;
    let path = format!("/v1/providers/{id}");
    nexus.admin().delete(&path).await.expect(200);
    assert_eq!(health(&nexus).await, Vec::<Value>::new());
}

async fn a_look_that_is_under_way_does_not_hold_up_the_end(database: Database) {
    let mut nexus = Nexus::new(database)
        .set("HEALTH_CHECK_INTERVAL", "500ms")
        .set("UPSTREAM_TIMEOUT", "1h")
        .start()
        .await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", silent.local_addr().expect("an address"));
    let profile = json!({"name": "silent", "auth_type": "api_key", "api_base_url": base});
    nexus.register(profile).await;
    let (_held, _) = silent.accept().await.expect("it is looked at");
    assert_eq!(nexus.terminate().await, Some(0));
    assert!(!nexus.log().contains("did not end in time"));
}
