//! A decided batch as columns: one array per parameter, for `INSERT … SELECT … FROM unnest(…)`.

use std::collections::{BTreeMap, HashMap};

use nexus_domain::sealing::WrappedKey;
use nexus_domain::stream::StreamKey;
use tokio_postgres::types::ToSql;

use crate::admission::Decided;
use crate::append::{Append, IndexColumns, KeyChange, NameChange, NewSnapshot, RecordedEvent};

type Parameter<'a> = &'a (dyn ToSql + Sync);

/// Everything that a batch writes beside its head.
pub(super) struct Rows<'a> {
    pub(super) recorded_at: i64,
    pub(super) events: Events<'a>,
    pub(super) blobs: Blobs<'a>,
    pub(super) keys: Keys<'a>,
    pub(super) shredded: Vec<String>,
    pub(super) names: Names<'a>,
    pub(super) snapshots: Snapshots<'a>,
}

#[derive(Default)]
pub(super) struct Events<'a> {
    positions: Vec<i64>,
    stream_types: Vec<&'a str>,
    stream_ids: Vec<&'a str>,
    sequences: Vec<i64>,
    event_types: Vec<&'a str>,
    event_versions: Vec<&'a str>,
    payloads: Vec<&'a str>,
    metadata: Vec<&'a str>,
    leaves: Vec<&'a [u8]>,
    blob_digests: Vec<Option<Vec<u8>>>,
    connections: Vec<Option<&'a str>>,
    actors: Vec<Option<&'a str>>,
    agents: Vec<Option<&'a str>>,
}

#[derive(Default)]
pub(super) struct Blobs<'a> {
    positions: Vec<i64>,
    blobs: Vec<&'a [u8]>,
}

#[derive(Default)]
pub(super) struct Keys<'a> {
    ids: Vec<String>,
    stream_types: Vec<&'a str>,
    stream_ids: Vec<&'a str>,
    kek_ids: Vec<&'a str>,
    wrapped: Vec<&'a [u8]>,
}

/// Releases come first: a name that the batch also takes is taken at its end.
pub(super) struct Names<'a> {
    pub(super) released: NameColumns<'a>,
    pub(super) taken: NameColumns<'a>,
}

#[derive(Default)]
pub(super) struct NameColumns<'a> {
    scopes: Vec<&'a str>,
    names: Vec<&'a str>,
    stream_ids: Vec<&'a str>,
}

#[derive(Default)]
pub(super) struct Snapshots<'a> {
    stream_types: Vec<&'a str>,
    stream_ids: Vec<&'a str>,
    last_sequences: Vec<i64>,
    payloads: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    /// The rows of the accepted members of `batch`.
    pub(super) fn of(batch: &'a [&'a Append], decided: &'a Decided) -> Self {
        let mut rows = Self {
            recorded_at: decided.head.recorded_at,
            events: Events::default(),
            blobs: Blobs::default(),
            keys: Keys::default(),
            shredded: Vec::new(),
            names: Names::of(batch, decided),
            snapshots: Snapshots::of(batch, decided),
        };
        for (member, appended) in decided.accepted(batch) {
            for event in &appended.events {
                rows.events.push(event, &member.columns);
                rows.blobs.push(event);
            }
            for change in &member.keys {
                match change {
                    KeyChange::Put(key) => rows.keys.push(key),
                    KeyChange::Shred(id) => rows.shredded.push(id.to_string()),
                }
            }
        }
        rows
    }
}

impl<'a> Events<'a> {
    fn push(&mut self, event: &'a RecordedEvent, columns: &'a IndexColumns) {
        self.positions.push(event.position.cast_signed());
        self.stream_types.push(&event.stream.stream_type);
        self.stream_ids.push(&event.stream.id);
        self.sequences.push(event.sequence.cast_signed());
        self.event_types.push(&event.event_type);
        self.event_versions.push(&event.event_version);
        self.payloads.push(&event.payload);
        self.metadata.push(&event.metadata);
        self.leaves.push(&event.leaf);
        self.blob_digests
            .push(event.blob_digest.map(|digest| digest.to_vec()));
        self.connections.push(columns.connection.as_deref());
        self.actors.push(columns.actor.as_deref());
        self.agents.push(columns.agent.as_deref());
    }

    pub(super) fn parameters<'p>(&'p self, recorded_at: &'p i64) -> [Parameter<'p>; 14] {
        [
            &self.positions,
            &self.stream_types,
            &self.stream_ids,
            &self.sequences,
            &self.event_types,
            &self.event_versions,
            &self.payloads,
            &self.metadata,
            recorded_at,
            &self.leaves,
            &self.blob_digests,
            &self.connections,
            &self.actors,
            &self.agents,
        ]
    }
}

impl<'a> Blobs<'a> {
    fn push(&mut self, event: &'a RecordedEvent) {
        if let Some(blob) = &event.blob {
            self.positions.push(event.position.cast_signed());
            self.blobs.push(blob);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 2] {
        [&self.positions, &self.blobs]
    }
}

impl<'a> Keys<'a> {
    fn push(&mut self, key: &'a WrappedKey) {
        self.ids.push(key.key_id.to_string());
        self.stream_types.push(&key.stream.stream_type);
        self.stream_ids.push(&key.stream.id);
        self.kek_ids.push(&key.kek_id);
        self.wrapped.push(&key.bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn parameters<'p>(&'p self, recorded_at: &'p i64) -> [Parameter<'p>; 6] {
        [
            &self.ids,
            &self.stream_types,
            &self.stream_ids,
            &self.kek_ids,
            &self.wrapped,
            recorded_at,
        ]
    }
}

impl<'a> Names<'a> {
    fn of(batch: &'a [&'a Append], decided: &'a Decided) -> Self {
        let mut released = NameColumns::default();
        let mut taken: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (member, _) in decided.accepted(batch) {
            let id = member.stream.id.as_str();
            for change in &member.names {
                match change {
                    NameChange::Take { scope, name } => {
                        taken.insert((scope, name), id);
                    }
                    NameChange::Release { scope, name } => {
                        released.push(scope, name, id);
                        if taken.get(&(scope.as_str(), name.as_str())) == Some(&id) {
                            taken.remove(&(scope.as_str(), name.as_str()));
                        }
                    }
                }
            }
        }
        let mut columns = NameColumns::default();
        for ((scope, name), id) in taken {
            columns.push(scope, name, id);
        }
        Self {
            released,
            taken: columns,
        }
    }
}

impl<'a> NameColumns<'a> {
    fn push(&mut self, scope: &'a str, name: &'a str, stream_id: &'a str) {
        self.scopes.push(scope);
        self.names.push(name);
        self.stream_ids.push(stream_id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 3] {
        [&self.scopes, &self.names, &self.stream_ids]
    }
}

impl<'a> Snapshots<'a> {
    /// The last snapshot of each stream: one statement cannot upsert a row twice.
    fn of(batch: &'a [&'a Append], decided: &'a Decided) -> Self {
        let members = decided
            .accepted(batch)
            .filter_map(|(member, _)| Some((&member.stream, member.snapshot.as_ref()?)));
        let last: HashMap<&StreamKey, &NewSnapshot> = members.collect();
        let mut columns = Self::default();
        for (stream, snapshot) in last {
            columns.stream_types.push(&stream.stream_type);
            columns.stream_ids.push(&stream.id);
            columns
                .last_sequences
                .push(snapshot.last_sequence.cast_signed());
            columns.payloads.push(&snapshot.payload);
        }
        columns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 4] {
        [
            &self.stream_types,
            &self.stream_ids,
            &self.last_sequences,
            &self.payloads,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Facts, decide};
    use crate::append::{Expected, NewEvent};

    fn append(id: &str) -> Append {
        let event = NewEvent {
            event_type: "thing.done".into(),
            event_version: "1".into(),
            payload: "{}".into(),
            blob: None,
        };
        Append::new(StreamKey::new("thing", id), Expected::Any, vec![event])
    }

    fn name() -> (String, String) {
        ("thing".into(), "n".into())
    }

    fn take(id: &str) -> Append {
        let (scope, name) = name();
        let names = vec![NameChange::Take { scope, name }];
        Append {
            names,
            ..append(id)
        }
    }

    fn release(id: &str) -> Append {
        let (scope, name) = name();
        let names = vec![NameChange::Release { scope, name }];
        Append {
            names,
            ..append(id)
        }
    }

    /// Who releases and who takes the name, as it is written.
    fn written(batch: &[Append]) -> (Vec<String>, Vec<String>) {
        let batch: Vec<&Append> = batch.iter().collect();
        let decided = decide(&batch, Facts::default());
        assert!(decided.outcomes.iter().all(Result::is_ok));
        let Names { released, taken } = Names::of(&batch, &decided);
        let owned = |ids: Vec<&str>| ids.into_iter().map(str::to_owned).collect();
        (owned(released.stream_ids), owned(taken.stream_ids))
    }

    fn ids<const N: usize>(ids: [&str; N]) -> Vec<String> {
        ids.map(str::to_owned).to_vec()
    }

    #[test]
    fn a_name_passed_on_in_one_batch_is_released_before_it_is_taken() {
        assert_eq!(
            written(&[release("a"), take("b")]),
            (ids(["a"]), ids(["b"]))
        );
        assert_eq!(
            written(&[release("a"), take("b"), release("b"), take("c")]),
            (ids(["a", "b"]), ids(["c"]))
        );
    }

    #[test]
    fn a_name_taken_and_given_back_in_one_batch_is_free() {
        assert_eq!(written(&[take("a"), release("a")]), (ids(["a"]), ids([])));
    }

    #[test]
    fn only_the_holder_gives_a_name_back() {
        assert_eq!(
            written(&[take("a"), release("b")]),
            (ids(["b"]), ids(["a"]))
        );
    }

    #[test]
    fn of_two_snapshots_of_one_stream_the_last_is_stored() {
        let snapshot = |last_sequence| Append {
            snapshot: Some(NewSnapshot {
                last_sequence,
                payload: "{}".into(),
            }),
            ..append("a")
        };
        let batch = [snapshot(1), snapshot(2)];
        let batch: Vec<&Append> = batch.iter().collect();
        let decided = decide(&batch, Facts::default());
        assert_eq!(Snapshots::of(&batch, &decided).last_sequences, [2]);
    }

    #[test]
    fn members_that_were_refused_write_nothing() {
        let refused = Append {
            expected: Expected::At(7),
            ..take("a")
        };
        let kept = append("b");
        let batch = [&refused, &kept];
        let decided = decide(&batch, Facts::default());
        let rows = Rows::of(&batch, &decided);
        assert_eq!(rows.events.stream_ids, ["b"]);
        assert!(rows.names.taken.is_empty());
    }
}
