//! An operation: its name, keys, parameters, body and answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Side, at, has, members, schema};

/// A document, a path's item in it, and the method.
type Operation<'a> = (&'a Value, &'a Value, &'a str);

/// What a client of the old operation would miss.
pub(super) fn breaks(old: Operation<'_>, new: Operation<'_>) -> Vec<String> {
    let (before, now) = (&old.1[old.2], &new.1[new.2]);
    let mut found = name_breaks(before, now);
    found.extend(security_breaks(&alternatives(old), &alternatives(new)));
    found.extend(parameter_breaks(&parameters(old), &parameters(new)));
    found.extend(body_breaks(
        before.get("requestBody"),
        now.get("requestBody"),
    ));
    found.extend(answers_breaks(before, now));
    found
}

/// Generated clients name their functions so.
fn name_breaks(old: &Value, new: &Value) -> Vec<String> {
    match (old["operationId"].as_str(), new["operationId"].as_str()) {
        (Some(old), Some(new)) if old != new => vec![format!("{old} is called {new}")],
        (Some(old), None) => vec![format!("{old} has no name")],
        (Some(_), Some(_)) | (None, _) => Vec::new(),
    }
}

/// The sets of keys each of which opens the door; the document's where the operation names none.
fn alternatives((document, item, method): Operation<'_>) -> Vec<Value> {
    let own = item[method]
        .get("security")
        .or_else(|| document.get("security"));
    let own = own.and_then(Value::as_array).filter(|own| !own.is_empty());
    own.cloned().unwrap_or_else(|| vec![json!({})])
}

fn security_breaks(old: &[Value], new: &[Value]) -> Vec<String> {
    let suffices = |keys: &Value| {
        let keys = keys.as_object();
        let asks_no_more = |asked: &Value| {
            let asked = asked.as_object();
            asked.is_some_and(|asked| {
                asked
                    .keys()
                    .all(|key| keys.is_some_and(|keys| keys.contains_key(key)))
            })
        };
        new.iter().any(asks_no_more)
    };
    let lost = old.iter().filter(|keys| !suffices(keys));
    lost.map(|keys| format!("{keys} no longer suffices"))
        .collect()
}

/// The path's parameters and the operation's own, by where they stand and their name.
fn parameters((_, item, method): Operation<'_>) -> BTreeMap<String, &Value> {
    let lists = [&item["parameters"], &item[method]["parameters"]];
    let all = lists.into_iter().filter_map(Value::as_array).flatten();
    let name = |parameter: &Value| {
        let part = |name: &str| parameter[name].as_str().unwrap_or_default().to_owned();
        format!("the {} parameter {}", part("in"), part("name"))
    };
    all.map(|parameter| (name(parameter), parameter)).collect()
}

fn parameter_breaks(old: &BTreeMap<String, &Value>, new: &BTreeMap<String, &Value>) -> Vec<String> {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let mut found: Vec<String> = gone.map(|name| format!("{name} is gone")).collect();
    for (name, parameter) in new {
        let before = old.get(name);
        let was_needed = before.is_some_and(|before| before["required"] == true);
        if parameter["required"] == true && !was_needed {
            found.push(format!("{name} is needed"));
        }
        if let Some(before) = before {
            let wrong = schema::breaks(&before["schema"], &parameter["schema"], Side::Sent);
            found.extend(at(name, wrong));
        }
    }
    found
}

fn body_breaks(old: Option<&Value>, new: Option<&Value>) -> Vec<String> {
    let needed = |body: Option<&Value>| body.is_some_and(|body| body["required"] == true);
    let mut found = Vec::new();
    if needed(new) && !needed(old) {
        found.push("a body is needed".to_owned());
    }
    match (old, new) {
        (Some(old), Some(new)) => found.extend(content_breaks(old, new, Side::Sent)),
        (Some(_), None) => found.push("its body is gone".to_owned()),
        (None, _) => {}
    }
    found
}

fn content_breaks(old: &Value, new: &Value, side: Side) -> Vec<String> {
    let (place, verb) = match side {
        Side::Sent => ("body", "taken"),
        Side::Answered => ("", "given"),
    };
    let mut found = Vec::new();
    for (kind, old) in members(old, "content") {
        let Some(new) = new["content"].get(kind) else {
            found.push(format!("a body of {kind} is no longer {verb}"));
            continue;
        };
        let wrong = schema::breaks(&old["schema"], &new["schema"], side);
        if place.is_empty() {
            found.extend(wrong);
        } else {
            found.extend(at(place, wrong));
        }
    }
    found
}

fn answers_breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (status, old) in members(old, "responses") {
        match new["responses"].get(status) {
            None => found.push(format!("the answer {status} is gone")),
            Some(new) => {
                found.extend(at(status, headers_breaks(old, new)));
                found.extend(at(status, content_breaks(old, new, Side::Answered)));
            }
        }
    }
    found
}

fn headers_breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, old) in members(old, "headers") {
        let place = format!("the header {name}");
        let Some(new) = new["headers"].get(name) else {
            found.push(format!("{place} is gone"));
            continue;
        };
        if old["required"] == true && new["required"] != true {
            found.push(format!("{place} may be absent"));
        }
        let wrong = schema::breaks(&old["schema"], &new["schema"], Side::Answered);
        if has(old, "schema") {
            found.extend(at(&place, wrong));
        }
    }
    found
}
