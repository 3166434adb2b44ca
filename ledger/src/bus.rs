//! The command bus over aggregates: load, decide, append; again when the stream moved meanwhile.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cqrs_es::EventStore;
use cqrs_es::persist::PersistedEventStore;
use futures::FutureExt;
use nexus_domain::decider::Decider;
use nexus_domain::metadata::Metadata;
use nexus_domain::sealing::SealedBlob;
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;

use crate::append::{
    Append, AppendError, Expected, Guard, IndexColumns, KeyChange, NameChange, NewEvent,
    NewSnapshot, RecordedEvent,
};
use crate::ledger::Ledger;
use crate::repository::Repository;

/// How often a command is decided anew after a conflict.
const ATTEMPTS: usize = 8;

/// An aggregate as its stream tells it; a new one by default.
#[derive(Debug, Default)]
pub struct Loaded<A> {
    /// The folded state.
    pub state: A,
    /// The newest sequence; 0 when the stream does not exist.
    pub sequence: u64,
}

/// Why a stream could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// An event or snapshot of the stream cannot be decoded.
    #[error("the {stream_type} stream {id} cannot be decoded")]
    Undecodable {
        /// The stream's type.
        stream_type: String,
        /// The stream's id.
        id: String,
    },
    /// The database cannot be reached.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

/// Why a command changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E> {
    /// The aggregate refused it.
    #[error(transparent)]
    Decision(E),
    /// The stream could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The events could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// What goes with a command's events.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Who and how.
    pub metadata: Metadata,
    /// Ciphertext; each rides beside the event that names its digest.
    pub blobs: Vec<SealedBlob>,
    /// Streams that must not have moved.
    pub guards: Vec<Guard>,
    /// The transaction's clock must have reached this.
    pub not_before: Option<Timestamp>,
    /// Unique names taken and released.
    pub names: Vec<NameChange>,
    /// Data keys stored and shredded.
    pub keys: Vec<KeyChange>,
    /// Decide only while the stream stands here: a moved stream is a conflict, not a reason to decide again.
    pub only_at: Option<u64>,
}

/// What a command did.
#[derive(Debug)]
pub struct Executed<A> {
    /// The events recorded; none when there was nothing to do.
    pub events: Vec<RecordedEvent>,
    /// The state after them.
    pub state: A,
    /// The newest sequence after them.
    pub sequence: u64,
}

impl Ledger {
    /// Loads an aggregate: from its snapshot and the events after it.
    ///
    /// # Errors
    /// [`LoadError`]; a panic in the loading crates is reported as an undecodable stream.
    pub async fn load<A: Decider>(&self, id: &str) -> Result<Loaded<A>, LoadError> {
        let store = PersistedEventStore::<Repository, A>::new_snapshot_store(
            self.repository(),
            self.snapshot_every(),
        );
        let context = loaded::<A, _>(id, store.load_aggregate(id)).await?;
        Ok(Loaded {
            state: context.aggregate,
            sequence: context.current_sequence as u64,
        })
    }

    /// Whether the stream holds an event that names a sealed blob of one of these digests: what a caller asks
    /// whose append had an unknown outcome.
    ///
    /// # Errors
    /// [`LoadError`]
    pub async fn holds_sealed<A: Decider>(
        &self,
        id: &str,
        digests: &[String],
    ) -> Result<bool, LoadError> {
        let store = PersistedEventStore::<Repository, A>::new_event_store(self.repository());
        let events = loaded::<A, _>(id, store.load_events(id)).await?;
        Ok(events
            .iter()
            .filter_map(|event| A::sealed(&event.payload))
            .any(|sealed| digests.contains(&sealed.digest)))
    }

    /// The first event of a stream that is looked for, if it has any.
    ///
    /// # Errors
    /// [`LoadError`]
    pub async fn find_event<A: Decider>(
        &self,
        id: &str,
        wanted: impl Fn(&A::Event) -> bool,
    ) -> Result<Option<A::Event>, LoadError> {
        let store = PersistedEventStore::<Repository, A>::new_event_store(self.repository());
        let events = loaded::<A, _>(id, store.load_events(id)).await?;
        let mut events = events.into_iter().map(|event| event.payload);
        Ok(events.find(wanted))
    }

    /// Decides a command on the newest state and appends the events, deciding anew when the
    /// stream or a guard-free neighbour moved meanwhile. No events is a success.
    ///
    /// # Errors
    /// [`ExecuteError`]; conflicts are returned only after several attempts, or at once when
    /// `context.only_at` is given.
    pub async fn execute<A: Decider>(
        &self,
        id: &str,
        command: A::Command,
        context: Context,
    ) -> Result<Executed<A>, ExecuteError<A::Error>>
    where
        A::Command: Clone,
    {
        let mut attempt = 1;
        loop {
            let loaded = self.load::<A>(id).await?;
            if let Some(expected) = context.only_at
                && expected != loaded.sequence
            {
                let actual = loaded.sequence;
                return Err(AppendError::Conflict { actual }.into());
            }
            match self.execute_on(id, loaded, command.clone(), &context).await {
                Err(ExecuteError::Append(AppendError::Conflict { .. }))
                    if attempt < ATTEMPTS && context.only_at.is_none() =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Decides a command on a state that the caller knows, and appends the events unless the stream has moved: for one that
    /// is new, or whose row was just read. No events is a success.
    ///
    /// # Errors
    /// [`ExecuteError`]
    pub async fn execute_on<A: Decider>(
        &self,
        id: &str,
        loaded: Loaded<A>,
        command: A::Command,
        context: &Context,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let Loaded {
            mut state,
            sequence,
        } = loaded;
        let events = state.decide(command).map_err(ExecuteError::Decision)?;
        if events.is_empty() {
            return Ok(Executed {
                events: Vec::new(),
                state,
                sequence,
            });
        }
        let mut new = Vec::with_capacity(events.len());
        for event in &events {
            new.push(to_new_event::<A>(event, &context.blobs)?);
            state.evolve(event);
        }
        let after = sequence + events.len() as u64;
        let append = Append {
            stream: StreamKey {
                stream_type: A::TYPE.to_owned(),
                id: id.to_owned(),
            },
            expected: Expected::At(sequence),
            events: new,
            metadata: context.metadata.to_json(),
            columns: IndexColumns {
                connection: (A::TYPE == "connection").then(|| id.to_owned()),
                actor: context.metadata.actor.clone(),
                agent: context.metadata.agent.clone(),
            },
            guards: context.guards.clone(),
            not_before: context.not_before,
            names: context.names.clone(),
            keys: context.keys.clone(),
            snapshot: self
                .snapshot_due(sequence, after)
                .then(|| to_snapshot(&state, after))
                .transpose()?,
        };
        let appended = self.append(append).await?;
        Ok(Executed {
            events: appended.events,
            state,
            sequence: after,
        })
    }

    /// A snapshot is stored whenever a stream passes a multiple of the interval.
    fn snapshot_due(&self, before: u64, after: u64) -> bool {
        let every = self.snapshot_every() as u64;
        before / every < after / every
    }
}

/// What the loading crates answer or panic with, in our terms.
async fn loaded<A: Decider, T>(
    id: &str,
    load: impl Future<Output = Result<T, cqrs_es::AggregateError<<A as cqrs_es::Aggregate>::Error>>>,
) -> Result<T, LoadError> {
    match AssertUnwindSafe(load).catch_unwind().await {
        Ok(Ok(loaded)) => Ok(loaded),
        Ok(Err(cqrs_es::AggregateError::DeserializationError(_))) | Err(_) => {
            Err(LoadError::Undecodable {
                stream_type: A::TYPE.to_owned(),
                id: id.to_owned(),
            })
        }
        Ok(Err(error)) => Err(LoadError::Unavailable(error.to_string())),
    }
}

fn to_new_event<A: Decider>(
    event: &A::Event,
    blobs: &[SealedBlob],
) -> Result<NewEvent, AppendError> {
    let digest = A::sealed(event).map(|sealed| &sealed.digest);
    let blob = digest.and_then(|digest| blobs.iter().find(|blob| blob.digest_hex() == *digest));
    if digest.is_some() && blob.is_none() {
        return Err(AppendError::Invalid(
            "an event names a sealed blob that did not come with it".into(),
        ));
    }
    Ok(NewEvent {
        blob: blob.map(|blob| Arc::from(blob.as_bytes())),
        ..NewEvent::of(event)?
    })
}

fn to_snapshot<A: Decider>(state: &A, last_sequence: u64) -> Result<NewSnapshot, AppendError> {
    let payload =
        serde_json::to_string(state).map_err(|error| AppendError::Invalid(error.to_string()))?;
    Ok(NewSnapshot {
        last_sequence,
        payload,
    })
}
