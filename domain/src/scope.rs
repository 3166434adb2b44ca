//! Scopes (RFC 6749, section 3.3): what somebody may do, as names that mean something to whoever grants them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
