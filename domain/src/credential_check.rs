//! Whether a provider's answer says that it takes a credential: `params.validation`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::provider::{InvalidProfile, ProviderProfile, is_secret};
use crate::strategy::{is_framing, is_token};

/// The statuses that refuse a credential when nothing is said.
const REFUSALS: [u16; 2] = [401, 403];

/// How a provider's answers to a request with the credential are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRules {
    /// The provider is not asked.
    pub skip: bool,
    /// Headers that the request has beside the credential's.
    pub headers: BTreeMap<String, String>,
    /// An answer with one of these statuses is a refusal.
    pub failure_status: Vec<u16>,
    /// So is one that holds one of these texts, whatever its status.
    pub failure_body_contains: Vec<String>,
    /// When there are any, so is one that holds none of these.
    pub success_body_contains: Vec<String>,
}

/// What a provider's answer says of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider takes it.
    Accepted,
    /// The provider refuses it.
    Rejected,
    /// Nothing: the provider is in trouble of its own (429, 5xx).
    Undecided,
}

impl Default for CheckRules {
    fn default() -> Self {
        Self {
            skip: false,
            headers: BTreeMap::new(),
            failure_status: REFUSALS.to_vec(),
            failure_body_contains: Vec::new(),
            success_body_contains: Vec::new(),
        }
    }
}

impl CheckRules {
    /// What a profile says. Rules that make no sense, as older ones may not, count as none.
    #[must_use]
    pub fn of(profile: &ProviderProfile) -> Self {
        let given = profile.params.get("validation");
        given.and_then(|given| read(given).ok()).unwrap_or_default()
    }

    /// What a complete answer says of the credential. Its texts are looked for first, then its status: so a rule for a
    /// status of 429 or 5xx counts, too.
    #[must_use]
    pub fn judge(&self, status: u16, body: &[u8]) -> Verdict {
        let holds = |text: &String| {
            let text = text.as_bytes();
            body.windows(text.len()).any(|part| part == text)
        };
        let in_trouble = status == 429 || (500..600).contains(&status);
        if self.failure_body_contains.iter().any(holds) || self.failure_status.contains(&status) {
            Verdict::Rejected
        } else if in_trouble {
            Verdict::Undecided
        } else if self.success_body_contains.is_empty()
            || self.success_body_contains.iter().any(holds)
        {
            Verdict::Accepted
        } else {
            Verdict::Rejected
        }
    }
}

/// Whether `params.validation` makes sense.
pub(crate) fn check(given: &Value) -> Result<(), InvalidProfile> {
    read(given).map(drop)
}

fn read(given: &Value) -> Result<CheckRules, InvalidProfile> {
    if !given.is_object() {
        return Err(InvalidProfile::new(
            "params.validation",
            "must be an object",
        ));
    }
    let texts = "must be a text or several, none of them empty";
    let skip = member(given, "skip")
        .ok_or_else(|| InvalidProfile::new("params.validation.skip", "must be true or false"))?;
    let statuses = member::<OneOrMany<u16>>(given, "failure_status").map(OneOrMany::into_vec);
    let statuses = statuses.filter(|all| all.iter().all(|status| (100..600).contains(status)));
    let statuses = statuses.ok_or_else(|| {
        let message = "must be a status from 100 to 599, or several";
        InvalidProfile::new("params.validation.failure_status", message)
    })?;
    Ok(CheckRules {
        skip,
        headers: read_headers(given)?,
        failure_status: if says(given, "failure_status") {
            statuses
        } else {
            REFUSALS.to_vec()
        },
        failure_body_contains: member_texts(given, "failure_body_contains")
            .ok_or_else(|| InvalidProfile::new("params.validation.failure_body_contains", texts))?,
        success_body_contains: member_texts(given, "success_body_contains")
            .ok_or_else(|| InvalidProfile::new("params.validation.success_body_contains", texts))?,
    })
}

fn read_headers(given: &Value) -> Result<BTreeMap<String, String>, InvalidProfile> {
    let field = "params.validation.headers";
    let message = "must have texts that a header can hold, by the names of headers";
    let headers: BTreeMap<String, String> =
        member(given, "headers").ok_or_else(|| InvalidProfile::new(field, message))?;
    let fits = |(name, value): (&String, &String)| {
        let visible = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
        !name.is_empty() && is_token(name) && value.bytes().all(visible)
    };
    if !headers.iter().all(fits) || headers.keys().any(|name| is_framing(name)) {
        return Err(InvalidProfile::new(field, message));
    }
    if headers.keys().any(|name| holds_secrets(name)) {
        let message =
            "are shown to whoever reads the provider, so they must not be those that hold secrets";
        return Err(InvalidProfile::new(field, message));
    }
    Ok(headers)
}

/// Whether a header of this name holds a secret, by its name.
fn holds_secrets(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let credentials = [
        "authorization",
        "proxy_authorization",
        "cookie",
        "x_api_key",
    ];
    credentials.contains(&name.as_str()) || is_secret(&name)
}

/// One, or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

fn says(given: &Value, name: &str) -> bool {
    given.get(name).is_some_and(|value| !value.is_null())
}

/// A member, or what stands for one that is absent or null; none when it is of another type.
fn member<T: for<'de> Deserialize<'de> + Default>(given: &Value, name: &str) -> Option<T> {
    match given.get(name) {
        None | Some(Value::Null) => Some(T::default()),
        Some(value) => T::deserialize(value).ok(),
    }
}

fn member_texts(given: &Value, name: &str) -> Option<Vec<String>> {
    let texts = member::<OneOrMany<String>>(given, name)?.into_vec();
    texts.iter().all(|text| !text.is_empty()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(rules: &Value, status: u16, body: &str) -> Verdict {
        let profile = json!({"name": "x", "params": {"validation": rules}});
        CheckRules::of(&serde_json::from_value(profile).unwrap()).judge(status, body.as_bytes())
    }

    #[test]
    fn an_answer_is_judged_by_the_rules_and_otherwise_by_its_status() {
        use Verdict::{Accepted, Rejected, Undecided};
        let nothing = json!({});
        let status = json!({"failure_status": [400, 503]});
        let failure = json!({"failure_body_contains": "\"ok\":false"});
        let success = json!({"success_body_contains": ["account_id", "user_id"]});
        for (rules, code, body, expected) in [
            (&nothing, 200, "", Accepted),
            (&nothing, 204, "", Accepted),
            (&nothing, 302, "", Accepted),
            (&nothing, 400, "", Accepted),
            (&nothing, 401, "", Rejected),
            (&nothing, 403, "", Rejected),
            (&nothing, 404, "", Accepted),
            (&nothing, 429, "", Undecided),
            (&nothing, 500, "", Undecided),
            (&nothing, 599, "", Undecided),
            (&status, 400, "", Rejected),
            (&status, 401, "", Accepted),
            (&status, 500, "", Undecided),
            (&status, 503, "", Rejected),
            (&failure, 200, r#"{"ok":false,"error":"x"}"#, Rejected),
            (&failure, 200, r#"{"ok":true}"#, Accepted),
            (&failure, 500, r#"{"ok":false}"#, Rejected),
            (&failure, 401, r#"{"ok":true}"#, Rejected),
            (&success, 200, r#"{"user_id":1}"#, Accepted),
            (&success, 200, "{}", Rejected),
            (&success, 200, "", Rejected),
            (&success, 404, "", Rejected),
            (&success, 503, "", Undecided),
            (&success, 403, "account_id", Rejected),
        ] {
            assert_eq!(
                verdict(rules, code, body),
                expected,
                "{rules} {code} {body}"
            );
        }
    }

    #[test]
    fn no_status_refuses_when_the_list_is_empty() {
        let rules = json!({"failure_status": []});
        assert_eq!(verdict(&rules, 401, ""), Verdict::Accepted);
    }

    #[test]
    fn null_and_absent_are_the_same_and_other_members_are_passed_over() {
        let null = json!({"skip": null, "failure_status": null, "failure_body_contains": null, "success_body_contains": null, "later": 1});
        assert_eq!(read(&null), Ok(CheckRules::default()));
        assert!(read(&json!({"skip": true})).is_ok_and(|rules| rules.skip));
        let headers = read(&json!({"headers": {"X-Version": "2"}}))
            .unwrap()
            .headers;
        assert_eq!(headers["X-Version"], "2");
        assert_eq!(
            CheckRules::of(&ProviderProfile::default()),
            CheckRules::default()
        );
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_named() {
        for (rules, field) in [
            (json!([]), "params.validation"),
            (json!(true), "params.validation"),
            (json!({"skip": "yes"}), "params.validation.skip"),
            (
                json!({"failure_status": "401"}),
                "params.validation.failure_status",
            ),
            (
                json!({"failure_status": 99}),
                "params.validation.failure_status",
            ),
            (
                json!({"failure_status": [401, 600]}),
                "params.validation.failure_status",
            ),
            (
                json!({"failure_status": -1}),
                "params.validation.failure_status",
            ),
            (
                json!({"failure_body_contains": ""}),
                "params.validation.failure_body_contains",
            ),
            (
                json!({"failure_body_contains": {}}),
                "params.validation.failure_body_contains",
            ),
            (
                json!({"success_body_contains": [1]}),
                "params.validation.success_body_contains",
            ),
            (
                json!({"success_body_contains": ["a", ""]}),
                "params.validation.success_body_contains",
            ),
            (json!({"headers": ["a"]}), "params.validation.headers"),
            (json!({"headers": {"A": 1}}), "params.validation.headers"),
            (json!({"headers": {"A B": ""}}), "params.validation.headers"),
            (
                json!({"headers": {"A": "b\n"}}),
                "params.validation.headers",
            ),
            (
                json!({"headers": {"Cookie": "b"}}),
                "params.validation.headers",
            ),
            (
                json!({"headers": {"Api-Key": "b"}}),
                "params.validation.headers",
            ),
            (
                json!({"headers": {"Host": "b"}}),
                "params.validation.headers",
            ),
        ] {
            assert_eq!(check(&rules).unwrap_err().field, field, "{rules}");
        }
    }

    #[test]
    fn rules_of_an_older_profile_that_make_no_sense_count_as_none() {
        let verdict = verdict(&json!({"failure_status": "4xx"}), 401, "");
        assert_eq!(verdict, Verdict::Rejected);
    }
}
