//! What writers ask for: a seeded mixture of good, stale, guarded, early and broken appends over hot and cold streams.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use nexus_domain::connection::{ConnectionEvent, ConsentKind, Outcome};
use nexus_domain::provider::{AuthType, ProviderEvent, ProviderId, ProviderProfile, SecretChange};
use nexus_domain::sealing::{KeyId, SealedRef, WrappedKey};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Append, Expected, Guard, KeyChange, NameChange, NewEvent};
use ring::digest::SHA256;
use uuid::Uuid;

use super::journal::{Answer, Asked, Flaw, Name, content};

/// Connections that everybody writes to.
const HOT: u64 = 4;
/// Connections that everybody writes to now and then. Beside them every writer has one of its own.
const COLD: u64 = 60;
/// Providers, and the names they quarrel over.
const PROVIDERS: u64 = 12;
const NAMES: u64 = 8;

/// What every writer begins with: one of each kind, so that no run goes without.
const FIRST: [u32; 7] = [0, 65, 82, 128, 162, 177, 199];

/// One writer's choices. The same seed makes the same ones, given the same answers.
pub(super) struct Choices {
    rng: Rng,
    name: String,
    own: StreamKey,
    asked: usize,
    /// Where it believes the streams to stand.
    believed: HashMap<StreamKey, u64>,
}

impl Choices {
    pub(super) fn new(node: u64, writer: u64, rng: Rng) -> Choices {
        Choices {
            rng,
            name: format!("n{node}-w{writer}"),
            own: own_connection(node, writer),
            asked: 0,
            believed: HashMap::new(),
        }
    }

    /// Whether it has not asked for one of each kind yet.
    pub(super) fn is_beginning(&self) -> bool {
        self.asked < FIRST.len()
    }

    /// How many appends to ask for at once.
    pub(super) fn burst(&mut self) -> usize {
        self.rng.usize(1..=5)
    }

    /// The next append; `now` is the ledger's time.
    pub(super) fn next(&mut self, now: Timestamp) -> (Asked, Append) {
        let kind = match FIRST.get(self.asked) {
            Some(kind) => *kind,
            None => self.rng.u32(0..200),
        };
        let (mut append, flaw) = match kind {
            0..65 => (self.connection(), None),
            65..82 => (self.stale(), None),
            82..128 => (self.access(), None),
            128..162 => (self.provider(), None),
            162..177 => (self.timed(now), None),
            177..197 => (self.guarded(), None),
            _ => self.flawed(),
        };
        self.asked += 1;
        let tag = format!("{}/{}", self.name, self.asked);
        append.metadata = format!(r#"{{"tag":"{tag}"}}"#);
        (asked(tag, &append, flaw), append)
    }

    /// What an answer says about where the stream stands.
    pub(super) fn learn(&mut self, stream: &(String, String), answer: &Answer) {
        let sequence = match answer {
            Answer::Recorded(entries) => entries.last().map(|entry| entry.sequence),
            Answer::Conflict { actual } => Some(*actual),
            _ => None,
        };
        if let Some(sequence) = sequence {
            let key = StreamKey::new(stream.0.clone(), stream.1.clone());
            self.believed.insert(key, sequence);
        }
    }

    fn believed(&self, stream: &StreamKey) -> u64 {
        self.believed.get(stream).copied().unwrap_or(0)
    }

    fn any_connection(&mut self) -> StreamKey {
        match self.rng.u32(0..3) {
            0 => self.own.clone(),
            1 => numbered(self.rng.u64(0..HOT)),
            _ => numbered(self.rng.u64(HOT..HOT + COLD)),
        }
    }

    fn connection(&mut self) -> Append {
        let stream = self.any_connection();
        let at = self.believed(&stream);
        let count = self.rng.u64(1..=3);
        let events = (at..at + count).map(|at| connection_event(&mut self.rng, at));
        let events = events.collect();
        Append::new(stream, Expected::At(at), events)
    }

    /// Expects the stream where it hardly ever is.
    fn stale(&mut self) -> Append {
        let mut append = self.connection();
        let at = self.believed(&append.stream);
        let wrong = match self.rng.u64(1..=4) {
            behind @ 1..=3 if behind <= at => at - behind,
            ahead => at + ahead,
        };
        append.expected = Expected::At(wrong);
        append
    }

    /// A read of a credential: no state of its own, guarded on the connection.
    fn access(&mut self) -> Append {
        let connection = self.any_connection();
        let at = self.believed(&connection);
        let payload = format!(r#"{{"read":{}}}"#, self.rng.u64(..));
        let event = event("credential.retrieved", payload);
        let stream = StreamKey::new("access", format!("day/{}", self.rng.u32(0..2)));
        Append {
            guards: vec![Guard {
                stream: connection,
                at,
            }],
            ..Append::new(stream, Expected::Any, vec![event])
        }
    }

    /// A connection's event, guarded on two others.
    fn guarded(&mut self) -> Append {
        let mut append = self.connection();
        for stream in [self.any_connection(), any_provider(&mut self.rng)] {
            let at = self.believed(&stream);
            append.guards.push(Guard { stream, at });
        }
        append
    }

    /// A provider takes a name, or gives one back and takes another.
    fn provider(&mut self) -> Append {
        let stream = any_provider(&mut self.rng);
        let at = self.believed(&stream);
        let (given, taken) = (self.rng.u64(0..NAMES), self.rng.u64(0..NAMES));
        let profile = ProviderProfile {
            name: format!("name-{taken}"),
            ..ProviderProfile::default()
        };
        let happened = if at == 0 {
            ProviderEvent::Registered {
                profile,
                secret: None,
                epoch: 1,
            }
        } else {
            ProviderEvent::Updated {
                profile,
                secret: SecretChange::Keep,
                epoch: at,
                changed: vec!["name".to_owned()],
            }
        };
        let payload = serde_json::to_string(&happened).expect("events serialize");
        let mut append = Append::new(
            stream,
            Expected::At(at),
            vec![event(happened.stored_name(), payload)],
        );
        if self.rng.bool() {
            append.names.push(NameChange::Release {
                scope: "provider".to_owned(),
                name: format!("name-{given}"),
            });
        }
        append.names.push(NameChange::Take {
            scope: "provider".to_owned(),
            name: format!("name-{taken}"),
        });
        append
    }

    /// Something that may happen only from a time on: long past, long hence, or about now.
    fn timed(&mut self, now: Timestamp) -> Append {
        let mut append = self.connection();
        let micros = now.as_micros();
        append.not_before = Some(match self.rng.u32(0..3) {
            0 => Timestamp::from_micros(micros - 60_000_000),
            1 => now.plus(Duration::from_mins(10)),
            _ => Timestamp::from_micros(micros + self.rng.i64(-5_000..20_000)),
        });
        append
    }

    fn flawed(&mut self) -> (Append, Option<Flaw>) {
        let mut append = self.connection();
        let flaw = match self.rng.u32(0..4) {
            0 => Flaw::NotJson,
            1 => Flaw::KeyThere,
            _ => Flaw::Unfoldable,
        };
        let payload = match flaw {
            Flaw::NotJson => "{",
            Flaw::Unfoldable => r#"{"type":"connection.untold"}"#,
            Flaw::KeyThere => {
                append.keys = vec![KeyChange::Put(the_key())];
                return (append, Some(flaw));
            }
        };
        payload.clone_into(&mut append.events[0].payload);
        (append, Some(flaw))
    }
}

/// A connection that somebody writes to.
pub(super) fn any_connection(rng: &mut Rng) -> StreamKey {
    match rng.u32(0..3) {
        0 => own_connection(rng.u64(0..4), rng.u64(0..16)),
        _ => numbered(rng.u64(0..HOT + COLD)),
    }
}

fn own_connection(node: u64, writer: u64) -> StreamKey {
    numbered((node + 1) * 1_000 + writer)
}

fn numbered(id: u64) -> StreamKey {
    StreamKey::new("connection", format!("connection-{id}"))
}

/// A provider.
pub(super) fn any_provider(rng: &mut Rng) -> StreamKey {
    let id = Uuid::from_u128(rng.u64(1..=PROVIDERS).into());
    StreamKey::new("provider", id.to_string())
}

/// The append before all others: it stores the one data key that nobody else can store.
pub(super) fn first() -> (Asked, Append) {
    let tag = "first".to_owned();
    let stream = StreamKey::new("vault", "keys");
    let append = Append {
        keys: vec![KeyChange::Put(the_key())],
        metadata: format!(r#"{{"tag":"{tag}"}}"#),
        ..Append::new(
            stream,
            Expected::At(0),
            vec![event("vault.begun", "{}".to_owned())],
        )
    };
    (asked(tag, &append, None), append)
}

fn the_key() -> WrappedKey {
    WrappedKey {
        key_id: KeyId::default(),
        stream: StreamKey::new("vault", "keys"),
        kek_id: "kek".to_owned(),
        bytes: vec![7; 72],
    }
}

fn event(event_type: &str, payload: String) -> NewEvent {
    NewEvent {
        event_type: event_type.to_owned(),
        event_version: "1".to_owned(),
        payload,
        blob: None,
    }
}

/// What may happen to a connection that stands at a sequence.
fn connection_event(rng: &mut Rng, at: u64) -> NewEvent {
    let version = rng.u32(1..1_000_000);
    let sealed = || SealedRef {
        digest: format!("{version:064x}"),
        key_id: KeyId::default(),
        version,
    };
    let (happened, sealed) = match (at, rng.u32(0..4)) {
        (0, _) => (requested(version, sealed()), true),
        (_, 0) => (refreshed(at, sealed()), true),
        (_, 1) => (refresh_failed(at, version), false),
        _ => (refresh_started(at, version), false),
    };
    let payload = serde_json::to_string(&happened).expect("events serialize");
    NewEvent {
        blob: sealed.then(|| Arc::from(version.to_be_bytes())),
        ..event(happened.stored_name(), payload)
    }
}

fn requested(version: u32, sealed_id: SealedRef) -> ConnectionEvent {
    ConnectionEvent::Requested {
        workspace_id: format!("user-{version}"),
        provider_id: ProviderId::from_uuid(Uuid::from_u128(1)),
        provider_name: "Example".to_owned(),
        auth_type: AuthType::Oauth2,
        consent: ConsentKind::Oauth2,
        scopes: vec!["read".to_owned()],
        return_url: "https://app.test/done".to_owned(),
        metadata: None,
        action: None,
        state_digest: format!("{version:064x}"),
        expires_at: Timestamp::from_seconds(version.into()),
        sealed_id,
        provider_epoch: Some(1),
    }
}

fn refresh_started(attempt: u64, deadline: u32) -> ConnectionEvent {
    ConnectionEvent::RefreshStarted {
        attempt,
        deadline_ms: deadline.into(),
        credential_version: 1,
        repeat: false,
        forced: false,
        first_sent_at: None,
    }
}

fn refresh_failed(attempt: u64, retry_after: u32) -> ConnectionEvent {
    ConnectionEvent::RefreshFailed {
        attempt,
        outcome: Outcome::Known,
        error: "status_503".to_owned(),
        http_status: Some(503),
        retry_after_seconds: Some(retry_after.into()),
    }
}

fn refreshed(attempt: u64, credential: SealedRef) -> ConnectionEvent {
    ConnectionEvent::Refreshed {
        attempt,
        credential,
        scopes: vec!["read".to_owned()],
        expires_at: None,
        rotated: true,
    }
}

/// An append as the journal keeps it.
fn asked(tag: String, append: &Append, flaw: Option<Flaw>) -> Asked {
    let pair = |stream: &StreamKey| (stream.stream_type.clone(), stream.id.clone());
    let digest = |blob: &[u8]| {
        let hash = ring::digest::digest(&SHA256, blob);
        hash.as_ref().try_into().expect("32 bytes")
    };
    Asked {
        tag,
        stream: pair(&append.stream),
        expected: match append.expected {
            Expected::At(sequence) => Some(sequence),
            Expected::Any => None,
        },
        contents: append
            .events
            .iter()
            .map(|event| {
                content(
                    &event.event_type,
                    &event.event_version,
                    &event.payload,
                    &append.metadata,
                    event.blob.as_deref().map(digest),
                )
            })
            .collect(),
        guards: append
            .guards
            .iter()
            .map(|guard| (pair(&guard.stream), guard.at))
            .collect(),
        not_before: append.not_before.map(Timestamp::as_micros),
        names: append
            .names
            .iter()
            .map(|change| match change {
                NameChange::Take { name, .. } => Name::Take(name.clone()),
                NameChange::Release { name, .. } => Name::Release(name.clone()),
            })
            .collect(),
        flaw,
    }
}
