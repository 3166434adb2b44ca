//! Where connections stand, for crowds of pollers, and which have moved.

use nexus_domain::reference::ConnectionReference;
use nexus_ledger::Backend;

use crate::connections::{Connections, Standing};
use crate::kept::Keep;
use crate::log::{self, Moved};
use crate::projection::Projection;
use crate::store::QueryError;

/// With more connections moved than this, they are not told one by one.
const MOVED: usize = 1_000;

/// What a standing takes, bytes, about.
const BYTES: u64 = 200;

impl Keep for Standing {
    type Key = ConnectionReference;
    const STREAM: &'static str = Connections::STREAM;
    const MANY: usize = 120_000;
    const BYTES: u64 = Self::MANY as u64 * BYTES;

    fn key(text: &str) -> Option<ConnectionReference> {
        ConnectionReference::parse(text).ok()
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
        let parse = |(_, stream): &(String, String)| ConnectionReference::parse(stream).ok();
        let references = || moved.streams.iter().filter_map(parse).collect();
        Self {
            head: moved.head,
            references: (moved.streams.len() <= MOVED).then(references),
        }
    }
}
