//! Static credentials: what the user has to fill in, and filling it in.

use std::fmt;
use std::sync::Arc;

use nexus_domain::connection::{ConnectionCommand, ConsentKind, Status};
use nexus_domain::credential::{Credential, StaticCredential};
use nexus_domain::metadata::Metadata;
use nexus_domain::secret::SecretMap;
use nexus_domain::strategy::default_credential_schema;
use nexus_projections::ConnectionRow;
use serde_json::{Map, Value};
use url::Url;

use super::check_credential::{CheckError, is_tried};
use super::complete_consent::{CallbackError, unrecorded};
use super::patience::Patience;
use super::{Application, Fault};
use crate::keys::{StateKey, StateToken};
use crate::return_url::with_params;
use crate::schema::{FieldError, validate};

/// What the user has to fill in.
#[derive(Debug)]
pub struct CaptureSchema {
    /// The provider's name.
    pub provider_name: String,
    /// A JSON schema of the credential's fields.
    pub schema: Value,
    /// The host that the user is sent back to.
    pub returns_to: Option<String>,
    /// Whether the provider is asked about a credential.
    pub may_be_tried: bool,
}

/// What became of a credential that was filled in.
pub struct Captured {
    /// The connection's id: a bearer secret.
    pub connection_id: String,
    /// Where to send the user; holds the id.
    pub redirect_url: Url,
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captured").finish_non_exhaustive()
    }
}

/// Why a static credential was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The state is no good.
    #[error(transparent)]
    State(#[from] CallbackError),
    /// The fields do not fit the schema.
    #[error("the credentials do not fit the provider's schema")]
    InvalidCredentials(Vec<FieldError>),
    /// The provider was asked and refused them.
    #[error("the provider did not accept the credentials")]
    Rejected,
}

impl From<CheckError> for CaptureError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Rejected => Self::Rejected,
            CheckError::Unusable { field, message } => {
                Self::InvalidCredentials(vec![FieldError::of(&field, message)])
            }
        }
    }
}

impl From<Fault> for CaptureError {
    fn from(fault: Fault) -> Self {
        Self::State(fault.into())
    }
}

impl Application {
    /// What the user has to fill in for the consent that a state names.
    ///
    /// # Errors
    /// [`CallbackError`]
    pub async fn capture_schema(&self, state: &str) -> Result<CaptureSchema, CallbackError> {
        let (_, row) = self.static_consent(state).await?;
        self.schema_of(&row).await
    }

    /// Takes a static credential, once, having tried it at its provider. What is refused is recorded nowhere, and the
    /// state stays good.
    ///
    /// # Errors
    /// [`CaptureError`]
    pub async fn capture_credential(
        &self,
        state: &str,
        fields: Map<String, Value>,
        metadata: Metadata,
    ) -> Result<Captured, CaptureError> {
        let (state, row) = self.static_consent(state).await?;
        let schema = self.schema_of(&row).await?.schema;
        let fields = Value::Object(fields);
        validate(&schema, &fields).map_err(CaptureError::InvalidCredentials)?;
        let Value::Object(fields) = fields else {
            return Err(CaptureError::InvalidCredentials(Vec::new()));
        };
        let return_url = return_url(&row)?;
        let connection_id = self.connection_id(&row).await?;
        let credential = Credential::Static(StaticCredential {
            fields: SecretMap::new(fields),
        });
        let provider = self.provider_of(&row).await?;
        self.check_credential(&provider.state.profile, &credential)
            .await?;
        self.record_captured(&row, &state, &credential, metadata)
            .await?;
        let redirect_url = with_params(
            &return_url,
            &[("status", "success"), ("connection_id", &connection_id)],
        );
        Ok(Captured {
            connection_id,
            redirect_url,
        })
    }

    async fn record_captured(
        &self,
        row: &ConnectionRow,
        state: &StateToken,
        credential: &Credential,
        metadata: Metadata,
    ) -> Result<(), CaptureError> {
        let provider = self.provider_of(row).await?;
        // The user is waiting and can send the form again.
        let patience = Patience::none();
        let recorded =
            self.record_credential(row, credential, &metadata, &patience, |credential| {
                ConnectionCommand::CaptureCredential {
                    state_digest: StateKey::digest(state.as_str()),
                    now: self.ledger.now(),
                    credential,
                    provider_epoch: provider.state.epoch,
                }
            });
        Ok(recorded.await.map_err(unrecorded)?)
    }

    /// The pending static consent that a state names.
    async fn static_consent(
        &self,
        state: &str,
    ) -> Result<(StateToken, Arc<ConnectionRow>), CallbackError> {
        let (state, reference) = self.known_state(state).ok_or(CallbackError::InvalidState)?;
        let row = self
            .reads
            .connection(&reference.to_string())
            .await
            .map_err(Fault::from)?
            .ok_or(CallbackError::InvalidState)?;
        let digest = StateKey::digest(state.as_str());
        if row.state.spent_state.as_ref() == Some(&digest) {
            return Err(CallbackError::StateUsed);
        }
        let now = self.ledger.now();
        let open = row.state.pending.as_ref().is_some_and(|pending| {
            pending.state_digest == digest
                && pending.consent == ConsentKind::Static
                && now < pending.expires_at
        });
        if open && !matches!(row.state.status, Status::Revoked | Status::Deleted) {
            Ok((state, row))
        } else {
            Err(CallbackError::InvalidState)
        }
    }

    async fn schema_of(&self, row: &ConnectionRow) -> Result<CaptureSchema, CallbackError> {
        let provider = self.provider_of(row).await?;
        if !provider.is_registered() {
            return Err(CallbackError::InvalidState);
        }
        let profile = &provider.state.profile;
        Ok(CaptureSchema {
            provider_name: profile.name.clone(),
            schema: default_credential_schema(profile),
            may_be_tried: is_tried(profile),
            returns_to: return_url(row)?.host_str().map(str::to_owned),
        })
    }
}

fn return_url(row: &ConnectionRow) -> Result<Url, CallbackError> {
    let pending = row.state.pending.as_ref();
    pending
        .and_then(|pending| Url::parse(&pending.return_url).ok())
        .ok_or(CallbackError::InvalidState)
}
