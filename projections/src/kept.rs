//! What crowds ask about again and again, kept while it holds.
//!
//! What was looked up is kept. Before a crowd is answered, one small statement asks the log which
//! streams have moved since the position at which everything kept is known to hold; what is kept of
//! those is forgotten and looked up again. Positions are gapless and in commit order, so what is
//! left is what the rows of that statement's snapshot would say, on whatever node they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use nexus_ledger::Backend;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use tokio::sync::mpsc;

use crate::log::Moved;
use crate::lookup::{Question, Reader, WAITING, ask, crowd};
use crate::projection::Projection;
use crate::store::QueryError;
use crate::table::Columns;

/// With more streams moved than this, nothing kept is worth sorting out.
pub(crate) const MOVED: usize = 1_000;

/// What is kept of a read model's rows.
pub(crate) trait Keep: Sized + Send + Sync + 'static {
    /// The read model.
    type Of: Projection;
    /// A row's key.
    type Key: Clone + Eq + Hash + Ord + ToString + Send + Sync + 'static;
    /// The columns that are needed.
    const COLUMNS: Columns;
    /// How many are kept, about.
    const MANY: usize;
    /// How much memory they may take, bytes.
    const BYTES: u64;

    /// The key of a row or a stream.
    fn key(text: &str) -> Option<Self::Key>;

    /// What is kept of a row.
    fn of(row: <Self::Of as Projection>::Row) -> Self;

    /// How much memory it takes, bytes, about.
    fn bytes(&self) -> u64;
}

/// What texts take in memory, bytes, about.
pub(crate) fn texts(texts: &[String]) -> u64 {
    let bytes = texts.iter().map(|text| size_of::<String>() + text.len());
    bytes.sum::<usize>() as u64
}

type Answer<K> = Result<Option<Arc<K>>, QueryError>;
type Waiting<K> = Question<<K as Keep>::Key, Option<Arc<K>>>;

/// Tells what is kept; clones share it.
pub(crate) struct Known<K: Keep>(mpsc::Sender<Waiting<K>>);

impl<K: Keep> Clone for Known<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Keep> Known<K> {
    /// Starts the task that asks the database; it ends with the last clone.
    pub(crate) fn start(backend: &Backend) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Waiting<K>>(WAITING);
        let mut keeper = Keeper::<K>::new(backend);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while crowd(&mut waiting, &mut batch).await {
                let asked = batch.iter().map(|(key, _)| key.clone());
                let fresh = keeper.catch_up(asked.collect()).await;
                for (key, reply) in batch.drain(..) {
                    let answer = fresh.as_ref().map_err(Clone::clone);
                    let known = answer.map(|fresh| {
                        let found = fresh.get(&key).cloned();
                        found.or_else(|| keeper.kept.get(&key).cloned())
                    });
                    // A caller that went away does not want its answer.
                    drop(reply.send(known));
                }
            }
        });
        Self(queue)
    }

    /// What is kept of the row of a key, as the newest committed transaction left it or a later one.
    pub(crate) async fn get(&self, key: K::Key) -> Answer<K> {
        ask(&self.0, key).await
    }
}

struct ByMemory<K>(PhantomData<K>);

impl<K> Clone for ByMemory<K> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<K: Keep> Weighter<K::Key, Arc<K>> for ByMemory<K> {
    fn weight(&self, _: &K::Key, kept: &Arc<K>) -> u64 {
        kept.bytes()
    }
}

struct Keeper<K: Keep> {
    reader: Reader,
    kept: Cache<K::Key, Arc<K>, ByMemory<K>>,
    /// The position of the log at which everything kept is known to hold.
    holds_at: u64,
}

impl<K: Keep> Keeper<K> {
    fn new(backend: &Backend) -> Self {
        Self {
            reader: Reader::new(backend, K::COLUMNS),
            kept: Cache::with_weighter(K::MANY, K::BYTES, ByMemory(PhantomData)),
            holds_at: 0,
        }
    }

    /// Forgets what has moved, and looks up what is asked for and not kept: that is returned, and
    /// kept from now on.
    async fn catch_up(
        &mut self,
        asked: BTreeSet<K::Key>,
    ) -> Result<BTreeMap<K::Key, Arc<K>>, QueryError> {
        let moved = self.reader.moved(K::Of::STREAM, self.holds_at, MOVED);
        let moved = moved.await?;
        self.forget(&moved);
        let missing = asked.iter().filter(|known| !self.kept.contains_key(*known));
        let keys: BTreeSet<String> = missing.map(ToString::to_string).collect();
        let mut fresh = BTreeMap::new();
        if !keys.is_empty() {
            // These are of a later snapshot: what moves in between is forgotten once too often.
            for (key, row) in self.reader.by_key::<K::Of>(keys).await? {
                let Some(key) = K::key(&key) else {
                    continue;
                };
                let kept = Arc::new(K::of(row));
                self.kept.insert(key.clone(), Arc::clone(&kept));
                fresh.insert(key, kept);
            }
        }
        Ok(fresh)
    }

    fn forget(&mut self, moved: &Moved) {
        // A log that is shorter than it was is another log.
        if moved.head < self.holds_at || moved.streams.len() > MOVED {
            self.kept.clear();
        } else {
            for key in moved.streams.iter().filter_map(|stream| K::key(stream)) {
                self.kept.remove(&key);
            }
        }
        self.holds_at = moved.head;
    }
}
