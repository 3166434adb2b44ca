//! What can be wrong with a history.

use std::fmt;

/// A rule that a history breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Positions run from 1 on, without a hole.
    Gapless,
    /// Every event was asked for.
    NoPhantom,
    /// What was acknowledged is in the log, where the caller was told.
    NothingLost,
    /// Nothing is in the log twice.
    NoDuplicate,
    /// What definitely failed is not in the log.
    NothingUndead,
    /// What is in the log is what was asked for.
    Unaltered,
    /// The events of one append stand together.
    Together,
    /// A stream's sequences run from 1 on, without a hole.
    Sequences,
    /// Time never runs backwards along the log.
    Time,
    /// What was known before an append was asked for comes before it; so nobody sees what was not yet asked for.
    RealTime,
    /// Readers get every event once, in order, without a hole.
    ReadersInOrder,
    /// Readers get what the log holds.
    ReadersTrue,
    /// A reader sees what was known before it looked.
    NotStale,
    /// An append is accepted only where its conditions held.
    AcceptedRightly,
    /// An append is refused only where a condition did not hold.
    RefusedRightly,
    /// A read model's row is of the state that its reader met.
    RowCurrent,
    /// A read model's row is the fold of its stream.
    RowTrue,
}

/// How a history breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// Where and how.
    pub detail: String,
}

impl Rule {
    /// That it is broken, and how.
    pub(super) fn broken(self, detail: impl Into<String>) -> Violation {
        Violation {
            rule: self,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Rule::Gapless => "a hole in the log",
            Rule::NoPhantom => "an event that nobody asked for",
            Rule::NothingLost => "an acknowledged append is lost",
            Rule::NoDuplicate => "an append is in the log twice",
            Rule::NothingUndead => "an append that failed is in the log",
            Rule::Unaltered => "an event is not what was asked for",
            Rule::Together => "the events of one append are torn apart",
            Rule::Sequences => "a hole in a stream",
            Rule::Time => "time ran backwards",
            Rule::RealTime => "positions are not in the order of the commits",
            Rule::ReadersInOrder => "a reader missed an event or got one twice",
            Rule::ReadersTrue => "a reader got an event that the log does not hold",
            Rule::NotStale => "a reader did not see what was there",
            Rule::AcceptedRightly => "an append was accepted against its conditions",
            Rule::RefusedRightly => "an append was refused without a reason",
            Rule::RowCurrent => "a read model is behind or ahead of the log",
            Rule::RowTrue => "a read model is not the fold of the log",
        })
    }
}
