//! Verification: everything that can be derived from the raw events is derived again and compared
//! with what is stored; the first divergence is reported.
//!
//! What is trusted is the [`Trust`] alone: a public key and checkpoints kept outside the database.
//! The database may say anything. Run it over [`Backend::open_read_only`] in a process of its own, and
//! the server is not trusted either.

mod checkpoints;
mod columns;
mod log;
mod stored;

use ed25519_dalek::VerifyingKey;

use crate::backend::{Backend, ReadError};
use crate::checkpoint::{Checkpoint, VerifierKey};
use crate::merkle::Hash;

use checkpoints::{Inside, Outside};
use log::Log;
use stored::Pages;
pub(crate) use stored::{Ends, StoredEvent, StoredHead};

/// What the one who verifies knows from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Signs every checkpoint; without one, no signature is looked at.
    pub key: Option<VerifyingKey>,
    /// The log's name in its checkpoints; without one, any.
    pub origin: Option<String>,
    /// Checkpoints that were saved outside the database and whose signatures are verified.
    pub outside: Vec<Checkpoint>,
}

impl Trust {
    /// Trusts a published key, and checkpoints whose signatures were verified under it.
    #[must_use]
    pub fn new(key: VerifierKey, outside: Vec<Checkpoint>) -> Self {
        Self {
            key: Some(key.key),
            origin: Some(key.name),
            outside,
        }
    }

    fn read(&self, note: &str) -> Option<Checkpoint> {
        let read = match &self.key {
            Some(key) => Checkpoint::verify(note, key),
            None => Checkpoint::parse(note),
        };
        let ours = |checkpoint: &Checkpoint| {
            let name = self.origin.as_ref();
            name.is_none_or(|name| *name == checkpoint.origin)
        };
        read.ok().filter(ours)
    }
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Every event up to this position is verified.
    pub position: u64,
    /// The last position to verify.
    pub head: u64,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of events.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// How many checkpoints in the database agree with them.
    pub checkpoints: u64,
    /// How many checkpoints kept outside agree with them.
    pub outside: u64,
    /// Up to which position a checkpoint covers the events. Who can write the database can rewrite
    /// what comes after it, and nothing in the database tells.
    pub signed: u64,
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
    /// There is an event below the first position.
    #[error("an event lies before the log's beginning")]
    Stray,
    /// A position is missing.
    #[error("an event is missing")]
    Gap,
    /// A row has a form that no append gives it.
    #[error("it is not in the form of an event")]
    Undecodable,
    /// The event's contents do not have the stored hash.
    #[error("its contents do not have its leaf hash")]
    Leaf,
    /// The sealed blob does not have the digest the event commits to.
    #[error("its sealed blob does not have the digest it commits to")]
    Blob,
    /// The event does not follow its stream's last one.
    #[error("its sequence does not follow its stream's last")]
    Sequence,
    /// The event was recorded before the one before it.
    #[error("it was recorded before the event before it")]
    RecordedAt,
    /// What auditors filter by is not what the event says.
    #[error("the columns that auditors filter by do not say what it says")]
    Columns,
    /// The tree over the events is not the newest head's.
    #[error("the tree over the events is not the newest head's")]
    Head,
    /// An event is not in the tree of the newest head.
    #[error("the newest tree head does not cover it")]
    Uncovered,
    /// A stored checkpoint is unreadable, of another log, or not signed by the key.
    #[error("its checkpoint is not signed by the key")]
    Signature,
    /// A checkpoint signs another tree than the one over the events up to here.
    #[error("{kept} signs other events; the last checkpoint that agrees is of position {agreed}")]
    Checkpoint {
        /// Which one.
        kept: Kept,
        /// The largest checkpoint that agrees; 0 when none does.
        agreed: u64,
    },
    /// A checkpoint signs more events than there are.
    #[error("it is missing, and {kept} signs {size} events")]
    Truncated {
        /// Which one.
        kept: Kept,
        /// How many events it signs.
        size: u64,
    },
}

/// Where a checkpoint was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    /// In the database.
    #[error("a checkpoint in the database")]
    Inside,
    /// With whoever verifies.
    #[error("a checkpoint kept outside")]
    Outside,
}

/// Verifies the whole log up to its newest head, trusting `key` for the checkpoints when it is given.
/// See [`verify_with`].
///
/// # Errors
/// [`VerifyError`]
pub async fn verify(backend: &Backend, key: Option<VerifyingKey>) -> Result<Verified, VerifyError> {
    let trust = Trust {
        key,
        ..Trust::default()
    };
    verify_with(backend, &trust, |_| ()).await
}

/// Verifies the whole log up to its newest head, and tells after each page how far it is. Reads by
/// ranges of positions, each in a short statement, so events may be appended meanwhile.
///
/// A row is found whose contents, order, stream, time, blob or filter columns were changed, and so are
/// rows added and taken away. Events rewritten together with their hashes are found by the
/// checkpoints that sign others; a log and its checkpoints cut back together, only by a checkpoint
/// kept outside. A blob that is absent is none of these: superseded ones are dropped.
///
/// # Errors
/// [`VerifyError`]
pub async fn verify_with(
    backend: &Backend,
    trust: &Trust,
    mut progress: impl FnMut(Progress),
) -> Result<Verified, VerifyError> {
    let ends = backend.ends().await?;
    if ends.first.is_some_and(|first| first < 1) {
        return Err(diverges(0, Divergence::Stray));
    }
    let head = ends.size();
    let mut inside = Inside::new(backend, trust);
    let mut outside = Outside::new(trust);
    let mut log = Log::default();
    let mut pages = Pages::new(backend, head);
    outside.check(&log.tree)?;
    while let Some(page) = pages.next().await? {
        for event in &page {
            log.push(event)?;
            outside.check(&log.tree)?;
            inside.check(&log.tree).await?;
        }
        progress(Progress {
            position: log.tree.size(),
            head,
        });
    }
    if log.tree.size() < head {
        return Err(diverges(log.tree.size() + 1, Divergence::Gap));
    }
    log.compare(&ends)?;
    outside.check_rest(&log.tree)?;
    inside.check_rest(&log.tree).await?;
    Ok(Verified {
        size: log.tree.size(),
        root: log.tree.root(),
        checkpoints: inside.verified(),
        outside: outside.verified(),
        signed: inside.agreed().max(outside.agreed()),
    })
}

fn diverges(position: u64, what: Divergence) -> VerifyError {
    VerifyError::Divergence { position, what }
}
