//! Wrapped data keys by their ids, for whoever opens many secrets.

use std::collections::HashMap;

use nexus_domain::sealing::{KeyId, WrappedKey};
use nexus_ledger::Backend;

use crate::crowd::{Answers, Crowd};
use crate::reader::Reader;
use crate::store::QueryError;

/// Looks wrapped data keys up; clones share it.
#[derive(Clone)]
pub struct DataKeys(Crowd<Keys>);

struct Keys(Reader);

impl DataKeys {
    /// A handle on the data keys of a database. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(backend: &Backend) -> Self {
        Self(Crowd::start(Keys(Reader::new(backend))))
    }

    /// The data key of an id; `None` when it never was or was shredded.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn get(&self, id: KeyId) -> Result<Option<WrappedKey>, QueryError> {
        self.0.ask(id).await
    }
}

impl Answers for Keys {
    type Question = KeyId;
    type Answer = Option<WrappedKey>;
    type Found = HashMap<KeyId, WrappedKey>;

    async fn find(&mut self, asked: &[KeyId]) -> Result<Self::Found, QueryError> {
        let keys = self.0.data_keys(asked).await?;
        Ok(keys.into_iter().map(|key| (key.key_id, key)).collect())
    }

    fn answer(found: &Self::Found, asked: &KeyId) -> Option<WrappedKey> {
        found.get(asked).cloned()
    }
}
