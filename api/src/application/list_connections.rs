//! A workspace's connections: listing them, and finding the one that serves.

use nexus_domain::metadata::Metadata;
use nexus_projections::{ConnectionRow, PageEnd};

use super::manage_providers::{ProviderKey, find_provider};
use super::read_token::ReadTokenError;
use super::token::TokenPayload;
use super::{Application, Fault};

/// A connection in a listing.
pub struct ListedConnection {
    /// Its id, a bearer secret; `None` once its key was destroyed.
    pub id: Option<String>,
    /// Everything else.
    pub row: ConnectionRow,
}

/// A page of a listing.
pub struct ConnectionPage {
    /// The connections, the newest first.
    pub connections: Vec<ListedConnection>,
    /// Where the next page begins, if there may be one.
    pub next: Option<PageEnd>,
}

impl Application {
    /// A workspace's connections, the newest first; pending and erased ones are left out.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn list_connections(
        &self,
        workspace_id: &str,
        after: Option<&PageEnd>,
        limit: u32,
    ) -> Result<ConnectionPage, Fault> {
        let mut rows = self
            .reads
            .connections_of(workspace_id, after, limit.saturating_add(1))
            .await?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > wanted;
        rows.truncate(wanted);
        let next = rows.last().filter(|_| more).map(|last| PageEnd {
            created_at: last.created_at,
            reference: last.reference.clone(),
        });
        let mut connections = Vec::with_capacity(rows.len());
        for row in rows {
            let id = match row.id {
                Some(_) => Some(self.connection_id(&row).await?),
                None => None,
            };
            connections.push(ListedConnection { id, row });
        }
        Ok(ConnectionPage { connections, next })
    }

    /// The credential of the newest active connection of a workspace at a provider.
    ///
    /// # Errors
    /// [`ReadTokenError`]
    pub async fn resolve(
        &self,
        workspace_id: &str,
        provider_name: &str,
        door: &str,
        metadata: &Metadata,
    ) -> Result<TokenPayload, ReadTokenError> {
        let key = ProviderKey::Name(provider_name.to_owned());
        let provider = find_provider(self, &key).await?;
        let provider = provider.ok_or(ReadTokenError::NotFound)?;
        let found = self.reads.newest_active(workspace_id, &provider.id).await;
        let row = found
            .map_err(Fault::from)?
            .ok_or(ReadTokenError::NotFound)?;
        let id = self.connection_id(&row).await?;
        self.read_token(&id, door, metadata).await
    }
}
