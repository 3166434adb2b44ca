//! A client that proves itself with a signature (`private_key_jwt`): `OpenID` Connect Core §9, RFC 7523 §2.2 and §3.
//!
//! An assertion names the endpoint that it is sent to, so whoever gets one can use it nowhere else. The audience is the
//! token endpoint, which every authorization server accepts there (RFC 7523 §3); not the issuer, which is unknown for plain
//! OAuth 2.0 and refused by some servers. A revocation endpoint is named itself when it is at another origin, or when it
//! does not take the other audience.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nexus_domain::provider::{ProviderProfile, ProviderSecrets};
use nexus_domain::secret::Secret;
use nexus_domain::time::Timestamp;
use ring::error::{KeyRejected, Unspecified};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::Value;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The type of the assertion (RFC 7523 §2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How long an assertion is good for.
const LIFETIME: Duration = Duration::from_mins(1);

/// What makes an assertion one of its kind.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// The time.
    pub now: Timestamp,
    /// A random id: servers take an assertion once.
    pub id: Uuid,
}

/// Why a client's key cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeyError {
    /// There is none.
    #[error("is required for `private_key_jwt`: a private key in PEM (PKCS#8)")]
    Missing,
    /// It is none that can be read.
    #[error("must be a private key in PEM (PKCS#8): RSA of 2048 to 4096 bits, P-256 or Ed25519")]
    Unreadable,
    /// It is for other algorithms than the one that is set.
    #[error("is not an algorithm that the private key can sign with")]
    OtherAlgorithm,
}

impl ClientKeyError {
    /// The setting that is wrong.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Missing | Self::Unreadable => "params.private_key",
            Self::OtherAlgorithm => "params.private_key_alg",
        }
    }
}

/// A signature algorithm with its key (RFC 7518 §3.1, RFC 8037 §3.1).
enum Signer {
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// The key that a client signs its assertions with.
pub struct ClientKey {
    signer: Signer,
    id: Option<String>,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientKey")
            .field("algorithm", &self.signer.name())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

impl ClientKey {
    /// The key of a provider: `params.private_key`, `private_key_id` and `private_key_alg`.
    ///
    /// # Errors
    /// [`ClientKeyError`], which tells nothing of the key.
    pub fn of(
        profile: &ProviderProfile,
        secrets: &ProviderSecrets,
    ) -> Result<Self, ClientKeyError> {
        let pem = secrets.private_key().ok_or(
            // Not a text, but given all the same.
            match profile.params.get("private_key") {
                None | Some(Value::Null) => ClientKeyError::Missing,
                Some(_) => ClientKeyError::Unreadable,
            },
        )?;
        let setting = |name: &str| profile.params.get(name).and_then(Value::as_str);
        Ok(Self {
            signer: Signer::read(&pem, setting("private_key_alg"))?,
            id: setting("private_key_id").map(str::to_owned),
        })
    }

    /// A signed assertion that `client_id` is who it says, good at `audience` alone and for a minute.
    pub(super) fn assertion(
        &self,
        client_id: &str,
        audience: &Url,
        fresh: Fresh,
    ) -> Result<Secret, Unspecified> {
        let header = Header {
            alg: self.signer.name(),
            typ: "JWT",
            kid: self.id.as_deref(),
        };
        let claims = Claims {
            iss: client_id,
            sub: client_id,
            aud: audience.as_str(),
            jti: fresh.id,
            iat: fresh.now.as_seconds(),
            exp: fresh.now.plus(LIFETIME).as_seconds(),
        };
        let signed = format!("{}.{}", part(&header)?, part(&claims)?);
        let signature = self.signer.sign(signed.as_bytes())?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok(Secret::new(format!("{signed}.{signature}")))
    }
}

/// A part of the compact form (RFC 7515 §7.1).
fn part(value: &impl Serialize) -> Result<String, Unspecified> {
    let json = serde_json::to_vec(value).map_err(|_| Unspecified)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(json))
}

impl Signer {
    fn read(pem: &Secret, algorithm: Option<&str>) -> Result<Self, ClientKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes());
        let der = Zeroizing::new(der.map_err(|_| ClientKeyError::Unreadable)?);
        let signer = Self::any(der.secret_pkcs8_der()).map_err(|_| ClientKeyError::Unreadable)?;
        match (signer, algorithm) {
            (Self::Rs256(key), Some("PS256")) => Ok(Self::Ps256(key)),
            (signer, None) => Ok(signer),
            (signer, Some(name)) if name == signer.name() => Ok(signer),
            (_, Some(_)) => Err(ClientKeyError::OtherAlgorithm),
        }
    }

    /// The signer that a key is for when nothing else is said.
    fn any(pkcs8: &[u8]) -> Result<Self, KeyRejected> {
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(curve, pkcs8, &SystemRandom::new()) {
            return Ok(Self::Es256(key));
        }
        // The older form, without the public key, is what most tools write.
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
            return Ok(Self::EdDsa(key));
        }
        RsaKeyPair::from_pkcs8(pkcs8).map(Self::Rs256)
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Ps256(_) => "PS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// The library takes its salts and nonces from the system itself.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Rs256(key) => sign_rsa(key, &RSA_PKCS1_SHA256, message),
            Self::Ps256(key) => sign_rsa(key, &RSA_PSS_SHA256, message),
            Self::Es256(key) => {
                let signature = key.sign(&SystemRandom::new(), message)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::EdDsa(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

fn sign_rsa(
    key: &RsaKeyPair,
    encoding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature)?;
    Ok(signature)
}

#[cfg(test)]
mod tests;
