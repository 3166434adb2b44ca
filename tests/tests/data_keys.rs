//! A data key that is missing or another one: one clear error for what it sealed, and nothing else is touched.

use nexus_domain::sealing::{DataKey, KeyEncryptionKey, KeyId, Nonce, wrap};
use nexus_domain::stream::StreamKey;
use nexus_tests::{Connected, Database, ScriptedProvider, TestNexus, on_both_databases};
use serde_json::json;

on_both_databases! {
    a_connections_key_that_is_gone_altered_or_anothers_stops_that_connection_alone,
    a_providers_key_that_is_gone_stops_what_needs_its_secret_alone,
}

/// Two connections at a provider, one captured.
struct Lived {
    nexus: TestNexus,
    provider: ScriptedProvider,
    broken: Connected,
    sound: Connected,
    captured: Connected,
}

async fn lived(database: Database) -> Lived {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let broken = nexus.connected(&provider, "google").await;
    let sound = nexus.connect(&provider, "google").await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let captured = nexus.capture("weather", json!({"api_key": "k"})).await;
    Lived {
        nexus,
        provider,
        broken,
        sound,
        captured,
    }
}

impl Lived {
    /// Changes the stopped server's database and starts it again.
    async fn tampered(&mut self, statements: &str) {
        self.nexus.terminate().await;
        self.nexus.settings().tamper(statements).await;
        self.nexus.start_again().await;
    }

    async fn only_the_broken_one_is_listed_without_its_id(&self) {
        let listing = self.nexus.admin();
        let listing = listing.get("/v1/connections?workspace_id=user-1").await;
        let listing = listing.expect(200);
        for listed in listing.as_array().expect("connections") {
            let broken = listed["reference"] == self.broken.reference();
            assert_eq!(listed["id"].is_null(), broken, "{listed}");
        }
    }

    async fn everything_else_works(&self) {
        for id in [&self.sound.id, &self.captured.id] {
            self.nexus.token(id).await.expect(200);
        }
        self.nexus.refresh(&self.sound.id).await.expect(200);
        let new = self.nexus.connect(&self.provider, "google").await;
        self.nexus.token(&new.id).await.expect(200);
    }
}

/// The statement's condition on the rows of a stream.
fn of(stream_type: &str, id: &str) -> String {
    format!("stream_type = '{stream_type}' AND stream_id = '{id}'")
}

async fn a_connections_key_that_is_gone_altered_or_anothers_stops_that_connection_alone(
    database: Database,
) {
    let mut lived = lived(database).await;
    let key = of("connection", &lived.broken.reference());
    let other = KeyEncryptionKey::from_bytes([9; 32]);
    // Bound to the right place, but by another key-encryption key.
    let stream = StreamKey::new("connection", lived.broken.reference());
    let wrapped = wrap(
        &other,
        &DataKey::from_bytes([7; 32]),
        KeyId::default(),
        &stream,
        Nonce([7; 24]),
    );
    let bytes = lived.nexus.settings().bytes(&wrapped.bytes);
    for change in [
        format!("UPDATE data_keys SET wrapped = {bytes} WHERE {key}"),
        format!("UPDATE data_keys SET kek_id = '{}' WHERE {key}", other.id()),
        format!("DELETE FROM data_keys WHERE {key}"),
    ] {
        lived.tampered(&change).await;
        let (nexus, id) = (&lived.nexus, &lived.broken.id);
        for _ in 0..2 {
            nexus.token(id).await.refused(500, "secret_unreadable");
            nexus.refresh(id).await.refused(500, "secret_unreadable");
        }
        assert_eq!(nexus.status(id).await["status"], "active");
        lived.only_the_broken_one_is_listed_without_its_id().await;
        lived.everything_else_works().await;
        let history = nexus.history(&lived.broken.reference()).await;
        let refused = history
            .iter()
            .filter(|event| event.starts_with("connection.refresh"));
        assert_eq!(refused.count(), 0, "nothing was claimed: {history:?}");
    }
    let reference = lived.broken.reference();
    assert!(
        lived.nexus.log().contains(&format!(
            "the credential of connection {reference} cannot be opened"
        )),
        "the log says which and why"
    );
}

async fn a_providers_key_that_is_gone_stops_what_needs_its_secret_alone(database: Database) {
    let mut lived = lived(database).await;
    let others = ScriptedProvider::start().await;
    let id = lived.nexus.register(others.profile("other")).await;
    let there = lived.nexus.connect(&others, "other").await;
    let pending = lived.nexus.request("other").await;
    let key = of("provider", &id);
    lived
        .tampered(&format!("DELETE FROM data_keys WHERE {key}"))
        .await;
    let nexus = &lived.nexus;
    nexus.token(&there.id).await.expect(200);
    nexus
        .refresh(&there.id)
        .await
        .refused(500, "secret_unreadable");
    assert_eq!(nexus.status(&there.id).await["status"], "active");
    let callback = others.consent(&pending.auth_url).await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("server_error")
    );
    assert!(others.refreshes().is_empty());
    lived.everything_else_works().await;
}
