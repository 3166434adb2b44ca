//! Reading an OpenAPI document: YAML in, one JSON value out, with every `$ref` replaced by what it names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Deeper than any reference chain of ours; a cycle ends here.
const DEEPEST: usize = 32;

pub(super) fn read(path: &Path) -> Value {
    let mut files = Files::default();
    let document = files.get(path);
    files.resolve(&document, path, 0)
}

#[derive(Default)]
struct Files(HashMap<PathBuf, Value>);

impl Files {
    fn get(&mut self, path: &Path) -> Value {
        let path = path
            .canonicalize()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.0
            .entry(path.clone())
            .or_insert_with(|| parse(&path))
            .clone()
    }

    fn resolve(&mut self, value: &Value, file: &Path, depth: usize) -> Value {
        match value {
            Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
                Some(reference) => self.follow(reference, file, depth + 1),
                None => Value::Object(self.resolve_members(members, file, depth)),
            },
            Value::Array(items) => items
                .iter()
                .map(|item| self.resolve(item, file, depth))
                .collect(),
            other => other.clone(),
        }
    }

    fn resolve_members(
        &mut self,
        members: &Map<String, Value>,
        file: &Path,
        depth: usize,
    ) -> Map<String, Value> {
        members
            .iter()
            .map(|(name, member)| (name.clone(), self.resolve(member, file, depth)))
            .collect()
    }

    fn follow(&mut self, reference: &str, file: &Path, depth: usize) -> Value {
        assert!(
            depth < DEEPEST,
            "{reference} in {} refers to itself",
            file.display()
        );
        let (other, pointer) = reference
            .split_once('#')
            .expect("a reference has a fragment");
        let target = if other.is_empty() {
            file.to_owned()
        } else {
            file.parent().unwrap().join(other)
        };
        let document = self.get(&target);
        let pointer = percent_decode_str(pointer).decode_utf8_lossy();
        let found = document
            .pointer(&pointer)
            .unwrap_or_else(|| panic!("{reference} in {} names nothing", file.display()));
        self.resolve(found, &target, depth)
    }
}

fn parse(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
