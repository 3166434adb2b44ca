//! A log to rebuild from: a tenth of its events change connections, the others are reads of credentials.

use futures::StreamExt as _;
use nexus_domain::connection::{Connection, ConnectionCommand, ConsentKind, Rotation};
use nexus_domain::decider::Decider;
use nexus_domain::provider::{AuthType, ProviderId};
use nexus_domain::sealing::{KeyId, SealedBlob, SealedRef};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Append, Expected, IndexColumns, Ledger, NewEvent};
use nexus_projections::rebuild::prepare;
use uuid::Uuid;

/// Of so many events one changes a state.
const OF: u64 = 10;
/// Claims and refreshes after a connection was made in three steps.
const REFRESHES: u64 = 4;
const LIFE: u64 = 3 + 2 * REFRESHES;
/// Connections that live at the same time, a step of each after the other.
const AT_ONCE: u64 = 2_000;
/// About what an OAuth credential is, sealed.
const CREDENTIAL: usize = 1_200;
/// Appends that wait together.
const WAITING: usize = 1_024;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database: a file, or a URL that begins with `postgres`.
    #[arg(long)]
    pub(crate) database: String,
    /// How many events, about.
    #[arg(long)]
    pub(crate) events: u64,
}

pub(crate) async fn run(arguments: Arguments) {
    let ledger = crate::append::open(&arguments.database).await;
    prepare(ledger.backend()).await.expect("the tables");
    let started = std::time::Instant::now();
    let filled = fill(&ledger, arguments.events).await;
    crate::append::report("filling", WAITING, filled, started);
    ledger.stop().await;
}

/// Appends about `events` events; returns how many.
pub(crate) async fn fill(ledger: &Ledger, events: u64) -> u64 {
    let connections = events / OF / LIFE;
    let first = crate::append::unique();
    let mut filled = 0;
    for from in (0..connections).step_by(usize::try_from(AT_ONCE).expect("it fits")) {
        let mut alive: Vec<Life> = (from..connections.min(from + AT_ONCE))
            .map(|number| Life::new(first + u128::from(number)))
            .collect();
        for step in 0..LIFE {
            let appends: Vec<Append> = alive
                .iter_mut()
                .flat_map(|life| [life.take(step), life.reads()])
                .collect();
            filled += append_all(ledger, appends).await;
        }
    }
    filled
}

pub(crate) async fn append_all(ledger: &Ledger, appends: Vec<Append>) -> u64 {
    futures::stream::iter(appends)
        .map(|append| async {
            let appended = ledger.append(append).await.expect("it is appended");
            appended.events.len() as u64
        })
        .buffered(WAITING)
        .fold(0, |sum, events| std::future::ready(sum + events))
        .await
}

/// A connection whose events are made here, without asking the log.
struct Life {
    id: String,
    state: Connection,
    sequence: u64,
}

impl Life {
    fn new(number: u128) -> Self {
        Self {
            id: uuid::Builder::from_custom_bytes(mixed(number))
                .into_uuid()
                .to_string(),
            state: Connection::default(),
            sequence: 0,
        }
    }

    fn take(&mut self, step: u64) -> Append {
        let (credential, credential_blob) = self.sealed(CREDENTIAL);
        let (command, blob) = match step {
            0 => {
                let (sealed_id, blob) = self.sealed(80);
                (request(sealed_id), Some(blob))
            }
            1 => (accept(), None),
            2 => (complete(credential), Some(credential_blob)),
            step if step % 2 == 1 => (claim(), None),
            _ => {
                let attempt = self.state.refresh.attempts;
                (refreshed(attempt, credential), Some(credential_blob))
            }
        };
        let events = self.state.decide(command).expect("it is allowed");
        let new = events.iter().map(|event| {
            self.state.evolve(event);
            let mut new = NewEvent::of(event).expect("it serializes");
            if Connection::sealed(event).is_some() {
                new.blob = blob.as_ref().map(|blob| blob.as_bytes().into());
            }
            new
        });
        let new: Vec<NewEvent> = new.collect();
        let at = self.sequence;
        self.sequence += new.len() as u64;
        self.described(Append::new(
            StreamKey::new("connection", self.id.clone()),
            Expected::At(at),
            new,
        ))
    }

    fn reads(&self) -> Append {
        let payload = format!(
            r#"{{"type":"credential.retrieved","connection":"{}","door":"token","credential_version":1}}"#,
            self.id
        );
        let read = NewEvent {
            event_type: "credential.retrieved".to_owned(),
            event_version: "1".to_owned(),
            payload,
            blob: None,
        };
        let reads = vec![read; usize::try_from(OF - 1).expect("it fits")];
        self.described(Append::new(
            StreamKey::new("access", "bench"),
            Expected::Any,
            reads,
        ))
    }

    fn described(&self, append: Append) -> Append {
        Append {
            metadata: r#"{"actor":"key:bench","operation":"bench","ip_address":"127.0.0.1","user_agent":"bench","request_id":"00000000"}"#.to_owned(),
            columns: IndexColumns {
                connection: Some(self.id.clone()),
                actor: Some("key:bench".to_owned()),
                agent: None,
            },
            ..append
        }
    }

    /// Ciphertext like no other, and what names it.
    fn sealed(&self, length: usize) -> (SealedRef, SealedBlob) {
        let mut bytes = vec![0x5a; length];
        let own = format!("{}{}", self.id, self.sequence);
        bytes.splice(..own.len(), own.bytes());
        let blob = SealedBlob::from_bytes(bytes);
        let named = SealedRef {
            digest: blob.digest_hex(),
            key_id: KeyId::default(),
            version: self.state.credential_version + 1,
        };
        (named, blob)
    }
}

/// Numbers that follow one another far apart, as references are.
pub(crate) fn mixed(number: u128) -> [u8; 16] {
    number
        .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        .to_be_bytes()
}

fn request(sealed_id: SealedRef) -> ConnectionCommand {
    ConnectionCommand::Request {
        workspace_id: "bench".into(),
        provider_id: ProviderId::from_uuid(Uuid::from_u128(1)),
        provider_name: "bench".into(),
        auth_type: AuthType::Oauth2,
        consent: ConsentKind::Oauth2,
        scopes: vec!["read".into(), "write".into()],
        return_url: "http://127.0.0.1:9/done".into(),
        metadata: None,
        action: None,
        state_digest: "bench".into(),
        expires_at: Timestamp::from_seconds(i64::from(u32::MAX)),
        sealed_id: SealedRef {
            version: 1,
            ..sealed_id
        },
        provider_epoch: 1,
    }
}

fn accept() -> ConnectionCommand {
    ConnectionCommand::AcceptCallback {
        state_digest: "bench".into(),
        now: Timestamp::from_seconds(1),
        exchange_within_ms: 20_000,
    }
}

fn complete(credential: SealedRef) -> ConnectionCommand {
    ConnectionCommand::CompleteConsent {
        state_digest: "bench".into(),
        credential,
        scopes: vec!["read".into(), "write".into()],
        expires_at: Some(Timestamp::from_seconds(i64::from(u32::MAX))),
        account: None,
        refreshable: true,
        provider_epoch: 1,
    }
}

fn claim() -> ConnectionCommand {
    ConnectionCommand::ClaimRefresh {
        forced: false,
        deadline_ms: 30_000,
        takeover: None,
        rotation: Rotation::Auto,
        reuse_grace: None,
        provider_epoch: 1,
    }
}

fn refreshed(attempt: u64, credential: SealedRef) -> ConnectionCommand {
    ConnectionCommand::RecordRefresh {
        attempt,
        credential,
        scopes: vec!["read".into(), "write".into()],
        expires_at: Some(Timestamp::from_seconds(i64::from(u32::MAX))),
        rotated: true,
    }
}
