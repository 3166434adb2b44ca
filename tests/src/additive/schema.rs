//! A schema against an earlier one.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Side, at, members};

/// What departs in `new` from what `old` said of a value.
pub(super) fn breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let (old, new) = (merged(old), merged(new));
    let mut found = type_breaks(&old, &new, side);
    found.extend(values_breaks(&old, &new, side));
    for (name, tighter) in BOUNDS {
        found.extend(bound_break(&old[name], &new[name], name, tighter, side));
    }
    for name in ["format", "pattern"] {
        found.extend(form_break(&old[name], &new[name], name, side));
    }
    found.extend(members_breaks(&old, &new, side));
    found.extend(choices_breaks(&old, &new, side));
    found.extend(exclusions_breaks(&old, &new, side));
    found
}

/// One schema in the place of those that all hold: members and requirements together, alternatives side by side in
/// `choices`, exclusions in `exclusions`.
fn merged(schema: &Value) -> Value {
    let mut whole = json!({"properties": {}, "required": [], "choices": [], "exclusions": []});
    merge(&mut whole, schema);
    whole
}

fn merge(whole: &mut Value, schema: &Value) {
    for (name, value) in schema.as_object().into_iter().flat_map(Map::iter) {
        match name.as_str() {
            "allOf" => elements(value).for_each(|part| merge(whole, part)),
            "anyOf" | "oneOf" => push(&mut whole["choices"], value),
            "not" => push(&mut whole["exclusions"], value),
            "required" => elements(value).for_each(|name| push(&mut whole["required"], name)),
            "properties" => {
                for (name, property) in members(schema, "properties") {
                    add_property(&mut whole["properties"], name, property);
                }
            }
            _ => whole[name] = value.clone(),
        }
    }
}

/// A property of which several schemas speak is all that they say.
fn add_property(properties: &mut Value, name: &str, property: &Value) {
    let said = match properties.get(name) {
        Some(earlier) => json!({"allOf": [earlier, property]}),
        None => property.clone(),
    };
    properties[name] = said;
}

fn push(list: &mut Value, value: &Value) {
    if let Value::Array(list) = list {
        list.push(value.clone());
    }
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn type_breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let mut found = Vec::new();
    let (before, now) = (&old["type"], &new["type"]);
    let opened = now.is_null() && side == Side::Sent;
    let closed = before.is_null() && side == Side::Answered;
    if before != now && !opened && !closed {
        found.push(format!("is of type {now}, not {before}"));
    }
    match (side, old["nullable"] == true, new["nullable"] == true) {
        (Side::Sent, true, false) => found.push("may no longer be null".to_owned()),
        (Side::Answered, false, true) => found.push("may be null".to_owned()),
        (Side::Sent | Side::Answered, _, _) => {}
    }
    if side == Side::Sent && old["default"] != new["default"] {
        found.push(format!(
            "the default is {}, not {}",
            new["default"], old["default"]
        ));
    }
    found
}

/// No value that was named may go; and where any value was taken, no list may stand now.
fn values_breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let Some(now) = new["enum"].as_array() else {
        return Vec::new();
    };
    match old["enum"].as_array() {
        None if side == Side::Sent => vec![format!("only {} are left", new["enum"])],
        None => Vec::new(),
        Some(before) => {
            let gone = before.iter().filter(|value| !now.contains(value));
            gone.map(|value| format!("{value} is gone")).collect()
        }
    }
}

/// Whether a greater bound is the tighter one.
const BOUNDS: [(&str, bool); 6] = [
    ("minimum", true),
    ("minLength", true),
    ("minItems", true),
    ("maximum", false),
    ("maxLength", false),
    ("maxItems", false),
];

fn bound_break(
    old: &Value,
    new: &Value,
    name: &str,
    greater_is_tighter: bool,
    side: Side,
) -> Option<String> {
    let (before, now) = (old.as_f64(), new.as_f64());
    let tightened = match (before, now) {
        (Some(before), Some(now)) if greater_is_tighter => now > before,
        (Some(before), Some(now)) => now < before,
        (None, now) => now.is_some(),
        (Some(_), None) => false,
    };
    let loosened = before.is_some() && before != now && !tightened;
    let broken = match side {
        Side::Sent => tightened,
        Side::Answered => loosened,
    };
    broken.then(|| said(name, old, new))
}

/// Of formats and patterns nobody says which is the tighter one.
fn form_break(old: &Value, new: &Value, name: &str, side: Side) -> Option<String> {
    let spoken = match side {
        Side::Sent => new,
        Side::Answered => old,
    };
    (old != new && !spoken.is_null()).then(|| said(name, old, new))
}

fn said(name: &str, old: &Value, new: &Value) -> String {
    match (old.is_null(), new.is_null()) {
        (true, _) => format!("{name} is {new}"),
        (false, true) => format!("{name} is no longer {old}"),
        (false, false) => format!("{name} is {new}, not {old}"),
    }
}

fn members_breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let mut found = Vec::new();
    for (name, before) in members(old, "properties") {
        match new["properties"].get(name) {
            None => found.push(format!("{name} is gone")),
            Some(now) => found.extend(at(name, breaks(before, now, side))),
        }
    }
    found.extend(required_breaks(old, new, side));
    if !old["items"].is_null() {
        found.extend(at("items", breaks(&old["items"], &new["items"], side)));
    }
    match (&old["additionalProperties"], &new["additionalProperties"]) {
        (Value::Bool(false), _) => {}
        (_, Value::Bool(false)) => found.push("further members are refused".to_owned()),
        (before @ Value::Object(_), now) => {
            found.extend(at("further members", breaks(before, now, side)));
        }
        (_, _) => {}
    }
    found
}

fn required_breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let names = |schema: &Value| -> BTreeSet<String> {
        let names = elements(&schema["required"]).filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    };
    let (before, now) = (names(old), names(new));
    match side {
        Side::Sent => now
            .difference(&before)
            .map(|name| format!("{name} is needed"))
            .collect(),
        Side::Answered => before
            .difference(&now)
            .map(|name| format!("{name} may be absent"))
            .collect(),
    }
}

/// Every alternative is still one. What is sent has to be one of none but those it had to be one of; what is answered is
/// one of all that it was one of.
fn choices_breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let (before, now) = (&old["choices"], &new["choices"]);
    let kept = |before: &Value, now: &Value| {
        let still = |one: &Value| elements(now).any(|other| breaks(one, other, side).is_empty());
        elements(before).all(still)
    };
    let (unkept, fewer, sentence) = match side {
        Side::Sent => (
            elements(now).any(|now| !elements(before).any(|before| kept(before, now))),
            elements(before).count() < elements(now).count(),
            "it must be one of further alternatives",
        ),
        Side::Answered => (
            elements(before).any(|before| !elements(now).any(|now| kept(before, now))),
            elements(now).count() < elements(before).count(),
            "its alternatives are gone",
        ),
    };
    match (unkept, fewer) {
        (false, _) => Vec::new(),
        (true, true) => vec![sentence.to_owned()],
        (true, false) => vec!["one of its alternatives is gone".to_owned()],
    }
}

fn exclusions_breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let (before, now) = (&old["exclusions"], &new["exclusions"]);
    let missing = |of: &Value, from: &Value| -> Vec<String> {
        let missing = elements(of).filter(|one| !elements(from).any(|other| other == *one));
        missing.map(Value::to_string).collect()
    };
    match side {
        Side::Sent => missing(now, before)
            .iter()
            .map(|one| format!("{one} is refused"))
            .collect(),
        Side::Answered => missing(before, now)
            .iter()
            .map(|one| format!("{one} is no longer kept out"))
            .collect(),
    }
}
