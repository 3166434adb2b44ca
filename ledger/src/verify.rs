//! Verification: everything that can be derived from the raw events is derived again and compared
//! with what is stored; the first divergence is reported.

use std::collections::{HashMap, VecDeque};

use ed25519_dalek::VerifyingKey;
use nexus_domain::stream::StreamKey;

use crate::admission::Head;
use crate::append::RecordedEvent;
use crate::backend::{Backend, ReadError, StoredCheckpoint};
use crate::checkpoint::Checkpoint;
use crate::merkle::{Frontier, Hash, LeafInput, digest};

/// How many events or checkpoints are read at once.
const PAGE: usize = 1_000;

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of events.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// How many checkpoints agree with them.
    pub checkpoints: u64,
}

/// Why the log is not verified.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VerifyError {
    /// What is stored is not what follows from the events.
    #[error("the log diverges at position {position}: {what}")]
    Divergence {
        /// Where.
        position: u64,
        /// What does not agree.
        what: Divergence,
    },
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What does not agree with the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// A position is missing.
    #[error("an event is missing")]
    Gap,
    /// The event does not follow its stream's last one.
    #[error("its sequence does not follow its stream's last")]
    Sequence,
    /// The event was recorded before the one before it.
    #[error("it was recorded before the event before it")]
    RecordedAt,
    /// The event's contents do not have the stored hash.
    #[error("its contents do not have its leaf hash")]
    Leaf,
    /// The sealed blob does not have the digest the event commits to.
    #[error("its sealed blob does not have the digest it commits to")]
    Blob,
    /// The tree over the events is not the newest head's.
    #[error("the tree over the events is not the newest head's")]
    Head,
    /// A checkpoint is unreadable, or not signed by the key.
    #[error("its checkpoint is not signed by the key")]
    Signature,
    /// A checkpoint signs another tree.
    #[error("its checkpoint signs another tree")]
    Checkpoint,
    /// A checkpoint signs events that are not in the log.
    #[error("its checkpoint signs events that are not in the log")]
    Truncated,
}

/// Verifies the whole log up to its newest head. Reads by ranges of positions, so events may be
/// appended meanwhile. With a `key`, each stored checkpoint's signature is checked too.
///
/// The typed columns beside an event repeat what is in it and are not part of its leaf.
///
/// # Errors
/// [`VerifyError`]
pub async fn verify(backend: &Backend, key: Option<VerifyingKey>) -> Result<Verified, VerifyError> {
    let head = backend.newest_head().await?;
    let mut checkpoints = Checkpoints {
        backend,
        key,
        page: VecDeque::new(),
        after: 0,
        verified: 0,
    };
    let mut log = Log::default();
    while log.tree.size() < head.position() {
        let next = log.tree.size() + 1;
        let page = backend.read(next, PAGE).await?;
        if page.is_empty() {
            return Err(diverges(next, Divergence::Gap));
        }
        for event in page
            .iter()
            .take_while(|event| event.position <= head.position())
        {
            log.push(event)?;
            checkpoints.check(&log.tree).await?;
        }
        if page
            .first()
            .is_some_and(|event| event.position > head.position())
        {
            return Err(diverges(next, Divergence::Gap));
        }
    }
    log.compare(&head)?;
    checkpoints.check_rest(&log.tree).await?;
    Ok(Verified {
        size: log.tree.size(),
        root: log.tree.root(),
        checkpoints: checkpoints.verified,
    })
}

fn diverges(position: u64, what: Divergence) -> VerifyError {
    VerifyError::Divergence { position, what }
}

/// What follows from the events so far.
#[derive(Default)]
struct Log {
    tree: Frontier,
    recorded_at: i64,
    sequences: HashMap<StreamKey, u64>,
}

impl Log {
    fn push(&mut self, event: &RecordedEvent) -> Result<(), VerifyError> {
        let position = self.tree.size() + 1;
        let verdict = self.check(position, event);
        verdict.map_err(|what| diverges(position, what))?;
        self.tree.push(event.leaf);
        self.recorded_at = event.recorded_at.as_micros();
        match self.sequences.get_mut(&event.stream) {
            Some(sequence) => *sequence = event.sequence,
            None => drop(self.sequences.insert(event.stream.clone(), event.sequence)),
        }
        Ok(())
    }

    fn check(&self, position: u64, event: &RecordedEvent) -> Result<(), Divergence> {
        if event.position != position {
            return Err(Divergence::Gap);
        }
        if leaf(event) != event.leaf {
            return Err(Divergence::Leaf);
        }
        if let Some(blob) = &event.blob
            && event.blob_digest != Some(digest(blob))
        {
            return Err(Divergence::Blob);
        }
        if event.sequence != self.sequences.get(&event.stream).map_or(1, |last| last + 1) {
            return Err(Divergence::Sequence);
        }
        if event.recorded_at.as_micros() < self.recorded_at {
            return Err(Divergence::RecordedAt);
        }
        Ok(())
    }

    fn compare(&self, head: &Head) -> Result<(), VerifyError> {
        if self.tree == head.tree && self.recorded_at == head.recorded_at {
            return Ok(());
        }
        Err(diverges(head.position(), Divergence::Head))
    }
}

fn leaf(event: &RecordedEvent) -> Hash {
    LeafInput {
        position: event.position,
        stream: &event.stream,
        sequence: event.sequence,
        event_type: &event.event_type,
        event_version: &event.event_version,
        recorded_at: event.recorded_at.as_micros(),
        payload: &event.payload,
        metadata: &event.metadata,
        blob_digest: event.blob_digest,
    }
    .hash()
}

/// The stored checkpoints, in order of size.
struct Checkpoints<'a> {
    backend: &'a Backend,
    key: Option<VerifyingKey>,
    page: VecDeque<StoredCheckpoint>,
    after: u64,
    verified: u64,
}

impl Checkpoints<'_> {
    /// Checks the checkpoint of exactly this tree, when there is one.
    async fn check(&mut self, tree: &Frontier) -> Result<(), VerifyError> {
        if self.page.is_empty() && self.after < tree.size() {
            self.page = self
                .backend
                .checkpoints(tree.size() - 1, PAGE)
                .await?
                .into();
            // Nothing stored now is smaller than the next one to come.
            self.after = self
                .page
                .back()
                .map_or(u64::MAX, |checkpoint| checkpoint.size);
        }
        match self
            .page
            .pop_front_if(|checkpoint| checkpoint.size == tree.size())
        {
            Some(checkpoint) => self.compare(&checkpoint, tree),
            None => Ok(()),
        }
    }

    fn compare(&mut self, stored: &StoredCheckpoint, tree: &Frontier) -> Result<(), VerifyError> {
        let read = match &self.key {
            Some(key) => Checkpoint::verify(&stored.note, key),
            None => Checkpoint::parse(&stored.note),
        };
        let checkpoint = read.map_err(|_| diverges(stored.size, Divergence::Signature))?;
        if checkpoint.size != tree.size() || checkpoint.root != tree.root() {
            return Err(diverges(stored.size, Divergence::Checkpoint));
        }
        self.verified += 1;
        Ok(())
    }

    /// What is left must be of events that were appended since.
    async fn check_rest(&mut self, tree: &Frontier) -> Result<(), VerifyError> {
        let Some(larger) = self.backend.checkpoints(tree.size(), 1).await?.pop() else {
            return Ok(());
        };
        if self.backend.newest_head().await?.position() < larger.size {
            return Err(diverges(larger.size, Divergence::Truncated));
        }
        Ok(())
    }
}
