//! Scopes (RFC 6749, section 3.3): what somebody may do, as names that mean something to whoever grants them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A scope is blank, too long, or has characters that scopes cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is blank, too long, or has characters that scopes cannot have")]
pub struct InvalidScope;

/// The longest scope, bytes.
const MAX_SCOPE: usize = 512;

/// Whether it is a `scope-token`: printable ASCII without space, quote and backslash.
#[must_use]
pub fn is_scope(scope: &str) -> bool {
    let allowed = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !scope.is_empty() && scope.len() <= MAX_SCOPE && scope.bytes().all(allowed)
}

/// Scopes without the space around them, each once, in their order.
///
/// # Errors
/// [`InvalidScope`]
pub fn tidy<S: AsRef<str>>(
    scopes: impl IntoIterator<Item = S>,
) -> Result<Vec<String>, InvalidScope> {
    let mut tidied: Vec<String> = Vec::new();
    for scope in scopes {
        let scope = scope.as_ref().trim();
        if !is_scope(scope) {
            return Err(InvalidScope);
        }
        if !tidied.iter().any(|known| known == scope) {
            tidied.push(scope.to_owned());
        }
    }
    Ok(tidied)
}

/// Since which epoch each of some scopes has been there without a break.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Since(BTreeMap<String, u64>);

impl Since {
    /// These scopes are there from now on: those that were there before still are since then, the others since `epoch`.
    pub fn update(&mut self, scopes: &[String], epoch: u64) {
        let since = |scope: &String| self.0.get(scope).copied().unwrap_or(epoch);
        self.0 = scopes
            .iter()
            .map(|scope| (scope.clone(), since(scope)))
            .collect();
    }

    /// Whether all of these have been there since `epoch` or longer.
    #[must_use]
    pub fn holds(&self, scopes: &[String], epoch: u64) -> bool {
        let held = |scope: &String| self.0.get(scope).is_some_and(|since| *since <= epoch);
        scopes.iter().all(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_that_was_away_is_there_since_it_came_back() {
        let of = |scopes: &[&str]| {
            scopes
                .iter()
                .map(|&scope| scope.to_owned())
                .collect::<Vec<_>>()
        };
        let mut since = Since::default();
        since.update(&of(&["read", "write"]), 1);
        assert!(since.holds(&of(&["read", "write"]), 1));
        since.update(&of(&["read"]), 2);
        assert!(since.holds(&of(&["read"]), 1));
        assert!(!since.holds(&of(&["write"]), 2));
        since.update(&of(&["read", "write"]), 3);
        assert!(since.holds(&of(&["read", "write"]), 3));
        assert!(!since.holds(&of(&["read", "write"]), 1));
    }

    #[test]
    fn scopes_are_trimmed_and_kept_once_in_their_order() {
        let tidied = tidy([" write", "read ", "write", "https://api.example/a.b"]);
        let expected = ["write", "read", "https://api.example/a.b"].map(str::to_owned);
        assert_eq!(tidied, Ok(expected.to_vec()));
        assert_eq!(tidy(Vec::<String>::new()), Ok(Vec::new()));
    }

    #[test]
    fn blanks_and_characters_of_no_scope_are_refused() {
        let long = "x".repeat(MAX_SCOPE + 1);
        for scope in [
            "",
            "  ",
            "two words",
            "quo\"te",
            "back\\slash",
            "é",
            "tab\tbed",
            long.as_str(),
        ] {
            assert_eq!(tidy(["read", scope]), Err(InvalidScope), "{scope}");
        }
    }
}
