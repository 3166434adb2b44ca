//! A provider's secrets, and how they are kept out of its public settings.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::secret::{InvalidPlaintext, Secret, SecretMap, to_secret_json};

/// What stands for a secret in public settings.
pub const MASK: &str = "********";

/// The members of `params` that hold secrets, at any depth.
pub const SECRET_PARAMS: &[&str] = &[
    "access_token",
    "api_key",
    "api_secret",
    "client_assertion",
    "client_secret",
    "passphrase",
    "password",
    "private_key",
    "private_key_jwk",
    "private_key_pem",
    "refresh_token",
    "secret",
    "secret_access_key",
    "secret_key",
    "signing_key",
    "signing_secret",
    "webhook_secret",
];

/// The place of the OAuth client's private key within `params`.
pub const PRIVATE_KEY: &str = "/private_key";

/// A form's description: its members are named like secrets, and hold none.
const PUBLIC_PARAM: &str = "credential_schema";

/// What a provider's sealed blob holds.
#[derive(Clone, Debug, Default)]
pub struct ProviderSecrets {
    /// The OAuth client's secret.
    pub client_secret: Option<Secret>,
    /// The secrets within `params`, by their place: a JSON pointer (RFC 6901), as `/private_key`.
    pub params: SecretMap,
}

impl ProviderSecrets {
    /// Whether there is nothing to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.client_secret.is_none() && self.params.is_empty()
    }

    /// The key that the OAuth client signs assertions with (RFC 7523), as it was given: PEM.
    #[must_use]
    pub fn private_key(&self) -> Option<Secret> {
        let key = self.params.expose().get(PRIVATE_KEY)?;
        key.as_str().map(Secret::new)
    }

    /// The plaintext to be sealed.
    #[must_use]
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let client_secret = self.client_secret.as_ref().map(Secret::expose);
        to_secret_json(&Sealed {
            client_secret,
            params: self.params.expose(),
        })
    }

    /// The secrets in an opened plaintext.
    ///
    /// # Errors
    /// [`InvalidPlaintext`], which tells nothing of what it holds.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, InvalidPlaintext> {
        let opened: Opened = serde_json::from_slice(plaintext).map_err(|_| InvalidPlaintext)?;
        Ok(Self {
            client_secret: opened.client_secret,
            params: opened.params,
        })
    }
}

/// The wire form, to be written. Its names and those of [`Opened`] are frozen.
#[derive(Serialize)]
struct Sealed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    params: &'a Map<String, Value>,
}

/// The wire form, read.
#[derive(Deserialize)]
struct Opened {
    client_secret: Option<Secret>,
    #[serde(default)]
    params: SecretMap,
}

/// Takes the secrets out of `params` and leaves masks in their places. A mask that is already
/// there stays: whoever sends back what was read means the stored secret, see [`carry_over`].
#[must_use]
pub fn split_secrets(mut params: Map<String, Value>) -> (Map<String, Value>, SecretMap) {
    let mut secrets = Map::new();
    split_members(&mut params, "", &mut secrets);
    (params, SecretMap::new(secrets))
}

fn split_members(members: &mut Map<String, Value>, place: &str, secrets: &mut Map<String, Value>) {
    for (name, value) in members {
        let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
        if place == format!("/{PUBLIC_PARAM}") {
            continue;
        }
        if is_secret(name) {
            take_secret(value, place, secrets);
        } else {
            split_value(value, &place, secrets);
        }
    }
}

fn split_value(value: &mut Value, place: &str, secrets: &mut Map<String, Value>) {
    match value {
        Value::Object(members) => split_members(members, place, secrets),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                split_value(item, &format!("{place}/{index}"), secrets);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn take_secret(value: &mut Value, place: String, secrets: &mut Map<String, Value>) {
    if !value.is_null() && value != "" && value != MASK {
        secrets.insert(place, std::mem::replace(value, MASK.into()));
    }
}

/// Whether a member of `params` by this name holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    SECRET_PARAMS
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}

/// `params` in clear: the secrets in their places again. Whole, it is a secret.
#[must_use]
pub fn merge_secrets(params: &Map<String, Value>, secrets: &SecretMap) -> SecretMap {
    let mut merged = Value::Object(params.clone());
    for (place, secret) in secrets.expose() {
        if let Some(masked) = merged.pointer_mut(place).filter(|value| **value == MASK) {
            masked.clone_from(secret);
        }
    }
    match merged {
        Value::Object(merged) => SecretMap::new(merged),
        _ => SecretMap::default(),
    }
}

/// The secrets after a change: those `given`, and of those `stored` the ones whose places in the
/// public `params` still hold a mask.
#[must_use]
pub fn carry_over(params: &Map<String, Value>, given: &SecretMap, stored: &SecretMap) -> SecretMap {
    let public = Value::Object(params.clone());
    let masked = |place: &&String| public.pointer(place).is_some_and(|value| *value == MASK);
    let mut secrets = given.expose().clone();
    for (place, secret) in stored.expose() {
        if masked(&place) && !secrets.contains_key(place) {
            secrets.insert(place.clone(), secret.clone());
        }
    }
    SecretMap::new(secrets)
}

#[cfg(test)]
mod tests;
