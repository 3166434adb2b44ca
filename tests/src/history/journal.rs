//! What one client did and saw, in its own order.

use nexus_ledger::{AppendError, RecordedEvent};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// Nanoseconds of the machine's monotonic clock: one time line for all of its processes.
pub type Stamp = u64;

/// The time now.
pub fn stamp() -> Stamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// When a call was made, and when its answer was there.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Span {
    /// Before the call.
    pub invoked: Stamp,
    /// After the answer.
    pub returned: Stamp,
}

/// What is wrong with an append on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flaw {
    /// A payload that is no JSON: refused before it is queued.
    NotJson,
    /// An event that no read model can fold: refused inside the transaction.
    Unfoldable,
    /// A data key that is there already: refused by the database.
    KeyThere,
}

/// A unique name that an append takes or gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Name {
    /// Takes it.
    Take(String),
    /// Gives it back.
    Release(String),
}

/// An append as its caller asked for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asked {
    /// Names this append in the metadata of its events; no other has it.
    pub tag: String,
    /// The stream: type, then id.
    pub stream: (String, String),
    /// The sequence the stream must stand at; `None` for any.
    pub expected: Option<u64>,
    /// A digest of what each event says.
    pub contents: Vec<u64>,
    /// Streams that must not have moved, and where they were.
    pub guards: Vec<((String, String), u64)>,
    /// Not before this time, microseconds since the Unix epoch.
    pub not_before: Option<i64>,
    /// Unique names.
    pub names: Vec<Name>,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
}

/// What the caller of an append was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// These events are in the log.
    Recorded(Vec<Entry>),
    /// The stream stands elsewhere.
    Conflict {
        /// At this sequence.
        actual: u64,
    },
    /// A guarded stream moved.
    GuardMoved {
        /// One of this type.
        stream_type: String,
    },
    /// The time has not come.
    TooEarly {
        /// The transaction's time, microseconds since the Unix epoch.
        now: i64,
    },
    /// Another stream holds the name.
    NameTaken {
        /// The id of that stream.
        owner: String,
    },
    /// It cannot be stored as it is.
    Refused(String),
    /// The database, the queue or the ledger was not able to; it is not in the log.
    NotDone(String),
    /// It may be in the log or not.
    Unknown(String),
}

/// An event as a client got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the global order.
    pub position: u64,
    /// Its stream: type, then id.
    pub stream: (String, String),
    /// Its place in the stream.
    pub sequence: u64,
    /// When it was recorded, microseconds since the Unix epoch.
    pub recorded_at: i64,
    /// The append it came with.
    pub tag: String,
    /// A digest of what it says.
    pub content: u64,
}

/// An event that a reader saw: enough to compare it with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glance {
    /// When the reader had it.
    pub at: Stamp,
    /// Its place in the global order.
    pub position: u64,
    /// [`Entry::print`].
    pub print: u64,
}

/// A row of a read model as a reader saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The newest sequence it knows of.
    pub sequence: u64,
    /// The position of that event.
    pub position: u64,
    /// A digest of the whole row; `None` when it was not read.
    pub print: Option<u64>,
}

/// One thing that a client did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Record {
    /// Asked for an append.
    Append {
        /// When.
        span: Span,
        /// What was asked for.
        asked: Box<Asked>,
        /// What came back.
        answer: Answer,
    },
    /// Read a page of the log.
    Read {
        /// When.
        span: Span,
        /// From this position on.
        from: u64,
        /// At most so many.
        limit: u64,
        /// What came back.
        seen: Vec<Glance>,
    },
    /// Read on where the last one ended: a page of a tailing reader, or one subscription from its start to its end.
    Followed {
        /// The position it asked for first.
        from: u64,
        /// What came, in order.
        seen: Vec<Glance>,
    },
    /// Read a row of a read model.
    Row {
        /// When.
        span: Span,
        /// Whose row.
        stream: (String, String),
        /// The row, `None` when there is none.
        row: Option<Row>,
        /// The newest position in the log, read in the same snapshot.
        head: Option<u64>,
    },
}

/// What one client did and saw, in its own order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Journal {
    /// Its name.
    pub client: String,
    /// In the order of their ends.
    pub records: Vec<Record>,
}

impl Journal {
    /// An empty one.
    pub fn new(client: impl Into<String>) -> Journal {
        Journal {
            client: client.into(),
            records: Vec::new(),
        }
    }
}

/// An event of the log as it was found when everybody had gone, and the row it leads to.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The event.
    pub entry: Entry,
    /// A digest of the row that a fold of the log up to here gives; `None` for a stream without rows.
    pub row: Option<u64>,
}

/// Everything that is known of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The clients'.
    pub journals: Vec<Journal>,
    /// What a last reader found, from position 1 on.
    pub log: Vec<Logged>,
}

impl Entry {
    /// An event as a client got it.
    pub fn of(event: &RecordedEvent) -> Entry {
        let metadata: serde_json::Value =
            serde_json::from_str(&event.metadata).expect("the metadata is JSON");
        Entry {
            position: event.position,
            stream: (event.stream.stream_type.clone(), event.stream.id.clone()),
            sequence: event.sequence,
            recorded_at: event.recorded_at.as_micros(),
            tag: metadata["tag"].as_str().unwrap_or_default().to_owned(),
            content: content(
                &event.event_type,
                &event.event_version,
                &event.payload,
                &event.metadata,
                event.blob_digest,
            ),
        }
    }

    /// A digest of all of it.
    pub fn print(&self) -> u64 {
        digest(&[&format!("{self:?}")])
    }
}

impl Glance {
    /// An event that a reader had at a moment.
    pub fn of(event: &RecordedEvent, at: Stamp) -> Glance {
        Glance {
            at,
            position: event.position,
            print: Entry::of(event).print(),
        }
    }
}

impl Answer {
    /// What an append came to.
    pub fn of(outcome: Result<nexus_ledger::Appended, AppendError>) -> Answer {
        match outcome {
            Ok(appended) => Answer::Recorded(appended.events.iter().map(Entry::of).collect()),
            Err(AppendError::Conflict { actual }) => Answer::Conflict { actual },
            Err(AppendError::GuardMoved { stream_type }) => Answer::GuardMoved { stream_type },
            Err(AppendError::TooEarly { now, .. }) => Answer::TooEarly {
                now: now.as_micros(),
            },
            Err(AppendError::NameTaken { owner, .. }) => Answer::NameTaken { owner },
            Err(AppendError::Invalid(cause) | AppendError::Refused(cause)) => {
                Answer::Refused(cause)
            }
            Err(AppendError::OutcomeUnknown(cause)) => Answer::Unknown(cause),
            Err(
                error @ (AppendError::Overloaded
                | AppendError::Unavailable(_)
                | AppendError::Stopped),
            ) => Answer::NotDone(error.to_string()),
        }
    }
}

/// A digest of what an event says, wherever it stands.
pub fn content(
    event_type: &str,
    event_version: &str,
    payload: &str,
    metadata: &str,
    blob_digest: Option<[u8; 32]>,
) -> u64 {
    digest(&[
        event_type,
        event_version,
        payload,
        metadata,
        &format!("{blob_digest:?}"),
    ])
}

/// The first 64 bits of a SHA-256 over these texts and their lengths.
pub fn digest(texts: &[&str]) -> u64 {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&text.len().to_be_bytes());
        context.update(text.as_bytes());
    }
    let hash = context.finish();
    u64::from_be_bytes(hash.as_ref()[..8].try_into().expect("8 bytes"))
}
