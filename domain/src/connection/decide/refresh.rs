//! Refreshing: who may redeem the refresh token, and what their answer means.

use super::super::{
    AttentionReason, Claim, Connection, ConnectionCommand, ConnectionError, ConnectionEvent,
    CredentialState, RefreshFailure, RefreshVerdict, ReuseGrace, Rotation, Status, classify,
};
use super::Decision;
use crate::sealing::SealedRef;
use crate::time::Timestamp;

impl Connection {
    pub(super) fn claim_refresh(&self, command: &ConnectionCommand) -> Decision {
        let &ConnectionCommand::ClaimRefresh {
            forced,
            deadline_ms,
            takeover,
            rotation,
            reuse_grace,
            provider_epoch,
        } = command
        else {
            return Ok(Vec::new());
        };
        let credential = self.refreshable()?;
        if let Some(held) = self.refresh.claim
            && takeover != Some(held.attempt)
        {
            return Err(ConnectionError::ClaimHeld {
                attempt: held.attempt,
            });
        }
        if credential.provider_epoch != provider_epoch {
            return Ok(vec![ConnectionEvent::AttentionRequired {
                reason: AttentionReason::ProviderChanged,
                attempt: None,
            }]);
        }
        let repeat = match self.unknown_redemption(rotation) {
            Some(unknown) if unknown.repeat => {
                let reason = AttentionReason::RefreshOutcomeUnknown;
                return Ok(vec![ConnectionEvent::AttentionRequired {
                    reason,
                    attempt: Some(unknown.attempt),
                }]);
            }
            Some(unknown) => !in_grace(unknown, reuse_grace),
            None => false,
        };
        let attempt = self.refresh.attempts + 1;
        Ok(vec![ConnectionEvent::RefreshStarted {
            attempt,
            deadline_ms,
            credential_version: credential.sealed.version,
            repeat,
            forced,
            first_sent_at: reuse_grace.and_then(|grace| self.first_sent_at(grace.now)),
        }])
    }

    /// When the refresh token that is about to be redeemed was first sent: now, unless an earlier attempt may have.
    fn first_sent_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.earlier_redemption() {
            Some(earlier) => earlier.first_sent_at,
            None => Some(now),
        }
    }

    /// The earlier attempt that may have spent the rotating token which is about to be redeemed.
    fn unknown_redemption(&self, rotation: Rotation) -> Option<Claim> {
        let rotating = match rotation {
            Rotation::Always => true,
            Rotation::Auto => self.refresh.ever_rotated,
            Rotation::Never => false,
        };
        self.earlier_redemption().filter(|_| rotating)
    }

    /// The earlier attempt that may have sent the token which is about to be redeemed.
    fn earlier_redemption(&self) -> Option<Claim> {
        // A claim that is still held here is being taken over.
        let earlier = self.refresh.claim.or(self.refresh.unknown)?;
        (earlier.credential_version == self.credential_version).then_some(earlier)
    }

    fn refreshable(&self) -> Result<&CredentialState, ConnectionError> {
        match (self.status, self.attention, &self.credential) {
            (Status::Absent, ..) => Err(ConnectionError::NotFound),
            (Status::Attention, Some(reason), _) => Err(ConnectionError::InAttention(reason)),
            (Status::Active, _, Some(credential)) if credential.refreshable => Ok(credential),
            (Status::Active, _, Some(_)) if self.is_static() => {
                Err(ConnectionError::StaticCredential)
            }
            (Status::Active, _, Some(_)) => Err(ConnectionError::NotRefreshable),
            (status, ..) => Err(ConnectionError::NotActive(status)),
        }
    }

    /// Whether its credential was typed in rather than issued by a provider.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.auth_type
            .is_some_and(|auth_type| auth_type != crate::provider::AuthType::Oauth2)
    }

    pub(super) fn record_refresh(
        &self,
        attempt: u64,
        credential: SealedRef,
        scopes: Vec<String>,
        expires_at: Option<Timestamp>,
        rotated: bool,
    ) -> Decision {
        self.started(attempt)?;
        self.not_ended()?;
        // A credential of a later attempt, or of a newer consent, is the newer one.
        if self
            .credential
            .as_ref()
            .is_none_or(|current| attempt <= current.attempt)
        {
            return Ok(Vec::new());
        }
        self.next_version(&credential)?;
        Ok(vec![ConnectionEvent::Refreshed {
            attempt,
            credential,
            scopes,
            expires_at,
            rotated,
        }])
    }

    pub(super) fn record_refresh_failure(&self, attempt: u64, failure: RefreshFailure) -> Decision {
        self.started(attempt)?;
        let Some(claim) = self.refresh.claim.filter(|claim| claim.attempt == attempt) else {
            return Ok(Vec::new());
        };
        let RefreshFailure {
            outcome,
            error,
            http_status,
            retry_after_seconds,
        } = failure;
        let verdict = classify(outcome, &error);
        let mut events = vec![ConnectionEvent::RefreshFailed {
            attempt,
            outcome,
            error,
            http_status,
            retry_after_seconds,
        }];
        if let RefreshVerdict::GrantGone(reason) = verdict
            && claim.credential_version == self.credential_version
        {
            events.push(ConnectionEvent::AttentionRequired {
                reason,
                attempt: Some(attempt),
            });
        }
        Ok(events)
    }

    fn started(&self, attempt: u64) -> Result<(), ConnectionError> {
        if attempt == 0 || attempt > self.refresh.attempts {
            return Err(ConnectionError::UnknownAttempt { attempt });
        }
        Ok(())
    }
}

/// Whether the provider still takes the token that this attempt may have spent. Repeating it then is as good as the
/// first time, and leaves the one repeat that is allowed for later.
fn in_grace(unknown: Claim, grace: Option<ReuseGrace>) -> bool {
    grace
        .zip(unknown.first_sent_at)
        .is_some_and(|(grace, first_sent_at)| grace.covers(first_sent_at))
}
