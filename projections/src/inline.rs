//! The read models inside the append transaction: never behind the log.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, try_join_all};
use futures::{FutureExt as _, TryFutureExt as _};
use nexus_domain::stream::StreamKey;
use nexus_ledger::postgres::DedicatedClient;
use nexus_ledger::{ProjectError, Projector, RecordedEvent, Writes};
use tokio_postgres::Row;

use crate::agents::Agents;
use crate::connections::Connections;
use crate::projection::{FoldError, Projection};
use crate::providers::Providers;
use crate::sessions::Sessions;
use crate::{postgres, sqlite};

/// Every read model that is kept in tables.
#[derive(Debug, Default)]
pub struct ReadModels {
    postgres: postgres::Generations,
}

impl Projector for ReadModels {
    fn apply_sqlite(
        &mut self,
        transaction: &rusqlite::Connection,
        events: &[&RecordedEvent],
    ) -> Result<(), ProjectError<rusqlite::Error>> {
        sqlite::apply_inline::<Connections>(transaction, events)?;
        sqlite::apply_inline::<Providers>(transaction, events)?;
        sqlite::apply_inline::<Agents>(transaction, events)?;
        sqlite::apply_inline::<Sessions>(transaction, events)
    }

    fn opening(&self, streams: &mut dyn Iterator<Item = &StreamKey>) -> Option<&'static str> {
        let concerned = [
            Connections::STREAM,
            Providers::STREAM,
            Agents::STREAM,
            Sessions::STREAM,
        ];
        streams
            .map(|stream| stream.stream_type.as_str())
            .any(|stream_type| concerned.contains(&stream_type))
            .then_some(postgres::POINTERS)
    }

    fn apply_postgres<'a>(
        &'a mut self,
        client: &'a DedicatedClient,
        opened: &'a [Row],
        events: &'a [&'a RecordedEvent],
    ) -> BoxFuture<'a, Result<Writes<'a>, ProjectError<tokio_postgres::Error>>> {
        Box::pin(async move {
            let known = &mut self.postgres;
            let written = [
                postgres::apply_inline::<Connections>(client, opened, events, known).await?,
                postgres::apply_inline::<Providers>(client, opened, events, known).await?,
                postgres::apply_inline::<Agents>(client, opened, events, known).await?,
                postgres::apply_inline::<Sessions>(client, opened, events, known).await?,
            ];
            let written = written
                .into_iter()
                .flatten()
                .map(|write| write.send(client));
            let all = try_join_all(written.collect::<Vec<_>>());
            Ok(all.map_ok(drop).boxed())
        })
    }
}

/// The keys of the rows that `events` concern and that may be there; `None` when they concern no row at all.
pub(crate) fn keys_of<P: Projection>(events: &[&RecordedEvent]) -> Option<BTreeSet<String>> {
    let mut concerned = events
        .iter()
        .filter_map(|event| Some((P::key(event)?, event.sequence)))
        .peekable();
    concerned.peek()?;
    // A stream's first event finds no row.
    let later = concerned.filter(|(_, sequence)| *sequence > 1);
    Some(later.map(|(key, _)| key.to_owned()).collect())
}

/// What a batch of events changes in a read model.
#[derive(Debug)]
pub(crate) struct Changes<P: Projection> {
    /// Rows to insert or replace.
    pub(crate) upserts: Vec<P::Row>,
    /// Keys of rows to delete.
    pub(crate) deletes: Vec<String>,
    /// Positions of blobs that nobody needs any more.
    pub(crate) superseded: Vec<i64>,
}

/// An event that did not fold.
#[derive(Debug)]
pub(crate) struct Unfoldable {
    pub(crate) position: u64,
    pub(crate) cause: FoldError,
}

impl Unfoldable {
    pub(crate) fn into_error<P: Projection, E>(self) -> ProjectError<E> {
        tracing::error!(projection = P::NAME, position = self.position, cause = %self.cause, "an event cannot be folded");
        ProjectError::Fold {
            projection: P::NAME,
            position: self.position,
        }
    }
}

/// Folds `events` into the rows they concern, `rows` being what is stored of those now.
pub(crate) fn fold<P: Projection>(
    rows: BTreeMap<String, P::Row>,
    events: &[&RecordedEvent],
) -> Result<Changes<P>, Unfoldable> {
    let mut current: BTreeMap<String, Option<P::Row>> = rows
        .into_iter()
        .map(|(key, row)| (key, Some(row)))
        .collect();
    let mut touched = BTreeSet::new();
    let mut superseded = Vec::new();
    for event in events {
        let Some(key) = P::key(event) else { continue };
        let old = current.remove(key).flatten();
        let new = P::apply(old.clone(), event).map_err(|cause| Unfoldable {
            position: event.position,
            cause,
        })?;
        superseded.extend(
            old.as_ref()
                .and_then(|old| P::superseded_blob(old, new.as_ref()))
                .map(crate::connections::signed),
        );
        touched.insert(key.to_owned());
        current.insert(key.to_owned(), new);
    }
    let mut changes = Changes {
        upserts: Vec::new(),
        deletes: Vec::new(),
        superseded,
    };
    for key in touched {
        match current.remove(&key).flatten() {
            Some(row) => changes.upserts.push(row),
            None => changes.deletes.push(key),
        }
    }
    Ok(changes)
}
