//! Which members of a batch are accepted: pure, and the same for both databases.
//!
//! Members are decided one by one, in queue order, against the state that the transaction read
//! *plus the members already accepted in this batch*. So of two members with one expectation the
//! first wins, and a guard sees appends made earlier in the batch.

use std::collections::{BTreeSet, HashMap};

use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;

use crate::append::{Append, AppendError, Appended, Expected, NameChange, RecordedEvent};
use crate::merkle::{Frontier, LeafInput, digest};

/// The newest end of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The tree over every event recorded; its size is the newest position.
    pub tree: Frontier,
    /// When the newest event was recorded, microseconds since the Unix epoch; 0 for an empty log.
    pub recorded_at: i64,
}

impl Head {
    /// The newest position; 0 for an empty log.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.tree.size()
    }
}

/// What a batch needs to know of the database before it can be decided.
#[derive(Debug, Default)]
pub struct Needs {
    /// Streams whose newest sequence decides.
    pub streams: BTreeSet<StreamKey>,
    /// Names (scope, name) whose holder decides.
    pub names: BTreeSet<(String, String)>,
}

impl Needs {
    /// Collects what `batch` needs.
    #[must_use]
    pub fn of(batch: &[&Append]) -> Self {
        let mut needs = Self::default();
        for member in batch {
            needs.streams.insert(member.stream.clone());
            needs
                .streams
                .extend(member.guards.iter().map(|guard| guard.stream.clone()));
            for change in &member.names {
                if let NameChange::Take { scope, name } = change {
                    needs.names.insert((scope.clone(), name.clone()));
                }
            }
        }
        needs
    }
}

/// What the transaction read under the head lock.
#[derive(Debug, Default)]
pub struct Facts {
    /// The newest head.
    pub head: Head,
    /// The transaction's clock.
    pub now: i64,
    /// Newest sequence per stream; absent means the stream does not exist.
    pub sequences: HashMap<StreamKey, u64>,
    /// Id of the stream that holds each (scope, name).
    pub names: HashMap<(String, String), String>,
}

/// A decided batch: what to write, and what to answer.
#[derive(Debug)]
pub struct Decided {
    /// One answer per member, in order.
    pub outcomes: Vec<Result<Appended, AppendError>>,
    /// The head after the accepted members.
    pub head: Head,
}

impl Decided {
    /// Every event to write, in order of position.
    pub fn events(&self) -> impl Iterator<Item = &RecordedEvent> {
        self.outcomes
            .iter()
            .flatten()
            .flat_map(|appended| &appended.events)
    }

    /// The accepted members of `batch`, each with what was recorded of it.
    pub fn accepted<'a>(
        &'a self,
        batch: &'a [&'a Append],
    ) -> impl Iterator<Item = (&'a Append, &'a Appended)> {
        batch
            .iter()
            .zip(&self.outcomes)
            .filter_map(|(member, outcome)| {
                outcome.as_ref().ok().map(|appended| (*member, appended))
            })
    }
}

/// Decides every member of `batch` in order.
#[must_use]
pub fn decide(batch: &[&Append], facts: Facts) -> Decided {
    let Facts {
        mut head,
        now,
        mut sequences,
        mut names,
    } = facts;
    let recorded_at = now.max(head.recorded_at);
    let mut outcomes = Vec::with_capacity(batch.len());
    for member in batch {
        let verdict = check(member, recorded_at, &sequences, &names);
        outcomes.push(verdict.map(|first_sequence| {
            for change in &member.names {
                apply_name(change, &member.stream, &mut names);
            }
            let appended = record(member, first_sequence, recorded_at, &mut head);
            sequences.insert(
                member.stream.clone(),
                first_sequence + member.events.len() as u64 - 1,
            );
            appended
        }));
    }
    Decided { outcomes, head }
}

/// The sequence of the member's first event, or why it is refused.
fn check(
    member: &Append,
    now: i64,
    sequences: &HashMap<StreamKey, u64>,
    names: &HashMap<(String, String), String>,
) -> Result<u64, AppendError> {
    let at = |stream: &StreamKey| sequences.get(stream).copied().unwrap_or(0);
    let actual = at(&member.stream);
    if let Expected::At(expected) = member.expected
        && expected != actual
    {
        return Err(AppendError::Conflict { actual });
    }
    if let Some(guard) = member
        .guards
        .iter()
        .find(|guard| at(&guard.stream) != guard.at)
    {
        return Err(AppendError::GuardMoved {
            stream_type: guard.stream.stream_type.clone(),
        });
    }
    if let Some(not_before) = member.not_before
        && now < not_before.as_micros()
    {
        return Err(AppendError::TooEarly {
            not_before,
            now: Timestamp::from_micros(now),
        });
    }
    for change in &member.names {
        if let NameChange::Take { scope, name } = change
            && let Some(owner) = names.get(&(scope.clone(), name.clone()))
            && *owner != member.stream.id
        {
            return Err(AppendError::NameTaken {
                scope: scope.clone(),
                owner: owner.clone(),
            });
        }
    }
    Ok(actual + 1)
}

fn apply_name(
    change: &NameChange,
    stream: &StreamKey,
    names: &mut HashMap<(String, String), String>,
) {
    match change {
        NameChange::Take { scope, name } => {
            names.insert((scope.clone(), name.clone()), stream.id.clone());
        }
        NameChange::Release { scope, name } => {
            let key = (scope.clone(), name.clone());
            if names.get(&key) == Some(&stream.id) {
                names.remove(&key);
            }
        }
    }
}

fn record(member: &Append, first_sequence: u64, recorded_at: i64, head: &mut Head) -> Appended {
    let mut events = Vec::with_capacity(member.events.len());
    for (sequence, new) in (first_sequence..).zip(&member.events) {
        let position = head.position() + 1;
        let blob_digest = new.blob.as_deref().map(digest);
        let leaf = LeafInput {
            position,
            stream: &member.stream,
            sequence,
            event_type: &new.event_type,
            event_version: &new.event_version,
            recorded_at,
            payload: &new.payload,
            metadata: &member.metadata,
            blob_digest,
        }
        .hash();
        head.tree.push(leaf);
        head.recorded_at = recorded_at;
        events.push(RecordedEvent {
            position,
            stream: member.stream.clone(),
            sequence,
            event_type: new.event_type.clone(),
            event_version: new.event_version.clone(),
            recorded_at: Timestamp::from_micros(recorded_at),
            payload: new.payload.clone(),
            metadata: member.metadata.clone(),
            leaf,
            blob_digest,
            blob: new.blob.clone(),
        });
    }
    Appended { events }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::{Guard, NewEvent};

    fn stream(id: &str) -> StreamKey {
        StreamKey {
            stream_type: "thing".into(),
            id: id.into(),
        }
    }

    fn append(id: &str, expected: Expected) -> Append {
        let event = NewEvent {
            event_type: "thing.done".into(),
            event_version: "1".into(),
            payload: "{}".into(),
            blob: None,
        };
        Append::new(stream(id), expected, vec![event])
    }

    fn guarded(id: &str, on: &str, at: u64) -> Append {
        Append {
            guards: vec![Guard {
                stream: stream(on),
                at,
            }],
            ..append(id, Expected::Any)
        }
    }

    fn taking(id: &str, name: &str) -> Append {
        Append {
            names: vec![NameChange::Take {
                scope: "thing".into(),
                name: name.into(),
            }],
            ..append(id, Expected::At(0))
        }
    }

    fn positions(decided: &Decided) -> Vec<Option<u64>> {
        decided
            .outcomes
            .iter()
            .map(|outcome| outcome.as_ref().ok().map(Appended::position))
            .collect()
    }

    #[test]
    fn of_two_members_with_one_expectation_the_first_wins() {
        let (first, second) = (append("a", Expected::At(0)), append("a", Expected::At(0)));
        let decided = decide(&[&first, &second], Facts::default());
        assert_eq!(positions(&decided), [Some(1), None]);
        assert_eq!(
            decided.outcomes[1].as_ref().err(),
            Some(&AppendError::Conflict { actual: 1 })
        );
    }

    #[test]
    fn a_guard_sees_appends_made_earlier_in_the_batch_and_not_later_ones() {
        let (before, mover, after) = (
            guarded("x", "a", 0),
            append("a", Expected::At(0)),
            guarded("y", "a", 0),
        );
        let decided = decide(&[&before, &mover, &after], Facts::default());
        assert_eq!(positions(&decided), [Some(1), Some(2), None]);
        assert_eq!(
            decided.outcomes[2].as_ref().err(),
            Some(&AppendError::GuardMoved {
                stream_type: "thing".into()
            })
        );
    }

    #[test]
    fn a_refused_member_leaves_no_gap() {
        let members = [
            append("a", Expected::At(7)),
            append("b", Expected::At(0)),
            append("b", Expected::At(1)),
        ];
        let decided = decide(&members.each_ref(), Facts::default());
        assert_eq!(positions(&decided), [None, Some(1), Some(2)]);
        assert_eq!(decided.head.position(), 2);
    }

    #[test]
    fn a_name_goes_to_the_first_taker_and_is_free_once_released() {
        let release = NameChange::Release {
            scope: "thing".into(),
            name: "n".into(),
        };
        let members = [
            taking("a", "n"),
            taking("b", "n"),
            Append {
                names: vec![release],
                ..append("a", Expected::At(1))
            },
            taking("c", "n"),
        ];
        let decided = decide(&members.each_ref(), Facts::default());
        assert_eq!(positions(&decided), [Some(1), None, Some(2), Some(3)]);
        let taken = AppendError::NameTaken {
            scope: "thing".into(),
            owner: "a".into(),
        };
        assert_eq!(decided.outcomes[1].as_ref().err(), Some(&taken));
    }

    #[test]
    fn a_deadline_is_judged_by_the_transactions_clock() {
        let early = Append {
            not_before: Some(Timestamp::from_micros(10)),
            ..append("a", Expected::At(0))
        };
        let facts = |now| Facts {
            now,
            ..Facts::default()
        };
        assert!(matches!(
            decide(&[&early], facts(9)).outcomes[0],
            Err(AppendError::TooEarly { .. })
        ));
        assert!(decide(&[&early], facts(10)).outcomes[0].is_ok());
    }

    #[test]
    fn recorded_time_never_runs_backwards() {
        let head = Head {
            recorded_at: 100,
            ..Head::default()
        };
        let decided = decide(
            &[&append("a", Expected::Any)],
            Facts {
                head,
                now: 50,
                ..Facts::default()
            },
        );
        assert_eq!(decided.head.recorded_at, 100);
        assert_eq!(
            decided.events().next().unwrap().recorded_at,
            Timestamp::from_micros(100)
        );
    }
}
