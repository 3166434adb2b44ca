//! What follows from the events, one after another.

use std::collections::HashMap;

use nexus_domain::stream::StreamKey;

use super::stored::{Ends, StoredEvent};
use super::{Divergence, VerifyError, columns, diverges};
use crate::append::RecordedEvent;
use crate::merkle::{Frontier, Hash, LeafInput, digest};

/// The events so far.
#[derive(Default)]
pub(super) struct Log {
    /// The tree over them.
    pub(super) tree: Frontier,
    recorded_at: i64,
    sequences: HashMap<StreamKey, u64>,
}

impl Log {
    /// Takes the next event, if it is what has to come next.
    pub(super) fn push(&mut self, stored: &StoredEvent) -> Result<(), VerifyError> {
        let position = self.tree.size() + 1;
        let verdict = self.check(position, stored);
        verdict.map_err(|what| diverges(position, what))?;
        let event = &stored.event;
        self.tree.push(event.leaf);
        self.recorded_at = event.recorded_at.as_micros();
        match self.sequences.get_mut(&event.stream) {
            Some(sequence) => *sequence = event.sequence,
            None => drop(self.sequences.insert(event.stream.clone(), event.sequence)),
        }
        Ok(())
    }

    fn check(&self, position: u64, stored: &StoredEvent) -> Result<(), Divergence> {
        let event = &stored.event;
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
        if !columns::agree(event, &stored.columns) {
            return Err(Divergence::Columns);
        }
        Ok(())
    }

    /// Whether the newest head is of these events, and covers all that are stored.
    pub(super) fn compare(&self, ends: &Ends) -> Result<(), VerifyError> {
        let size = self.tree.size();
        let agrees = match &ends.head {
            None => size == 0,
            Some(head) => {
                head.size.cast_unsigned() == size
                    && head.frontier == self.tree.to_bytes()
                    && head.recorded_at == self.recorded_at
            }
        };
        if !agrees {
            return Err(diverges(size, Divergence::Head));
        }
        match ends.last {
            Some(last) if last.cast_unsigned() > size => {
                Err(diverges(size + 1, Divergence::Uncovered))
            }
            _ => Ok(()),
        }
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
