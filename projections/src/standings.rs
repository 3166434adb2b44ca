//! Where connections stand, for crowds of pollers, and which have moved.

use nexus_domain::reference::ConnectionReference;
use nexus_ledger::Backend;

use crate::connections::{ConnectionRow, Connections, Standing};
use crate::kept::{Keep, MOVED};
use crate::log::{self, Moved};
use crate::projection::Projection;
use crate::store::QueryError;
use crate::table::Columns;

/// What a standing takes, bytes, about.
const BYTES: u64 = 200;

impl Keep for Standing {
    type Of = Connections;
    type Key = ConnectionReference;
    const COLUMNS: Columns = Columns::Needed;
    const MANY: usize = 120_000;
    const BYTES: u64 = Self::MANY as u64 * BYTES;

    fn key(text: &str) -> Option<ConnectionReference> {
        ConnectionReference::parse(text).ok()
    }

    fn of(row: ConnectionRow) -> Self {
        Standing::of(&row)
    }

    fn bytes(&self) -> u64 {
        BYTES
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
