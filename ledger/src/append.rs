//! What a caller asks the log to append, and what comes back.

use std::sync::Arc;

use cqrs_es::DomainEvent;
use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;

/// One event, not yet recorded.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The dotted, frozen stored name.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// JSON text, stored byte for byte.
    pub payload: String,
    /// Ciphertext that rides beside the event; the payload names its SHA-256.
    pub blob: Option<Arc<[u8]>>,
}

impl NewEvent {
    /// An event of a domain type, without ciphertext.
    ///
    /// # Errors
    /// [`AppendError::Invalid`] when it does not serialize.
    pub fn of<E: DomainEvent>(event: &E) -> Result<Self, AppendError> {
        let payload = serde_json::to_string(event)
            .map_err(|error| AppendError::Invalid(error.to_string()))?;
        Ok(Self {
            event_type: event.event_type(),
            event_version: event.event_version(),
            payload,
            blob: None,
        })
    }
}

/// Where the caller believes the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The stream's newest sequence; 0 when it must not exist yet.
    At(u64),
    /// The stream has no state and never conflicts.
    Any,
}

impl Expected {
    /// Where the stream stands after `events` more; `None` when that cannot be known.
    pub(crate) fn after(self, events: usize) -> Option<u64> {
        match self {
            Self::At(sequence) => Some(sequence + events as u64),
            Self::Any => None,
        }
    }
}

/// A stream that must not have moved since the caller read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The stream.
    pub stream: StreamKey,
    /// Its newest sequence when it was read; 0 when it did not exist.
    pub at: u64,
}

/// A change to the log's index of unique names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// The stream takes a name; refused while another stream holds it.
    Take {
        /// What kind of name it is, such as `provider`.
        scope: String,
        /// The name, folded as its scope compares names.
        name: String,
    },
    /// The stream gives a name back.
    Release {
        /// What kind of name it is.
        scope: String,
        /// The folded name.
        name: String,
    },
}

/// A change to the table of wrapped data keys.
#[derive(Clone, Debug)]
pub enum KeyChange {
    /// Stores a new wrapped key.
    Put(WrappedKey),
    /// Destroys a key for ever, and with it every secret sealed under it.
    Shred(KeyId),
}

/// The state of an aggregate after the events of an append, to load from later.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// The sequence of the last event folded into it.
    pub last_sequence: u64,
    /// JSON text; carries the state's version.
    pub payload: String,
}

/// What auditors filter by; typed columns beside the event, derived from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexColumns {
    /// Reference of the connection concerned.
    pub connection: Option<String>,
    /// Who acted.
    pub actor: Option<String>,
    /// For which agent.
    pub agent: Option<String>,
}

/// Events for one stream that are recorded together or not at all.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream appended to.
    pub stream: StreamKey,
    /// Where the stream must stand.
    pub expected: Expected,
    /// The events, in order; at least one.
    pub events: Vec<NewEvent>,
    /// Who and how: a flat JSON object of strings, stored with each event.
    pub metadata: String,
    /// What auditors filter by.
    pub columns: IndexColumns,
    /// Streams that must not have moved.
    pub guards: Vec<Guard>,
    /// Refused while the transaction's clock is before this; how a claim's deadline is enforced.
    pub not_before: Option<Timestamp>,
    /// Unique names taken and released with these events.
    pub names: Vec<NameChange>,
    /// Data keys stored and shredded with these events.
    pub keys: Vec<KeyChange>,
    /// A snapshot to store with these events.
    pub snapshot: Option<NewSnapshot>,
}

impl Append {
    /// An append of `events` to `stream`, without guards, names, keys or a snapshot.
    #[must_use]
    pub fn new(stream: StreamKey, expected: Expected, events: Vec<NewEvent>) -> Self {
        Self {
            stream,
            expected,
            events,
            metadata: "{}".to_owned(),
            columns: IndexColumns::default(),
            guards: Vec::new(),
            not_before: None,
            names: Vec::new(),
            keys: Vec::new(),
            snapshot: None,
        }
    }
}

/// An event as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Place in the global order, from 1, without gaps.
    pub position: u64,
    /// The stream.
    pub stream: StreamKey,
    /// Place in the stream, from 1, without gaps.
    pub sequence: u64,
    /// The dotted stored name.
    pub event_type: String,
    /// The version of the payload's shape.
    pub event_version: String,
    /// When the transaction that recorded it ran; never decreases with the position.
    pub recorded_at: Timestamp,
    /// JSON text exactly as stored.
    pub payload: String,
    /// JSON text exactly as stored.
    pub metadata: String,
    /// RFC 6962 leaf hash of the event's canonical bytes.
    pub leaf: [u8; 32],
    /// SHA-256 of the sealed blob beside the event; stays when the blob is dropped.
    pub blob_digest: Option<[u8; 32]>,
    /// The sealed blob beside the event, when it carries one that was not dropped since.
    pub blob: Option<Arc<[u8]>>,
}

/// What was recorded of an append.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The events, in order.
    pub events: Vec<RecordedEvent>,
}

impl Appended {
    /// The position of the last event, 0 when there is none.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.events.last().map_or(0, |event| event.position)
    }
}

/// Why nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream stands elsewhere than expected: reload and decide again.
    #[error("the stream stands at {actual}, not where the caller read it")]
    Conflict {
        /// Its newest sequence now.
        actual: u64,
    },
    /// A guarded stream moved: read again and decide again.
    #[error("the guarded {stream_type} stream moved")]
    GuardMoved {
        /// The guarded stream's type.
        stream_type: String,
    },
    /// The transaction's clock has not reached `not_before`.
    #[error("the deadline {not_before} has not passed")]
    TooEarly {
        /// The time it waits for.
        not_before: Timestamp,
        /// The transaction's clock.
        now: Timestamp,
    },
    /// Another stream holds the name.
    #[error("the {scope} name is taken")]
    NameTaken {
        /// What kind of name it is.
        scope: String,
        /// The id of the stream that holds it.
        owner: String,
    },
    /// The append cannot be stored as it is.
    #[error("the append is not valid: {0}")]
    Invalid(String),
    /// The database refused this append by itself.
    #[error("the database refused the append: {0}")]
    Refused(String),
    /// The queue is full: try again shortly.
    #[error("the append queue is full")]
    Overloaded,
    /// The database cannot be reached; nothing was appended.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The answer to the commit was lost and could not be found out in time.
    #[error("the outcome of the append is unknown: {0}")]
    OutcomeUnknown(String),
    /// The ledger was stopped.
    #[error("the ledger is stopped")]
    Stopped,
}
