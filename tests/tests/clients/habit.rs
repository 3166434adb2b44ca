//! What a client sends with every request, and what it reads in answers.

use nexus_tests::{Answer, Client};
use serde_json::Value;

/// A client's way with one surface.
pub(crate) struct Habit {
    surface: Client,
    headers: Vec<(&'static str, String)>,
}

/// What a client takes a member for.
pub(crate) enum Read {
    /// This very value.
    Is(Value),
    /// A text that is not empty.
    Text,
    /// A list of texts.
    Texts,
    /// A whole number above 0.
    Number,
    /// A time like 2026-11-27T07:12:48Z, as text.
    Time,
    /// A map of texts to texts.
    TextMap,
    /// It has to do without.
    Absent,
}

impl Habit {
    /// Of a client of this surface that sends these headers.
    pub(crate) fn new(surface: Client, headers: &[(&'static str, &str)]) -> Habit {
        let headers = headers.iter();
        Habit {
            surface,
            headers: headers
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        }
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    /// POST without a body.
    pub(crate) async fn post_nothing(&self, path: &str) -> Answer {
        self.ask("POST", path, None).await
    }

    /// With a body, or without one.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.surface.request(method, path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await
    }
}

/// Asserts the status and what is read; returns the body.
#[track_caller]
pub(crate) fn reads(answer: &Answer, status: u16, members: &[(&str, Read)]) -> Value {
    let body = answer.expect(status);
    for (pointer, read) in members {
        let member = body.pointer(pointer);
        assert!(read.fits(member), "{pointer} of {body}");
    }
    body
}

/// The refusal as each client reads it: Go by `code`, the others by `error`, all with a `message`.
#[track_caller]
pub(crate) fn refusal(answer: &Answer, status: u16, code: &str) {
    let is = || Read::Is(code.into());
    reads(
        answer,
        status,
        &[("/code", is()), ("/error", is()), ("/message", Read::Text)],
    );
}

impl Read {
    fn fits(&self, member: Option<&Value>) -> bool {
        let text = |value: &Value| value.is_string();
        match (self, member) {
            (Read::Absent, member) => member.is_none(),
            (_, None) => false,
            (Read::Is(wanted), Some(member)) => wanted == member,
            (Read::Text, Some(member)) => member.as_str().is_some_and(|text| !text.is_empty()),
            (Read::Texts, Some(member)) => {
                member.as_array().is_some_and(|list| list.iter().all(text))
            }
            (Read::Number, Some(member)) => member.as_u64().is_some_and(|number| number > 0),
            (Read::Time, Some(member)) => member.as_str().is_some_and(is_a_time),
            (Read::TextMap, Some(member)) => {
                member.as_object().is_some_and(|map| map.values().all(text))
            }
        }
    }
}

/// What `time.RFC3339`, `datetime.fromisoformat` and `new Date` all parse.
fn is_a_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|one| if one.is_ascii_digit() { '0' } else { one })
        .collect();
    let whole = shape.strip_suffix('Z').unwrap_or_default();
    let (seconds, fraction) = whole.split_once('.').unwrap_or((whole, "000000"));
    seconds == "0000-00-00T00:00:00" && [3, 6].contains(&fraction.len())
}
