//! The verdict on a history.

use std::collections::HashMap;

use super::appends;
use super::bounds::Bounds;
use super::journal::{Answer, Asked, History, Logged, Record, Span};
use super::model::Model;
use super::readers;
use super::violation::{Rule, Violation};

/// How much a history that holds has shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Events in the log.
    pub events: usize,
    /// Appends that were acknowledged.
    pub recorded: usize,
    /// Appends whose outcome their callers never learnt.
    pub unknown: usize,
    /// Of those, how many are in the log.
    pub unknown_landed: usize,
    /// Appends that met another sequence.
    pub conflicts: usize,
    /// Appends whose guard had moved.
    pub guards: usize,
    /// Appends that came too early.
    pub early: usize,
    /// Appends whose name was taken.
    pub names: usize,
    /// Appends that could not be stored as they were.
    pub refused: usize,
    /// Appends that the database was not able to make.
    pub not_done: usize,
    /// Events that readers and subscribers got.
    pub seen: usize,
    /// Subscriptions, each from where the last one ended.
    pub subscriptions: usize,
    /// Rows of read models.
    pub rows: usize,
}

/// One append: when, what was asked for, what came back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) client: &'a str,
    pub(super) span: Span,
    pub(super) asked: &'a Asked,
    pub(super) answer: &'a Answer,
}

/// What every rule looks at.
pub(super) struct Case<'a> {
    pub(super) history: &'a History,
    pub(super) bounds: Bounds,
    pub(super) model: Model,
    /// By tag.
    pub(super) appends: HashMap<&'a str, Asking<'a>>,
}

/// Decides whether a history is one that an append-only log in one order can have, from what its clients saw alone.
///
/// # Errors
/// The first [`Violation`] found.
pub fn check(history: &History) -> Result<Findings, Violation> {
    shape(&history.log)?;
    let appends = by_tag(history)?;
    let asked = appends
        .iter()
        .map(|(tag, asking)| (*tag, asking.asked))
        .collect();
    let case = Case {
        history,
        bounds: Bounds::of(history),
        model: Model::of(&history.log, &asked),
        appends,
    };
    appends::check(&case)?;
    readers::check(&case)?;
    Ok(findings(&case))
}

/// What must hold of the log by itself.
fn shape(log: &[Logged]) -> Result<(), Violation> {
    let mut sequences: HashMap<_, u64> = HashMap::new();
    let mut newest = i64::MIN;
    for (due, Logged { entry, .. }) in (1..).zip(log) {
        if entry.position != due {
            let found = entry.position;
            return Err(Rule::Gapless.broken(format!("position {found} where {due} was due")));
        }
        let sequence = sequences.entry(&entry.stream).or_default();
        *sequence += 1;
        if entry.sequence != *sequence {
            let detail = format!(
                "sequence {} of {:?} at position {due} where {sequence} was due",
                entry.sequence, entry.stream
            );
            return Err(Rule::Sequences.broken(detail));
        }
        if entry.recorded_at < newest {
            let detail = format!(
                "position {due} was recorded at {}, the one before it at {newest}",
                entry.recorded_at
            );
            return Err(Rule::Time.broken(detail));
        }
        newest = entry.recorded_at;
    }
    Ok(())
}

fn by_tag(history: &History) -> Result<HashMap<&str, Asking<'_>>, Violation> {
    let mut appends = HashMap::new();
    for journal in &history.journals {
        for record in &journal.records {
            if let Record::Append {
                span,
                asked,
                answer,
            } = record
            {
                let asking = Asking {
                    client: &journal.client,
                    span: *span,
                    asked,
                    answer,
                };
                if appends.insert(asked.tag.as_str(), asking).is_some() {
                    return Err(Rule::NoDuplicate.broken(format!("two are called {}", asked.tag)));
                }
            }
        }
    }
    Ok(appends)
}

fn findings(case: &Case<'_>) -> Findings {
    let mut findings = Findings {
        events: case.history.log.len(),
        ..Findings::default()
    };
    let mut landed: Vec<&str> = case
        .history
        .log
        .iter()
        .map(|logged| logged.entry.tag.as_str())
        .collect();
    landed.sort_unstable();
    for asking in case.appends.values() {
        match asking.answer {
            Answer::Recorded(_) => findings.recorded += 1,
            Answer::Conflict { .. } => findings.conflicts += 1,
            Answer::GuardMoved { .. } => findings.guards += 1,
            Answer::TooEarly { .. } => findings.early += 1,
            Answer::NameTaken { .. } => findings.names += 1,
            Answer::Refused(_) => findings.refused += 1,
            Answer::NotDone(_) => findings.not_done += 1,
            Answer::Unknown(_) => {
                findings.unknown += 1;
                let is_there = landed.binary_search(&asking.asked.tag.as_str()).is_ok();
                findings.unknown_landed += usize::from(is_there);
            }
        }
    }
    for record in case
        .history
        .journals
        .iter()
        .flat_map(|journal| &journal.records)
    {
        match record {
            Record::Read { seen, .. } => findings.seen += seen.len(),
            Record::Followed { seen, .. } => {
                findings.seen += seen.len();
                findings.subscriptions += 1;
            }
            Record::Row { .. } => findings.rows += 1,
            Record::Append { .. } => {}
        }
    }
    findings
}
