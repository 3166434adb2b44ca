//! What real time says about the order: which positions must have been taken by a moment, and which cannot have been.

use std::collections::HashMap;

use super::journal::{Answer, History, Record, Stamp};

/// The states of the log that a call can have met: as many events as `from`, as `to`, or any number between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Window {
    /// What is left of it between two other bounds; `None` when nothing is.
    pub(super) fn within(self, other: Window) -> Option<Window> {
        let from = self.from.max(other.from);
        let to = self.to.min(other.to);
        (from <= to).then_some(Window { from, to })
    }
}

/// Both bounds for every moment of a run.
#[derive(Debug)]
pub(super) struct Bounds {
    /// When somebody first knew that the log reaches so far; both ascend.
    known: Vec<(Stamp, u64)>,
    /// Nobody had asked for a position from here on up to this moment; both ascend.
    asked: Vec<(Stamp, u64)>,
    length: u64,
}

impl Bounds {
    pub(super) fn of(history: &History) -> Bounds {
        let length = history.log.len() as u64;
        let mut firsts: HashMap<&str, u64> = HashMap::new();
        for logged in &history.log {
            firsts
                .entry(&logged.entry.tag)
                .or_insert(logged.entry.position);
        }
        let (mut known, mut asked) = (Vec::new(), Vec::new());
        for record in history.journals.iter().flat_map(|journal| &journal.records) {
            known.extend(learnt(record));
            if let Record::Append {
                span, asked: what, ..
            } = record
                && let Some(first) = firsts.get(what.tag.as_str())
            {
                asked.push((span.invoked, *first));
            }
        }
        Bounds {
            known: rising(known),
            asked: falling(asked),
            length,
        }
    }

    /// The newest position that somebody knew of before this moment, 0 for none.
    pub(super) fn known_before(&self, moment: Stamp) -> u64 {
        let earlier = self.known.partition_point(|(at, _)| *at < moment);
        earlier.checked_sub(1).map_or(0, |last| self.known[last].1)
    }

    /// The newest position that can have been there at this moment: what comes next was not even asked for.
    pub(super) fn possible_at(&self, moment: Stamp) -> u64 {
        let later = self.asked.partition_point(|(at, _)| *at <= moment);
        self.asked
            .get(later)
            .map_or(self.length, |(_, first)| first - 1)
    }

    /// What a call between two moments can have met.
    pub(super) fn window(&self, span: super::journal::Span) -> Window {
        Window {
            from: self.known_before(span.invoked),
            to: self.possible_at(span.returned),
        }
    }
}

/// What a record taught its client about how far the log reaches, and when.
fn learnt(record: &Record) -> Vec<(Stamp, u64)> {
    match record {
        Record::Append {
            span,
            answer: Answer::Recorded(entries),
            ..
        } => {
            let last = entries.last().map(|entry| entry.position);
            last.map(|last| (span.returned, last)).into_iter().collect()
        }
        Record::Append { .. } => Vec::new(),
        Record::Read { seen, .. } | Record::Followed { seen, .. } => seen
            .iter()
            .map(|glance| (glance.at, glance.position))
            .collect(),
        Record::Row {
            span, row, head, ..
        } => {
            let newest = head.or(row.as_ref().map(|row| row.position));
            newest
                .map(|newest| (span.returned, newest))
                .into_iter()
                .collect()
        }
    }
}

/// In order of time, each with the greatest position so far.
fn rising(mut points: Vec<(Stamp, u64)>) -> Vec<(Stamp, u64)> {
    points.sort_unstable();
    let mut greatest = 0;
    for (_, position) in &mut points {
        greatest = greatest.max(*position);
        *position = greatest;
    }
    points
}

/// In order of time, each with the least position from there on.
fn falling(mut points: Vec<(Stamp, u64)>) -> Vec<(Stamp, u64)> {
    points.sort_unstable();
    let mut least = u64::MAX;
    for (_, position) in points.iter_mut().rev() {
        least = least.min(*position);
        *position = least;
    }
    points
}
