//! Admin keys: how they are made, read and recognised.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nexus_domain::secret::Secret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::file::FileProblem;
use super::state::StateKey;
use crate::random::{RandomnessUnavailable, make_bytes};

const PREFIX: &str = "nxs_";

/// How a key is called in the log: `key_` and eight hex digits that only this server can derive from the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The admin keys. Holds their SHA-256 hashes, not the keys.
#[derive(Clone)]
pub struct ApiKeys(Vec<(Hash, KeyName)>);

type Hash = [u8; 32];

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.0.iter().map(|(_, name)| name))
            .finish()
    }
}

impl ApiKeys {
    /// The keys given, named under the state key.
    #[must_use]
    pub fn new(keys: &[Secret], state_key: &StateKey) -> ApiKeys {
        let hashed = keys.iter().map(|key| {
            let name = state_key.fingerprint("nexus api key name v1", key.expose());
            (hash(key.expose()), KeyName(format!("key_{name}")))
        });
        ApiKeys(hashed.collect())
    }

    /// The name of the key, when it is one of ours. Takes the same time whichever key it equals, and whether it
    /// equals any.
    #[must_use]
    pub fn authorize(&self, key: &str) -> Option<KeyName> {
        let sent = hash(key);
        let mut found = Choice::from(0);
        let mut index = 0;
        for (position, (known, _)) in (0_u64..).zip(&self.0) {
            let equal = known.ct_eq(&sent);
            index.conditional_assign(&position, equal);
            found |= equal;
        }
        let (_, name) = self.0.get(usize::try_from(index).ok()?)?;
        bool::from(found).then(|| name.clone())
    }
}

fn hash(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

/// A new key: `nxs_` and 256 random bits in base64url.
pub(super) fn make() -> Result<Secret, RandomnessUnavailable> {
    let bytes = Zeroizing::new(make_bytes::<32>()?);
    let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    Ok(Secret::new(format!("{PREFIX}{}", text.as_str())))
}

/// The keys of a file, separated by commas or line breaks: at least one, each of visible ASCII.
pub(super) fn parse(content: &str) -> Result<Vec<Secret>, FileProblem> {
    let texts = content
        .split([',', '\n'])
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let keys: Vec<Secret> = texts.map(Secret::new).collect();
    let sane = |key: &Secret| key.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if keys.is_empty() || !keys.iter().all(sane) {
        return Err(FileProblem::Malformed("keys of visible ASCII characters"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyMaterial;

    fn keys(texts: &[&str]) -> ApiKeys {
        let state_key = StateKey::new(KeyMaterial::from_bytes([7; 32]));
        let secrets: Vec<Secret> = texts.iter().map(|text| Secret::new(*text)).collect();
        ApiKeys::new(&secrets, &state_key)
    }

    #[test]
    fn each_key_is_recognised_under_a_name_of_its_own() {
        let keys = keys(&["first", "second", "third"]);
        let names = ["first", "second", "third"].map(|key| keys.authorize(key).unwrap());
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
        for name in names {
            assert_eq!(name.as_str().len(), "key_12345678".len());
        }
    }

    #[test]
    fn another_text_is_no_key() {
        let keys = keys(&["first", "second"]);
        for text in ["", "firs", "first ", "FIRST", "third"] {
            assert_eq!(keys.authorize(text), None, "{text:?}");
        }
        assert_eq!(super::ApiKeys(Vec::new()).authorize("first"), None);
    }

    #[test]
    fn debug_shows_names_only() {
        assert!(!format!("{:?}", keys(&["s3cret"])).contains("s3cret"));
    }

    #[test]
    fn a_made_key_carries_256_random_bits() {
        let key = make().unwrap();
        let text = key.expose();
        assert_eq!((text.len(), &text[..4]), (47, "nxs_"));
        assert_ne!(make().unwrap().expose(), text);
    }

    #[test]
    fn a_file_may_hold_several_keys() {
        let found = parse("a,b\n\n c \r\n").unwrap();
        assert_eq!(
            found.iter().map(Secret::expose).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn a_file_without_sane_keys_is_malformed() {
        for content in ["", " \n,", "two words", "schlüssel"] {
            assert!(
                matches!(parse(content), Err(FileProblem::Malformed(_))),
                "{content:?}"
            );
        }
    }
}
