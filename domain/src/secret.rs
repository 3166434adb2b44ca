//! Plaintext secrets: nothing prints or serializes them, and their memory is zeroed on drop.
//!
//! Zeroing reaches what these types own. Copies that a parser or the network stack made on the
//! way in or out are beyond them.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

const REDACTED: &str = "[redacted]";

/// A secret text, such as an access token or a password.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret `text`, whose memory it takes over.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text in clear: to be sealed, or given to whom it is meant for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// A JSON object whose every value may be secret, such as the fields of a credential form.
#[derive(Clone, Default)]
pub struct SecretMap(Map<String, Value>);

impl SecretMap {
    /// The secret object `map`, whose memory it takes over.
    #[must_use]
    pub const fn new(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The object in clear.
    #[must_use]
    pub const fn expose(&self) -> &Map<String, Value> {
        &self.0
    }

    /// These fields, and in place of those that `newer` has, too, its own.
    #[must_use]
    pub fn updated(&self, newer: &Self) -> Self {
        let mut fields = self.0.clone();
        fields.extend(newer.0.clone());
        Self(fields)
    }

    /// Whether it has no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for SecretMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self::new)
    }
}

impl Drop for SecretMap {
    fn drop(&mut self) {
        self.0.values_mut().for_each(zero);
    }
}

/// Zeroes the texts in `value`. Field names stay: they are the form's, not the user's.
fn zero(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(zero),
        Value::Object(fields) => fields.values_mut().for_each(zero),
        Value::Null | Value::Bool(_) | Value::Number(_) => *value = Value::Null,
    }
}

/// A plaintext is not of the form it was sealed in. It does not say why, for that would quote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plaintext is not of the form it was sealed in")]
pub struct InvalidPlaintext;

/// `value` as JSON in memory that is zeroed on drop and was never moved while it grew.
///
/// `value` must have a JSON form: its maps have texts for keys, and serializing it cannot fail.
#[expect(
    clippy::expect_used,
    reason = "the callers' wire structs always have a JSON form, and memory takes every byte"
)]
pub(crate) fn to_secret_json(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).expect("a wire struct has a JSON form");
    // A vector that grows leaves its former, unzeroed memory behind.
    let mut json = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *json, value).expect("a wire struct has a JSON form");
    json
}

/// Counts the bytes written to it.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "[redacted]");
        assert_eq!(
            format!("{:#?}", Some(Secret::new("canary"))),
            "Some(\n    [redacted],\n)"
        );
        assert_eq!(
            format!("{:?}", SecretMap::new(map(json!({"canary": "canary"})))),
            "[redacted]"
        );
    }

    #[test]
    fn a_secret_is_read_from_json_whatever_its_characters() {
        let secret: Secret = serde_json::from_str(r#""p\u00e4ss\n\"word""#).unwrap();
        assert_eq!(secret.expose(), "päss\n\"word");
    }

    #[test]
    fn zeroing_leaves_no_text_and_no_number() {
        let mut value =
            json!({"a": "canary", "b": ["canary", {"c": "canary"}], "d": 1234, "e": true});
        zero(&mut value);
        assert_eq!(
            value,
            json!({"a": "", "b": ["", {"c": ""}], "d": null, "e": null})
        );
    }

    #[test]
    fn json_is_written_without_growing() {
        let value = json!({"key": "x".repeat(10_000), "more": ["ü\n", 1, null]});
        let json = to_secret_json(&value);
        assert_eq!(json.len(), json.capacity());
        assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), value);
    }
}
