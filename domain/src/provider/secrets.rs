//! A provider's secrets, in clear.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::secret::{Secret, SecretMap, to_secret_json};

/// What stands for a secret in the parameters that are shown.
pub const MASK: &str = "********";

/// The keys inside `params` that hold secrets, whatever their case.
pub const SECRET_PARAMS: &[&str] = &[
    "access_token",
    "api_secret",
    "client_secret",
    "password",
    "private_key",
    "private_key_pem",
    "refresh_token",
    "secret",
    "secret_key",
    "signing_key",
    "signing_secret",
    "webhook_secret",
];

/// A provider's secrets.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ProviderSecrets {
    /// The OAuth client's secret.
    pub client_secret: Option<Secret>,
    /// Those taken out of `params`.
    pub params: SecretMap,
}

/// A plaintext is not a provider's secrets. It does not say why, for that would quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plaintext is not a provider's secrets")]
pub struct InvalidProviderSecrets;

/// The plaintext, to be written, of borrowed secrets.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    params: &'a Map<String, Value>,
}

impl ProviderSecrets {
    /// Whether there is nothing to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.client_secret.is_none() && self.params.expose().is_empty()
    }

    /// The plaintext to be sealed: JSON, `{"client_secret":…,"params":{…}}`.
    #[must_use]
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        to_secret_json(&Written { client_secret: self.client_secret.as_ref().map(Secret::expose), params: self.params.expose() })
    }

    /// Reads the plaintext of an opened blob.
    ///
    /// # Errors
    /// [`InvalidProviderSecrets`].
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, InvalidProviderSecrets> {
        serde_json::from_slice(plaintext).map_err(|_| InvalidProviderSecrets)
    }
}

/// Takes the secrets out of `params`: the public parameters, in which a mask stands for each
/// secret, and the secrets. What is masked already, null or empty is no secret.
#[must_use]
pub fn split_secrets(mut params: Map<String, Value>) -> (Map<String, Value>, SecretMap) {
    let mut secrets = Map::new();
    for (name, value) in &mut params {
        if is_secret(name) && !is_blank(value) {
            secrets.insert(name.clone(), std::mem::replace(value, Value::String(MASK.to_owned())));
        }
    }
    (params, SecretMap::new(secrets))
}

/// Puts each secret back where its mask stands. A mask whose secret is not known stays.
#[must_use]
pub fn merge_secrets(mut params: Map<String, Value>, secrets: &SecretMap) -> Map<String, Value> {
    for (name, value) in &mut params {
        if is_secret(name)
            && value == MASK
            && let Some(secret) = secrets.expose().get(name)
        {
            *value = secret.clone();
        }
    }
    params
}

fn is_secret(name: &str) -> bool {
    SECRET_PARAMS.iter().any(|secret| secret.eq_ignore_ascii_case(name))
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value == "" || value == MASK
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn secrets_are_taken_out_of_the_parameters_and_put_back() {
        let given = object(json!({"audience": "a", "private_key": {"kty": "canary"}, "Client_Secret": "canary", "password": ""}));
        let (public, secrets) = split_secrets(given.clone());
        assert_eq!(Value::Object(public.clone()), json!({"audience": "a", "private_key": MASK, "Client_Secret": MASK, "password": ""}));
        assert_eq!(secrets.expose().len(), 2);
        assert_eq!(merge_secrets(public, &secrets), given);
    }

    #[test]
    fn a_mask_is_no_secret() {
        let masked = object(json!({"client_secret": MASK}));
        let (public, secrets) = split_secrets(masked.clone());
        assert_eq!(public, masked);
        assert!(secrets.expose().is_empty());
        assert_eq!(merge_secrets(masked.clone(), &secrets), masked);
    }

    #[test]
    fn a_new_value_is_not_overwritten_by_the_stored_one() {
        let stored = SecretMap::new(object(json!({"client_secret": "old"})));
        let given = object(json!({"client_secret": "new"}));
        assert_eq!(merge_secrets(given.clone(), &stored), given);
    }

    #[test]
    fn the_plaintext_is_frozen_and_reads_back() {
        let frozen = r#"{"client_secret":"canary","params":{"private_key":"canary"}}"#;
        for plaintext in [frozen, r#"{"params":{}}"#] {
            let secrets = ProviderSecrets::from_plaintext(plaintext.as_bytes()).unwrap();
            assert_eq!(secrets.to_plaintext().as_slice(), plaintext.as_bytes());
            assert_eq!(secrets.is_empty(), plaintext != frozen);
            assert!(!format!("{secrets:?}").contains("canary"));
        }
    }

    #[test]
    fn what_is_not_a_providers_secrets_is_refused() {
        for plaintext in ["", "{}", r#"{"client_secret":7,"params":{}}"#, r#"{"params":"canary"}"#] {
            assert_eq!(ProviderSecrets::from_plaintext(plaintext.as_bytes()).unwrap_err(), InvalidProviderSecrets, "{plaintext}");
        }
    }
}
