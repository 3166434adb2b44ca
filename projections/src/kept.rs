//! What is asked about again and again, kept while it holds.
//!
//! What was looked up is kept until its stream moves. Where only this process writes, it hears of every move before
//! anybody can see it. Elsewhere [`Freshness`] asks the log first, whatever node wrote.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use crate::store::QueryError;

/// What is kept under a key.
pub(crate) trait Keep: Send + Sync + 'static {
    /// What it is kept under.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    /// The type of the streams that it is about.
    const STREAM: &'static str;
    /// How many are kept, about.
    const MANY: usize;
    /// How much memory they may take, bytes.
    const BYTES: u64;

    /// The key of what an event of a stream changes.
    fn key(stream: &str) -> Option<Self::Key>;

    /// How much memory it takes, bytes, about.
    fn bytes(&self) -> u64;
}

/// What texts take in memory, bytes, about.
pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> u64 {
    let bytes = texts.into_iter();
    let bytes = bytes.map(|text| size_of::<String>() + text.len());
    bytes.sum::<usize>() as u64
}

/// Things of one kind that are kept.
pub(crate) struct Shelf<K: Keep>(Mutex<Kept<K>>);

struct Kept<K: Keep> {
    things: Cache<K::Key, Arc<K>, ByMemory<K>>,
    /// What is being looked up.
    looked_up: HashMap<K::Key, LookedUp>,
    /// What a commit that is under way changes.
    moving: HashSet<K::Key>,
}

#[derive(Default)]
struct LookedUp {
    callers: usize,
    /// How often it moved since the first of them came.
    moves: u64,
}

impl<K: Keep> Default for Shelf<K> {
    fn default() -> Self {
        Self(Mutex::new(Kept {
            things: Cache::with_weighter(K::MANY, K::BYTES, ByMemory(PhantomData)),
            looked_up: HashMap::new(),
            moving: HashSet::new(),
        }))
    }
}

impl<K: Keep> Shelf<K> {
    /// What is kept under a key, or else what `look_up` finds, which is kept unless it moved meanwhile.
    pub(crate) async fn get(
        &self,
        key: K::Key,
        look_up: impl Future<Output = Result<Option<Arc<K>>, QueryError>>,
    ) -> Result<Option<Arc<K>>, QueryError> {
        let caller = {
            let mut kept = self.kept();
            if let Some(found) = kept.things.get(&key) {
                return Ok(Some(Arc::clone(found)));
            }
            let moving = kept.moving.contains(&key);
            let looked_up = kept.looked_up.entry(key.clone()).or_default();
            looked_up.callers += 1;
            Caller {
                shelf: self,
                key,
                moves: (!moving).then_some(looked_up.moves),
            }
        };
        let found = look_up.await?;
        if let Some(found) = &found {
            caller.keep(Arc::clone(found));
        }
        Ok(found)
    }

    fn kept(&self) -> MutexGuard<'_, Kept<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What hears of moves.
pub(crate) trait Forgets {
    /// Forgets what an event of a stream changes.
    fn forget(&self, stream: &str);

    /// Forgets what an event of a stream changes, and keeps nothing of it until that is settled.
    fn moving(&self, stream: &str);

    /// No commit is under way.
    fn settled(&self);

    /// Forgets everything.
    fn clear(&self);
}

impl<K: Keep> Forgets for Shelf<K> {
    fn forget(&self, stream: &str) {
        if let Some(key) = K::key(stream) {
            self.kept().forget(&key);
        }
    }

    fn moving(&self, stream: &str) {
        if let Some(key) = K::key(stream) {
            let mut kept = self.kept();
            kept.forget(&key);
            kept.moving.insert(key);
        }
    }

    fn settled(&self) {
        self.kept().moving.clear();
    }

    fn clear(&self) {
        let mut kept = self.kept();
        kept.things.clear();
        for looked_up in kept.looked_up.values_mut() {
            looked_up.moves += 1;
        }
    }
}

impl<K: Keep> Kept<K> {
    fn forget(&mut self, key: &K::Key) {
        self.things.remove(key);
        if let Some(looked_up) = self.looked_up.get_mut(key) {
            looked_up.moves += 1;
        }
    }
}

/// Somebody who looks something up; gone when it is dropped.
struct Caller<'a, K: Keep> {
    shelf: &'a Shelf<K>,
    key: K::Key,
    /// How often it had moved before; `None` while it was moving.
    moves: Option<u64>,
}

impl<K: Keep> Caller<'_, K> {
    fn keep(&self, found: Arc<K>) {
        let mut kept = self.shelf.kept();
        let moves = kept.looked_up.get(&self.key).map(|found| found.moves);
        if moves.is_some() && moves == self.moves {
            kept.things.insert(self.key.clone(), found);
        }
    }
}

impl<K: Keep> Drop for Caller<'_, K> {
    fn drop(&mut self) {
        let mut kept = self.shelf.kept();
        if let Some(looked_up) = kept.looked_up.get_mut(&self.key) {
            looked_up.callers -= 1;
            if looked_up.callers == 0 {
                kept.looked_up.remove(&self.key);
            }
        }
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

#[cfg(test)]
mod tests {
    use std::convert::identity;
    use std::future::{pending, ready};

    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use tokio::sync::oneshot;

    use super::*;

    impl Keep for u32 {
        type Key = String;
        const STREAM: &'static str = "thing";
        const MANY: usize = 10;
        const BYTES: u64 = 100;

        fn key(stream: &str) -> Option<String> {
            Some(stream.to_owned())
        }

        fn bytes(&self) -> u64 {
            1
        }
    }

    type Found = Result<Option<Arc<u32>>, QueryError>;

    fn get(
        shelf: &Shelf<u32>,
        look_up: impl Future<Output = Found> + Send,
    ) -> impl Future<Output = Option<u32>> + Send {
        let found = shelf.get("a".to_owned(), look_up);
        async { found.await.unwrap().map(|found| *found) }
    }

    async fn find(shelf: &Shelf<u32>, found: u32) -> Option<u32> {
        get(shelf, ready(Ok(Some(Arc::new(found))))).await
    }

    /// Looks up until told what is found.
    fn slowly() -> (oneshot::Sender<u32>, BoxFuture<'static, Found>) {
        let (tell, told) = oneshot::channel();
        let found = async { Ok(told.await.ok().map(Arc::new)) };
        (tell, found.boxed())
    }

    #[tokio::test]
    async fn what_was_looked_up_is_kept_until_its_stream_moves() {
        let shelf = Shelf::default();
        assert_eq!(find(&shelf, 1).await, Some(1));
        shelf.forget("b");
        assert_eq!(find(&shelf, 2).await, Some(1));
        shelf.forget("a");
        assert_eq!(find(&shelf, 3).await, Some(3));
        shelf.clear();
        assert_eq!(find(&shelf, 4).await, Some(4));
    }

    #[tokio::test]
    async fn what_is_not_there_is_looked_up_again() {
        let shelf = Shelf::default();
        assert_eq!(get(&shelf, ready(Ok(None))).await, None);
        assert_eq!(find(&shelf, 1).await, Some(1));
    }

    #[tokio::test]
    async fn what_moved_while_it_was_looked_up_is_not_kept() {
        let moves: [fn(&Shelf<u32>); 3] = [
            |shelf| shelf.forget("a"),
            Shelf::clear,
            |shelf| {
                shelf.moving("a");
                shelf.settled();
            },
        ];
        for moved in moves {
            let shelf = Shelf::default();
            let (tell, found) = slowly();
            let mut old = Box::pin(get(&shelf, found));
            assert_eq!(old.as_mut().now_or_never(), None);
            moved(&shelf);
            // Somebody who comes later keeps what is new.
            assert_eq!(find(&shelf, 2).await, Some(2));
            tell.send(1).unwrap();
            assert_eq!(old.await, Some(1));
            assert_eq!(find(&shelf, 3).await, Some(2));
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_of_what_is_moving() {
        let shelf = Shelf::default();
        shelf.moving("a");
        assert_eq!(find(&shelf, 1).await, Some(1));
        let (tell, found) = slowly();
        let mut old = Box::pin(get(&shelf, found));
        assert_eq!(old.as_mut().now_or_never(), None);
        shelf.settled();
        tell.send(2).unwrap();
        assert_eq!(old.await, Some(2));
        assert_eq!(find(&shelf, 3).await, Some(3));
        assert_eq!(find(&shelf, 4).await, Some(3));
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_caller_that_went_away() {
        let shelf = Shelf::default();
        let mut gone = Box::pin(get(&shelf, pending()));
        assert_eq!(gone.as_mut().now_or_never().and_then(identity), None);
        assert_eq!(shelf.kept().looked_up.len(), 1);
        drop(gone);
        assert!(shelf.kept().looked_up.is_empty());
    }
}
