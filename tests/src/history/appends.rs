//! Appends: what was answered against what the log holds, and every answer against the states it can have met.

use std::collections::HashSet;

use super::bounds::Window;
use super::check::{Asking, Case};
use super::journal::{Answer, Entry, Logged, Name};
use super::violation::{Rule, Violation};

pub(super) fn check(case: &Case<'_>) -> Result<(), Violation> {
    let mut landed = HashSet::new();
    for run in case
        .history
        .log
        .chunk_by(|one, next| one.entry.tag == next.entry.tag)
    {
        let Some(first) = run.first() else { continue };
        let tag = first.entry.tag.as_str();
        let at = first.entry.position;
        let Some(asking) = case.appends.get(tag) else {
            return Err(Rule::NoPhantom.broken(format!("{tag:?} at position {at}")));
        };
        if !landed.insert(tag) {
            return Err(again(asking, case, at));
        }
        is_what_was_asked_for(asking, run)?;
        is_in_real_time(asking, case, at)?;
        was_rightly_accepted(asking, case, &first.entry)?;
    }
    case.appends
        .values()
        .try_for_each(|asking| answered(asking, case, landed.contains(asking.asked.tag.as_str())))
}

/// A second run of one append: the rest of a torn one, or the whole once more.
fn again(asking: &Asking<'_>, case: &Case<'_>, at: u64) -> Violation {
    let Asking { asked, .. } = asking;
    let in_log = case
        .history
        .log
        .iter()
        .filter(|logged| logged.entry.tag == asked.tag)
        .count();
    let rule = if in_log > asked.contents.len() {
        Rule::NoDuplicate
    } else {
        Rule::Together
    };
    rule.broken(format!("{} goes on at position {at}", asked.tag))
}

fn is_what_was_asked_for(asking: &Asking<'_>, run: &[Logged]) -> Result<(), Violation> {
    let Asking { asked, .. } = asking;
    let found: Vec<u64> = run.iter().map(|logged| logged.entry.content).collect();
    if found.len() > asked.contents.len() {
        return Err(Rule::NoDuplicate.broken(format!("{} stands there more than once", asked.tag)));
    }
    let is_same =
        found == asked.contents && run.iter().all(|logged| logged.entry.stream == asked.stream);
    let is_torn = found.len() < asked.contents.len() && asked.contents.starts_with(&found);
    if is_torn {
        return Err(Rule::Together.broken(format!(
            "{} of {} events of {} stand together",
            found.len(),
            asked.contents.len(),
            asked.tag
        )));
    }
    if !is_same {
        return Err(Rule::Unaltered.broken(format!("{} was changed", asked.tag)));
    }
    Ok(())
}

fn is_in_real_time(asking: &Asking<'_>, case: &Case<'_>, at: u64) -> Result<(), Violation> {
    let known = case.bounds.known_before(asking.span.invoked);
    if at <= known {
        let detail = format!(
            "{} is at position {at}, and position {known} was known before it was asked for",
            asking.asked.tag
        );
        return Err(Rule::RealTime.broken(detail));
    }
    Ok(())
}

/// Whether every condition held right before its first event.
fn was_rightly_accepted(
    asking: &Asking<'_>,
    case: &Case<'_>,
    first: &Entry,
) -> Result<(), Violation> {
    let Asking { asked, .. } = asking;
    let before = first.position - 1;
    let wrong = |what: String| {
        let place = format!("{} at position {}", asked.tag, first.position);
        Err(Rule::AcceptedRightly.broken(format!("{place}: {what}")))
    };
    let stands = case.model.sequence(&asked.stream, before);
    if let Some(expected) = asked.expected
        && expected != stands
    {
        return wrong(format!("its stream stood at {stands}, not at {expected}"));
    }
    for (stream, at) in &asked.guards {
        let stands = case.model.sequence(stream, before);
        if stands != *at {
            return wrong(format!("guarded {stream:?} stood at {stands}, not at {at}"));
        }
    }
    if let Some(not_before) = asked.not_before
        && first.recorded_at < not_before
    {
        return wrong(format!("recorded before {not_before}"));
    }
    for name in &asked.names {
        if let Name::Take(name) = name
            && let Some(owner) = case.model.holder(name, before)
            && *owner != asked.stream.1
        {
            return wrong(format!("{owner} held the name {name}"));
        }
    }
    match asked.flaw {
        Some(flaw) => wrong(format!("it has a flaw: {flaw:?}")),
        None => Ok(()),
    }
}

/// Whether an answer fits what is in the log, and could be given when it was.
fn answered(asking: &Asking<'_>, case: &Case<'_>, landed: bool) -> Result<(), Violation> {
    let Asking {
        client,
        asked,
        answer,
        ..
    } = asking;
    match answer {
        Answer::Recorded(entries) => is_there(asking, case, entries),
        Answer::Unknown(_) => Ok(()),
        _ if landed => {
            let detail = format!("{} of {client} was answered {answer:?}", asked.tag);
            Err(Rule::NothingUndead.broken(detail))
        }
        Answer::NotDone(_) => Ok(()),
        _ if is_explained(asking, case) => Ok(()),
        _ => {
            let window = case.bounds.window(asking.span);
            let detail = format!(
                "{asked:?} of {client} was answered {answer:?}; it met a state of {} to {} events",
                window.from, window.to
            );
            Err(Rule::RefusedRightly.broken(detail))
        }
    }
}

fn is_there(asking: &Asking<'_>, case: &Case<'_>, entries: &[Entry]) -> Result<(), Violation> {
    let Asking { client, asked, .. } = asking;
    if entries.len() != asked.contents.len() {
        let (told, given) = (entries.len(), asked.contents.len());
        let detail = format!(
            "{} of {client} had {given} events, {told} came back",
            asked.tag
        );
        return Err(Rule::NothingLost.broken(detail));
    }
    for entry in entries {
        let index = usize::try_from(entry.position - 1).unwrap_or(usize::MAX);
        let found = case.history.log.get(index).map(|logged| &logged.entry);
        if found != Some(entry) {
            let detail = format!(
                "{} of {client} was told {entry:?}; there the log has {found:?}",
                asked.tag
            );
            return Err(Rule::NothingLost.broken(detail));
        }
    }
    Ok(())
}

/// Whether some state that the call can have met explains its refusal.
fn is_explained(asking: &Asking<'_>, case: &Case<'_>) -> bool {
    let Asking {
        span,
        asked,
        answer,
        ..
    } = asking;
    let met = case.bounds.window(*span);
    let model = &case.model;
    match answer {
        Answer::Conflict { actual } => {
            asked.expected.is_some_and(|expected| expected != *actual)
                && model
                    .standing(&asked.stream, *actual)
                    .is_some_and(|standing| met.within(standing).is_some())
        }
        Answer::GuardMoved { stream_type } => expectation_held(asking, case, met)
            .is_some_and(|met| guard_moved(asking, case, met, stream_type)),
        Answer::TooEarly { now } => {
            asked.not_before.is_some_and(|not_before| *now < not_before)
                && guards_held(asking, case, met).is_some_and(|met| was_the_time(case, met, *now))
        }
        Answer::NameTaken { owner } => {
            *owner != asked.stream.1
                && guards_held(asking, case, met).is_some_and(|met| {
                    let names = asked.names.iter().filter_map(|name| match name {
                        Name::Take(name) => Some(name),
                        Name::Release(_) => None,
                    });
                    names
                        .flat_map(|name| model.held(name, owner))
                        .any(|held| met.within(held).is_some())
                })
        }
        Answer::Refused(_) => asked.flaw.is_some(),
        Answer::Recorded(_) | Answer::NotDone(_) | Answer::Unknown(_) => true,
    }
}

/// Those states in which the stream stood where the caller thought.
fn expectation_held(asking: &Asking<'_>, case: &Case<'_>, met: Window) -> Option<Window> {
    match asking.asked.expected {
        Some(expected) => met.within(case.model.standing(&asking.asked.stream, expected)?),
        None => Some(met),
    }
}

/// Those states in which every guard stood where the caller thought, too.
fn guards_held(asking: &Asking<'_>, case: &Case<'_>, met: Window) -> Option<Window> {
    let held = expectation_held(asking, case, met)?;
    asking
        .asked
        .guards
        .iter()
        .try_fold(held, |held, (stream, at)| {
            held.within(case.model.standing(stream, *at)?)
        })
}

/// Whether a guard of this type stood elsewhere in one of these states.
fn guard_moved(asking: &Asking<'_>, case: &Case<'_>, met: Window, stream_type: &str) -> bool {
    let guards = asking.asked.guards.iter();
    guards
        .filter(|(stream, _)| stream.0 == stream_type)
        .any(|(stream, at)| {
            case.model
                .standing(stream, *at)
                .and_then(|standing| met.within(standing))
                != Some(met)
        })
}

/// Whether a transaction that met one of these states can have run at this time.
fn was_the_time(case: &Case<'_>, met: Window, now: i64) -> bool {
    let earliest = case.model.recorded_at(met.from).unwrap_or(i64::MIN);
    let latest = case.model.recorded_at(met.to + 1).unwrap_or(i64::MAX);
    (earliest..=latest).contains(&now)
}
