//! Who was refused, counted: strangers cannot make the log grow by asking more often.
//!
//! Refusals are counted per source, reason, door and minute, and each count is recorded once, as a
//! `credential.denied`, when its minute is over. So many counts are kept for a minute and no more: what comes from
//! further sources is counted together, without a source.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, stream};
use nexus_domain::access::{AccessEvent, access_stream};
use nexus_domain::metadata::Metadata;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Append, AppendError, Expected, IndexColumns, NewEvent};

use super::Application;
use crate::source::Source;

/// So many counts have a source of their own; each is an event a minute at most.
const COUNTED_APART: usize = 1_000;

/// So many are recorded at a time: the ledger commits them together.
const RECORDED_TOGETHER: usize = 64;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    minute: Timestamp,
    door: String,
    reason: &'static str,
    source: Option<Source>,
}

/// Refusals that are not recorded yet.
#[derive(Debug, Default)]
pub struct Denials(Mutex<BTreeMap<Kind, u64>>);

impl Denials {
    /// Counts a refusal at a door, which is the template of its route.
    pub fn note(&self, source: Option<Source>, reason: &'static str, door: &str, now: Timestamp) {
        let mut kind = Kind {
            minute: now.minute(),
            door: door.to_owned(),
            reason,
            source,
        };
        let mut counts = self.counts();
        if counts.len() >= COUNTED_APART && !counts.contains_key(&kind) {
            kind.source = None;
        }
        *counts.entry(kind).or_default() += 1;
    }

    /// Takes the counts of the minutes before this one.
    fn take_before(&self, minute: Timestamp) -> BTreeMap<Kind, u64> {
        let first_kept = Kind {
            minute,
            door: String::new(),
            reason: "",
            source: None,
        };
        let mut counts = self.counts();
        let kept = counts.split_off(&first_kept);
        std::mem::replace(&mut counts, kept)
    }

    /// Counts what could not be recorded again.
    fn put_back(&self, taken: BTreeMap<Kind, u64>) {
        let mut counts = self.counts();
        for (kind, count) in taken {
            *counts.entry(kind).or_default() += count;
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Kind, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Application {
    /// Records the refusals of the minutes that ended before a time.
    ///
    /// # Errors
    /// [`AppendError`]; what is not recorded is kept for the next time.
    pub async fn record_denials(&self, before: Timestamp) -> Result<(), AppendError> {
        let taken = self.denials.take_before(before.minute());
        let mut recorded = stream::iter(taken)
            .map(|(kind, count)| async move {
                let outcome = self.record_denial(&kind, count).await;
                outcome.map_err(|error| (error, kind, count))
            })
            .buffer_unordered(RECORDED_TOGETHER);
        let (mut left, mut failed) = (BTreeMap::new(), Ok(()));
        while let Some(outcome) = recorded.next().await {
            if let Err((error, kind, count)) = outcome {
                left.insert(kind, count);
                failed = Err(error);
            }
        }
        self.denials.put_back(left);
        failed
    }

    async fn record_denial(&self, kind: &Kind, count: u64) -> Result<(), AppendError> {
        let event = AccessEvent::CredentialDenied {
            connection: None,
            reason: kind.reason.to_owned(),
            door: kind.door.clone(),
            count,
            minute: kind.minute,
        };
        let metadata = Metadata {
            ip_address: kind.source.map(|source| source.to_string()),
            ..Metadata::of_the_program("record_denials")
        };
        let append = Append {
            metadata: metadata.to_json(),
            columns: IndexColumns {
                actor: metadata.actor,
                ..IndexColumns::default()
            },
            ..Append::new(
                access_stream(self.ledger.now(), self.ledger.node_id()),
                Expected::Any,
                vec![NewEvent::of(&event)?],
            )
        };
        self.ledger.append(append).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    #[test]
    fn what_a_source_is_refused_for_within_a_minute_is_one_count() {
        let denials = Denials::default();
        for second in [60, 61, 119] {
            denials.note(
                Some(source(1)),
                "invalid_api_key",
                "/v1/providers",
                at(second),
            );
        }
        denials.note(Some(source(2)), "invalid_api_key", "/v1/providers", at(61));
        denials.note(Some(source(1)), "missing_api_key", "/v1/providers", at(61));
        denials.note(Some(source(1)), "invalid_api_key", "/v1/providers", at(120));
        let mut ended: Vec<u64> = denials.take_before(at(120)).into_values().collect();
        ended.sort_unstable();
        assert_eq!(ended, [1, 1, 3]);
        let left: Vec<u64> = denials.take_before(at(180)).into_values().collect();
        assert_eq!(left, [1]);
    }

    #[test]
    fn sources_beyond_the_bound_are_counted_together_and_none_is_lost() {
        let denials = Denials::default();
        for number in 0..5_000_u32 {
            let address = std::net::Ipv4Addr::from_bits(number).into();
            let source = Some(Source::of(address));
            denials.note(source, "connection_not_found", "/v1/token/{id}", at(60));
        }
        let counts = denials.take_before(at(120));
        assert_eq!(counts.len(), COUNTED_APART + 1);
        assert_eq!(counts.values().sum::<u64>(), 5_000);
    }

    #[test]
    fn what_could_not_be_recorded_is_counted_on() {
        let denials = Denials::default();
        denials.note(Some(source(1)), "invalid_api_key", "/audit", at(60));
        let taken = denials.take_before(at(120));
        denials.note(Some(source(1)), "invalid_api_key", "/audit", at(61));
        denials.put_back(taken);
        let counts: Vec<u64> = denials.take_before(at(120)).into_values().collect();
        assert_eq!(counts, [2]);
    }
}
