//! Secrets pushed through every flow, then searched for everywhere they must not be.

use nexus_tests::{Database, Nexus, Reply, ScriptedProvider, TestNexus, Wire, on_both_databases};
use serde_json::json;

on_both_databases! {
    no_secret_is_found_in_the_trail_the_logs_or_the_database,
}

/// Secrets of the callers' own; the provider keeps a list of those that it gave out.
const OURS: [&str; 4] = [
    "canary-client-secret",
    "canary-private-key",
    "canary-api-key",
    "canary-refused-key",
];

async fn no_secret_is_found_in_the_trail_the_logs_or_the_database(database: Database) {
    let mut nexus = Nexus::new(database)
        .set("SNAPSHOT_EVERY", "2")
        .set("RUST_LOG", "trace")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    let ids = every_flow(&nexus, &provider).await;

    let mut secrets = provider.secrets();
    assert!(
        secrets.len() > 12,
        "the flows moved secrets: {}",
        secrets.len()
    );
    secrets.extend(OURS.map(str::to_owned));
    secrets.push(nexus.api_key());
    secrets.extend(ids);
    let trail = serde_json::to_string(&nexus.audit().await).expect("JSON");
    // Killed rather than stopped, so that the write-ahead log is searched as well.
    nexus.kill9().await;
    let places = [
        ("the trail", trail),
        ("the logs", nexus.log()),
        ("the database", stored(&nexus, database).await),
    ];
    for (place, text) in &places {
        assert!(text.contains("provider"), "{place} was read");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {place}");
            assert!(
                !text.contains(&hex(secret)),
                "{secret} is in {place}, as bytes"
            );
        }
    }
    assert!(
        places[2].1.contains("refresh_started"),
        "the search sees what is stored in clear"
    );
}

/// Connects, fails, refreshes, captures; returns the bearer ids and states that came of it.
async fn every_flow(nexus: &TestNexus, provider: &ScriptedProvider) -> Vec<String> {
    let mut profile = provider.profile("google");
    profile["params"] = json!({"private_key": "canary-private-key", "audience": "x"});
    let provider_id = nexus.register(profile).await;
    nexus
        .admin()
        .patch(
            &format!("/v1/providers/{provider_id}"),
            json!({"client_secret": "canary-client-secret", "description": "y"}),
        )
        .await
        .expect(200);
    let connected = nexus.connect(provider, "google").await;
    for _ in 0..3 {
        nexus.refresh(&connected.id).await.expect(200);
        nexus.token(&connected.id).await.expect(200);
    }
    // A provider that repeats what it was sent.
    let chatty = format!(
        "{{\"error\":\"invalid_request\",\"error_description\":\"{}\"}}",
        provider.secrets().join(" ")
    );
    provider.next(Reply::raw(400, "application/json", &chatty));
    nexus
        .refresh(&connected.id)
        .await
        .refused(502, "provider_error");
    provider.next(Reply::raw(500, "text/plain", &provider.secrets().join(" ")));
    nexus
        .refresh(&connected.id)
        .await
        .refused(502, "provider_error");
    provider.next(Reply::tokens().on_wire(Wire::ClosedMidway));
    nexus
        .refresh(&connected.id)
        .await
        .refused(502, "provider_error");
    let failed = nexus.request("google").await;
    provider.next(Reply::error(400, "invalid_grant"));
    let callback = provider.consent(&failed.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let refused = nexus.request("weather").await;
    let body = json!({"state": refused.state, "credentials": {"api_key": {"nested": "canary-refused-key"}}});
    nexus
        .gateway()
        .post("/v1/capture-credential", body)
        .await
        .refused(400, "invalid_credentials");
    let captured = nexus
        .capture("weather", json!({"api_key": "canary-api-key"}))
        .await;
    nexus.token(&captured.id).await.expect(200);
    vec![
        connected.id,
        failed.id,
        failed.state,
        refused.id,
        refused.state,
        captured.id,
    ]
}

/// All that is stored, as text.
async fn stored(nexus: &TestNexus, database: Database) -> String {
    let keys_apart = std::fs::read_dir(nexus.data_dir())
        .expect("the data directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_none_or(|end| end != "key"));
    let files: Vec<u8> = keys_apart
        .flat_map(|path| std::fs::read(path).expect("a file"))
        .collect();
    let text = String::from_utf8_lossy(&files).into_owned();
    match database {
        Database::Sqlite => text,
        Database::Postgres => text + &nexus.database().dump().await,
    }
}

fn hex(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
