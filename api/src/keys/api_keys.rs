//! API keys: how they are made, read and recognised.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

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

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Everything.
    Admin,
    /// On the Gateway what agents and applications need.
    Caller,
}

/// The API keys; clones share them. Holds their SHA-256 hashes, not the keys.
#[derive(Clone)]
pub struct ApiKeys(Arc<RwLock<Vec<Known>>>);

#[derive(Clone)]
struct Known {
    hash: Hash,
    name: KeyName,
    kind: KeyKind,
}

type Hash = [u8; 32];

/// Which keys a change brought and took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// The names of those that are new.
    pub added: Vec<String>,
    /// The names of those that open nothing any more.
    pub removed: Vec<String>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.known().iter().map(|known| &known.name))
            .finish()
    }
}

impl ApiKeys {
    /// The admin keys and the caller keys given, named under the state key.
    #[must_use]
    pub fn new(admin: &[Secret], caller: &[Secret], state_key: &StateKey) -> ApiKeys {
        let known = |kind| {
            move |key: &Secret| {
                let name = state_key.fingerprint("nexus api key name v1", key.expose());
                Known {
                    hash: hash(key.expose()),
                    name: KeyName(format!("key_{name}")),
                    kind,
                }
            }
        };
        let admin = admin.iter().map(known(KeyKind::Admin));
        let all = admin.chain(caller.iter().map(known(KeyKind::Caller)));
        ApiKeys(Arc::new(RwLock::new(all.collect())))
    }

    /// The name and kind of the key, when it is one of ours. Takes the same time whichever key it
    /// equals, and whether it equals any. A key that is of both kinds is an admin key.
    #[must_use]
    pub fn authorize(&self, key: &str) -> Option<(KeyName, KeyKind)> {
        let sent = hash(key);
        let mut found = Choice::from(0);
        let mut index = 0;
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (position, known) in (0_u64..).zip(all.iter()) {
            let equal = known.hash.ct_eq(&sent) & !found;
            index.conditional_assign(&position, equal);
            found |= equal;
        }
        let known = all.get(usize::try_from(index).ok()?)?;
        bool::from(found).then(|| (known.name.clone(), known.kind))
    }

    /// Takes over the keys of `newer`; what that changes.
    pub fn replace(&self, newer: &ApiKeys) -> KeyChanges {
        let newer = newer.known();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let names = |keys: &[Known]| -> BTreeSet<String> {
            keys.iter().map(|known| known.name.to_string()).collect()
        };
        let (before, after) = (names(&all), names(&newer));
        *all = newer;
        KeyChanges {
            added: after.difference(&before).cloned().collect(),
            removed: before.difference(&after).cloned().collect(),
        }
    }

    fn known(&self) -> Vec<Known> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.clone()
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
        ApiKeys::new(&secrets, &[Secret::new("caller")], &state_key)
    }

    #[test]
    fn each_key_is_recognised_under_a_name_of_its_own() {
        let keys = keys(&["first", "second", "third"]);
        let names = ["first", "second", "third"].map(|key| {
            let (name, kind) = keys.authorize(key).unwrap();
            assert_eq!(kind, KeyKind::Admin);
            name
        });
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
        let state_key = StateKey::new(KeyMaterial::from_bytes([7; 32]));
        assert_eq!(ApiKeys::new(&[], &[], &state_key).authorize("first"), None);
    }

    #[test]
    fn a_callers_key_is_told_from_an_admins() {
        let (_, kind) = keys(&["first"]).authorize("caller").unwrap();
        assert_eq!(kind, KeyKind::Caller);
        let (_, kind) = keys(&["caller"]).authorize("caller").unwrap();
        assert_eq!(kind, KeyKind::Admin, "it is both");
    }

    #[test]
    fn keys_are_replaced_for_every_clone() {
        let (shared, newer) = (keys(&["first", "second"]), keys(&["second", "third"]));
        let clone = shared.clone();
        let (first, _) = shared.authorize("first").unwrap();
        let (third, _) = newer.authorize("third").unwrap();
        let changes = shared.replace(&newer);
        assert_eq!(changes.added, [third.as_str()]);
        assert_eq!(changes.removed, [first.as_str()]);
        assert_eq!(clone.authorize("first"), None);
        assert!(clone.authorize("third").is_some());
        assert_eq!(shared.replace(&newer), KeyChanges::default());
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
