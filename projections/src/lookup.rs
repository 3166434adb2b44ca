//! Rows by key, for callers that come in crowds.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use nexus_ledger::Backend;

use crate::crowd::{Answers, Crowd};
use crate::projection::Projection;
use crate::reader::Reader;
use crate::store::QueryError;
use crate::table::Columns;

/// Looks rows of a read model up by key; clones share it.
pub(crate) struct Lookup<P: Projection>(Crowd<Rows<P>>);

impl<P: Projection> Clone for Lookup<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Rows<P> {
    reader: Reader,
    columns: Columns,
    of: PhantomData<fn() -> P>,
}

impl<P: Projection> Lookup<P> {
    /// Starts the task that asks the database for some of the columns; it ends with the last clone.
    pub(crate) fn start(backend: &Backend, columns: Columns) -> Self {
        Self(Crowd::start(Rows {
            reader: Reader::new(backend),
            columns,
            of: PhantomData,
        }))
    }

    /// The row of a key, as the newest committed transaction left it or a later one.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Arc<P::Row>>, QueryError> {
        self.0.ask(key.to_owned()).await
    }
}

impl<P: Projection> Answers for Rows<P> {
    type Question = String;
    type Answer = Option<Arc<P::Row>>;
    type Found = BTreeMap<String, Arc<P::Row>>;

    async fn find(&mut self, asked: &[String]) -> Result<Self::Found, QueryError> {
        let keys = asked.iter().cloned().collect();
        let rows = self.reader.by_key::<P>(self.columns, keys).await?;
        let shared = rows.into_iter().map(|(key, row)| (key, Arc::new(row)));
        Ok(shared.collect())
    }

    fn answer(found: &Self::Found, asked: &String) -> Self::Answer {
        found.get(asked).cloned()
    }
}
