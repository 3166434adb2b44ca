//! The client against small servers on loopback that behave and misbehave.

use std::time::Duration;

use nexus_domain::provider::{ProviderProfile, ProviderSecrets};
use nexus_domain::secret::Secret;
use serde_json::{Value, json};

use super::*;

mod discovering;
mod id_tokens;
mod probing;
pub(crate) mod provider;
mod quirks;
mod resolving;
mod token_calls;
mod wire_faults;

use provider::{Recorded, TestProvider};

fn upstream_with(timeout: Duration, discovery_ttl: Duration) -> Upstream {
    let config = UpstreamConfig {
        rules: UpstreamRules::Loopback,
        timeout,
        discovery_ttl,
    };
    Upstream::new(config).unwrap()
}

fn upstream() -> Upstream {
    upstream_with(Duration::from_secs(10), Duration::from_mins(10))
}

/// A profile with manual endpoints at `base`.
fn profile(base: &str) -> ProviderProfile {
    ProviderProfile {
        name: "acme".to_owned(),
        client_id: Some("client one".to_owned()),
        auth_url: Some(format!("{base}/authorize")),
        token_url: Some(format!("{base}/token")),
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        ..ProviderProfile::default()
    }
}

fn secrets() -> ProviderSecrets {
    ProviderSecrets {
        client_secret: Some(Secret::new("s3cret &+")),
        ..ProviderSecrets::default()
    }
}

/// What makes a call one of its kind.
fn fresh() -> Fresh {
    Fresh {
        now: nexus_domain::time::Timestamp::from_seconds(1_800_000_000),
        id: uuid::Uuid::from_u128(7),
    }
}

/// Calls run in tasks of their own, so that a caller who goes away cancels none.
#[tokio::test]
async fn every_call_can_run_in_a_task_of_its_own() {
    let provider = resolved(&profile("https://nobody.invalid")).await;
    let client = std::sync::Arc::new(upstream());
    let now = nexus_domain::time::Timestamp::from_seconds(0);
    let secret = Secret::new("x");
    let failures = tokio::spawn(async move {
        let verified = client
            .verify_id_token(&provider, &secret, Some("nonce"), None, now)
            .await;
        let discovered = client.discover("https://nobody.invalid").await;
        let refreshed = client
            .redeem_refresh_token(&provider, &secret, fresh())
            .await;
        let exchanged = client
            .exchange_code(
                &provider,
                &secret,
                &secret,
                "https://vault.example/",
                fresh(),
            )
            .await;
        [
            verified.is_err(),
            discovered.is_err(),
            refreshed.is_err(),
            exchanged.is_err(),
        ]
    });
    assert_eq!(failures.await.unwrap(), [true; 4]);
}

async fn resolved(profile: &ProviderProfile) -> ResolvedProvider {
    upstream().resolve(profile, &secrets()).await.unwrap()
}

fn params(value: Value) -> serde_json::Map<String, Value> {
    serde_json::from_value(value).unwrap()
}
