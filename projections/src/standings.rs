//! Where connections stand, for crowds of pollers.
//!
//! Standings that were looked up are kept. Before a crowd is answered, one small statement asks the
//! log which connections have moved since the position at which everything kept is known to hold;
//! those are forgotten and looked up again. Positions are gapless and in commit order, so what is
//! left is what the rows of that statement's snapshot would say, on whatever node they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus_domain::reference::ConnectionReference;
use nexus_ledger::Backend;
use quick_cache::unsync::Cache;
use tokio::sync::{mpsc, oneshot};

use crate::connections::{Connections, Standing};
use crate::log::{self, Moved};
use crate::lookup::{Reader, WAITING, crowd};
use crate::projection::Projection;
use crate::store::QueryError;
use crate::table::Columns;

/// How many standings are kept, at about 200 bytes each.
const KEPT: usize = 120_000;
/// With more connections moved than this, nothing kept is worth sorting out.
const MOVED: usize = 1_000;

type Answer = Result<Option<Arc<Standing>>, QueryError>;
type Waiting = (ConnectionReference, oneshot::Sender<Answer>);

/// Tells how connections stand; clones share it.
#[derive(Clone)]
pub(crate) struct Standings(mpsc::Sender<Waiting>);

impl Standings {
    /// Starts the task that asks the database; it ends with the last clone.
    pub(crate) fn start(backend: &Backend) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting>(WAITING);
        let mut keeper = Keeper {
            reader: Reader::new(backend, Columns::Needed),
            kept: Cache::new(KEPT),
            holds_at: 0,
        };
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while crowd(&mut waiting, &mut batch).await {
                let asked = batch.iter().map(|(reference, _)| *reference);
                let fresh = keeper.catch_up(asked.collect()).await;
                for (reference, reply) in batch.drain(..) {
                    let answer = fresh.as_ref().map_err(Clone::clone);
                    let standing = answer.map(|fresh| {
                        let found = fresh.get(&reference).cloned();
                        found.or_else(|| keeper.kept.get(&reference).cloned())
                    });
                    // A caller that went away does not want its answer.
                    drop(reply.send(standing));
                }
            }
        });
        Self(queue)
    }

    /// How the connection of a reference stands, as the newest committed transaction left it or a
    /// later one.
    pub(crate) async fn get(&self, reference: ConnectionReference) -> Answer {
        let (reply, answer) = oneshot::channel();
        let gone = || QueryError::Unavailable("the reader has stopped".to_owned());
        let asked = self.0.send((reference, reply)).await;
        asked.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Which connections moved since some position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedConnections {
    /// The newest position that was looked at.
    pub head: u64,
    /// Their references; `None` when they are too many to tell.
    pub references: Option<Vec<ConnectionReference>>,
}

impl MovedConnections {
    /// Those that moved after a position.
    pub(crate) async fn after(backend: &Backend, after: u64) -> Result<Self, QueryError> {
        let moved = log::moved(backend, Connections::STREAM, after, MOVED).await?;
        Ok(Self::of(&moved))
    }

    fn of(moved: &Moved) -> Self {
        let parse = |stream: &String| ConnectionReference::parse(stream).ok();
        let references = || moved.streams.iter().filter_map(parse).collect();
        Self {
            head: moved.head,
            references: (moved.streams.len() <= MOVED).then(references),
        }
    }
}

struct Keeper {
    reader: Reader,
    kept: Cache<ConnectionReference, Arc<Standing>>,
    /// The position of the log at which everything kept is known to hold.
    holds_at: u64,
}

impl Keeper {
    /// Forgets what has moved, and looks up what is asked for and not kept: that is returned, and
    /// kept from now on.
    async fn catch_up(
        &mut self,
        asked: BTreeSet<ConnectionReference>,
    ) -> Result<BTreeMap<ConnectionReference, Arc<Standing>>, QueryError> {
        let moved = self.reader.moved(Connections::STREAM, self.holds_at, MOVED);
        let moved = MovedConnections::of(&moved.await?);
        self.forget(moved);
        let missing = asked.iter().filter(|known| !self.kept.contains_key(*known));
        let keys: BTreeSet<String> = missing.map(ToString::to_string).collect();
        let mut fresh = BTreeMap::new();
        if !keys.is_empty() {
            // These are of a later snapshot: what moves in between is forgotten once too often.
            for (key, row) in self.reader.by_key::<Connections>(keys).await? {
                let Ok(reference) = ConnectionReference::parse(&key) else {
                    continue;
                };
                let standing = Arc::new(Standing::of(&row));
                self.kept.insert(reference, Arc::clone(&standing));
                fresh.insert(reference, standing);
            }
        }
        Ok(fresh)
    }

    fn forget(&mut self, moved: MovedConnections) {
        match moved.references {
            // A log that is shorter than it was is another log.
            Some(references) if moved.head >= self.holds_at => {
                for reference in references {
                    self.kept.remove(&reference);
                }
            }
            _ => self.kept.clear(),
        }
        self.holds_at = moved.head;
    }
}
