//! OpenAPI 3.0.3 schemas as JSON Schema, and the document's own examples.

use jsonschema::Draft;
use serde_json::{Map, Value, json};

/// What is wrong with a value; empty when the schema accepts it.
pub(super) fn errors(schema: &Value, value: &Value) -> Vec<String> {
    let schema = to_json_schema(schema);
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(&schema)
        .unwrap_or_else(|error| panic!("not a schema: {error}: {schema}"));
    validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect()
}

/// `nullable` is OpenAPI 3.0's own; everything else that we use means the same in both.
fn to_json_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let mut members: Map<String, Value> = members
                .iter()
                .map(|(name, member)| (name.clone(), to_json_schema(member)))
                .collect();
            if members.remove("nullable") == Some(Value::Bool(true)) {
                let kind = members
                    .remove("type")
                    .expect("a nullable schema names its type");
                members.insert("type".to_owned(), json!([kind, "null"]));
            }
            Value::Object(members)
        }
        Value::Array(items) => items.iter().map(to_json_schema).collect(),
        other => other.clone(),
    }
}

pub(super) fn wrong_examples(document: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    visit(document, "", &mut wrong);
    wrong
}

/// Walks the document; every member of a `content` is a body with a schema and an example or more.
fn visit(value: &Value, place: &str, wrong: &mut Vec<String>) {
    let Value::Object(members) = value else {
        return;
    };
    for (name, member) in members {
        let here = format!("{place}/{name}");
        match (name.as_str(), member) {
            ("content", Value::Object(kinds)) => {
                for (kind, body) in kinds {
                    wrong.extend(
                        wrong_body(body)
                            .into_iter()
                            .map(|error| format!("{here}/{kind}: {error}")),
                    );
                }
            }
            _ => visit(member, &here, wrong),
        }
    }
}

fn wrong_body(body: &Value) -> Vec<String> {
    let single = body.get("example");
    let named = body.get("examples").and_then(Value::as_object);
    let examples: Vec<&Value> = single
        .into_iter()
        .chain(
            named
                .into_iter()
                .flat_map(|all| all.values().map(|one| &one["value"])),
        )
        .collect();
    if examples.is_empty() {
        return vec!["has no example".to_owned()];
    }
    examples
        .into_iter()
        .flat_map(|example| errors(&body["schema"], example))
        .collect()
}
