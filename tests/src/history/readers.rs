//! Readers: the log as they saw it, and the rows they found.

use std::collections::HashMap;

use super::check::Case;
use super::journal::{Glance, Journal, Record, Row, Span};
use super::violation::{Rule, Violation};

/// What every reader's events are compared with.
struct Readers<'a> {
    case: &'a Case<'a>,
    prints: Vec<u64>,
    /// The row's digest after each event.
    rows: HashMap<(&'a (String, String), u64), Option<u64>>,
}

pub(super) fn check(case: &Case<'_>) -> Result<(), Violation> {
    let log = &case.history.log;
    let readers = Readers {
        case,
        prints: log.iter().map(|logged| logged.entry.print()).collect(),
        rows: log
            .iter()
            .map(|logged| {
                let entry = &logged.entry;
                ((&entry.stream, entry.sequence), logged.row)
            })
            .collect(),
    };
    case.history
        .journals
        .iter()
        .try_for_each(|journal| readers.journal(journal))
}

impl Readers<'_> {
    fn journal(&self, journal: &Journal) -> Result<(), Violation> {
        let mut followed = None;
        for record in &journal.records {
            match record {
                Record::Append { .. } => {}
                Record::Read {
                    span,
                    from,
                    limit,
                    seen,
                } => {
                    self.run(&journal.client, *from, seen)?;
                    self.page(&journal.client, *span, *from, *limit, seen)?;
                }
                Record::Followed { from, seen } => {
                    if followed.is_some_and(|due| due != *from) {
                        let detail = format!("{} came back at {from}", journal.client);
                        return Err(Rule::ReadersInOrder.broken(detail));
                    }
                    self.run(&journal.client, *from, seen)?;
                    followed = Some(from + seen.len() as u64);
                }
                Record::Row {
                    span,
                    stream,
                    row,
                    head,
                } => self.row(&journal.client, *span, stream, row.as_ref(), *head)?,
            }
        }
        Ok(())
    }

    /// Events from a position on: each once, in order, none missing, none that the log does not hold.
    fn run(&self, client: &str, from: u64, seen: &[Glance]) -> Result<(), Violation> {
        for (due, glance) in (from..).zip(seen) {
            if glance.position != due {
                let detail = format!(
                    "{client} got position {} where {due} was due",
                    glance.position
                );
                return Err(Rule::ReadersInOrder.broken(detail));
            }
            let index = usize::try_from(due - 1).unwrap_or(usize::MAX);
            if self.prints.get(index) != Some(&glance.print) {
                let detail = format!("{client} got another event at position {due}");
                return Err(Rule::ReadersTrue.broken(detail));
            }
        }
        Ok(())
    }

    /// A page that is not full ends no earlier than what was known before it was asked for.
    fn page(
        &self,
        client: &str,
        span: Span,
        from: u64,
        limit: u64,
        seen: &[Glance],
    ) -> Result<(), Violation> {
        let end = from + seen.len() as u64;
        let known = self.case.bounds.known_before(span.invoked);
        if (seen.len() as u64) < limit && end <= known {
            let detail = format!("{client} read up to {}, {known} was known", end - 1);
            return Err(Rule::NotStale.broken(detail));
        }
        Ok(())
    }

    fn row(
        &self,
        client: &str,
        span: Span,
        stream: &(String, String),
        row: Option<&Row>,
        head: Option<u64>,
    ) -> Result<(), Violation> {
        let model = &self.case.model;
        let met = self.case.bounds.window(span);
        let (from, to) = match head {
            Some(head) if head < met.from => {
                let detail = format!("{client} found {head} events, {} were known", met.from);
                return Err(Rule::NotStale.broken(detail));
            }
            Some(head) => (head, head),
            None => (met.from, met.to),
        };
        let due = model.sequence(stream, from)..=model.sequence(stream, to);
        let sequence = row.map_or(0, |row| row.sequence);
        if !due.contains(&sequence) {
            let detail =
                format!("{client} found {stream:?} at sequence {sequence}, the log had {due:?}");
            return Err(Rule::RowCurrent.broken(detail));
        }
        let Some(row) = row else { return Ok(()) };
        let print = self.rows.get(&(stream, sequence)).copied().flatten();
        let is_true = model.position(stream, sequence) == Some(row.position)
            && row.print.is_none_or(|found| print == Some(found));
        if !is_true {
            let detail = format!("{client} found {row:?} of {stream:?}, the log gives {print:?}");
            return Err(Rule::RowTrue.broken(detail));
        }
        Ok(())
    }
}
