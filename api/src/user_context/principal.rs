//! A user as others describe one.

use std::collections::HashSet;

use nexus_domain::scope::is_scope;
use nexus_domain::session::Principal;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The longest text that names a user, a tenant or a clearance level, characters.
const MAX_NAME: usize = 255;
/// The most permissions of one user.
const MAX_PERMISSIONS: usize = 1_000;

/// What is said of a user beside the name, by a backend and in a token alike.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Standing {
    tenant_id: Option<String>,
    clearance_level: Option<Level>,
    permissions: Vec<String>,
}

/// A clearance level: a word, or a number that is taken as its text.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Level {
    Word(String),
    Number(Number),
}

impl Level {
    fn text(&self) -> String {
        match self {
            Level::Word(word) => word.clone(),
            Level::Number(number) => number.to_string(),
        }
    }
}

impl Standing {
    /// The user of that name; nothing when a name is empty or a text too long, or there are too many permissions. A
    /// permission that can be no scope (RFC 6749 §3.3) never permits one and is left out; so are repetitions.
    pub(super) fn of(&self, user: &str) -> Option<Principal> {
        let level = self.clearance_level.as_ref().map(Level::text);
        let texts = [Some(user), self.tenant_id.as_deref(), level.as_deref()];
        let long = |text: &&str| text.chars().nth(MAX_NAME).is_some();
        let many = self.permissions.len() > MAX_PERMISSIONS;
        if user.is_empty() || many || texts.iter().flatten().any(long) {
            return None;
        }
        Some(Principal {
            acting_for: user.to_owned(),
            tenant_id: self.tenant_id.clone(),
            clearance_level: level,
            permissions: usable(&self.permissions),
        })
    }
}

fn usable(permissions: &[String]) -> Vec<String> {
    let mut seen = HashSet::new();
    let usable = permissions
        .iter()
        .filter(|permission| is_scope(permission) && seen.insert(permission.as_str()));
    usable.cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(user: &str, standing: Value) -> Option<Principal> {
        serde_json::from_value::<Standing>(standing).ok()?.of(user)
    }

    #[test]
    fn what_is_said_of_a_user_is_taken_over() {
        let standing =
            json!({"tenant_id": "t1", "clearance_level": "high", "permissions": ["b", "a"]});
        let principal = Principal {
            acting_for: "u1".to_owned(),
            tenant_id: Some("t1".to_owned()),
            clearance_level: Some("high".to_owned()),
            permissions: vec!["b".to_owned(), "a".to_owned()],
        };
        assert_eq!(of("u1", standing), Some(principal));
    }

    #[test]
    fn tenant_and_clearance_may_be_absent_or_null_and_permissions_may_be_none() {
        for standing in [
            json!({"permissions": []}),
            json!({"permissions": [], "tenant_id": null, "clearance_level": null}),
        ] {
            let principal = of("u1", standing).unwrap();
            assert_eq!(
                (principal.tenant_id, principal.clearance_level),
                (None, None)
            );
            assert_eq!(principal.permissions, Vec::<String>::new());
        }
    }

    #[test]
    fn a_clearance_that_is_a_number_is_taken_as_its_text() {
        for (number, text) in [(json!(3), "3"), (json!(-1), "-1"), (json!(1.5), "1.5")] {
            let principal = of("u1", json!({"permissions": [], "clearance_level": number}));
            assert_eq!(principal.unwrap().clearance_level.unwrap(), text);
        }
    }

    #[test]
    fn anything_of_another_type_is_nobody() {
        for standing in [
            json!({}),
            json!({"permissions": null}),
            json!({"permissions": "read write"}),
            json!({"permissions": {"read": true}}),
            json!({"permissions": ["read", 1]}),
            json!({"permissions": ["read", null]}),
            json!({"permissions": [], "tenant_id": 7}),
            json!({"permissions": [], "tenant_id": ["t1"]}),
            json!({"permissions": [], "clearance_level": true}),
            json!({"permissions": [], "clearance_level": {"high": 1}}),
        ] {
            assert_eq!(of("u1", standing.clone()), None, "{standing}");
        }
    }

    #[test]
    fn names_have_255_characters_at_most_and_a_user_has_one() {
        let (long, longer) = ("ä".repeat(255), "ä".repeat(256));
        let standing =
            |text: &str| json!({"permissions": [], "tenant_id": text, "clearance_level": text});
        assert!(of(&long, standing(&long)).is_some());
        assert_eq!(of("", standing("x")), None);
        assert_eq!(of(&longer, standing("x")), None);
        for member in ["tenant_id", "clearance_level"] {
            assert_eq!(of("u1", json!({"permissions": [], member: longer})), None);
        }
    }

    #[test]
    fn permissions_that_can_be_no_scope_are_left_out_and_so_are_repetitions() {
        let long = "x".repeat(513);
        let permissions = json!(["read", "", " read", "two words", "é", long, "read", "write"]);
        let principal = of("u1", json!({"permissions": permissions})).unwrap();
        assert_eq!(principal.permissions, ["read", "write"]);
    }

    #[test]
    fn more_than_a_thousand_permissions_are_too_many() {
        let many = |count: usize| {
            let permissions: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
            of("u1", json!({"permissions": permissions}))
        };
        assert_eq!(many(1_000).unwrap().permissions.len(), 1_000);
        assert_eq!(many(1_001), None);
    }
}
