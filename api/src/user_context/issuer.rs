//! An issuer whose tokens say what a user may do (RFC 7519).

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nexus_domain::secret::Secret;
use nexus_domain::session::Principal;
use nexus_domain::time::Timestamp;
use openidconnect::core::{
    CoreGenderClaim, CoreIdTokenVerifier, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, IdToken, IssuerUrl, JsonWebTokenType,
    Nonce, SignatureVerificationError,
};
use serde::{Deserialize, Serialize};

use super::error::{Refusal, Unavailable, UserContextError};
use super::keys::{KeySet, Keys, Lifetimes};
use super::principal::Standing;
use crate::config::IssuerSettings;
use crate::upstream::Http;

/// How far the clocks of the issuer and the vault may be apart.
const LEEWAY: Duration = Duration::from_mins(1);
/// What a token may say it is (`typ`), when it does: a JWT, or a JWT that is an access token (RFC 9068 §2.1).
const TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// The library's id token is any JWT with `iss`, `sub`, `aud`, `exp` and `iat`; a nonce is not asked for.
type UserToken =
    IdToken<Claims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// The claims beside those.
#[derive(Debug, Deserialize, Serialize)]
struct Claims {
    nbf: Option<f64>,
    #[serde(flatten)]
    standing: Standing,
}

impl AdditionalClaims for Claims {}

/// The issuer, and what its tokens have to be.
pub(super) struct Issuer {
    settings: IssuerSettings,
    algorithms: Vec<CoreJwsSigningAlgorithm>,
    keys: Keys,
}

impl Issuer {
    pub(super) fn new(
        settings: IssuerSettings,
        algorithms: Vec<CoreJwsSigningAlgorithm>,
        lifetimes: Lifetimes,
    ) -> Issuer {
        Issuer {
            keys: Keys::new(&settings, lifetimes),
            settings,
            algorithms,
        }
    }

    /// Whom the token stands for: its signature is by a key of the issuer's (fetched again when none fits), its issuer,
    /// audience, algorithm and times are right, and its claims are complete.
    pub(super) async fn verify(
        &self,
        http: &Http,
        token: &Secret,
        now: Timestamp,
    ) -> Result<Principal, UserContextError> {
        let token = self.parse(token)?;
        let known = self.keys.current(http).await.map_err(Unavailable::from)?;
        let checked = match self.check(&token, &known, now) {
            Err(Refusal::UnknownKey) => {
                let newer = self.keys.newer_than(http, &known).await;
                let newer = newer.map_err(Unavailable::from)?;
                self.check(&token, &newer, now)
            }
            checked => checked,
        };
        Ok(checked?)
    }

    /// Refuses what no key could mend.
    fn parse(&self, token: &Secret) -> Result<UserToken, Refusal> {
        let parsed = UserToken::from_str(token.expose()).map_err(|_| Refusal::Malformed)?;
        let algorithm = parsed.signing_alg().map_err(|error| of_signature(&error))?;
        if !self.algorithms.contains(algorithm) {
            return Err(Refusal::Algorithm);
        }
        Ok(parsed)
    }

    fn check(
        &self,
        token: &UserToken,
        keys: &KeySet,
        now: Timestamp,
    ) -> Result<Principal, Refusal> {
        let verifier = self.verifier(keys, now)?;
        let claims = token
            .claims(&verifier, |_: Option<&Nonce>| Ok(()))
            .map_err(|error| of_claims(&error))?;
        let said = claims.additional_claims();
        let begins = said.nbf.map(instant).transpose()?;
        let issued = Timestamp::from_micros(claims.issue_time().timestamp_micros());
        if begins.unwrap_or(issued).max(issued) > now.plus(LEEWAY) {
            return Err(Refusal::NotYetValid);
        }
        let user = said.standing.of(claims.subject());
        user.ok_or(Refusal::Malformed)
    }

    fn verifier(&self, keys: &KeySet, now: Timestamp) -> Result<CoreIdTokenVerifier<'_>, Refusal> {
        let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(|_| Refusal::Issuer)?;
        let audience = ClientId::new(self.settings.audience.clone());
        let types = TYPES.iter().filter_map(|name| {
            let name = JsonWebTokenType::new((*name).to_owned());
            name.normalize().ok()
        });
        let before = DateTime::<Utc>::from_timestamp_micros(now.minus(LEEWAY).as_micros())
            .ok_or(Refusal::Expired)?;
        let verifier = CoreIdTokenVerifier::new_public_client(audience, issuer, keys.clone());
        Ok(verifier
            .set_allowed_algs(self.algorithms.iter().cloned())
            .set_allowed_jose_types(types)
            .set_other_audience_verifier_fn(|_| true)
            .set_time_fn(move || before))
    }
}

/// A `NumericDate` (RFC 7519 §2): seconds since the epoch, perhaps with a fraction.
fn instant(seconds: f64) -> Result<Timestamp, Refusal> {
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refusal::Malformed)?;
    Ok(Timestamp::from_seconds(0).plus(since))
}

fn of_claims(error: &ClaimsVerificationError) -> Refusal {
    match error {
        ClaimsVerificationError::SignatureVerification(error) => of_signature(error),
        ClaimsVerificationError::Expired(_) => Refusal::Expired,
        ClaimsVerificationError::InvalidAudience(_) => Refusal::Audience,
        ClaimsVerificationError::InvalidIssuer(_) => Refusal::Issuer,
        _ => Refusal::Unsupported,
    }
}

fn of_signature(error: &SignatureVerificationError) -> Refusal {
    match error {
        SignatureVerificationError::NoMatchingKey => Refusal::UnknownKey,
        SignatureVerificationError::NoSignature
        | SignatureVerificationError::DisallowedAlg(_)
        | SignatureVerificationError::UnsupportedAlg(_) => Refusal::Algorithm,
        _ => Refusal::Signature,
    }
}
