//! A workspace's connections: listing them, and finding the one that serves.

use nexus_domain::metadata::Metadata;
use nexus_projections::{ConnectionRow, PageEnd};

use super::manage_providers::{ProviderKey, find_provider};
use super::read_token::ReadTokenError;
use super::token::TokenPayload;
use super::{Application, Fault, is_of_subject};

/// A connection in a listing.
pub struct ListedConnection {
    /// Its id, a bearer secret; `None` once its key was destroyed, or if it does not open.
    pub id: Option<String>,
    /// Everything else.
    pub row: ConnectionRow,
}

/// A page of a listing.
#[derive(Default)]
pub struct ConnectionPage {
    /// The connections, the newest first.
    pub connections: Vec<ListedConnection>,
    /// Where the next page begins, if there may be one.
    pub next: Option<PageEnd>,
}

impl Application {
    /// A workspace's connections, the newest first; pending and erased ones are left out. Those of another workspace
    /// than the caller's subject are none.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn list_connections(
        &self,
        workspace_id: &str,
        after: Option<&PageEnd>,
        limit: u32,
        metadata: &Metadata,
    ) -> Result<ConnectionPage, Fault> {
        if !is_of_subject(workspace_id, metadata) {
            return Ok(ConnectionPage::default());
        }
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
            let id = match &row.id {
                Some(_) => self.listed_id(&row).await?,
                None => None,
            };
            connections.push(ListedConnection { id, row });
        }
        Ok(ConnectionPage { connections, next })
    }

    /// The id of a connection; the others are none the worse for one that does not open.
    async fn listed_id(&self, row: &ConnectionRow) -> Result<Option<String>, Fault> {
        match self.connection_id(row).await {
            Ok(id) => Ok(Some(id)),
            Err(Fault::Unreadable(cause)) => {
                tracing::error!(%cause, "a listed connection has no id");
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
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
