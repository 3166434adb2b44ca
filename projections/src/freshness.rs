//! Everything that is kept, and how it comes to be as new as the log.
//!
//! Positions are gapless and in commit order, so what did not move up to the newest position of a snapshot is what the rows
//! of that snapshot say, on whatever node they changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use nexus_domain::vault;
use nexus_ledger::sqlite::Watcher;
use nexus_ledger::{Backend, RecordedEvent};

use crate::agents::AgentRow;
use crate::connections::Standing;
use crate::crowd::{Answers, Crowd};
use crate::kept::{Forgets, Keep, Shelf, texts};
use crate::log::Moved;
use crate::projection::Projection as _;
use crate::providers::Providers;
use crate::reader::{Connected, Reader};
use crate::sessions::SessionRow;
use crate::store::QueryError;

/// With more streams moved than this, nothing kept is worth sorting out.
const MOVED: usize = 4_096;

/// What is asked about again and again.
#[derive(Default)]
pub(crate) struct Shelves {
    pub(crate) standings: Shelf<Standing>,
    pub(crate) agents: Shelf<AgentRow>,
    pub(crate) sessions: Shelf<SessionRow>,
    pub(crate) provider_scopes: Shelf<ProviderScopes>,
}

/// The scopes of every registered provider.
pub(crate) type ProviderScopes = BTreeSet<String>;

impl Keep for ProviderScopes {
    type Key = ();
    const STREAM: &'static str = Providers::STREAM;
    const MANY: usize = 1;
    const BYTES: u64 = u64::MAX;

    fn key(_: &str) -> Option<()> {
        Some(())
    }

    fn bytes(&self) -> u64 {
        texts(self)
    }
}

impl Shelves {
    /// Each shelf, and the type of the streams that it is about.
    fn all(&self) -> [(&'static str, &dyn Forgets); 4] {
        [
            (Standing::STREAM, &self.standings),
            (AgentRow::STREAM, &self.agents),
            (SessionRow::STREAM, &self.sessions),
            (ProviderScopes::STREAM, &self.provider_scopes),
        ]
    }

    /// Tells whatever is about streams of a type that one of them moves. When the vault itself does, rows may have been made
    /// anew by a rebuild.
    fn tell(&self, stream_type: &str, moves: impl Fn(&dyn Forgets)) {
        for (of, shelf) in self.all() {
            if of == stream_type {
                moves(shelf);
            } else if stream_type == vault::STREAM_TYPE {
                shelf.clear();
            }
        }
    }

    fn forget(&self, moved: &Moved) {
        if moved.streams.len() > MOVED {
            return self.clear();
        }
        for (stream_type, stream) in &moved.streams {
            self.tell(stream_type, |shelf| shelf.forget(stream));
        }
    }

    fn clear(&self) {
        for (_, shelf) in self.all() {
            shelf.clear();
        }
    }
}

impl Watcher for Shelves {
    fn moving(&self, events: &[&RecordedEvent]) {
        for RecordedEvent { stream, .. } in events {
            self.tell(&stream.stream_type, |shelf| shelf.moving(&stream.id));
        }
    }

    fn settled(&self) {
        for (_, shelf) in self.all() {
            shelf.settled();
        }
    }
}

/// Makes sure that what is kept holds; clones share it.
#[derive(Clone)]
pub(crate) struct Freshness(Option<Crowd<Log>>);

struct Log {
    reader: Reader,
    shelves: Arc<Shelves>,
    /// The position at which everything kept is known to hold; beyond the log while nothing is kept.
    holds_at: u64,
}

impl Freshness {
    /// Has `shelves` hear of every move, or else starts the task that asks the log; it ends with the last clone.
    pub(crate) fn of(backend: &Backend, shelves: &Arc<Shelves>) -> Self {
        if let Backend::Sqlite(database) = backend {
            let watcher: Weak<Shelves> = Arc::downgrade(shelves);
            if database.tell(watcher) {
                return Self(None);
            }
        }
        Self(Some(Crowd::start(Log {
            reader: Reader::new(backend),
            shelves: Arc::clone(shelves),
            holds_at: u64::MAX,
        })))
    }

    /// Returns when whatever is kept is what the newest committed transaction left, or a later one.
    pub(crate) async fn catch_up(&self) -> Result<(), QueryError> {
        match &self.0 {
            None => Ok(()),
            Some(log) => log.ask(()).await,
        }
    }
}

impl Answers for Log {
    type Question = ();
    type Answer = ();
    type Found = ();

    async fn find(&mut self, _: &[()]) -> Result<(), QueryError> {
        let (moved, connected) = self.reader.moved(self.holds_at, MOVED).await?;
        // A log that is shorter than it was is another log, and so may be that of another server.
        if moved.head < self.holds_at || connected == Connected::Now {
            self.shelves.clear();
        } else {
            self.shelves.forget(&moved);
        }
        self.holds_at = moved.head;
        Ok(())
    }

    fn answer((): &(), (): &()) {}
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use nexus_domain::stream::StreamKey;

    use super::*;
    use crate::kept::Shelf;

    fn scopes(scope: &str) -> ProviderScopes {
        [scope.to_owned()].into()
    }

    /// What is told when `found` would be looked up.
    async fn told(shelf: &Shelf<ProviderScopes>, found: &str) -> ProviderScopes {
        let found = ready(Ok(Some(Arc::new(scopes(found)))));
        shelf
            .get((), found)
            .await
            .unwrap()
            .unwrap()
            .as_ref()
            .clone()
    }

    fn moved(stream: &StreamKey) -> Moved {
        Moved {
            head: 1,
            streams: vec![(stream.stream_type.clone(), stream.id.clone())],
        }
    }

    #[tokio::test]
    async fn the_scopes_of_providers_are_kept_until_any_provider_moves() {
        let shelves = Shelves::default();
        let shelf = &shelves.provider_scopes;
        assert_eq!(told(shelf, "a").await, scopes("a"));
        shelves.forget(&moved(&StreamKey::new("session", "s")));
        assert_eq!(told(shelf, "b").await, scopes("a"));
        shelves.forget(&moved(&StreamKey::new("provider", "another")));
        assert_eq!(told(shelf, "b").await, scopes("b"));
    }

    #[tokio::test]
    async fn what_was_kept_of_rows_that_were_made_anew_is_forgotten() {
        let shelves = Shelves::default();
        let shelf = &shelves.provider_scopes;
        assert_eq!(told(shelf, "a").await, scopes("a"));
        shelves.forget(&moved(&vault::vault_stream("node")));
        assert_eq!(told(shelf, "b").await, scopes("b"));
    }

    #[tokio::test]
    async fn when_too_much_has_moved_everything_is_forgotten() {
        let shelves = Shelves::default();
        let shelf = &shelves.provider_scopes;
        assert_eq!(told(shelf, "a").await, scopes("a"));
        let session = moved(&StreamKey::new("session", "s"));
        shelves.forget(&Moved {
            head: 1,
            streams: vec![session.streams[0].clone(); MOVED + 1],
        });
        assert_eq!(told(shelf, "b").await, scopes("b"));
    }
}
