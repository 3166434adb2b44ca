//! Whether the rows that serve are what the log says: every stream is folded anew and compared with
//! its row.
//!
//! It goes by the streams' ids, some hundred in one snapshot of the database. An append commits an
//! event and its row together, so in any snapshot a row either is the fold of its stream or was
//! changed behind the ledger's back, whatever is appended meanwhile. Nothing is written.

mod on_postgres;
mod on_sqlite;

use std::collections::BTreeMap;

use nexus_ledger::{Backend, ReadError, RecordedEvent};

use crate::agents::Agents;
use crate::connections::Connections;
use crate::log::unavailable;
use crate::projection::Projection;
use crate::providers::Providers;
use crate::rebuild::{RebuildError, unblocked};
use crate::sessions::Sessions;
use crate::table::{Serving, Value};

pub(crate) use on_postgres::snapshot;

/// So many differing rows are named.
const NAMED: usize = 10;

/// How a row differs from what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is another one.
    Altered,
    /// There is none.
    Missing,
    /// Nothing in the log made it.
    Invented,
}

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its key: a reference, which opens no door.
    pub key: String,
    /// How it differs.
    pub fault: Fault,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows that were compared, missing ones included.
    pub rows: u64,
    /// Events that were folded.
    pub events: u64,
    /// Rows that are not what the log says.
    pub altered: u64,
    /// Rows that are not there.
    pub missing: u64,
    /// Rows that nothing in the log made.
    pub invented: u64,
    /// The first of these, by key, as the database orders keys.
    pub first: Vec<Difference>,
}

impl Verified {
    /// How many rows differ.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.altered + self.missing + self.invented
    }

    fn find(&mut self, key: String, fault: Fault) {
        match fault {
            Fault::Altered => self.altered += 1,
            Fault::Missing => self.missing += 1,
            Fault::Invented => self.invented += 1,
        }
        if self.first.len() < NAMED {
            self.first.push(Difference { key, fault });
        }
    }

    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.events += other.events;
        self.altered += other.altered;
        self.missing += other.missing;
        self.invented += other.invented;
        let left = NAMED.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(left));
    }
}

/// Compares every row of a read model with the log; `progress` is told what was found so far.
///
/// # Errors
/// [`RebuildError`]; it is [`RebuildError::OtherVersion`] when another version made the rows.
pub async fn verify(
    backend: &Backend,
    name: &str,
    progress: impl Fn(&Verified),
) -> Result<Verified, RebuildError> {
    match name {
        Connections::NAME => all::<Connections>(backend, progress).await,
        Providers::NAME => all::<Providers>(backend, progress).await,
        Agents::NAME => all::<Agents>(backend, progress).await,
        Sessions::NAME => all::<Sessions>(backend, progress).await,
        other => Err(RebuildError::UnknownName(other.to_owned())),
    }
}

async fn all<P: Projection>(
    backend: &Backend,
    progress: impl Fn(&Verified),
) -> Result<Verified, RebuildError> {
    let mut verified = Verified::default();
    let mut after = None;
    loop {
        let seen = see::<P>(backend, Which::Behind(after)).await?;
        let end = seen.end.clone();
        verified.add(unblocked(move || judge::<P>(seen)).await??);
        progress(&verified);
        if end.is_none() {
            return Ok(verified);
        }
        after = end;
    }
}

/// How many of these rows are not what the log says.
pub(crate) async fn differing_of<P: Projection>(
    backend: &Backend,
    keys: Vec<String>,
) -> Result<u64, RebuildError> {
    let seen = see::<P>(backend, Which::These(keys)).await?;
    Ok(unblocked(move || judge::<P>(seen)).await??.differences())
}

/// Which rows are looked at.
enum Which {
    /// The next ones behind a key; from the first on for `None`.
    Behind(Option<String>),
    /// Those of these keys.
    These(Vec<String>),
}

/// What one snapshot shows of some rows and their streams.
struct Seen {
    serving: Serving,
    rows: BTreeMap<String, Vec<Value>>,
    /// Each stream's in order.
    events: Vec<RecordedEvent>,
    /// The key that was reached; `None` at the end.
    end: Option<String>,
}

async fn see<P: Projection>(backend: &Backend, which: Which) -> Result<Seen, ReadError> {
    match backend {
        Backend::Sqlite(database) => {
            database
                .read(move |connection| on_sqlite::see::<P>(connection, which))
                .await
        }
        Backend::Postgres(database) => {
            let mut client = database.client().await?;
            on_postgres::see::<P>(&mut client, which)
                .await
                .map_err(unavailable)
        }
    }
}

fn judge<P: Projection>(seen: Seen) -> Result<Verified, RebuildError> {
    if seen.serving.version != P::VERSION {
        return Err(RebuildError::OtherVersion {
            name: P::NAME,
            version: seen.serving.version,
        });
    }
    let mut verified = Verified {
        events: seen.events.len() as u64,
        ..Verified::default()
    };
    let (mut stored, implied) = (seen.rows, fold_streams::<P>(&seen.events)?);
    for (key, row) in implied {
        let found = stored.remove(&key);
        verified.rows += u64::from(found.is_some() || row.is_some());
        match (found, row) {
            (Some(found), Some(row)) if found != P::to_values(&row) => {
                verified.find(key, Fault::Altered);
            }
            (None, Some(_)) => verified.find(key, Fault::Missing),
            (Some(_), None) => verified.find(key, Fault::Invented),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    verified.rows += stored.len() as u64;
    for key in stored.into_keys() {
        verified.find(key, Fault::Invented);
    }
    Ok(verified)
}

fn fold_streams<P: Projection>(
    events: &[RecordedEvent],
) -> Result<BTreeMap<String, Option<P::Row>>, RebuildError> {
    let mut rows: BTreeMap<String, Option<P::Row>> = BTreeMap::new();
    for event in events {
        let Some(key) = P::key(event) else { continue };
        let row = rows.remove(key).flatten();
        let row = P::apply(row, event).map_err(|cause| RebuildError::Undecodable {
            name: P::NAME,
            position: event.position,
            cause: cause.to_string(),
        })?;
        rows.insert(key.to_owned(), row);
    }
    Ok(rows)
}
