//! The names of agents.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest id, bytes.
const MAX_LENGTH: usize = 128;

/// A text that no agent can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an agent's id is 1 to 128 letters, digits and `._:-`, the first of them a letter or a digit"
)]
pub struct InvalidAgentId;

/// An agent's id: its operator's choice, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentId(String);

impl AgentId {
    /// Reads an id.
    ///
    /// # Errors
    /// [`InvalidAgentId`]
    pub fn parse(text: &str) -> Result<Self, InvalidAgentId> {
        let (first, rest) = text.as_bytes().split_first().ok_or(InvalidAgentId)?;
        let follows = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-".contains(byte);
        if text.len() <= MAX_LENGTH && first.is_ascii_alphanumeric() && rest.iter().all(follows) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAgentId)
        }
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_word_of_letters_digits_and_four_signs() {
        let longest = "x".repeat(MAX_LENGTH);
        for id in ["a", "7", "mail-bot.v2:eu_1", longest.as_str()] {
            assert_eq!(
                AgentId::parse(id).map(|id| id.to_string()).as_deref(),
                Ok(id)
            );
        }
        let too_long = "x".repeat(MAX_LENGTH + 1);
        for text in [
            "",
            "-a",
            ".a",
            ":a",
            "_a",
            "a b",
            "a/b",
            "é",
            " a",
            "a\n",
            too_long.as_str(),
        ] {
            assert_eq!(AgentId::parse(text), Err(InvalidAgentId), "{text:?}");
        }
    }
}
