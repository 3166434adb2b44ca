//! The log replayed: where every stream and every name stood after each position.

use std::collections::HashMap;

use super::bounds::Window;
use super::journal::{Asked, Logged, Name};

/// A stream: type, then id.
type Stream = (String, String);

/// Where everything stood after each position.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The positions of each stream's events.
    streams: HashMap<Stream, Vec<u64>>,
    /// Who held each name from which position on.
    names: HashMap<String, Vec<(u64, Option<String>)>>,
    /// When each event was recorded.
    times: Vec<i64>,
}

impl Model {
    /// Replays the appends of a log, `asked` being what was asked for, by tag.
    pub(super) fn of(log: &[Logged], asked: &HashMap<&str, &Asked>) -> Model {
        let mut model = Model::default();
        for (index, Logged { entry, .. }) in log.iter().enumerate() {
            let positions = model.streams.entry(entry.stream.clone()).or_default();
            positions.push(entry.position);
            model.times.push(entry.recorded_at);
            let is_last = log
                .get(index + 1)
                .is_none_or(|next| next.entry.tag != entry.tag);
            if is_last && let Some(asked) = asked.get(entry.tag.as_str()) {
                model.change_names(asked, entry.position);
            }
        }
        model
    }

    fn change_names(&mut self, asked: &Asked, position: u64) {
        for change in &asked.names {
            match change {
                Name::Take(name) => {
                    let holders = self.names.entry(name.clone()).or_default();
                    holders.push((position, Some(asked.stream.1.clone())));
                }
                Name::Release(name) if self.holder(name, position) == Some(&asked.stream.1) => {
                    let holders = self.names.entry(name.clone()).or_default();
                    holders.push((position, None));
                }
                Name::Release(_) => {}
            }
        }
    }

    /// The newest sequence of a stream after a position, 0 for none.
    pub(super) fn sequence(&self, stream: &Stream, position: u64) -> u64 {
        self.streams.get(stream).map_or(0, |positions| {
            positions.partition_point(|at| *at <= position) as u64
        })
    }

    /// The position of an event of a stream.
    pub(super) fn position(&self, stream: &Stream, sequence: u64) -> Option<u64> {
        let positions = self.streams.get(stream)?;
        let index = usize::try_from(sequence).ok()?.checked_sub(1)?;
        positions.get(index).copied()
    }

    /// While a stream stood at a sequence; `None` when it never did.
    pub(super) fn standing(&self, stream: &Stream, sequence: u64) -> Option<Window> {
        let from = match sequence {
            0 => 0,
            _ => self.position(stream, sequence)?,
        };
        let to = self
            .position(stream, sequence + 1)
            .map_or(u64::MAX, |next| next - 1);
        Some(Window { from, to })
    }

    /// The id of the stream that held a name after a position.
    pub(super) fn holder(&self, name: &str, position: u64) -> Option<&String> {
        let holders = self.names.get(name)?;
        let index = holders.partition_point(|(from, _)| *from <= position);
        holders.get(index.checked_sub(1)?)?.1.as_ref()
    }

    /// While a stream held a name.
    pub(super) fn held(&self, name: &str, owner: &str) -> Vec<Window> {
        let holders = self.names.get(name).map_or(&[][..], Vec::as_slice);
        holders
            .iter()
            .enumerate()
            .filter(|(_, (_, holder))| holder.as_deref() == Some(owner))
            .map(|(index, (from, _))| Window {
                from: *from,
                to: holders.get(index + 1).map_or(u64::MAX, |next| next.0 - 1),
            })
            .collect()
    }

    /// When the event at a position was recorded.
    pub(super) fn recorded_at(&self, position: u64) -> Option<i64> {
        let index = usize::try_from(position).ok()?.checked_sub(1)?;
        self.times.get(index).copied()
    }
}
