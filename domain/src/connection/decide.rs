//! What each command causes, state by state.

mod refresh;

use super::state::STATE_VERSION;
use super::{
    AttentionReason, Connection, ConnectionCommand, ConnectionError, ConnectionEvent, ConsentKind,
    FailureReason, PendingConsent, Status,
};
use crate::decider::{Decider, aggregate};
use crate::provider::ProviderId;
use crate::sealing::SealedRef;
use crate::time::Timestamp;

type Decision = Result<Vec<ConnectionEvent>, ConnectionError>;

aggregate!(
    Connection,
    "connection",
    ConnectionCommand,
    ConnectionEvent,
    ConnectionError
);

impl Decider for Connection {
    const STATE_VERSION: u32 = STATE_VERSION;

    fn decide(&self, command: ConnectionCommand) -> Decision {
        use ConnectionCommand as Command;
        match command {
            Command::Request { .. } => self.request(command),
            Command::AcceptCallback {
                state_digest,
                now,
                exchange_within_ms,
            } => self.accept_callback(state_digest, now, exchange_within_ms),
            Command::CompleteConsent { .. } => self.complete_consent(command),
            Command::CaptureCredential {
                state_digest,
                now,
                credential,
                provider_epoch,
            } => {
                self.open_consent(&state_digest, ConsentKind::Static, now)?;
                self.next_version(&credential)?;
                Ok(vec![ConnectionEvent::CredentialCaptured {
                    state_digest,
                    credential,
                    provider_epoch,
                }])
            }
            Command::Fail {
                state_digest,
                reason,
                error,
                now,
            } => {
                // Who says no does so instead of bringing a code, and spends the state like one:
                // a state that comes back a second time must not end the exchange under way.
                let ends_exchange = reason != FailureReason::ConsentDenied
                    && self.unsettled_state.as_ref() == Some(&state_digest);
                if !ends_exchange {
                    self.open_consent(&state_digest, ConsentKind::Oauth2, now)?;
                }
                Ok(vec![ConnectionEvent::Failed { reason, error }])
            }
            Command::Expire {
                now,
                exchange_deadline_passed,
            } => self.expire(now, exchange_deadline_passed),
            Command::ClaimRefresh { .. } => self.claim_refresh(&command),
            Command::RecordRefresh {
                attempt,
                credential,
                scopes,
                expires_at,
                rotated,
            } => self.record_refresh(attempt, credential, scopes, expires_at, rotated),
            Command::RecordRefreshFailure { attempt, failure } => {
                self.record_refresh_failure(attempt, failure)
            }
            Command::RequireAttention { reason } => self.require_attention(reason),
            Command::Revoke {
                reason,
                provider_revocation,
            } => self.revoke(reason, provider_revocation),
            Command::EndProviderRevocation { revoked, error } => {
                Ok(self.end_provider_revocation(revoked, error))
            }
            Command::Erase => self.erase(),
        }
    }

    fn evolve(&mut self, event: &ConnectionEvent) {
        self.fold(event);
    }

    fn sealed(event: &ConnectionEvent) -> Option<&SealedRef> {
        match event {
            ConnectionEvent::Requested { sealed_id, .. } => Some(sealed_id),
            ConnectionEvent::Activated { credential, .. }
            | ConnectionEvent::CredentialCaptured { credential, .. }
            | ConnectionEvent::Refreshed { credential, .. } => Some(credential),
            ConnectionEvent::ConsentReturned { .. }
            | ConnectionEvent::Failed { .. }
            | ConnectionEvent::Expired {}
            | ConnectionEvent::RefreshStarted { .. }
            | ConnectionEvent::RefreshFailed { .. }
            | ConnectionEvent::AttentionRequired { .. }
            | ConnectionEvent::ProviderRevocationEnded { .. }
            | ConnectionEvent::Deleted {} => None,
            ConnectionEvent::Revoked {
                provider_revocation,
                ..
            } => provider_revocation.as_ref(),
        }
    }
}

impl Connection {
    fn request(&self, command: ConnectionCommand) -> Decision {
        let ConnectionCommand::Request {
            workspace_id,
            provider_id,
            provider_name,
            auth_type,
            consent,
            scopes,
            return_url,
            metadata,
            action,
            state_digest,
            expires_at,
            sealed_id,
            provider_epoch,
        } = command
        else {
            return Ok(Vec::new());
        };
        if self.status != Status::Absent {
            self.may_be_requested_again(&workspace_id, provider_id)?;
        }
        Ok(vec![ConnectionEvent::Requested {
            workspace_id,
            provider_id,
            provider_name,
            auth_type,
            consent,
            scopes,
            return_url,
            metadata,
            action,
            state_digest,
            expires_at,
            sealed_id,
            provider_epoch: Some(provider_epoch),
        }])
    }

    fn may_be_requested_again(
        &self,
        workspace_id: &str,
        provider_id: ProviderId,
    ) -> Result<(), ConnectionError> {
        self.not_ended()?;
        if self.workspace_id != workspace_id {
            return Err(ConnectionError::WorkspaceMismatch);
        }
        if self.provider_id != Some(provider_id) {
            return Err(ConnectionError::ProviderMismatch);
        }
        if self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.returned.is_some())
        {
            return Err(ConnectionError::ExchangeInProgress);
        }
        Ok(())
    }

    fn accept_callback(
        &self,
        state_digest: String,
        now: Timestamp,
        exchange_within_ms: u64,
    ) -> Decision {
        self.open_consent(&state_digest, ConsentKind::Oauth2, now)?;
        Ok(vec![ConnectionEvent::ConsentReturned {
            state_digest,
            deadline_ms: exchange_within_ms,
        }])
    }

    /// The pending consent that a state names, unspent and in time.
    fn open_consent(
        &self,
        state_digest: &str,
        consent: ConsentKind,
        now: Timestamp,
    ) -> Result<&PendingConsent, ConnectionError> {
        if self.status == Status::Absent {
            return Err(ConnectionError::NotFound);
        }
        if self.spent_state.as_deref() == Some(state_digest) {
            return Err(ConnectionError::StateUsed);
        }
        self.not_ended()?;
        let pending = self
            .pending
            .as_ref()
            .filter(|pending| pending.state_digest == state_digest);
        let pending = pending.ok_or(ConnectionError::StateUnknown)?;
        if now >= pending.expires_at {
            return Err(ConnectionError::StateExpired);
        }
        if pending.consent != consent {
            return Err(ConnectionError::WrongConsent);
        }
        Ok(pending)
    }

    fn complete_consent(&self, command: ConnectionCommand) -> Decision {
        let ConnectionCommand::CompleteConsent {
            state_digest,
            credential,
            scopes,
            expires_at,
            account,
            refreshable,
            provider_epoch,
        } = command
        else {
            return Ok(Vec::new());
        };
        self.not_ended()?;
        if self.unsettled_state.as_ref() != Some(&state_digest) {
            return Err(ConnectionError::NotAwaitingExchange);
        }
        let before = self
            .credential
            .as_ref()
            .and_then(|old| old.account.as_ref());
        if before.is_some() && account.is_some() && before != account.as_ref() {
            return Err(ConnectionError::AccountMismatch);
        }
        self.next_version(&credential)?;
        Ok(vec![ConnectionEvent::Activated {
            credential,
            scopes,
            expires_at,
            account,
            refreshable,
            provider_epoch,
        }])
    }

    fn expire(&self, now: Timestamp, exchange_deadline_passed: bool) -> Decision {
        let Some(pending) = &self.pending else {
            return Err(ConnectionError::NotDue);
        };
        let due = match pending.returned {
            Some(_) => exchange_deadline_passed,
            None => now >= pending.expires_at,
        };
        if due {
            Ok(vec![ConnectionEvent::Expired {}])
        } else {
            Err(ConnectionError::NotDue)
        }
    }

    fn require_attention(&self, reason: AttentionReason) -> Decision {
        match self.status {
            Status::Attention => Ok(Vec::new()),
            Status::Active => match self.refresh.claim {
                Some(claim) => Err(ConnectionError::ClaimHeld {
                    attempt: claim.attempt,
                }),
                None => Ok(vec![ConnectionEvent::AttentionRequired {
                    reason,
                    attempt: None,
                }]),
            },
            Status::Absent => Err(ConnectionError::NotFound),
            status @ (Status::Pending | Status::Failed | Status::Revoked | Status::Deleted) => {
                Err(ConnectionError::NotActive(status))
            }
        }
    }

    fn revoke(&self, reason: Option<String>, provider_revocation: Option<SealedRef>) -> Decision {
        match self.status {
            Status::Absent => Err(ConnectionError::NotFound),
            Status::Revoked | Status::Deleted => Ok(Vec::new()),
            Status::Pending | Status::Active | Status::Attention | Status::Failed => {
                Ok(vec![ConnectionEvent::Revoked {
                    reason,
                    provider_revocation,
                }])
            }
        }
    }

    /// Of several who told the provider one records it.
    fn end_provider_revocation(
        &self,
        revoked: bool,
        error: Option<String>,
    ) -> Vec<ConnectionEvent> {
        match &self.provider_revocation {
            Some(_) => vec![ConnectionEvent::ProviderRevocationEnded { revoked, error }],
            None => Vec::new(),
        }
    }

    fn erase(&self) -> Decision {
        match self.status {
            Status::Absent => Err(ConnectionError::NotFound),
            Status::Deleted => Ok(Vec::new()),
            Status::Revoked | Status::Failed => Ok(vec![ConnectionEvent::Deleted {}]),
            Status::Pending | Status::Active | Status::Attention => Err(ConnectionError::NotEnded),
        }
    }

    fn not_ended(&self) -> Result<(), ConnectionError> {
        match self.status {
            Status::Revoked | Status::Deleted => Err(ConnectionError::Ended(self.status)),
            Status::Absent => Err(ConnectionError::NotFound),
            Status::Pending | Status::Active | Status::Attention | Status::Failed => Ok(()),
        }
    }

    fn next_version(&self, credential: &SealedRef) -> Result<(), ConnectionError> {
        let expected = self.credential_version + 1;
        if credential.version == expected {
            Ok(())
        } else {
            Err(ConnectionError::StaleVersion { expected })
        }
    }
}
