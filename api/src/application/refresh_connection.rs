//! Refreshes a connection: claim, call, record. Any number of callers on any number of nodes
//! share one exchange, and a rotated refresh token is durable before anyone sees what came with it.

use std::sync::Arc;
use std::time::Duration;

use nexus_domain::connection::{
    Connection, ConnectionCommand, ConnectionError, ConnectionEvent, Outcome, RefreshFailure,
    ReuseGrace, Status,
};
use nexus_domain::credential::{Credential, OAuth2Credential};
use nexus_domain::metadata::Metadata;
use nexus_domain::provider::ProviderSecrets;
use nexus_domain::reference::ConnectionId;
use nexus_domain::secret::Secret;
use nexus_domain::time::Timestamp;
use nexus_ledger::{AppendError, Context, ExecuteError, RecordedEvent, fault};
use nexus_projections::{ConnectionRow, ProviderRow};
use tokio::time::Instant;

use super::check_connection::lapsed;
use super::complete_consent::account;
use super::patience::Patience;
use super::record_credential::RecordError;
use super::token::TokenPayload;
use super::{Application, Fault, fault_of, is_of_subject};
use crate::upstream::{CallFailure, IdTokenClaims, IdTokenError, ResolvedProvider, TokenAnswer};

/// How often a claim starts again because the connection moved under it.
const ATTEMPTS: usize = 8;
/// How often a waiter looks unasked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a refresh is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// A caller forces it.
    Forced,
    /// The access token has expired or is about to.
    Due,
}

/// Why there is no newer credential.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// There is no such connection.
    #[error("the connection does not exist")]
    NotFound,
    /// It serves no credential.
    #[error("the connection is {0}")]
    NotActive(&'static str),
    /// Only its user can mend it.
    #[error("the connection needs its user: {0}")]
    Attention(String),
    /// Its credential was typed in.
    #[error("the credential is static")]
    Static,
    /// The provider gave no refresh token.
    #[error("there is no refresh token")]
    NotRefreshable,
    /// The provider, the network or the operator's settings failed; the connection is as it was.
    #[error("the provider gave no new credential: {error}")]
    Provider {
        /// The provider's error code, or ours.
        error: String,
        /// The HTTP status of its answer.
        http_status: Option<u16>,
        /// How long it asked to be left alone, seconds.
        retry_after: Option<u64>,
    },
    /// Another caller's refresh has no outcome yet.
    #[error("another refresh has no outcome yet")]
    Unresolved,
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What trying to claim came to.
enum Claimed {
    /// The claim is ours.
    Ours(u64),
    /// Somebody else's.
    Held(u64),
    /// The connection moved: look again.
    Moved,
}

/// A refresh token that is ours to redeem, and everything that takes.
struct Redemption {
    row: Arc<ConnectionRow>,
    provider: Arc<ProviderRow>,
    attempt: u64,
    /// When the time limit of the call began.
    began: Instant,
    /// The credential so far.
    old: OAuth2Credential,
    secrets: ProviderSecrets,
    metadata: Metadata,
}

impl Application {
    /// Forces a refresh and hands out what came of it.
    ///
    /// # Errors
    /// [`RefreshError`], or why the new credential could not be handed out.
    pub async fn refresh_connection(
        &self,
        id: &str,
        door: &str,
        metadata: &Metadata,
    ) -> Result<TokenPayload, RefreshTokenError> {
        let id = ConnectionId::parse(id).map_err(|_| RefreshError::NotFound)?;
        self.refresh(&id, Refresh::Forced, metadata).await?;
        Ok(self.hand_out(&id, None, door.into(), metadata).await?)
    }

    /// Refreshes, or waits for the refresh that is under way.
    pub(super) async fn refresh(
        &self,
        id: &ConnectionId,
        mode: Refresh,
        metadata: &Metadata,
    ) -> Result<(), RefreshError> {
        let reference = id.reference().to_string();
        for _ in 0..ATTEMPTS {
            // The call's time limit begins before the claim: a slow claim leaves less of it.
            let began = Instant::now();
            let row = self.refreshable_row(&reference, metadata).await?;
            if mode == Refresh::Due && self.due(&row).is_none() {
                return Ok(());
            }
            let provider = self.provider_of(&row).await?;
            // What does not open cannot be redeemed: no claim for it.
            let Credential::OAuth2(old) = self.open_credential(&row).await? else {
                return Err(RefreshError::Static);
            };
            let secrets = self.provider_secrets(&provider).await?;
            match self.claim(&row, &provider, mode, metadata).await? {
                Claimed::Ours(attempt) => {
                    let redemption = Redemption {
                        row,
                        provider,
                        attempt,
                        began,
                        old,
                        secrets,
                        metadata: metadata.clone(),
                    };
                    return self.redeem(redemption).await;
                }
                Claimed::Held(attempt) => {
                    return self.wait_for(&reference, attempt, metadata).await;
                }
                Claimed::Moved => {}
            }
        }
        Err(Fault::Conflict.into())
    }

    async fn refreshable_row(
        &self,
        reference: &str,
        metadata: &Metadata,
    ) -> Result<Arc<ConnectionRow>, RefreshError> {
        let row = self
            .reads
            .connection(reference)
            .await
            .map_err(Fault::from)?
            .filter(|row| is_of_subject(&row.state.workspace_id, metadata))
            .ok_or(RefreshError::NotFound)?;
        match row.state.status {
            Status::Active if row.state.is_static() => Err(RefreshError::Static),
            Status::Active
                if row
                    .state
                    .credential
                    .as_ref()
                    .is_none_or(|credential| !credential.refreshable) =>
            {
                Err(RefreshError::NotRefreshable)
            }
            Status::Active => Ok(row),
            Status::Attention => Err(RefreshError::Attention(
                row.state.reason.clone().unwrap_or_default(),
            )),
            Status::Pending if lapsed(row.lapse(), self.ledger.now()).is_some() => {
                Err(RefreshError::NotActive("failed"))
            }
            Status::Pending => Err(RefreshError::NotActive("pending")),
            Status::Failed => Err(RefreshError::NotActive("failed")),
            Status::Revoked => Err(RefreshError::NotActive("revoked")),
            Status::Absent | Status::Deleted => Err(RefreshError::NotFound),
        }
    }

    /// When the access token ends, if it has ended or is about to.
    pub(super) fn due(&self, row: &ConnectionRow) -> Option<Timestamp> {
        let expires_at = row.state.credential.as_ref()?.expires_at?;
        (expires_at <= self.ledger.now().plus(self.policy.refresh_skew)).then_some(expires_at)
    }

    /// Claims the right to redeem the refresh token of exactly the credential in `row`.
    async fn claim(
        &self,
        row: &ConnectionRow,
        provider: &ProviderRow,
        mode: Refresh,
        metadata: &Metadata,
    ) -> Result<Claimed, RefreshError> {
        let held = row.state.refresh.claim.map(|claim| claim.attempt);
        let takeover = held
            .zip(row.claim_deadline)
            .filter(|(_, deadline)| self.ledger.now() >= *deadline);
        let command = ConnectionCommand::ClaimRefresh {
            forced: mode == Refresh::Forced,
            deadline_ms: self.policy.claim_deadline_ms(),
            takeover: takeover.map(|(attempt, _)| attempt),
            rotation: provider.state.profile.rotation(),
            reuse_grace: provider
                .state
                .profile
                .reuse_grace()
                .map(|lasts| ReuseGrace {
                    now: self.ledger.now(),
                    lasts,
                }),
            provider_epoch: provider.state.epoch,
        };
        let context = Context {
            metadata: metadata.clone(),
            only_at: Some(row.sequence),
            // The transaction's clock has the last word on whether a claim may be taken over.
            not_before: takeover.map(|(_, deadline)| deadline),
            ..Context::default()
        };
        match self
            .ledger
            .execute::<Connection>(&row.reference, command, context)
            .await
        {
            Ok(executed) => Ok(claimed(&executed.events)),
            Err(ExecuteError::Decision(ConnectionError::ClaimHeld { attempt })) => {
                Ok(Claimed::Held(attempt))
            }
            Err(ExecuteError::Append(AppendError::TooEarly { .. })) => {
                Ok(held.map_or(Claimed::Moved, Claimed::Held))
            }
            Err(ExecuteError::Append(AppendError::Conflict { .. }) | ExecuteError::Decision(_)) => {
                Ok(Claimed::Moved)
            }
            Err(error) => Err(fault_of(error).into()),
        }
    }

    /// Calls the provider and records its answer, in a task that outlives its caller.
    async fn redeem(&self, redemption: Redemption) -> Result<(), RefreshError> {
        let application = self.clone();
        let work = |patience| async move {
            match application.call(&redemption).await {
                Ok(answer) => {
                    application
                        .record_success(&redemption, answer, &patience)
                        .await
                }
                Err(failure) => {
                    application
                        .record_failure(&redemption, failure, &patience)
                        .await
                }
            }
        };
        self.outlive(work).await?
    }

    async fn call(&self, redemption: &Redemption) -> Result<TokenAnswer, CallFailure> {
        let Redemption {
            row,
            provider,
            began,
            old,
            secrets,
            ..
        } = redemption;
        let Some(refresh_token) = &old.refresh_token else {
            return Err(CallFailure::unsent("no_refresh_token"));
        };
        let resolved = self
            .upstream
            .resolve(&provider.state.profile, secrets)
            .await
            .map_err(|error| CallFailure::unresolved(&error))?;
        if old.id_token.is_some() {
            self.upstream.have_keys_at_hand(&resolved).await;
        }
        let remaining = self.policy.upstream_timeout.saturating_sub(began.elapsed());
        if remaining.is_zero() {
            return Err(CallFailure::unsent("claim_too_slow"));
        }
        let fresh = self.fresh()?;
        fault::point("refresh.before_send");
        let call = self
            .upstream
            .redeem_refresh_token(&resolved, refresh_token, fresh);
        let answer = tokio::time::timeout(remaining, call).await;
        fault::point("refresh.after_answer");
        let mut answer = answer.unwrap_or_else(|_| {
            Err(CallFailure {
                outcome: Outcome::Unknown,
                ..CallFailure::unsent("timeout")
            })
        })?;
        let claims = self.claims_after_refresh(&resolved, &answer).await;
        let is_theirs = claims.is_some_and(|claims| {
            let credential = row.state.credential.as_ref();
            let known = credential.and_then(|credential| credential.account.as_ref());
            known.is_none_or(|known| *known == account(&claims))
        });
        answer.id_token = answer.id_token.filter(|_| is_theirs);
        Ok(resolved.quirks.as_used(answer, is_theirs))
    }

    /// Whom the id token of an answer is about, when it can be trusted. An answer counts all the same: its refresh token
    /// may be the only one there is.
    async fn claims_after_refresh(
        &self,
        resolved: &ResolvedProvider,
        answer: &TokenAnswer,
    ) -> Option<IdTokenClaims> {
        let id_token = answer
            .id_token
            .as_ref()
            .filter(|_| resolved.issuer.is_some())?;
        let (access_token, now) = (&answer.access_token, self.ledger.now());
        let verified = if resolved.quirks.gives_id_token() {
            self.upstream
                .verify_id_token(resolved, id_token, None, Some(access_token), now)
                .await
        } else {
            self.upstream
                .verify_refreshed_id_token(resolved, id_token, access_token, now)
        };
        verified
            .inspect_err(|error| match error {
                IdTokenError::NotAtHand => tracing::debug!(%error, "an id token that came with a refresh was not looked at"),
                error => tracing::warn!(%error, "an id token that came with a refresh was refused"),
            })
            .ok()
    }

    /// Records a new credential.
    async fn record_success(
        &self,
        redemption: &Redemption,
        answer: TokenAnswer,
        patience: &Patience,
    ) -> Result<(), RefreshError> {
        let Redemption {
            row,
            attempt,
            old,
            metadata,
            ..
        } = redemption;
        let rotated = answer.refresh_token.as_ref().is_some_and(|new| {
            old.refresh_token.as_ref().map(Secret::expose) != Some(new.expose())
        });
        let credential = self.refreshed(old, answer);
        let scopes = credential.scope.clone();
        let expires_at = credential.expires_at;
        let credential = Credential::OAuth2(credential);
        let recorded = self.record_credential(row, &credential, metadata, patience, |credential| {
            ConnectionCommand::RecordRefresh {
                attempt: *attempt,
                credential,
                scopes: scopes.clone(),
                expires_at,
                rotated,
            }
        });
        fault::point("refresh.before_commit");
        let recorded = recorded.await;
        fault::point("refresh.after_commit");
        match recorded {
            Ok(()) => Ok(()),
            Err(RecordError::Refused(ConnectionError::Ended(status))) => {
                Err(RefreshError::NotActive(status.as_str()))
            }
            Err(RecordError::Refused(error)) => Err(Fault::Internal(error.to_string()).into()),
            Err(RecordError::Fault(fault)) => Err(fault.into()),
        }
    }

    async fn record_failure(
        &self,
        redemption: &Redemption,
        failure: CallFailure,
        patience: &Patience,
    ) -> Result<(), RefreshError> {
        let Redemption {
            row,
            attempt,
            metadata,
            ..
        } = redemption;
        let retry_after = failure.retry_after.map(|after| after.as_secs());
        let recorded = RefreshFailure {
            outcome: failure.outcome,
            error: failure.error.clone(),
            http_status: failure.http_status,
            retry_after_seconds: retry_after,
        };
        let since = Instant::now();
        loop {
            let command = ConnectionCommand::RecordRefreshFailure {
                attempt: *attempt,
                failure: recorded.clone(),
            };
            let context = Context {
                metadata: metadata.clone(),
                ..Context::default()
            };
            match self
                .ledger
                .execute::<Connection>(&row.reference, command, context)
                .await
            {
                Ok(executed) if executed.state.status == Status::Attention => {
                    return Err(RefreshError::Attention(
                        executed.state.reason.unwrap_or_default(),
                    ));
                }
                Ok(_) => {
                    return Err(RefreshError::Provider {
                        error: failure.error,
                        http_status: failure.http_status,
                        retry_after,
                    });
                }
                Err(error) => patience.pause(fault_of(error), since).await?,
            }
        }
    }

    /// The credential after an answer: what the provider did not repeat stays.
    fn refreshed(&self, old: &OAuth2Credential, answer: TokenAnswer) -> OAuth2Credential {
        OAuth2Credential {
            access_token: answer.access_token,
            token_type: answer.token_type,
            refresh_token: answer.refresh_token.or_else(|| old.refresh_token.clone()),
            id_token: old
                .id_token
                .as_ref()
                .map(|old| answer.id_token.unwrap_or_else(|| old.clone())),
            scope: answer.scope.unwrap_or_else(|| old.scope.clone()),
            expires_at: answer
                .expires_in
                .map(|expires_in| self.ledger.now().plus(expires_in)),
            fields: old.fields.updated(&answer.fields),
        }
    }

    /// Waits for the outcome of another caller's attempt.
    async fn wait_for(
        &self,
        reference: &str,
        attempt: u64,
        metadata: &Metadata,
    ) -> Result<(), RefreshError> {
        let give_up = Instant::now() + self.policy.upstream_timeout + Duration::from_secs(1);
        let mut head = self.ledger.watch();
        tracing::debug!(attempt, "waiting for another caller's refresh");
        loop {
            head.mark_unchanged();
            let row = self.refreshable_row(reference, metadata).await?;
            if row
                .state
                .credential
                .as_ref()
                .is_some_and(|credential| credential.attempt >= attempt)
            {
                return Ok(());
            }
            if row
                .state
                .refresh
                .claim
                .is_none_or(|claim| claim.attempt > attempt)
            {
                return Err(outcome_of(&row, attempt));
            }
            if Instant::now() >= give_up {
                return Err(RefreshError::Unresolved);
            }
            drop(tokio::time::timeout(LOOK_EVERY, head.changed()).await);
        }
    }
}

/// Why a forced refresh hands out nothing.
#[derive(Debug, thiserror::Error)]
pub enum RefreshTokenError {
    /// There is no newer credential.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// There is, but it cannot be handed out.
    #[error(transparent)]
    Read(#[from] super::read_token::ReadTokenError),
}

/// What the events of a claim say. Needing attention instead moves the connection, which is then looked at again.
fn claimed(events: &[RecordedEvent]) -> Claimed {
    events
        .iter()
        .find_map(|event| match serde_json::from_str(&event.payload) {
            Ok(ConnectionEvent::RefreshStarted { attempt, .. }) => Some(Claimed::Ours(attempt)),
            _ => None,
        })
        .unwrap_or(Claimed::Moved)
}

/// How an attempt that somebody waited for ended without a credential.
fn outcome_of(row: &ConnectionRow, attempt: u64) -> RefreshError {
    match &row.state.refresh.last_failure {
        Some(failure) if failure.attempt >= attempt => RefreshError::Provider {
            error: failure.error.clone(),
            http_status: failure.http_status,
            retry_after: failure.retry_after_seconds,
        },
        _ => RefreshError::Unresolved,
    }
}
