//! Records a credential: sealed as the connection's next version, durable before anyone sees it.

use nexus_domain::connection::{Connection, ConnectionCommand, ConnectionError};
use nexus_domain::credential::Credential;
use nexus_domain::metadata::Metadata;
use nexus_domain::sealing::{Purpose, SealedRef};
use nexus_domain::stream::StreamKey;
use nexus_ledger::{AppendError, Context, ExecuteError};
use nexus_projections::ConnectionRow;
use tokio::time::Instant;

use super::keyring::{OpenError, seal_secret};
use super::patience::Patience;
use super::{Application, Fault, fault_of};

/// Why a credential was not recorded.
pub(super) enum RecordError {
    /// The connection refused it.
    Refused(ConnectionError),
    /// Something else went wrong.
    Fault(Fault),
}

impl From<Fault> for RecordError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Application {
    /// Seals `credential` and has the connection decide the `command` made of it; it is sealed anew when another version came first.
    pub(super) async fn record_credential(
        &self,
        row: &ConnectionRow,
        credential: &Credential,
        metadata: &Metadata,
        patience: &Patience,
        command: impl Fn(SealedRef) -> ConnectionCommand + Send + Sync,
    ) -> Result<(), RecordError> {
        let missing = || Fault::Internal(format!("connection {} has no data key", row.reference));
        let key_id = row.id.as_ref().map(|field| field.sealed.key_id);
        let key_id = key_id.ok_or_else(missing)?;
        let stream = StreamKey::new("connection", row.reference.as_str());
        let plaintext = credential.to_plaintext();
        let mut version = row.state.credential_version + 1;
        let began = Instant::now();
        // What may be in the log although nobody was told so.
        let mut uncertain = Vec::new();
        loop {
            let key = match self.keyring.key(&stream, key_id).await {
                Ok(key) => key,
                Err(OpenError::Fault(fault)) => {
                    patience.pause(fault, began).await?;
                    continue;
                }
                Err(error) => return Err(Fault::Unreadable(error.to_string()).into()),
            };
            let (sealed, blob) = seal_secret(
                &key,
                key_id,
                &stream,
                Purpose::Credential,
                version,
                &plaintext,
            )?;
            let context = Context {
                metadata: metadata.clone(),
                blobs: vec![blob],
                ..Context::default()
            };
            let digest = sealed.digest.clone();
            let executed =
                self.ledger
                    .execute::<Connection>(&row.reference, command(sealed), context);
            match executed.await {
                Ok(_) => return Ok(()),
                Err(ExecuteError::Append(error @ AppendError::OutcomeUnknown(_))) => {
                    uncertain.push(digest);
                    patience.pause(error.into(), began).await?;
                }
                Err(ExecuteError::Decision(ConnectionError::StaleVersion { expected })) => {
                    version = expected;
                }
                Err(ExecuteError::Decision(error)) => {
                    match self.is_recorded(row, &uncertain).await {
                        Ok(true) => return Ok(()),
                        Ok(false) => return Err(RecordError::Refused(error)),
                        Err(fault) => patience.pause(fault, began).await?,
                    }
                }
                Err(error) => patience.pause(fault_of(error), began).await?,
            }
        }
    }

    /// Whether one of these digests is of a credential that the connection's stream holds: an answer that was lost
    /// was a success, and a refusal after it says only that it was not needed twice.
    async fn is_recorded(&self, row: &ConnectionRow, uncertain: &[String]) -> Result<bool, Fault> {
        if uncertain.is_empty() {
            return Ok(false);
        }
        let held = self
            .ledger
            .holds_sealed::<Connection>(&row.reference, uncertain);
        Ok(held.await?)
    }
}
