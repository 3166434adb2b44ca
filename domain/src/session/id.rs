//! The names of sessions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text is no session's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session's id is `sess_` or `obo_` and 32 hexadecimal digits")]
pub struct InvalidSessionId;

/// A session's id: `sess_`, or `obo_` of one on behalf of a user, and 128 random bits in hexadecimal. No secret: it
/// opens nothing without a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// The id made of random bits.
    #[must_use]
    pub fn from_random(bits: [u8; 16], on_behalf: bool) -> Self {
        let prefix = if on_behalf { "obo_" } else { "sess_" };
        let bits = u128::from_be_bytes(bits);
        Self(format!("{prefix}{bits:032x}"))
    }

    /// Reads an id.
    ///
    /// # Errors
    /// [`InvalidSessionId`]
    pub fn parse(text: &str) -> Result<Self, InvalidSessionId> {
        let digits = text.strip_prefix("sess_").or(text.strip_prefix("obo_"));
        let digits = digits.ok_or(InvalidSessionId)?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == 32 && digits.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSessionId)
        }
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whether_it_is_on_behalf_of_a_user() {
        let id = SessionId::from_random([0xab; 16], false);
        assert_eq!(id.as_str(), format!("sess_{}", "ab".repeat(16)));
        let id = SessionId::from_random([1; 16], true);
        assert_eq!(id.as_str(), format!("obo_{}", "01".repeat(16)));
        assert_eq!(SessionId::parse(id.as_str()), Ok(id));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let digits = "0".repeat(32);
        for text in [
            "",
            "sess_",
            &digits,
            &format!("x_{digits}"),
            &format!("sess_{digits}0"),
            &format!("sess_{}", "A".repeat(32)),
        ] {
            assert_eq!(SessionId::parse(text), Err(InvalidSessionId), "{text}");
        }
    }
}
