//! Histories: what is asked of a few connections and providers, and what must be read afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use nexus_domain::agent::{Agent, AgentCommand, AgentId, AgentProfile};
use nexus_domain::connection::{
    AttentionReason, Connection, ConnectionCommand, ConsentKind, FailureReason, Outcome,
    RefreshFailure, Rotation,
};
use nexus_domain::provider::{
    AuthType, Provider, ProviderCommand, ProviderId, ProviderProfile, SecretChange,
};
use nexus_domain::sealing::{KeyId, SealedBlob, SealedRef};
use nexus_domain::session::{CloseReason, Opening, Session, SessionCommand, SessionId};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{
    Append, AppendError, Context, ExecuteError, Expected, Ledger, NewEvent, RecordedEvent,
};
use nexus_projections::agents::Agents;
use nexus_projections::connections::Connections;
use nexus_projections::providers::Providers;
use nexus_projections::sessions::Sessions;
use nexus_projections::{AgentRow, ConnectionRow, Projection, ProviderRow, ReadStore, SessionRow};
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

const LAPSES: Timestamp = Timestamp::from_seconds(900);
const NOW: Timestamp = Timestamp::from_seconds(100);

static BLOBS: AtomicU64 = AtomicU64::new(0);

/// Something that is asked of a connection; what its state must be told is filled in when it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Request(&'static str, ConsentKind),
    Accept(&'static str),
    Complete(&'static str),
    Capture(&'static str),
    Fail(&'static str, FailureReason),
    Expire(bool),
    Claim { take_over: bool },
    Refreshed { rotated: bool },
    RefreshFailed(Outcome, &'static str),
    RequireAttention,
    Revoke,
    EndRevocation,
    Erase,
}

/// Something that is asked of a provider.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProviderWish {
    Register { secret: bool },
    Rename(&'static str),
    SetSecret,
    ClearSecret,
    Delete,
}

/// Something that is asked of an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AgentWish {
    Register,
    Allow(&'static str),
    Deregister,
}

/// Something that is asked of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionWish {
    Open,
    Close,
    Expire,
}

/// A step of a history.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Connection(u8, Wish),
    Provider(u8, ProviderWish),
    Agent(u8, AgentWish),
    Session(u8, SessionWish),
    /// A credential is read: an event that concerns no read model.
    Read,
}

/// Any step; most are valid where the ones before were.
pub(crate) fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_u8, wishes()).prop_map(|(which, wish)| Step::Connection(which, wish)),
        4 => (0..2_u8, provider_wishes()).prop_map(|(which, wish)| Step::Provider(which, wish)),
        3 => (0..2_u8, agent_wishes()).prop_map(|(which, wish)| Step::Agent(which, wish)),
        3 => (0..2_u8, session_wishes()).prop_map(|(which, wish)| Step::Session(which, wish)),
        1 => Just(Step::Read),
    ]
}

fn session_wishes() -> impl Strategy<Value = SessionWish> {
    select(vec![
        SessionWish::Open,
        SessionWish::Close,
        SessionWish::Expire,
    ])
}

fn agent_wishes() -> impl Strategy<Value = AgentWish> {
    prop_oneof![
        3 => Just(AgentWish::Register),
        2 => select(vec!["read", "write"]).prop_map(AgentWish::Allow),
        1 => Just(AgentWish::Deregister),
    ]
}

fn wishes() -> impl Strategy<Value = Wish> {
    let state = || select(vec!["s1", "s2"]);
    let kind = select(vec![
        ConsentKind::Oauth2,
        ConsentKind::Oauth2,
        ConsentKind::Static,
    ]);
    let reason = select(vec![
        FailureReason::ConsentDenied,
        FailureReason::ExchangeFailed,
    ]);
    let outcome = select(vec![Outcome::Known, Outcome::Unknown]);
    let error = select(vec!["timeout", "invalid_grant", "status_503"]);
    prop_oneof![
        4 => (state(), kind).prop_map(|(state, kind)| Wish::Request(state, kind)),
        4 => state().prop_map(Wish::Accept),
        4 => state().prop_map(Wish::Complete),
        2 => state().prop_map(Wish::Capture),
        1 => (state(), reason).prop_map(|(state, reason)| Wish::Fail(state, reason)),
        1 => any::<bool>().prop_map(Wish::Expire),
        4 => any::<bool>().prop_map(|take_over| Wish::Claim { take_over }),
        4 => any::<bool>().prop_map(|rotated| Wish::Refreshed { rotated }),
        3 => (outcome, error).prop_map(|(outcome, error)| Wish::RefreshFailed(outcome, error)),
        1 => Just(Wish::RequireAttention),
        1 => Just(Wish::Revoke),
        1 => Just(Wish::EndRevocation),
        1 => Just(Wish::Erase),
    ]
}

fn provider_wishes() -> impl Strategy<Value = ProviderWish> {
    prop_oneof![
        4 => any::<bool>().prop_map(|secret| ProviderWish::Register { secret }),
        2 => select(vec!["Alpha", "Beta"]).prop_map(ProviderWish::Rename),
        2 => Just(ProviderWish::SetSecret),
        1 => Just(ProviderWish::ClearSecret),
        1 => Just(ProviderWish::Delete),
    ]
}

/// Ciphertext of its own, and what names it.
fn sealed(version: u32) -> (SealedRef, SealedBlob) {
    let number = BLOBS.fetch_add(1, Ordering::Relaxed);
    let blob = SealedBlob::from_bytes(number.to_be_bytes().to_vec());
    let named = SealedRef {
        digest: blob.digest_hex(),
        key_id: KeyId::default(),
        version,
    };
    (named, blob)
}

impl Step {
    /// Takes the step; one that the state does not allow changes nothing.
    pub(crate) async fn take(self, ledger: &Ledger) {
        match self {
            Self::Connection(which, wish) => ask_connection(ledger, &reference(which), wish).await,
            Self::Provider(which, wish) => ask_provider(ledger, which, wish).await,
            Self::Agent(which, wish) => ask_agent(ledger, which, wish).await,
            Self::Session(which, wish) => ask_session(ledger, which, wish).await,
            Self::Read => read_credential(ledger).await,
        }
    }
}

/// Takes steps one after another.
pub(crate) async fn live(ledger: &Ledger, steps: impl IntoIterator<Item = Step>) {
    for step in steps {
        step.take(ledger).await;
    }
}

/// A connection that was made and refreshed twice, at a provider that was changed, and was read.
pub(crate) fn an_ordinary_life(which: u8) -> Vec<Step> {
    let wishes = [
        Wish::Request("s1", ConsentKind::Oauth2),
        Wish::Accept("s1"),
        Wish::Complete("s1"),
        Wish::Claim { take_over: false },
        Wish::Refreshed { rotated: true },
        Wish::Claim { take_over: false },
        Wish::RefreshFailed(Outcome::Known, "status_503"),
    ];
    let mut steps = vec![
        Step::Provider(which, ProviderWish::Register { secret: true }),
        Step::Provider(which, ProviderWish::SetSecret),
        Step::Agent(which, AgentWish::Register),
        Step::Agent(which, AgentWish::Allow("read")),
        Step::Session(which, SessionWish::Open),
        Step::Session(which, SessionWish::Close),
    ];
    steps.extend(wishes.map(|wish| Step::Connection(which, wish)));
    steps.push(Step::Read);
    steps
}

/// A connection whose credential was typed in.
pub(crate) fn a_captured_one(which: u8) -> Vec<Step> {
    let request = Wish::Request("s1", ConsentKind::Static);
    vec![
        Step::Connection(which, request),
        Step::Connection(which, Wish::Capture("s1")),
        Step::Connection(which, Wish::RequireAttention),
    ]
}

pub(crate) fn reference(which: u8) -> String {
    Uuid::from_u128(u128::from(which) + 1).to_string()
}

pub(crate) fn provider_id(which: u8) -> String {
    Uuid::from_u128(u128::from(which) + 1_001).to_string()
}

async fn ask_connection(ledger: &Ledger, reference: &str, wish: Wish) {
    let state = ledger.load::<Connection>(reference).await.unwrap().state;
    let (command, blobs) = wish.fitted_to(&state);
    let context = Context {
        blobs,
        ..Context::default()
    };
    allowed(
        ledger
            .execute::<Connection>(reference, command, context)
            .await,
    );
}

/// A refused command is as good as none; whatever else goes wrong is not.
fn allowed<T, E: std::fmt::Debug>(outcome: Result<T, ExecuteError<E>>) {
    match outcome {
        // Concurrent steps may lose to each other for ever.
        Ok(_)
        | Err(ExecuteError::Decision(_) | ExecuteError::Append(AppendError::Conflict { .. })) => {}
        Err(other) => panic!("{other:?}"),
    }
}

impl Wish {
    fn fitted_to(self, state: &Connection) -> (ConnectionCommand, Vec<SealedBlob>) {
        let (credential, blob) = sealed(state.credential_version + 1);
        let attempt = state.refresh.attempts;
        let command = match self {
            Self::Request(state_digest, consent) => {
                let (sealed_id, blob) = sealed(1);
                return (request(state_digest, consent, sealed_id), vec![blob]);
            }
            Self::Accept(state_digest) => ConnectionCommand::AcceptCallback {
                state_digest: state_digest.into(),
                now: NOW,
                exchange_within_ms: 20_000,
            },
            Self::Complete(state_digest) => ConnectionCommand::CompleteConsent {
                state_digest: state_digest.into(),
                credential,
                scopes: vec!["read".into()],
                expires_at: Some(LAPSES),
                account: None,
                refreshable: true,
                provider_epoch: 1,
            },
            Self::Capture(state_digest) => ConnectionCommand::CaptureCredential {
                state_digest: state_digest.into(),
                now: NOW,
                credential,
                provider_epoch: 1,
            },
            Self::Fail(state_digest, reason) => ConnectionCommand::Fail {
                state_digest: state_digest.into(),
                reason,
                error: None,
                now: NOW,
            },
            Self::Expire(exchange_deadline_passed) => ConnectionCommand::Expire {
                now: LAPSES,
                exchange_deadline_passed,
            },
            Self::Claim { take_over } => ConnectionCommand::ClaimRefresh {
                forced: false,
                deadline_ms: 30_000,
                takeover: state
                    .refresh
                    .claim
                    .filter(|_| take_over)
                    .map(|held| held.attempt),
                rotation: Rotation::Auto,
                reuse_grace: None,
                provider_epoch: 1,
            },
            Self::Refreshed { rotated } => ConnectionCommand::RecordRefresh {
                attempt,
                credential,
                scopes: vec!["read".into()],
                expires_at: None,
                rotated,
            },
            Self::RefreshFailed(outcome, error) => ConnectionCommand::RecordRefreshFailure {
                attempt,
                failure: RefreshFailure {
                    outcome,
                    error: error.into(),
                    http_status: None,
                    retry_after_seconds: Some(5),
                },
            },
            Self::RequireAttention => ConnectionCommand::RequireAttention {
                reason: AttentionReason::ProviderRevoked,
            },
            Self::Revoke => {
                let command = ConnectionCommand::Revoke {
                    reason: None,
                    provider_revocation: Some(credential),
                };
                return (command, vec![blob]);
            }
            Self::EndRevocation => ConnectionCommand::EndProviderRevocation {
                revoked: true,
                error: None,
            },
            Self::Erase => ConnectionCommand::Erase,
        };
        (command, vec![blob])
    }
}

fn request(state_digest: &str, consent: ConsentKind, sealed_id: SealedRef) -> ConnectionCommand {
    ConnectionCommand::Request {
        workspace_id: "user".into(),
        provider_id: ProviderId::from_uuid(Uuid::from_u128(1_001)),
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
        state_digest: state_digest.into(),
        expires_at: LAPSES,
        sealed_id,
        provider_epoch: 1,
    }
}

async fn ask_provider(ledger: &Ledger, which: u8, wish: ProviderWish) {
    let id = provider_id(which);
    let state = ledger.load::<Provider>(&id).await.unwrap().state;
    let (secret, blob) = sealed(state.secret_version + 1);
    let profile = ProviderProfile {
        name: format!("Provider {which}"),
        auth_type: AuthType::ApiKey,
        ..ProviderProfile::default()
    };
    let update = |profile, secret| ProviderCommand::Update { profile, secret };
    let command = match wish {
        ProviderWish::Register { secret: given } => ProviderCommand::Register {
            profile,
            secret: given.then_some(secret),
        },
        ProviderWish::Rename(name) => update(
            ProviderProfile {
                name: name.into(),
                ..profile
            },
            SecretChange::Keep,
        ),
        ProviderWish::SetSecret => update(state.profile, SecretChange::Set(secret)),
        ProviderWish::ClearSecret => update(state.profile, SecretChange::Clear),
        ProviderWish::Delete => ProviderCommand::Delete,
    };
    let context = Context {
        blobs: vec![blob],
        ..Context::default()
    };
    allowed(ledger.execute::<Provider>(&id, command, context).await);
}

async fn ask_agent(ledger: &Ledger, which: u8, wish: AgentWish) {
    let command = match wish {
        AgentWish::Register => AgentCommand::Register {
            profile: AgentProfile::default(),
        },
        AgentWish::Allow(scope) => AgentCommand::Update {
            description: None,
            allowed_scopes: Some(vec![scope.into()]),
            active: None,
        },
        AgentWish::Deregister => AgentCommand::Deregister,
    };
    let id = format!("agent-{which}");
    allowed(
        ledger
            .execute::<Agent>(&id, command, Context::default())
            .await,
    );
}

fn session_id(which: u8) -> SessionId {
    SessionId::new(NOW, [which; 10], false)
}

async fn ask_session(ledger: &Ledger, which: u8, wish: SessionWish) {
    let command = match wish {
        SessionWish::Open => SessionCommand::Open(Box::new(Opening {
            agent_id: AgentId::parse("agent-0").unwrap(),
            agent_epoch: 1,
            agent_sequence: 1,
            bound: None,
            scopes: vec!["report".into()],
            provider_scopes: false,
            principal: None,
            expires_at: LAPSES,
            inputs: String::new(),
        })),
        SessionWish::Close => SessionCommand::Close {
            reason: CloseReason::Closed,
            now: NOW,
        },
        SessionWish::Expire => SessionCommand::Expire { now: LAPSES },
    };
    let id = session_id(which);
    allowed(
        ledger
            .execute::<Session>(id.as_str(), command, Context::default())
            .await,
    );
}

async fn read_credential(ledger: &Ledger) {
    let payload = r#"{"type":"credential.retrieved","connection":"ref","door":"token"}"#;
    let event = NewEvent {
        event_type: "credential.retrieved".into(),
        event_version: "1".into(),
        payload: payload.into(),
        blob: None,
    };
    let append = Append::new(StreamKey::new("access", "day"), Expected::Any, vec![event]);
    ledger.append(append).await.unwrap();
}

/// The rows of every read model, by key.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) connections: BTreeMap<String, ConnectionRow>,
    pub(crate) providers: BTreeMap<String, ProviderRow>,
    pub(crate) agents: BTreeMap<String, AgentRow>,
    pub(crate) sessions: BTreeMap<String, SessionRow>,
}

/// The whole log.
pub(crate) async fn log(ledger: &Ledger) -> Vec<RecordedEvent> {
    ledger.read(1, 1_000_000).await.unwrap()
}

/// The rows that the log implies.
pub(crate) async fn implied(ledger: &Ledger) -> Rows {
    let mut rows = Rows::default();
    for event in log(ledger).await {
        fold::<Connections>(&mut rows.connections, &event);
        fold::<Providers>(&mut rows.providers, &event);
        fold::<Agents>(&mut rows.agents, &event);
        fold::<Sessions>(&mut rows.sessions, &event);
    }
    rows
}

fn fold<P: Projection>(rows: &mut BTreeMap<String, P::Row>, event: &RecordedEvent) {
    let Some(key) = P::key(event) else { return };
    if let Some(row) = P::apply(rows.remove(key), event).unwrap() {
        rows.insert(key.to_owned(), row);
    }
}

/// The rows that are read, of everything in the log.
pub(crate) async fn stored(ledger: &Ledger, reads: &ReadStore) -> Rows {
    let mut rows = Rows::default();
    for event in log(ledger).await {
        let id = &event.stream.id;
        if event.stream.stream_type == "connection" && !rows.connections.contains_key(id) {
            let row = reads.connection(id).await.unwrap();
            rows.connections
                .extend(row.map(|row| (id.clone(), (*row).clone())));
        }
        if event.stream.stream_type == "provider" && !rows.providers.contains_key(id) {
            let row = reads.provider(id).await.unwrap();
            rows.providers
                .extend(row.map(|row| (id.clone(), (*row).clone())));
        }
        if event.stream.stream_type == "agent" && !rows.agents.contains_key(id) {
            let row = reads.agent(&AgentId::parse(id).unwrap()).await.unwrap();
            rows.agents
                .extend(row.map(|row| (id.clone(), (*row).clone())));
        }
        if event.stream.stream_type == "session" && !rows.sessions.contains_key(id) {
            let row = reads.session(&SessionId::parse(id).unwrap()).await.unwrap();
            rows.sessions
                .extend(row.map(|row| (id.clone(), (*row).clone())));
        }
    }
    rows
}
