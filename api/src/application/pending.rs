//! How many consents are pending, by who asked for them: strangers cannot fill the log with requests that nobody
//! answers.
//!
//! Each node counts the requests that it took itself. A count goes down when the consent ends, on whatever node, or
//! lapses.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_domain::connection::Status;
use nexus_domain::metadata::Metadata;
use nexus_domain::reference::ConnectionReference;
use nexus_domain::time::Timestamp;
use nexus_projections::QueryError;

use super::Application;
use crate::source::Source;

/// How often it is looked which consents have ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many consents may be pending; any number where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingLimits {
    /// Asked for without a key from one source.
    pub per_source: Option<NonZeroUsize>,
    /// Asked for without a key from anywhere.
    pub without_key: Option<NonZeroUsize>,
    /// Asked for with a key for one workspace.
    pub per_workspace: Option<NonZeroUsize>,
}

/// Too many consents are pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyPending {
    /// From the caller's address.
    #[error("too many connections that this address asked for are pending")]
    OfSource,
    /// Of everybody who calls without a key.
    #[error("too many connections that were asked for without an API key are pending")]
    WithoutKey,
    /// For the workspace.
    #[error("too many connections of this workspace are pending")]
    OfWorkspace,
}

/// Who asks: with a key for a workspace, or without one from somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asker {
    Source(Option<Source>),
    Workspace(String),
}

impl Asker {
    fn of(metadata: &Metadata, workspace_id: &str) -> Self {
        if metadata.actor.is_some() {
            return Self::Workspace(workspace_id.to_owned());
        }
        let address = metadata.ip_address.as_ref();
        let address = address.and_then(|text| text.parse::<IpAddr>().ok());
        Self::Source(address.map(Source::of))
    }
}

#[derive(Debug, Default)]
struct Counts {
    pending: HashMap<ConnectionReference, (Asker, Timestamp)>,
    by_asker: HashMap<Asker, usize>,
    without_key: usize,
}

impl Counts {
    fn of(&self, asker: &Asker) -> usize {
        self.by_asker.get(asker).copied().unwrap_or_default()
    }

    fn add(&mut self, reference: ConnectionReference, asker: Asker, lapses: Timestamp) {
        self.without_key += usize::from(matches!(asker, Asker::Source(_)));
        *self.by_asker.entry(asker.clone()).or_default() += 1;
        self.pending.insert(reference, (asker, lapses));
    }

    fn remove(&mut self, reference: ConnectionReference) {
        let Some((asker, _)) = self.pending.remove(&reference) else {
            return;
        };
        self.without_key -= usize::from(matches!(asker, Asker::Source(_)));
        let left = self.of(&asker).saturating_sub(1);
        if left == 0 {
            self.by_asker.remove(&asker);
        } else {
            self.by_asker.insert(asker, left);
        }
    }

    fn lapse(&mut self, now: Timestamp) {
        let lapsed = self
            .pending
            .iter()
            .filter(|(_, (_, lapses))| *lapses <= now);
        let lapsed: Vec<_> = lapsed.map(|(reference, _)| *reference).collect();
        for reference in lapsed {
            self.remove(reference);
        }
    }
}

/// The consents that this node was asked for and that are pending.
#[derive(Debug, Default)]
pub struct Pending {
    limits: PendingLimits,
    counts: Mutex<Counts>,
}

/// A place among the pending consents; given back when dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pending: &'a Pending,
    reference: Option<ConnectionReference>,
}

impl Pending {
    /// None yet.
    #[must_use]
    pub fn new(limits: PendingLimits) -> Self {
        Self {
            limits,
            counts: Mutex::default(),
        }
    }

    /// Takes a place for a request that is about to be recorded.
    ///
    /// # Errors
    /// [`TooManyPending`]
    pub(super) fn take(
        &self,
        reference: ConnectionReference,
        workspace_id: &str,
        metadata: &Metadata,
        lapses: Timestamp,
    ) -> Result<Place<'_>, TooManyPending> {
        let asker = Asker::of(metadata, workspace_id);
        let mut counts = self.counts();
        if counts.pending.contains_key(&reference) {
            // The same request, made again at the same time.
            return Ok(Place {
                pending: self,
                reference: None,
            });
        }
        let full =
            |limit: Option<NonZeroUsize>, count| limit.is_some_and(|limit| count >= limit.get());
        let (limits, count) = (self.limits, counts.of(&asker));
        match asker {
            Asker::Workspace(_) if full(limits.per_workspace, count) => {
                return Err(TooManyPending::OfWorkspace);
            }
            Asker::Source(_) if full(limits.per_source, count) => {
                return Err(TooManyPending::OfSource);
            }
            Asker::Source(_) if full(limits.without_key, counts.without_key) => {
                return Err(TooManyPending::WithoutKey);
            }
            Asker::Source(_) | Asker::Workspace(_) => counts.add(reference, asker, lapses),
        }
        Ok(Place {
            pending: self,
            reference: Some(reference),
        })
    }

    /// Those among `moved` that are counted, or all that are.
    fn counted(&self, moved: Option<Vec<ConnectionReference>>) -> Vec<ConnectionReference> {
        let pending = &self.counts().pending;
        match moved {
            Some(moved) => {
                let counted = moved.into_iter();
                counted
                    .filter(|moved| pending.contains_key(moved))
                    .collect()
            }
            None => pending.keys().copied().collect(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// The request was recorded: the place is given back when its consent ends.
    pub(super) fn keep(mut self) {
        self.reference = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(reference) = self.reference {
            self.pending.counts().remove(reference);
        }
    }
}

impl Application {
    /// Counts consents no more that have ended or lapsed, until told to stop.
    pub async fn follow_pending(self) {
        let mut stopping = self.stopping.clone();
        let mut seen = self.ledger.head().position();
        while !*stopping.borrow_and_update() {
            drop(tokio::time::timeout(LOOK_EVERY, stopping.changed()).await);
            match self.release_ended(seen).await {
                Ok(newest) => seen = newest,
                Err(error) => tracing::warn!(%error, "it is not known which consents have ended"),
            }
        }
    }

    /// Gives back the places of the consents that ended after a position; up to where that is known.
    async fn release_ended(&self, seen: u64) -> Result<u64, QueryError> {
        self.pending.counts().lapse(self.ledger.now());
        let newest = self.ledger.head().position();
        if newest == seen || self.pending.counts().pending.is_empty() {
            return Ok(newest);
        }
        let moved = self.reads.moved_connections(seen).await?;
        for reference in self.pending.counted(moved.references) {
            let standing = self.reads.standing(reference).await?;
            // One that is not there yet is about to be recorded.
            if standing.is_some_and(|standing| standing.status != Status::Pending) {
                self.pending.counts().remove(reference);
            }
        }
        Ok(moved.head)
    }
}

#[cfg(test)]
mod tests {
    use nexus_domain::reference::ConnectionId;
    use uuid::Uuid;

    use super::*;

    const ENDS: Timestamp = Timestamp::from_seconds(900);

    fn limited(per_source: usize, without_key: usize, per_workspace: usize) -> Pending {
        Pending::new(PendingLimits {
            per_source: NonZeroUsize::new(per_source),
            without_key: NonZeroUsize::new(without_key),
            per_workspace: NonZeroUsize::new(per_workspace),
        })
    }

    fn reference(number: u128) -> ConnectionReference {
        ConnectionId::from_random(Uuid::from_u128(number)).reference()
    }

    fn from(address: &str) -> Metadata {
        Metadata {
            ip_address: Some(address.to_owned()),
            ..Metadata::default()
        }
    }

    fn with_key() -> Metadata {
        Metadata {
            actor: Some("key_1".to_owned()),
            ..from("192.0.2.1")
        }
    }

    /// Takes a place and keeps it.
    fn ask(pending: &Pending, number: u128, metadata: &Metadata) -> Result<(), TooManyPending> {
        let place = pending.take(reference(number), "ann", metadata, ENDS)?;
        place.keep();
        Ok(())
    }

    #[test]
    fn a_source_fills_its_own_places_only() {
        let pending = limited(2, 0, 0);
        assert_eq!(ask(&pending, 1, &from("192.0.2.1")), Ok(()));
        assert_eq!(ask(&pending, 2, &from("192.0.2.1")), Ok(()));
        assert_eq!(
            ask(&pending, 3, &from("192.0.2.1")),
            Err(TooManyPending::OfSource)
        );
        assert_eq!(ask(&pending, 4, &from("192.0.2.2")), Ok(()));
    }

    #[test]
    fn strangers_together_fill_what_is_theirs_and_no_workspace() {
        let pending = limited(0, 2, 1);
        assert_eq!(ask(&pending, 1, &from("192.0.2.1")), Ok(()));
        assert_eq!(ask(&pending, 2, &from("192.0.2.2")), Ok(()));
        assert_eq!(
            ask(&pending, 3, &from("192.0.2.3")),
            Err(TooManyPending::WithoutKey)
        );
        assert_eq!(ask(&pending, 4, &with_key()), Ok(()));
        assert_eq!(
            ask(&pending, 5, &with_key()),
            Err(TooManyPending::OfWorkspace)
        );
    }

    #[test]
    fn a_place_is_given_back_when_nothing_was_recorded_and_when_the_consent_lapses() {
        let pending = limited(1, 1, 0);
        drop(pending.take(reference(1), "ann", &from("192.0.2.1"), ENDS));
        assert_eq!(ask(&pending, 2, &from("192.0.2.1")), Ok(()));
        pending.counts().lapse(Timestamp::from_seconds(899));
        assert!(ask(&pending, 3, &from("192.0.2.1")).is_err());
        pending.counts().lapse(ENDS);
        assert_eq!(ask(&pending, 3, &from("192.0.2.1")), Ok(()));
    }

    #[test]
    fn only_what_is_counted_is_looked_at() {
        let pending = limited(0, 0, 0);
        ask(&pending, 1, &from("192.0.2.1")).unwrap();
        assert_eq!(pending.counted(Some(vec![reference(2)])), []);
        assert_eq!(pending.counted(Some(vec![reference(1)])), [reference(1)]);
        assert_eq!(pending.counted(None), [reference(1)]);
    }
}
