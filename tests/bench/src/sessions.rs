//! A log of sessions that were opened and whose time is over: what the vault then has to record.

use cqrs_es::DomainEvent;
use nexus_domain::agent::{AgentEvent, AgentId, AgentProfile};
use nexus_domain::session::{Opening, SessionEvent, SessionId};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Append, Expected, NewEvent};
use nexus_projections::rebuild::prepare;

use crate::append::{open, report};
use crate::fill::{append_all, mixed};

/// Appends that are made before they are sent.
const TOGETHER: u64 = 100_000;
const AGENT: &str = "bench";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The database: a file, or a URL that begins with `postgres`.
    #[arg(long)]
    database: String,
    /// How many sessions.
    #[arg(long)]
    sessions: u64,
}

pub(crate) async fn run(arguments: Arguments) {
    let ledger = open(&arguments.database).await;
    prepare(ledger.backend()).await.expect("the tables");
    let started = std::time::Instant::now();
    let agent = AgentEvent::Registered {
        profile: AgentProfile::default(),
        epoch: 1,
    };
    ledger
        .append(first("agent", AGENT, &agent))
        .await
        .expect("it is appended");
    let mut opened = 0;
    while opened < arguments.sessions {
        let until = arguments.sessions.min(opened + TOGETHER);
        let appends = (opened..until).map(opening);
        opened += append_all(&ledger, appends.collect()).await;
    }
    report("sessions", 0, opened, started);
    ledger.stop().await;
}

/// A session of ten thousand that are opened in each second.
fn opening(number: u64) -> Append {
    let at = Timestamp::from_micros(number.cast_signed() * 100);
    let [_, _, _, _, _, _, random @ ..] = mixed(u128::from(number));
    let id = SessionId::new(at, random, false);
    let opened = SessionEvent::Opened(Box::new(Opening {
        agent_id: AgentId::parse(AGENT).expect("an id"),
        agent_epoch: 1,
        agent_sequence: 1,
        bound: None,
        scopes: vec!["report:read".to_owned(), "report:write".to_owned()],
        provider_scopes: false,
        principal: None,
        expires_at: Timestamp::from_seconds(1),
        inputs: "0".repeat(64),
    }));
    first("session", id.as_str(), &opened)
}

/// The first event of a stream.
fn first<E: DomainEvent>(stream_type: &str, id: &str, event: &E) -> Append {
    let event = NewEvent::of(event).expect("it serializes");
    Append::new(
        StreamKey::new(stream_type, id),
        Expected::At(0),
        vec![event],
    )
}
