//! The names of sessions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A text is no session's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session's id is `sess_` or `obo_` and 32 hexadecimal digits")]
pub struct InvalidSessionId;

/// A session's id: `sess_`, or `obo_` of one on behalf of a user, and in hexadecimal 48 bits that are the milliseconds since
/// the Unix epoch and 80 random ones. What is opened together is stored together. No secret: it opens nothing without a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// The id of a session that is opened at a time.
    #[must_use]
    pub fn new(at: Timestamp, random: [u8; 10], on_behalf: bool) -> Self {
        let prefix = if on_behalf { "obo_" } else { "sess_" };
        let milliseconds = at.as_micros().max(0).cast_unsigned() / 1_000;
        let mut bits = [0; 16];
        bits[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
        bits[6..].copy_from_slice(&random);
        Self(format!("{prefix}{:032x}", u128::from_be_bytes(bits)))
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
    use std::time::Duration;

    use super::*;

    const AT: Timestamp = Timestamp::from_micros(0x019d_2b3c_4d5e * 1_000 + 999);

    #[test]
    fn an_id_says_whether_it_is_on_behalf_of_a_user() {
        let id = SessionId::new(AT, [0xab; 10], false);
        let digits = "019d2b3c4d5e".to_owned() + &"ab".repeat(10);
        assert_eq!(id.as_str(), format!("sess_{digits}"));
        let id = SessionId::new(AT, [1; 10], true);
        assert_eq!(id.as_str(), format!("obo_019d2b3c4d5e{}", "01".repeat(10)));
        assert_eq!(SessionId::parse(id.as_str()), Ok(id));
    }

    #[test]
    fn what_is_opened_later_has_the_greater_id() {
        let earlier = SessionId::new(AT, [0xff; 10], false);
        let later = AT.plus(Duration::from_millis(1));
        assert!(earlier < SessionId::new(later, [0; 10], false));
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
