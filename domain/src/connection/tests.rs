//! The rules of a connection: given what happened, when something is asked, then this follows.

mod consent;
mod properties;
mod refresh;
mod stored;
mod table;

use std::time::Duration;

use uuid::Uuid;

use super::{
    AttentionReason, Connection, ConnectionCommand as Command, ConnectionError as Error,
    ConnectionEvent as Event, ConsentKind, FailureReason, Outcome, RefreshFailure, ReuseGrace,
    Rotation,
};
use crate::decider::Decider;
use crate::provider::{AuthType, ProviderId};
use crate::sealing::{KeyId, SealedRef};
use crate::time::Timestamp;

/// When a pending consent lapses.
const LAPSES: Timestamp = Timestamp::from_seconds(900);
/// Before that.
const NOW: Timestamp = Timestamp::from_seconds(100);
/// The provider's epoch.
const EPOCH: u64 = 1;
const DEADLINE_MS: u64 = 30_000;
const EXCHANGE_MS: u64 = 20_000;

/// The state that these events fold to.
fn given(events: &[Event]) -> Connection {
    let mut connection = Connection::default();
    for event in events {
        connection.evolve(event);
    }
    connection
}

/// The state after these commands, each of which must succeed.
fn after(commands: impl IntoIterator<Item = Command>) -> Connection {
    let mut connection = Connection::default();
    for command in commands {
        let told = format!("{command:?}");
        let events = connection
            .decide(command)
            .unwrap_or_else(|error| panic!("{told}: {error}"));
        for event in &events {
            connection.evolve(event);
        }
    }
    connection
}

/// The state after one more command.
fn then(connection: &Connection, command: Command) -> Connection {
    let mut connection = connection.clone();
    let events = connection.decide(command).unwrap();
    for event in &events {
        connection.evolve(event);
    }
    connection
}

fn sealed(version: u32) -> SealedRef {
    SealedRef {
        digest: format!("{version:064x}"),
        key_id: KeyId::default(),
        version,
    }
}

fn provider_id() -> ProviderId {
    ProviderId::from_uuid(Uuid::from_u128(1))
}

fn request(state: &str, consent: ConsentKind) -> Command {
    Command::Request {
        workspace_id: "user".into(),
        provider_id: provider_id(),
        provider_name: "Example".into(),
        auth_type: match consent {
            ConsentKind::Oauth2 => AuthType::Oauth2,
            ConsentKind::Static => AuthType::ApiKey,
        },
        consent,
        scopes: vec!["read".into()],
        return_url: "https://app.test/done".into(),
        metadata: None,
        action: None,
        state_digest: state.into(),
        expires_at: LAPSES,
        sealed_id: sealed(1),
        provider_epoch: EPOCH,
    }
}

fn accept(state: &str) -> Command {
    Command::AcceptCallback {
        state_digest: state.into(),
        now: NOW,
        exchange_within_ms: EXCHANGE_MS,
    }
}

/// Completes with a refreshable credential of this version, of the account `ada`.
fn complete(state: &str, version: u32) -> Command {
    complete_as(state, version, Some("ada"))
}

fn complete_as(state: &str, version: u32, account: Option<&str>) -> Command {
    Command::CompleteConsent {
        state_digest: state.into(),
        credential: sealed(version),
        scopes: vec!["read".into()],
        expires_at: Some(LAPSES),
        account: account.map(Into::into),
        refreshable: true,
        provider_epoch: EPOCH,
    }
}

fn capture(state: &str, version: u32) -> Command {
    Command::CaptureCredential {
        state_digest: state.into(),
        now: NOW,
        credential: sealed(version),
        provider_epoch: EPOCH,
    }
}

fn fail(state: &str, reason: FailureReason) -> Command {
    Command::Fail {
        state_digest: state.into(),
        reason,
        error: Some("code".into()),
        now: NOW,
    }
}

fn claim(rotation: Rotation, takeover: Option<u64>) -> Command {
    Command::ClaimRefresh {
        forced: false,
        deadline_ms: DEADLINE_MS,
        takeover,
        rotation,
        reuse_grace: None,
        provider_epoch: EPOCH,
    }
}

/// A claim at that second, at a provider that takes a token again for half a minute.
fn claim_in_grace(second: i64, takeover: Option<u64>) -> Command {
    Command::ClaimRefresh {
        forced: false,
        deadline_ms: DEADLINE_MS,
        takeover,
        rotation: Rotation::Auto,
        reuse_grace: Some(ReuseGrace {
            now: Timestamp::from_seconds(second),
            lasts: Duration::from_secs(30),
        }),
        provider_epoch: EPOCH,
    }
}

fn refreshed(attempt: u64, version: u32) -> Command {
    Command::RecordRefresh {
        attempt,
        credential: sealed(version),
        scopes: vec!["read".into()],
        expires_at: Some(LAPSES),
        rotated: false,
    }
}

fn rotated(attempt: u64, version: u32) -> Command {
    Command::RecordRefresh {
        attempt,
        credential: sealed(version),
        scopes: vec!["read".into()],
        expires_at: Some(LAPSES),
        rotated: true,
    }
}

fn failed(attempt: u64, outcome: Outcome, error: &str) -> Command {
    let failure = RefreshFailure {
        outcome,
        error: error.into(),
        http_status: None,
        retry_after_seconds: None,
    };
    Command::RecordRefreshFailure { attempt, failure }
}

fn pending() -> Connection {
    after([request("s1", ConsentKind::Oauth2)])
}

fn exchanging() -> Connection {
    after([request("s1", ConsentKind::Oauth2), accept("s1")])
}

fn active() -> Connection {
    after([
        request("s1", ConsentKind::Oauth2),
        accept("s1"),
        complete("s1", 1),
    ])
}

fn captured() -> Connection {
    after([request("s1", ConsentKind::Static), capture("s1", 1)])
}

fn claimed() -> Connection {
    then(&active(), claim(Rotation::Auto, None))
}

fn in_attention(reason: AttentionReason) -> Connection {
    then(&active(), Command::RequireAttention { reason })
}

fn failed_consent() -> Connection {
    then(&pending(), fail("s1", FailureReason::ConsentDenied))
}

fn revoke() -> Command {
    Command::Revoke {
        reason: None,
        provider_revocation: Some(sealed(1)),
    }
}

fn revoked() -> Connection {
    then(&active(), revoke())
}

fn deleted() -> Connection {
    then(&revoked(), Command::Erase)
}

/// The stored names of the events a command causes.
fn names(decision: &Result<Vec<Event>, Error>) -> Vec<&'static str> {
    decision
        .as_ref()
        .unwrap()
        .iter()
        .map(Event::stored_name)
        .collect()
}
