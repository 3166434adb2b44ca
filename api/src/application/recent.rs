//! Rows that credentials were read with a moment ago.
//!
//! They are never trusted: the record of every read is guarded on the sequences of the rows it was
//! made with, so one that has changed since, on whatever node, is found out before the answer
//! leaves and read again.

use std::sync::Arc;

use nexus_domain::reference::{ConnectionReference, ProviderId};
use nexus_projections::{ConnectionRow, ProviderRow};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// How much memory the connections' rows may take, bytes.
const CONNECTION_BYTES: u64 = 16 << 20;
/// How many connections that holds, about.
const CONNECTIONS: usize = 8_000;
/// How many providers are remembered.
const PROVIDERS: usize = 1_000;
/// What a row takes beside its ciphertext, bytes, about.
const ROW_BYTES: u64 = 1_000;

/// The rows.
pub struct Recent {
    connections: Cache<ConnectionReference, Arc<ConnectionRow>, ByMemory>,
    providers: Cache<ProviderId, Arc<ProviderRow>>,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<ConnectionReference, Arc<ConnectionRow>> for ByMemory {
    fn weight(&self, _: &ConnectionReference, row: &Arc<ConnectionRow>) -> u64 {
        let fields = [&row.id, &row.credential].into_iter().flatten();
        let blobs = fields.filter_map(|field| field.blob.as_ref());
        ROW_BYTES + blobs.map(|blob| blob.len() as u64).sum::<u64>()
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            connections: Cache::with_weighter(CONNECTIONS, CONNECTION_BYTES, ByMemory),
            providers: Cache::new(PROVIDERS),
        }
    }
}

impl Recent {
    /// A connection's row as it was some time ago.
    pub(super) fn connection(&self, reference: ConnectionReference) -> Option<Arc<ConnectionRow>> {
        self.connections.get(&reference)
    }

    /// A provider's row as it was some time ago.
    pub(super) fn provider(&self, id: ProviderId) -> Option<Arc<ProviderRow>> {
        self.providers.get(&id)
    }

    /// Remembers rows that a read was recorded with.
    pub(super) fn keep(
        &self,
        reference: ConnectionReference,
        connection: Arc<ConnectionRow>,
        provider: Arc<ProviderRow>,
    ) {
        let known = self.connections.get(&reference);
        if known.is_none_or(|known| !Arc::ptr_eq(&known, &connection)) {
            self.connections.insert(reference, connection);
        }
        let id = provider.provider_id();
        let known = self.providers.get(&id);
        if known.is_none_or(|known| !Arc::ptr_eq(&known, &provider)) {
            self.providers.insert(id, provider);
        }
    }

    /// Forgets rows of which one turned out to be old.
    pub(super) fn forget(&self, reference: ConnectionReference, provider: ProviderId) {
        self.connections.remove(&reference);
        self.providers.remove(&provider);
    }
}
