//! Whether a document only adds to an earlier one: what a client may send is still accepted, what it may rely on still
//! comes.

mod operation;
mod schema;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::contract::METHODS;

/// Who reads a value: the server what is sent to it, the client what is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// May be read more widely, never more narrowly.
    Sent,
    /// May hold more, never less and nothing else.
    Answered,
}

/// What a client of `released` would miss, or be refused, in `current`; empty when it only adds. Both with their
/// references resolved.
pub(crate) fn breaks(released: &Value, current: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (path, old) in members(released, "paths") {
        match current["paths"].get(path) {
            None => found.push(format!("{path} is gone")),
            Some(new) => found.extend(path_breaks(path, (released, old), (current, new))),
        }
    }
    found
}

/// A document, and the item of a path in it.
type Item<'a> = (&'a Value, &'a Value);

fn path_breaks(path: &str, old: Item<'_>, new: Item<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for method in METHODS.iter().filter(|method| has(old.1, method)) {
        let place = format!("{} {path}", method.to_ascii_uppercase());
        if has(new.1, method) {
            let wrong = operation::breaks((old.0, old.1, method), (new.0, new.1, method));
            found.extend(wrong.into_iter().map(|wrong| format!("{place}: {wrong}")));
        } else {
            found.push(format!("{place} is gone"));
        }
    }
    found
}

fn has(value: &Value, name: &str) -> bool {
    value.get(name).is_some()
}

/// The members of an object in an object; none when it is not there.
fn members<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value
        .get(name)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

/// What a comparison found, each with the place it was found at.
fn at(place: &str, found: Vec<String>) -> impl Iterator<Item = String> {
    found
        .into_iter()
        .map(move |wrong| format!("{place}: {wrong}"))
}
