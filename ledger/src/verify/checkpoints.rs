//! The checkpoints that have to agree with the events: those in the database, and those kept outside.

use std::collections::VecDeque;

use super::{Divergence, Kept, Trust, VerifyError, diverges};
use crate::backend::{Backend, StoredCheckpoint};
use crate::checkpoint::Checkpoint;
use crate::merkle::Frontier;

/// How many checkpoints are read at once.
const PAGE: usize = 1_000;

/// How many checkpoints agree so far, and the largest of them.
#[derive(Default)]
struct Tally {
    count: u64,
    agreed: u64,
}

impl Tally {
    fn compare(
        &mut self,
        kept: Kept,
        checkpoint: &Checkpoint,
        tree: &Frontier,
    ) -> Result<(), VerifyError> {
        let size = tree.size();
        if checkpoint.size != size || checkpoint.root != tree.root() {
            let agreed = self.agreed;
            return Err(diverges(size, Divergence::Checkpoint { kept, agreed }));
        }
        self.count += 1;
        self.agreed = size;
        Ok(())
    }
}

/// The checkpoints in the database, in order of size.
pub(super) struct Inside<'a> {
    backend: &'a Backend,
    trust: &'a Trust,
    page: VecDeque<StoredCheckpoint>,
    after: u64,
    tally: Tally,
}

impl<'a> Inside<'a> {
    pub(super) fn new(backend: &'a Backend, trust: &'a Trust) -> Self {
        Self {
            backend,
            trust,
            page: VecDeque::new(),
            after: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn verified(&self) -> u64 {
        self.tally.count
    }

    /// The largest that agrees.
    pub(super) fn agreed(&self) -> u64 {
        self.tally.agreed
    }

    /// Checks the checkpoint of exactly this tree, when there is one.
    pub(super) async fn check(&mut self, tree: &Frontier) -> Result<(), VerifyError> {
        if self.page.is_empty() && self.after < tree.size() {
            let page = self.backend.checkpoints(tree.size() - 1, PAGE).await?;
            // Nothing stored now is smaller than the next one to come.
            self.after = page.last().map_or(u64::MAX, |checkpoint| checkpoint.size);
            self.page = page.into();
        }
        let stored = self.page.pop_front_if(|stored| stored.size == tree.size());
        let Some(stored) = stored else { return Ok(()) };
        let checkpoint = self.trust.read(&stored.note);
        let checkpoint = checkpoint.ok_or_else(|| diverges(stored.size, Divergence::Signature))?;
        self.tally.compare(Kept::Inside, &checkpoint, tree)
    }

    /// What is left must be of events that were appended since.
    pub(super) async fn check_rest(&self, tree: &Frontier) -> Result<(), VerifyError> {
        let larger = self.backend.checkpoints(tree.size(), 1).await?.pop();
        match larger {
            Some(larger) if self.backend.ends().await?.size() < larger.size => {
                Err(truncated(Kept::Inside, tree, larger.size))
            }
            _ => Ok(()),
        }
    }
}

/// The checkpoints kept outside, in order of size.
pub(super) struct Outside {
    left: VecDeque<Checkpoint>,
    tally: Tally,
}

impl Outside {
    pub(super) fn new(trust: &Trust) -> Self {
        let mut left = trust.outside.clone();
        left.sort_by_key(|checkpoint| checkpoint.size);
        Self {
            left: left.into(),
            tally: Tally::default(),
        }
    }

    pub(super) fn verified(&self) -> u64 {
        self.tally.count
    }

    /// The largest that agrees.
    pub(super) fn agreed(&self) -> u64 {
        self.tally.agreed
    }

    /// Checks those of this tree or a smaller one.
    pub(super) fn check(&mut self, tree: &Frontier) -> Result<(), VerifyError> {
        while let Some(checkpoint) = self.left.pop_front_if(|next| next.size <= tree.size()) {
            self.tally.compare(Kept::Outside, &checkpoint, tree)?;
        }
        Ok(())
    }

    /// What is left signs more events than there are.
    pub(super) fn check_rest(&mut self, tree: &Frontier) -> Result<(), VerifyError> {
        self.check(tree)?;
        match self.left.front() {
            Some(larger) => Err(truncated(Kept::Outside, tree, larger.size)),
            None => Ok(()),
        }
    }
}

fn truncated(kept: Kept, tree: &Frontier, size: u64) -> VerifyError {
    diverges(tree.size() + 1, Divergence::Truncated { kept, size })
}
