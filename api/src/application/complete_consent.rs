//! The user came back from the provider: the callback. The one-time state is spent before the code
//! is exchanged, so that a code is never exchanged twice.

use std::fmt;
use std::sync::Arc;

use nexus_domain::connection::{
    Connection, ConnectionCommand, ConnectionError, FailureReason, Outcome,
};
use nexus_domain::credential::{Credential, OAuth2Credential};
use nexus_domain::metadata::Metadata;
use nexus_domain::reference::ConnectionReference;
use nexus_domain::sealing::Purpose;
use nexus_domain::secret::Secret;
use nexus_domain::stream::StreamKey;
use nexus_ledger::{Context, ExecuteError, fault};
use nexus_projections::{ConnectionRow, ProviderRow};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;

use super::keyring::OpenError;
use super::patience::Patience;
use super::record_credential::RecordError;
use super::{Application, Fault, fault_of};
use crate::keys::{StateKey, StateToken};
use crate::return_url::with_params;
use crate::upstream::{IdTokenClaims, ResolvedProvider, TokenAnswer, is_possible_iss};

/// What came back with the user (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Clone, Default)]
pub struct Callback {
    /// The authorization code.
    pub code: Option<String>,
    /// The one-time state.
    pub state: Option<String>,
    /// The issuer, when the provider names itself.
    pub iss: Option<String>,
    /// The provider's error code.
    pub error: Option<String>,
}

/// The code and the state are secrets until they are spent.
impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("iss", &self.iss)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Why the user cannot be sent anywhere: the state is no good.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The state, or both the code and an error, are missing.
    #[error("state, and either code or error, are needed")]
    MissingParams,
    /// The state is none of ours, or past its time.
    #[error("the state is not valid or has expired")]
    InvalidState,
    /// The state was spent before.
    #[error("the state was used before")]
    StateUsed,
    /// Something else went wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// How a consent failed.
struct Failed {
    reason: FailureReason,
    /// The provider's error code, or ours: what the application is told.
    error: String,
}

/// What a code was exchanged for.
struct Redeemed {
    answer: TokenAnswer,
    /// Of the id token, if it was verified.
    claims: Option<IdTokenClaims>,
}

impl Failed {
    fn new(reason: FailureReason, error: &str) -> Self {
        Self {
            reason,
            error: error.to_owned(),
        }
    }
}

impl Application {
    /// Completes a consent; where to send the user.
    ///
    /// # Errors
    /// [`CallbackError`]; every failure after a good state sends the user to the return URL instead.
    pub async fn complete_consent(
        &self,
        callback: Callback,
        metadata: Metadata,
    ) -> Result<Url, CallbackError> {
        let began = Instant::now();
        let state = callback
            .state
            .as_deref()
            .ok_or(CallbackError::MissingParams)?;
        let (state, reference) = self.known_state(state).ok_or(CallbackError::InvalidState)?;
        if callback.code.is_none() && callback.error.is_none() {
            return Err(CallbackError::MissingParams);
        }
        let row = self.consent_row(reference).await?;
        let return_url = row
            .state
            .pending
            .as_ref()
            .map(|pending| pending.return_url.clone());
        let application = self.clone();
        // A user who closes the browser does not cancel what was begun.
        let work = |patience| async move {
            application
                .settle(callback, state, row, began, metadata, patience)
                .await
        };
        let settled = self.outlive(work).await??;
        let return_url = return_url
            .and_then(|url| Url::parse(&url).ok())
            .ok_or(CallbackError::InvalidState)?;
        Ok(match settled {
            Ok((connection_id, provider)) => with_params(
                &return_url,
                &[
                    ("status", "success"),
                    ("connection_id", &connection_id),
                    ("provider", &provider),
                ],
            ),
            Err(failed) => with_params(
                &return_url,
                &[("status", "failed"), ("error", &failed.error)],
            ),
        })
    }

    async fn consent_row(
        &self,
        reference: ConnectionReference,
    ) -> Result<Arc<ConnectionRow>, CallbackError> {
        let row = self
            .reads
            .connection(&reference.to_string())
            .await
            .map_err(Fault::from)?;
        row.ok_or(CallbackError::InvalidState)
    }

    async fn settle(
        &self,
        callback: Callback,
        state: StateToken,
        row: Arc<ConnectionRow>,
        began: Instant,
        metadata: Metadata,
        patience: Patience,
    ) -> Result<Result<(String, String), Failed>, CallbackError> {
        let outcome = if let Some(error) = &callback.error {
            let provider = self.provider_of(&row).await?;
            // What another issuer says of this consent is not repeated (RFC 9207, section 2.4).
            let error = match callback.iss.as_deref() {
                Some(iss) if !is_possible_iss(&provider.state.profile, iss) => {
                    "oauth_error".to_owned()
                }
                _ => safe_code(error),
            };
            Err(Failed::new(FailureReason::ConsentDenied, &error))
        } else {
            self.spend(&row, &state, &metadata).await?;
            self.exchange(&callback, &row, &state, began, &metadata, &patience)
                .await?
        };
        if let Err(failed) = &outcome {
            self.record_failed(&row, &state, failed, metadata).await?;
        }
        Ok(outcome)
    }

    /// Spends the one-time state: of any number of callers one wins.
    async fn spend(
        &self,
        row: &ConnectionRow,
        state: &StateToken,
        metadata: &Metadata,
    ) -> Result<(), CallbackError> {
        let command = ConnectionCommand::AcceptCallback {
            state_digest: StateKey::digest(state.as_str()),
            now: self.ledger.now(),
            exchange_within_ms: self.policy.claim_deadline_ms(),
        };
        let context = Context {
            metadata: metadata.clone(),
            ..Context::default()
        };
        self.ledger
            .execute::<Connection>(&row.reference, command, context)
            .await
            .map(drop)
            .map_err(refused)
    }

    async fn exchange(
        &self,
        callback: &Callback,
        row: &ConnectionRow,
        state: &StateToken,
        began: Instant,
        metadata: &Metadata,
        patience: &Patience,
    ) -> Result<Result<(String, String), Failed>, CallbackError> {
        let provider = self.provider_of(row).await?;
        let redeemed = match self
            .redeem_code(callback, row, &provider, state, began)
            .await
        {
            Ok(redeemed) => redeemed,
            Err(failed) => return Ok(Err(failed)),
        };
        Ok(
            match self
                .record_consent(row, &provider, state, redeemed, metadata, patience)
                .await?
            {
                Ok(()) => Ok((
                    self.connection_id(row).await?,
                    row.state.provider_name.clone(),
                )),
                Err(failed) => Err(failed),
            },
        )
    }

    async fn redeem_code(
        &self,
        callback: &Callback,
        row: &ConnectionRow,
        provider: &ProviderRow,
        state: &StateToken,
        began: Instant,
    ) -> Result<Redeemed, Failed> {
        if !provider.is_registered() {
            return Err(Failed::new(
                FailureReason::ProviderChanged,
                "provider_deleted",
            ));
        }
        let pending = row.state.pending.as_ref();
        let asked_at = pending.and_then(|pending| pending.provider_epoch);
        if asked_at.is_some_and(|epoch| epoch != provider.state.epoch) {
            // The code is for whom the user was sent to.
            return Err(Failed::new(
                FailureReason::ProviderChanged,
                "provider_changed",
            ));
        }
        let failed = |error: &str| Failed::new(FailureReason::ExchangeFailed, error);
        let secrets = self
            .provider_secrets(provider)
            .await
            .map_err(|_| failed("server_error"))?;
        let resolved = self
            .upstream
            .resolve(&provider.state.profile, &secrets)
            .await
            .map_err(|_| failed("upstream_error"))?;
        if resolved.check_iss(callback.iss.as_deref()).is_err() {
            return Err(failed("oauth_error"));
        }
        let remaining = self.policy.upstream_timeout.saturating_sub(began.elapsed());
        if remaining.is_zero() {
            return Err(failed("timeout"));
        }
        let code = Secret::new(callback.code.clone().unwrap_or_default());
        let verifier = self.state_key.pkce_verifier(state);
        let redirect_uri = self.policy.redirect_uri();
        let fresh = self.fresh().map_err(|_| failed("server_error"))?;
        let call = self
            .upstream
            .exchange_code(&resolved, &code, &verifier, &redirect_uri, fresh);
        fault::point("consent.before_send");
        let answer = match tokio::time::timeout(remaining, call).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) if failure.outcome == Outcome::Known => {
                return Err(failed(&safe_code(&failure.error)));
            }
            Ok(Err(_)) | Err(_) => {
                return Err(Failed::new(
                    FailureReason::ExchangeOutcomeUnknown,
                    "exchange_outcome_unknown",
                ));
            }
        };
        fault::point("consent.after_answer");
        let claims = self.verified_claims(&resolved, row, state, &answer).await?;
        Ok(Redeemed {
            answer: resolved.quirks.as_used(answer, claims.is_some()),
            claims,
        })
    }

    /// The claims of the id token: needed when it was asked for with `openid`, or is to be used, and the issuer is known.
    async fn verified_claims(
        &self,
        resolved: &ResolvedProvider,
        row: &ConnectionRow,
        state: &StateToken,
        answer: &TokenAnswer,
    ) -> Result<Option<IdTokenClaims>, Failed> {
        let pending = row.state.pending.as_ref();
        let mut scopes = pending.into_iter().flat_map(|pending| &pending.scopes);
        let quirks = &resolved.quirks;
        let with_nonce = scopes.any(|scope| scope == "openid");
        let asked = quirks.gives_id_token() || (with_nonce && !quirks.skip_scope_on_auth);
        let invalid = || Failed::new(FailureReason::InvalidIdToken, "oauth_error");
        match (&answer.id_token, resolved.issuer.is_some()) {
            (Some(id_token), true) if asked => {
                let nonce = self.state_key.oidc_nonce(state);
                let verified = self
                    .upstream
                    .verify_id_token(
                        resolved,
                        id_token,
                        with_nonce.then_some(nonce.as_str()),
                        Some(&answer.access_token),
                        self.ledger.now(),
                    )
                    .await;
                verified.map(Some).map_err(|error| {
                    tracing::warn!(%error, connection = row.reference, "an id token was refused");
                    invalid()
                })
            }
            (None, true) if asked => Err(invalid()),
            (_, _) => Ok(None),
        }
    }

    async fn record_consent(
        &self,
        row: &ConnectionRow,
        provider: &ProviderRow,
        state: &StateToken,
        Redeemed { answer, claims }: Redeemed,
        metadata: &Metadata,
        patience: &Patience,
    ) -> Result<Result<(), Failed>, CallbackError> {
        let asked = row
            .state
            .pending
            .as_ref()
            .map(|pending| pending.scopes.clone())
            .unwrap_or_default();
        let credential = OAuth2Credential {
            access_token: answer.access_token,
            token_type: answer.token_type,
            refresh_token: answer.refresh_token,
            // An id token that nobody could verify is not served.
            id_token: answer.id_token.filter(|_| claims.is_some()),
            scope: answer.scope.unwrap_or(asked),
            expires_at: answer
                .expires_in
                .map(|expires_in| self.ledger.now().plus(expires_in)),
            fields: answer.fields,
        };
        let scopes = credential.scope.clone();
        let (expires_at, refreshable) = (credential.expires_at, credential.refresh_token.is_some());
        let credential = Credential::OAuth2(credential);
        let recorded = self.record_credential(row, &credential, metadata, patience, |credential| {
            ConnectionCommand::CompleteConsent {
                state_digest: StateKey::digest(state.as_str()),
                credential,
                scopes: scopes.clone(),
                expires_at,
                account: claims.as_ref().map(account),
                refreshable,
                provider_epoch: provider.state.epoch,
            }
        });
        fault::point("consent.before_commit");
        let recorded = recorded.await;
        fault::point("consent.after_commit");
        match recorded {
            Ok(()) => Ok(Ok(())),
            Err(RecordError::Refused(ConnectionError::AccountMismatch)) => Ok(Err(Failed::new(
                FailureReason::AccountMismatch,
                "account_mismatch",
            ))),
            Err(error) => Err(unrecorded(error)),
        }
    }

    async fn record_failed(
        &self,
        row: &ConnectionRow,
        state: &StateToken,
        failed: &Failed,
        metadata: Metadata,
    ) -> Result<(), CallbackError> {
        let command = ConnectionCommand::Fail {
            state_digest: StateKey::digest(state.as_str()),
            reason: failed.reason,
            error: Some(failed.error.clone()),
            now: self.ledger.now(),
        };
        let context = Context {
            metadata,
            ..Context::default()
        };
        self.ledger
            .execute::<Connection>(&row.reference, command, context)
            .await
            .map(drop)
            .map_err(refused)
    }

    /// The id of a connection: the only place it is kept is sealed, beside its request.
    pub(super) async fn connection_id(&self, row: &ConnectionRow) -> Result<String, Fault> {
        let missing = || {
            Fault::Unreadable(format!(
                "the id of connection {} cannot be opened",
                row.reference
            ))
        };
        let field = row.id.as_ref().ok_or_else(missing)?;
        let stream = StreamKey::new("connection", row.reference.as_str());
        let plaintext = self
            .keyring
            .open(&stream, Purpose::ConnectionId, field)
            .await
            .map_err(|error| match error {
                OpenError::Fault(fault) => fault,
                OpenError::NoKey(_) | OpenError::NoCiphertext | OpenError::DoesNotOpen => missing(),
            })?;
        String::from_utf8(plaintext.to_vec()).map_err(|_| missing())
    }
}

/// Whose account it is, without saying who: a digest of issuer and subject.
pub(super) fn account(claims: &IdTokenClaims) -> String {
    let digest = Sha256::new()
        .chain_update(b"nexus account v1")
        .chain_update((claims.issuer.len() as u64).to_be_bytes())
        .chain_update(&claims.issuer)
        .chain_update(&claims.subject)
        .finalize();
    digest.iter().fold(String::with_capacity(64), |hex, byte| {
        hex + &format!("{byte:02x}")
    })
}

/// A provider's error code as it may be passed on: RFC 6749 allows printable ASCII.
fn safe_code(code: &str) -> String {
    let clean: String = code
        .chars()
        .filter(|character| {
            character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
        })
        .take(64)
        .collect();
    if clean.is_empty() {
        "oauth_error".to_owned()
    } else {
        clean
    }
}

pub(super) fn refused(error: ExecuteError<ConnectionError>) -> CallbackError {
    match error {
        ExecuteError::Decision(
            ConnectionError::StateUsed | ConnectionError::NotAwaitingExchange,
        ) => CallbackError::StateUsed,
        ExecuteError::Decision(
            ConnectionError::StateUnknown
            | ConnectionError::StateExpired
            | ConnectionError::WrongConsent
            | ConnectionError::NotFound
            | ConnectionError::Ended(_),
        ) => CallbackError::InvalidState,
        error => fault_of(error).into(),
    }
}

/// Why the credential of a consent was not recorded, in the callback's terms.
pub(super) fn unrecorded(error: RecordError) -> CallbackError {
    match error {
        RecordError::Refused(error) => refused(ExecuteError::Decision(error)),
        RecordError::Fault(fault) => fault.into(),
    }
}
