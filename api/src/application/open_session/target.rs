//! What a session is to use: the connection that was named, or the only one that fits.

use std::sync::Arc;

use nexus_domain::metadata::Metadata;
use nexus_domain::reference::ConnectionId;
use nexus_domain::session::{Principal, Refusal, Selected, Selection};
use nexus_projections::{ConnectionRow, ProviderRow};

use super::{Choice, OpenSession, OpenSessionError};
use crate::application::manage_providers::{ProviderKey, find_provider};
use crate::application::{Application, Fault, is_of_subject};

/// How many connections of several that fit are named.
const CHOICES: u32 = 50;

/// What a session is to use.
pub(super) enum Target {
    Nothing { provider: Option<Arc<ProviderRow>> },
    Refused(Refusal),
    One(Box<Connected>),
}

/// A connection and its provider, as they are now.
pub(super) struct Connected {
    pub(super) id: ConnectionId,
    pub(super) row: Arc<ConnectionRow>,
    pub(super) provider: Arc<ProviderRow>,
}

impl Target {
    pub(super) fn selection(&self) -> Selection<'_> {
        match self {
            Self::Nothing { provider } => Selection::Nothing {
                provider: provider.as_ref().map(|row| &row.state.profile),
            },
            Self::Refused(refusal) => Selection::Refused(refusal.clone()),
            Self::One(connected) => Selection::One(Selected {
                connection: &connected.row.state,
                provider: &connected.provider.state.profile,
            }),
        }
    }

    pub(super) fn connected(&self) -> Option<&Connected> {
        match self {
            Self::One(connected) => Some(connected),
            Self::Nothing { .. } | Self::Refused(_) => None,
        }
    }

    /// A connection of another workspace than the caller's subject is none.
    fn filter_subject(self, metadata: &Metadata) -> Self {
        match &self {
            Self::One(connected) if !is_of_subject(&connected.row.state.workspace_id, metadata) => {
                Self::Refused(Refusal::ConnectionNotFound)
            }
            Self::Nothing { .. } | Self::Refused(_) | Self::One(_) => self,
        }
    }
}

impl Application {
    /// What the session is to use.
    pub(super) async fn target(
        &self,
        request: &OpenSession,
        principal: Option<&Principal>,
        metadata: &Metadata,
    ) -> Result<Target, OpenSessionError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let provider = match given(&request.provider_name) {
            None => None,
            Some(name) => {
                let key = ProviderKey::Name(name.clone());
                let found = find_provider(self, &key).await?;
                Some(found.ok_or(OpenSessionError::ProviderNotFound(name))?)
            }
        };
        let workspace = given(&request.workspace_id);
        if let Some(id) = given(&request.connection_id) {
            let found = self
                .named(&id, workspace.as_deref(), provider.as_deref(), principal)
                .await?;
            return Ok(found.filter_subject(metadata));
        }
        let Some(workspace) = workspace.or_else(|| {
            let principal = principal.filter(|_| provider.is_some());
            principal.map(|principal| principal.acting_for.clone())
        }) else {
            return Ok(Target::Nothing { provider });
        };
        let is_own = is_of_subject(&workspace, metadata) && may_use(principal, &workspace);
        if !is_own {
            return Ok(Target::Refused(Refusal::ConnectionNotFound));
        }
        self.only_one(&workspace, provider.as_deref()).await
    }

    /// The connection of an id.
    async fn named(
        &self,
        id: &str,
        workspace: Option<&str>,
        provider: Option<&ProviderRow>,
        principal: Option<&Principal>,
    ) -> Result<Target, OpenSessionError> {
        let Ok(id) = ConnectionId::parse(id) else {
            return Ok(Target::Refused(Refusal::InvalidConnectionId));
        };
        let found = self.reads.connection(&id.reference().to_string()).await;
        let row = found.map_err(Fault::from)?.filter(|row| {
            let owner = row.state.workspace_id.as_str();
            row.id.is_some()
                && workspace.is_none_or(|workspace| workspace == owner)
                && may_use(principal, owner)
        });
        let Some(row) = row else {
            return Ok(Target::Refused(Refusal::ConnectionNotFound));
        };
        let is_at = |provider: &ProviderRow| row.state.provider_id == Some(provider.provider_id());
        if !provider.is_none_or(is_at) {
            return Ok(Target::Refused(Refusal::ProviderMismatch));
        }
        let provider = self.provider_of(&row).await?;
        Ok(Target::One(Box::new(Connected { id, row, provider })))
    }

    /// The one active connection of a workspace, at a provider if one is named.
    async fn only_one(
        &self,
        workspace: &str,
        provider: Option<&ProviderRow>,
    ) -> Result<Target, OpenSessionError> {
        let provider_id = provider.map(|row| row.id.as_str());
        let found = self
            .reads
            .active_connections(workspace, provider_id, CHOICES);
        let mut found = found.await.map_err(Fault::from)?;
        if found.len() > 1 {
            let mut choices = Vec::with_capacity(found.len());
            for row in &found {
                choices.push(Choice {
                    connection_id: self.connection_id(row).await?,
                    provider_name: row.state.provider_name.clone(),
                    created_at: row.created_at,
                });
            }
            return Err(OpenSessionError::Ambiguous(choices));
        }
        let Some(row) = found.pop() else {
            return Ok(Target::Refused(Refusal::ConnectionNotFound));
        };
        let id = self.connection_id(&row).await?;
        let id = ConnectionId::parse(&id)
            .map_err(|_| Fault::Internal("a connection's id is none".to_owned()))?;
        let provider = self.provider_of(&row).await?;
        let row = Arc::new(row);
        Ok(Target::One(Box::new(Connected { id, row, provider })))
    }
}

/// Whether somebody acted for may use a workspace's connections: their own, and their tenant's.
fn may_use(principal: Option<&Principal>, workspace: &str) -> bool {
    principal.is_none_or(|principal| {
        principal.acting_for == workspace || principal.tenant_id.as_deref() == Some(workspace)
    })
}
