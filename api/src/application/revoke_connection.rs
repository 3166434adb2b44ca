//! Ends a connection: here at once, at its provider as soon as that can be told.

use std::sync::Arc;

use nexus_domain::connection::{Connection, ConnectionCommand, ConnectionEvent, Status};
use nexus_domain::credential::Credential;
use nexus_domain::metadata::Metadata;
use nexus_domain::reference::ConnectionId;
use nexus_domain::sealing::{KeyId, Purpose};
use nexus_domain::secret::Secret;
use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{Context, ExecuteError, KeyChange};
use nexus_projections::{ConnectionRow, SessionsOf};

use super::keyring::{OpenError, seal_secret};
use super::{Application, Fault, fault_of, is_of_subject};
use crate::upstream::{CallFailure, RevocableToken};

/// How often a connection that moves meanwhile is looked at again.
const ATTEMPTS: usize = 8;
/// How many providers are told in one go.
const AT_ONCE: u32 = 100;

/// A connection that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its provider's name.
    pub provider_name: String,
    /// When it was revoked.
    pub revoked_at: Timestamp,
    /// Whether that was earlier.
    pub already: bool,
    /// How many agent sessions ended with it.
    pub sessions_closed: u64,
    /// What the provider said.
    pub provider: ProviderRevocation,
}

/// What became of the token at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderRevocation {
    /// It was revoked.
    Revoked,
    /// It was not, or not yet: why.
    Not(String),
}

impl ProviderRevocation {
    fn not(reason: &str) -> Self {
        Self::Not(reason.to_owned())
    }
}

/// Why a connection was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is no such connection, or it is not the caller's.
    #[error("the connection does not exist")]
    NotFound,
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Application {
    /// Ends a connection: destroys its key, so that nobody reads its credential again, and tells the provider. What
    /// the provider answers, and whether it does, changes nothing here; it is told again for a day.
    ///
    /// # Errors
    /// [`RevokeError`]
    pub async fn revoke_connection(
        &self,
        id: &str,
        workspace_id: Option<&str>,
        reason: Option<String>,
        metadata: &Metadata,
    ) -> Result<Revoked, RevokeError> {
        let id = ConnectionId::parse(id).map_err(|_| RevokeError::NotFound)?;
        let reference = id.reference().to_string();
        let mut attempts = 0;
        let (already, why_none) = loop {
            let row = self.own_row(&reference, workspace_id, metadata).await?;
            if row.state.status == Status::Revoked {
                break (true, None);
            }
            match self.record_revocation(&row, reason.clone(), metadata).await {
                Ok(why_none) => break (false, why_none),
                // It moved meanwhile, and has another token to be revoked.
                Err(Fault::Conflict) if attempts < ATTEMPTS => attempts += 1,
                Err(fault) => return Err(fault.into()),
            }
        };
        let sessions = SessionsOf::Connection(id.reference());
        let sessions_closed = self.end_sessions(sessions, metadata).await?;
        let found = self.reads.connection(&reference).await;
        let ended = found.map_err(Fault::from)?.ok_or(RevokeError::NotFound)?;
        let provider = match why_none {
            Some(reason) => ProviderRevocation::Not(reason),
            None if ended.revocation.is_some() => self.tell_provider(&ended).await,
            None if already => self.what_provider_did(&ended).await?,
            None => ProviderRevocation::not("no_token"),
        };
        Ok(Revoked {
            provider_name: ended.state.provider_name.clone(),
            revoked_at: ended.revoked_at.unwrap_or(ended.updated_at),
            already,
            sessions_closed,
            provider,
        })
    }

    /// What came of telling the provider of a connection that ended before.
    async fn what_provider_did(&self, row: &ConnectionRow) -> Result<ProviderRevocation, Fault> {
        let is_end = |event: &ConnectionEvent| {
            matches!(event, ConnectionEvent::ProviderRevocationEnded { .. })
        };
        let end = self.ledger.find_event::<Connection>(&row.reference, is_end);
        Ok(match end.await? {
            Some(ConnectionEvent::ProviderRevocationEnded { error: None, .. }) => {
                ProviderRevocation::Revoked
            }
            Some(ConnectionEvent::ProviderRevocationEnded {
                error: Some(error), ..
            }) => ProviderRevocation::Not(error),
            _ => ProviderRevocation::not("no_token"),
        })
    }

    /// The row of a connection that is the caller's.
    async fn own_row(
        &self,
        reference: &str,
        workspace_id: Option<&str>,
        metadata: &Metadata,
    ) -> Result<Arc<ConnectionRow>, RevokeError> {
        let found = self.reads.connection(reference).await;
        let row = found.map_err(Fault::from)?.filter(|row| {
            is_of_subject(&row.state.workspace_id, metadata)
                && workspace_id.is_none_or(|workspace| row.state.workspace_id == workspace)
                && !matches!(row.state.status, Status::Absent | Status::Deleted)
        });
        row.ok_or(RevokeError::NotFound)
    }

    /// Records the end, and the token that is to be revoked if there is one; why there is none, when that is worth
    /// telling.
    async fn record_revocation(
        &self,
        row: &ConnectionRow,
        reason: Option<String>,
        metadata: &Metadata,
    ) -> Result<Option<String>, Fault> {
        let stream = StreamKey::new("connection", row.reference.as_str());
        let mut context = Context {
            metadata: metadata.clone(),
            ..Context::default()
        };
        // Whatever this connection sealed goes with its keys.
        let held = [&row.id, &row.credential].into_iter().flatten();
        let mut keys: Vec<KeyId> = held.map(|field| field.sealed.key_id).collect();
        keys.dedup();
        context.keys.extend(keys.into_iter().map(KeyChange::Shred));
        let (job, why_none) = match self.token_to_revoke(row).await? {
            Ok(job) => (Some(job), None),
            Err(reason) => (None, reason),
        };
        let mut provider_revocation = None;
        if let Some(job) = job {
            let job_key = self.keyring.make_key(&stream)?;
            let (sealed, blob) = seal_secret(
                &job_key.key,
                job_key.wrapped.key_id,
                &stream,
                Purpose::ProviderRevocation,
                1,
                job.written().as_bytes(),
            )?;
            context.keys.push(KeyChange::Put(job_key.wrapped));
            context.blobs.push(blob);
            provider_revocation = Some(sealed);
        }
        // The token is that of this row: should the connection move meanwhile, another one is to be revoked.
        context.only_at = Some(row.sequence);
        let command = ConnectionCommand::Revoke {
            reason,
            provider_revocation,
        };
        let executed = self
            .ledger
            .execute::<Connection>(&row.reference, command, context);
        executed.await.map_err(fault_of)?;
        Ok(why_none)
    }

    /// The token that the provider is to revoke, or why there is none; `None` when there never was one.
    async fn token_to_revoke(
        &self,
        row: &ConnectionRow,
    ) -> Result<Result<Job, Option<String>>, Fault> {
        let Some(held) = row.state.credential.as_ref().filter(|_| row.serves()) else {
            return Ok(Err(None));
        };
        let credential = match self.open_credential(row).await {
            Ok(credential) => credential,
            // Its end must not wait for what does not open any more.
            Err(Fault::Unreadable(_)) => return Ok(Err(Some("credential_unreadable".to_owned()))),
            Err(fault) => return Err(fault),
        };
        let Credential::OAuth2(credential) = credential else {
            return Ok(Err(None));
        };
        let provider = self.provider_of(row).await?;
        if provider.state.epoch != held.provider_epoch {
            // The token belongs to another host than the provider is at by now.
            return Ok(Err(Some(PROVIDER_CHANGED.to_owned())));
        }
        let token = match credential.refresh_token {
            Some(token) => RevocableToken::Refresh(token),
            None => RevocableToken::Access(credential.access_token),
        };
        Ok(Ok(Job {
            epoch: held.provider_epoch,
            token,
        }))
    }

    /// Tells the provider of a revoked connection to revoke its token, and records what came of it unless it is worth
    /// trying again.
    async fn tell_provider(&self, row: &ConnectionRow) -> ProviderRevocation {
        let (ended, outcome) = match self.ask_provider_to_revoke(row).await {
            Ok(()) => (true, ProviderRevocation::Revoked),
            Err(failure) => (is_final(&failure), ProviderRevocation::Not(failure.error)),
        };
        let expired = row
            .revoking_until
            .is_none_or(|until| until <= self.ledger.now());
        if ended || expired {
            let error = match &outcome {
                ProviderRevocation::Revoked => None,
                ProviderRevocation::Not(error) => Some(error.clone()),
            };
            if let Err(fault) = self.end_provider_revocation(row, error).await {
                tracing::warn!(%fault, connection = row.reference, "the end of a revocation could not be recorded");
            }
        }
        outcome
    }

    async fn ask_provider_to_revoke(&self, row: &ConnectionRow) -> Result<(), CallFailure> {
        let unsent = |error: &str| CallFailure::unsent(error);
        let field = row.revocation.as_ref();
        let field = field.ok_or_else(|| unsent("no_token"))?;
        let stream = StreamKey::new("connection", row.reference.as_str());
        let opened = self
            .keyring
            .open(&stream, Purpose::ProviderRevocation, field)
            .await;
        let plaintext = opened.map_err(|error| match error {
            OpenError::Fault(_) => unsent("database_unavailable"),
            OpenError::NoKey(_) | OpenError::NoCiphertext | OpenError::DoesNotOpen => {
                unsent(UNREADABLE)
            }
        })?;
        let job = Job::read(&plaintext).ok_or_else(|| unsent(UNREADABLE))?;
        let provider = self.provider_of(row).await;
        let provider = provider.map_err(|_| unsent("database_unavailable"))?;
        if provider.state.epoch != job.epoch {
            return Err(unsent(PROVIDER_CHANGED));
        }
        let secrets = self.provider_secrets(&provider).await;
        let secrets = secrets.map_err(|_| unsent("provider_secret_unreadable"))?;
        let resolved = self
            .upstream
            .resolve(&provider.state.profile, &secrets)
            .await
            .map_err(|error| CallFailure::unresolved(&error))?;
        let call = self
            .upstream
            .revoke_token(&resolved, &job.token, || self.fresh());
        let limit = self.policy.upstream_timeout;
        let answer = tokio::time::timeout(limit, call).await;
        answer.unwrap_or_else(|_| Err(unsent("timeout")))
    }

    async fn end_provider_revocation(
        &self,
        row: &ConnectionRow,
        error: Option<String>,
    ) -> Result<(), Fault> {
        let job_key = row.revocation.as_ref().map(|field| field.sealed.key_id);
        let context = Context {
            metadata: Metadata::of_the_program("revoke_at_provider"),
            keys: job_key.map(KeyChange::Shred).into_iter().collect(),
            ..Context::default()
        };
        let command = ConnectionCommand::EndProviderRevocation {
            revoked: error.is_none(),
            error,
        };
        let executed = self
            .ledger
            .execute::<Connection>(&row.reference, command, context);
        match executed.await {
            Ok(_) | Err(ExecuteError::Decision(_)) => Ok(()),
            Err(error) => Err(fault_of(error)),
        }
    }

    /// Tells every provider once that is still to be told.
    ///
    /// # Errors
    /// [`Fault`], when it cannot be found out which.
    pub async fn retry_provider_revocations(&self) -> Result<(), Fault> {
        for row in self.reads.connections_to_revoke(AT_ONCE).await? {
            if let ProviderRevocation::Not(error) = self.tell_provider(&row).await {
                tracing::debug!(
                    error,
                    connection = row.reference,
                    "a provider did not revoke"
                );
            }
        }
        Ok(())
    }
}

const UNREADABLE: &str = "token_unreadable";
const PROVIDER_CHANGED: &str = "provider_changed";

/// Whether telling the provider again is of no use: it cannot be told, or it has refused for a reason that lasts.
fn is_final(failure: &CallFailure) -> bool {
    let trouble = failure
        .http_status
        .is_some_and(|status| status == 429 || status >= 500);
    let ours = matches!(
        failure.error.as_str(),
        "invalid_client" | "unauthorized_client" | "database_unavailable"
    );
    let answered = failure.http_status.is_some();
    let untellable = matches!(
        failure.error.as_str(),
        "no_revocation_endpoint" | UNREADABLE | PROVIDER_CHANGED
    );
    untellable || (answered && !trouble && !ours)
}

/// A token that is to be revoked, and the epoch of the provider that issued it: at another host it is not shown.
struct Job {
    epoch: u64,
    token: RevocableToken,
}

impl Job {
    /// As it is sealed: the epoch, the token's kind, and the token.
    fn written(&self) -> zeroize::Zeroizing<String> {
        let (hint, token) = (self.token.hint(), self.token.secret().expose());
        zeroize::Zeroizing::new(format!("{} {hint} {token}", self.epoch))
    }

    fn read(plaintext: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(plaintext).ok()?.splitn(3, ' ');
        let (epoch, hint) = (parts.next()?.parse().ok()?, parts.next()?);
        let token = Secret::new(parts.next()?.to_owned());
        let token = match hint {
            "refresh_token" => RevocableToken::Refresh(token),
            "access_token" => RevocableToken::Access(token),
            _ => return None,
        };
        Some(Self { epoch, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: &str, http_status: Option<u16>) -> CallFailure {
        CallFailure {
            http_status,
            ..CallFailure::unsent(error)
        }
    }

    #[test]
    fn a_provider_is_told_again_unless_that_is_of_no_use() {
        for (error, status, lasts) in [
            ("timeout", None, false),
            ("connect", None, false),
            ("status_429", Some(429), false),
            ("status_503", Some(503), false),
            ("invalid_client", Some(401), false),
            ("unauthorized_client", Some(400), false),
            ("database_unavailable", None, false),
            ("unsupported_token_type", Some(400), true),
            ("status_404", Some(404), true),
            ("no_revocation_endpoint", None, true),
            (UNREADABLE, None, true),
        ] {
            assert_eq!(is_final(&failure(error, status)), lasts, "{error}");
        }
    }

    #[test]
    fn a_job_is_read_as_it_was_written() {
        for token in [
            RevocableToken::Refresh(Secret::new("a b")),
            RevocableToken::Access(Secret::new("")),
        ] {
            let job = Job { epoch: 3, token };
            let read = Job::read(job.written().as_bytes()).unwrap();
            assert_eq!(read.epoch, 3);
            assert_eq!(read.token.hint(), job.token.hint());
            let secrets = [&read, &job].map(|job| job.token.secret().expose().to_owned());
            assert_eq!(secrets[0], secrets[1]);
        }
        for broken in ["3 id_token x", "refresh_token x", "3 refresh_token", ""] {
            assert!(Job::read(broken.as_bytes()).is_none(), "{broken}");
        }
    }
}
