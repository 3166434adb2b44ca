//! Verification of id tokens (`OpenID` Connect Core 1.0 §3.1.3.7).

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nexus_domain::secret::Secret;
use nexus_domain::time::Timestamp;
use openidconnect::core::{
    CoreIdToken, CoreIdTokenClaims, CoreIdTokenVerifier, CoreJsonWebKey, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, ClientSecret, IssuerUrl,
    JsonWebKey, JsonWebKeySet, JwsSigningAlgorithm, Nonce, SignatureVerificationError,
};

use super::Upstream;
use super::discovery::Discovered;
use super::error::UpstreamError;
use super::profile::ResolvedProvider;

/// How long a refresh waits for the issuer's keys before it is made.
const KEYS_WITHIN: Duration = Duration::from_secs(2);

/// Whom an id token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdTokenClaims {
    /// `iss`.
    pub issuer: String,
    /// `sub`: the person, unique and never reassigned within the issuer.
    pub subject: String,
}

/// Why an id token is not trusted. Its sentences hold nothing of the token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdTokenError {
    /// The provider has no issuer to verify against.
    #[error("the provider has no issuer")]
    NoIssuer,
    /// It is not a signed JWT with the claims of an id token.
    #[error("the id token is malformed")]
    Malformed,
    /// It is not signed (`alg` is `none`).
    #[error("the id token is not signed")]
    Unsigned,
    /// `iss` is another issuer.
    #[error("the id token is another issuer's")]
    Issuer,
    /// `aud` is not this client, or names others beside it.
    #[error("the id token is for another client")]
    Audience,
    /// `nonce` is not the one of the request.
    #[error("the id token belongs to another request")]
    Nonce,
    /// `exp` has passed.
    #[error("the id token has expired")]
    Expired,
    /// No key of the issuer's has made the signature.
    #[error("the id token's signature is not valid")]
    Signature,
    /// `at_hash` belongs to another access token.
    #[error("the id token belongs to another access token")]
    AccessToken,
    /// It asks for something that is not supported, encryption for instance.
    #[error("the id token is of an unsupported kind")]
    Unsupported,
    /// The issuer's keys are not at hand.
    #[error("the issuer's keys are not at hand")]
    NotAtHand,
    /// The issuer's keys are not to be had.
    #[error("the issuer's keys could not be fetched")]
    Keys(#[source] UpstreamError),
}

/// An id token and what it is verified against.
struct Verification<'a> {
    provider: &'a ResolvedProvider,
    issuer: IssuerUrl,
    token: CoreIdToken,
    nonce: Option<Nonce>,
    access_token: Option<&'a Secret>,
    now: DateTime<Utc>,
}

impl Upstream {
    /// Verifies an id token: issuer, audience, nonce if there is one to compare with (OpenID Connect Core 12.2), expiry at `now`, signature by the issuer's key set (fetched again
    /// once when none of its keys has made it) or, for HS256 and its kind, by the client's secret; `at_hash` against the access token
    /// when both are there. Unsigned tokens are refused.
    pub async fn verify_id_token(
        &self,
        provider: &ResolvedProvider,
        id_token: &Secret,
        nonce: Option<&str>,
        access_token: Option<&Secret>,
        now: Timestamp,
    ) -> Result<IdTokenClaims, IdTokenError> {
        let verification = Verification::of(provider, id_token, nonce, access_token, now)?;
        if verification.algorithm()?.uses_shared_secret() {
            return verification.by_secret();
        }
        let issuer = verification.issuer.as_str();
        let known = self.discover(issuer).await.map_err(IdTokenError::Keys)?;
        match verification.verify(known.keys().clone()) {
            Err(Refusal::NoKeyOfTheirs) => self.verify_with_newer_keys(&verification, &known).await,
            verified => verified.map_err(IdTokenError::from),
        }
    }

    /// Fetches the issuer's keys unless they are at hand, for [`Upstream::verify_refreshed_id_token`]. An issuer that does not
    /// answer soon is done without.
    pub async fn have_keys_at_hand(&self, provider: &ResolvedProvider) {
        if let Some(issuer) = &provider.issuer {
            let keys = tokio::time::timeout(KEYS_WITHIN, self.discover(issuer)).await;
            if let Ok(Err(error)) = keys {
                tracing::debug!(%error, "the issuer's keys could not be fetched before a refresh");
            }
        }
    }

    /// Verifies an id token that came with a refresh, which has no nonce, without asking anybody: until the answer is
    /// recorded its refresh token exists here alone.
    pub fn verify_refreshed_id_token(
        &self,
        provider: &ResolvedProvider,
        id_token: &Secret,
        access_token: &Secret,
        now: Timestamp,
    ) -> Result<IdTokenClaims, IdTokenError> {
        let verification = Verification::of(provider, id_token, None, Some(access_token), now)?;
        if verification.algorithm()?.uses_shared_secret() {
            return verification.by_secret();
        }
        let known = self.known(verification.issuer.as_str());
        let known = known.ok_or(IdTokenError::NotAtHand)?;
        let verified = verification.verify(known.keys().clone());
        verified.map_err(IdTokenError::from)
    }

    /// The issuer may have changed its keys since they were fetched.
    async fn verify_with_newer_keys(
        &self,
        verification: &Verification<'_>,
        outdated: &Arc<Discovered>,
    ) -> Result<IdTokenClaims, IdTokenError> {
        let newer = self
            .discover_again(&verification.issuer, outdated)
            .await
            .map_err(IdTokenError::Keys)?;
        verification
            .verify(newer.keys().clone())
            .map_err(IdTokenError::from)
    }
}

impl<'a> Verification<'a> {
    fn of(
        provider: &'a ResolvedProvider,
        id_token: &Secret,
        nonce: Option<&str>,
        access_token: Option<&'a Secret>,
        now: Timestamp,
    ) -> Result<Self, IdTokenError> {
        let issuer = provider.issuer.as_deref().ok_or(IdTokenError::NoIssuer)?;
        Ok(Verification {
            provider,
            issuer: IssuerUrl::new(issuer.to_owned()).map_err(|_| IdTokenError::NoIssuer)?,
            token: CoreIdToken::from_str(id_token.expose()).map_err(|_| IdTokenError::Malformed)?,
            nonce: nonce.map(|nonce| Nonce::new(nonce.to_owned())),
            access_token,
            now: DateTime::from_timestamp_micros(now.as_micros()).ok_or(IdTokenError::Expired)?,
        })
    }

    fn by_secret(&self) -> Result<IdTokenClaims, IdTokenError> {
        let verified = self.verify(JsonWebKeySet::default());
        verified.map_err(IdTokenError::from)
    }

    fn algorithm(&self) -> Result<&CoreJwsSigningAlgorithm, IdTokenError> {
        self.token.signing_alg().map_err(|error| match error {
            SignatureVerificationError::NoSignature => IdTokenError::Unsigned,
            _ => IdTokenError::Unsupported,
        })
    }

    fn verify(&self, keys: JsonWebKeySet<CoreJsonWebKey>) -> Result<IdTokenClaims, Refusal> {
        let verifier = self.verifier(keys);
        let claims = match &self.nonce {
            Some(nonce) => self.token.claims(&verifier, nonce)?,
            None => self.token.claims(&verifier, |_: Option<&Nonce>| Ok(()))?,
        };
        self.check_access_token(claims, &verifier)?;
        Ok(IdTokenClaims {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
        })
    }

    /// Any signature algorithm will do, since the key's own type and the secret's presence decide which can verify;
    /// `none` is not one.
    fn verifier(&self, keys: JsonWebKeySet<CoreJsonWebKey>) -> CoreIdTokenVerifier<'_> {
        let client_id = ClientId::new(self.provider.client_id.clone());
        let verifier = match &self.provider.client_secret {
            Some(secret) => CoreIdTokenVerifier::new_confidential_client(
                client_id,
                ClientSecret::new(secret.expose().to_owned()),
                self.issuer.clone(),
                keys,
            ),
            None => CoreIdTokenVerifier::new_public_client(client_id, self.issuer.clone(), keys),
        };
        verifier.allow_any_alg().set_time_fn(|| self.now)
    }

    fn check_access_token(
        &self,
        claims: &CoreIdTokenClaims,
        verifier: &CoreIdTokenVerifier<'_>,
    ) -> Result<(), Refusal> {
        let (Some(stated), Some(access_token)) = (claims.access_token_hash(), self.access_token)
        else {
            return Ok(());
        };
        let algorithm = self.algorithm()?;
        let shared = CoreJsonWebKey::new_symmetric(Vec::new());
        let key = if algorithm.uses_shared_secret() {
            &shared
        } else {
            self.token
                .signing_key(verifier)
                .map_err(|_| IdTokenError::Signature)?
        };
        let access_token = AccessToken::new(access_token.expose().to_owned());
        match AccessTokenHash::from_token(&access_token, algorithm, key) {
            Ok(actual) if actual == *stated => Ok(()),
            Ok(_) => Err(IdTokenError::AccessToken.into()),
            Err(_) => Err(IdTokenError::Unsupported.into()),
        }
    }
}

/// A refusal, or the one failure that newer keys may mend: some issuers give a new key the id of the old one, or none.
enum Refusal {
    NoKeyOfTheirs,
    Final(IdTokenError),
}

impl From<IdTokenError> for Refusal {
    fn from(error: IdTokenError) -> Refusal {
        Refusal::Final(error)
    }
}

impl From<Refusal> for IdTokenError {
    fn from(refusal: Refusal) -> IdTokenError {
        match refusal {
            Refusal::NoKeyOfTheirs => IdTokenError::Signature,
            Refusal::Final(error) => error,
        }
    }
}

impl From<ClaimsVerificationError> for Refusal {
    fn from(error: ClaimsVerificationError) -> Refusal {
        Refusal::Final(match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey
                | SignatureVerificationError::CryptoError(_),
            ) => {
                return Refusal::NoKeyOfTheirs;
            }
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoSignature,
            ) => IdTokenError::Unsigned,
            ClaimsVerificationError::SignatureVerification(_) => IdTokenError::Signature,
            ClaimsVerificationError::Expired(_) => IdTokenError::Expired,
            ClaimsVerificationError::InvalidAudience(_) => IdTokenError::Audience,
            ClaimsVerificationError::InvalidIssuer(_) => IdTokenError::Issuer,
            ClaimsVerificationError::InvalidNonce(_) => IdTokenError::Nonce,
            ClaimsVerificationError::InvalidSubject(_) => IdTokenError::Malformed,
            _ => IdTokenError::Unsupported,
        })
    }
}
