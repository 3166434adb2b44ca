//! Who did it, and how: what every event carries beside its payload.

use serde::{Deserialize, Serialize};

/// Who and how. In the log it is a flat map of strings in which the unknown is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// The name of the key or the part of the program that acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The person on whose behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The agent that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What the agent said it was doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The way in: an HTTP door, or a part of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// The caller's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// The caller's `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The request this belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What ties several requests together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

impl Metadata {
    /// Of what the program does of its own accord.
    #[must_use]
    pub fn of_the_program(operation: &str) -> Self {
        Self {
            actor: Some("system".to_owned()),
            operation: Some(operation.to_owned()),
            ..Self::default()
        }
    }

    /// The JSON object that is stored.
    ///
    /// # Panics
    /// Never: a struct of optional strings has a JSON form.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a struct of optional strings always has a JSON form"
    )]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("metadata is a map of strings")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_is_unknown_is_absent() {
        assert_eq!(Metadata::default().to_json(), "{}");
    }

    #[test]
    fn it_is_a_flat_map_of_strings_that_reads_back() {
        let metadata = Metadata {
            actor: Some("admin".into()),
            door: Some("token".into()),
            ..Metadata::default()
        };
        let map: HashMap<String, String> = serde_json::from_str(&metadata.to_json()).unwrap();
        assert_eq!(
            map,
            HashMap::from([
                ("actor".into(), "admin".into()),
                ("door".into(), "token".into())
            ])
        );
        assert_eq!(
            serde_json::from_str::<Metadata>(&metadata.to_json()).unwrap(),
            metadata
        );
    }
}
