//! The rows that a rebuild has folded and keeps in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use nexus_ledger::RecordedEvent;

use super::RebuildError;
use crate::projection::Projection;
use crate::table::Value;

/// So many rows stay in memory after they were written.
const KEPT: usize = 16_384;
/// So many changed rows are written together.
const CHANGED: usize = 4_096;
/// After so many events the rows are written, however few have changed: what a stop costs.
const EVENTS: usize = 16_384;

/// Rows by key, `None` for one that is no more.
pub(super) struct Folded<P: Projection> {
    rows: HashMap<String, Option<P::Row>>,
    /// Keys of the rows that were changed since they were written.
    changed: HashSet<String>,
    /// Events since then.
    events: usize,
}

impl<P: Projection> Default for Folded<P> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            changed: HashSet::new(),
            events: 0,
        }
    }
}

impl<P: Projection> Folded<P> {
    /// The keys whose rows have to be looked up before `events` can be folded. A stream's first
    /// event has no row before it.
    pub(super) fn unknown(&self, events: &[RecordedEvent]) -> BTreeSet<String> {
        let mut begun = HashSet::new();
        let mut unknown = BTreeSet::new();
        for event in events {
            let Some(key) = P::key(event) else { continue };
            if event.sequence == 1 {
                begun.insert(key);
            } else if !self.rows.contains_key(key) && !begun.contains(key) {
                unknown.insert(key.to_owned());
            }
        }
        unknown
    }

    /// Takes over rows that were looked up.
    pub(super) fn know(&mut self, rows: BTreeMap<String, P::Row>) {
        self.rows
            .extend(rows.into_iter().map(|(key, row)| (key, Some(row))));
    }

    /// Folds events into the rows. Those that a row has already, because it was written and the
    /// progress was not yet, are passed over.
    pub(super) fn apply(&mut self, events: &[RecordedEvent]) -> Result<(), RebuildError> {
        for event in events {
            let Some(key) = P::key(event) else { continue };
            let (key, row) = self
                .rows
                .remove_entry(key)
                .unwrap_or_else(|| (key.to_owned(), None));
            let has_it = row
                .as_ref()
                .is_some_and(|row| P::position(row) >= event.position);
            let row = if has_it {
                row
            } else {
                self.changed.insert(key.clone());
                P::apply(row, event).map_err(|cause| RebuildError::Undecodable {
                    name: P::NAME,
                    position: event.position,
                    cause: cause.to_string(),
                })?
            };
            self.rows.insert(key, row);
        }
        self.events += events.len();
        Ok(())
    }

    /// Whether it is time to write.
    pub(super) fn is_full(&self) -> bool {
        self.changed.len() >= CHANGED || self.events >= EVENTS
    }

    /// What changed since this was asked last: rows to write, and keys of rows to delete.
    pub(super) fn take_changed(&mut self) -> (Vec<Vec<Value>>, Vec<String>) {
        let (mut rows, mut gone) = (Vec::with_capacity(self.changed.len()), Vec::new());
        for key in self.changed.drain() {
            match self.rows.get(&key) {
                Some(Some(row)) => rows.push(P::to_values(row)),
                _ => gone.push(key),
            }
        }
        self.events = 0;
        if self.rows.len() > KEPT {
            self.rows.clear();
        }
        (rows, gone)
    }
}
