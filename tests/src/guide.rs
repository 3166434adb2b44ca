//! A document whose shell commands are to be run: what it has the reader type, and what it shows as the answer.

mod reader;

use std::collections::BTreeSet;

use serde_json::Value;

pub use reader::Reader;

/// A block of commands.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of the document where the commands begin.
    pub line: usize,
    /// The commands.
    pub commands: String,
    /// What follows them.
    pub shown: Shown,
}

/// What a document says that commands write.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// It does not say.
    Nothing,
    /// JSON of this form; the values are other ones.
    Json(Value),
    /// This very text.
    Text(String),
}

/// The steps of a Markdown document: each block fenced as `sh`, with the block fenced as `json` or `text` that follows
/// before the next one. Panics when such an answer follows no commands, or is no JSON.
pub fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (line, kind, content) in blocks(markdown) {
        let shown = match kind {
            "sh" => {
                steps.push(Step {
                    line,
                    commands: content,
                    shown: Shown::Nothing,
                });
                continue;
            }
            "json" => Shown::Json(
                serde_json::from_str(&content)
                    .unwrap_or_else(|error| panic!("line {line}: {error}")),
            ),
            "text" => Shown::Text(content.trim().to_owned()),
            _ => continue,
        };
        let step = steps.last_mut().filter(|step| step.shown == Shown::Nothing);
        step.unwrap_or_else(|| panic!("line {line}: an answer to nothing"))
            .shown = shown;
    }
    steps
}

/// The one block of a Markdown document that is fenced as this kind; panics when there is none, or more than one.
pub fn program(markdown: &str, kind: &str) -> String {
    let mut found = programs(markdown, kind).into_iter();
    let content = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one program in {kind}");
    content
}

/// Every block of a Markdown document that is fenced as this kind.
pub fn programs(markdown: &str, kind: &str) -> Vec<String> {
    let found = blocks(markdown).into_iter();
    let found = found.filter(|(_, its_kind, _)| *its_kind == kind);
    found.map(|(_, _, content)| content).collect()
}

/// Every fenced block: the number of its first line, its kind, what it holds.
fn blocks(markdown: &str) -> Vec<(usize, &str, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some((index + 2, kind, String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, _, content))) => {
                content.push_str(line);
                content.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block does not end: {open:?}");
    found
}

/// How an answer's form differs from the shown one: members, and the kinds of values. Of a list each element has the
/// form of some shown one.
pub fn differences(shown: &Value, answered: &Value) -> Vec<String> {
    match (shown, answered) {
        (Value::Object(shown), Value::Object(answered)) => {
            let names: BTreeSet<&String> = shown.keys().chain(answered.keys()).collect();
            let differ = names.into_iter().flat_map(|name| {
                let found = match (shown.get(name), answered.get(name)) {
                    (Some(shown), Some(answered)) => differences(shown, answered),
                    (Some(_), None) => vec![" is not answered".to_owned()],
                    (None, _) => vec![" is not shown".to_owned()],
                };
                found.into_iter().map(move |what| format!("/{name}{what}"))
            });
            differ.collect()
        }
        (Value::Array(shown), Value::Array(answered)) => list_differences(shown, answered),
        (shown, answered) if kind(shown) == kind(answered) => Vec::new(),
        (shown, answered) => vec![format!(" is {}, not {}", kind(answered), kind(shown))],
    }
}

fn list_differences(shown: &[Value], answered: &[Value]) -> Vec<String> {
    if shown.is_empty() != answered.is_empty() {
        return vec![format!(
            " has {} elements, not {}",
            answered.len(),
            shown.len()
        )];
    }
    let found = answered.iter().enumerate().flat_map(|(index, one)| {
        let found = element_differences(shown, one).into_iter();
        found.map(move |what| format!("/{index}{what}"))
    });
    found.collect()
}

/// Where one element is shown, how another differs from it; where several are, that it is like none of them.
fn element_differences(shown: &[Value], answered: &Value) -> Vec<String> {
    if let [only] = shown {
        return differences(only, answered);
    }
    if shown
        .iter()
        .any(|one| differences(one, answered).is_empty())
    {
        return Vec::new();
    }
    vec![format!(" is like none that is shown: {answered}")]
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_go_with_the_answer_that_follows() {
        let text = "Text\n```sh\na\nb\n```\n```json\n{\"c\":1}\n```\n```console\n$ d\n```\n```sh\ne\n```\n```sh\nf\n```\n```text\n g\n```\n";
        let step = |line, commands: &str, shown| Step {
            line,
            commands: commands.to_owned(),
            shown,
        };
        let wanted = [
            step(3, "a\nb\n", Shown::Json(json!({"c": 1}))),
            step(13, "e\n", Shown::Nothing),
            step(16, "f\n", Shown::Text("g".to_owned())),
        ];
        assert_eq!(steps(text), wanted);
    }

    #[test]
    fn a_program_is_the_only_block_of_its_language() {
        let text = "```sh\na\n```\n```go\nb\n```\n";
        assert_eq!(program(text, "go"), "b\n");
        for text in ["", "```go\n```\n```go\n```\n"] {
            let program = || program(text, "go");
            assert!(std::panic::catch_unwind(program).is_err(), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "line 2: an answer to nothing")]
    fn an_answer_without_commands_is_a_mistake() {
        steps("```json\n{}\n```\n");
    }

    #[test]
    fn the_form_is_compared_and_the_values_are_not() {
        let shown = json!({"a": "x", "b": [{"c": 1}, {"d": null}], "e": {}});
        let alike = json!({"a": "y", "b": [{"d": null}, {"c": 7}, {"c": 8}], "e": {}});
        assert_eq!(differences(&shown, &alike), Vec::<String>::new());
        for (answered, difference) in [
            (json!({"b": [{"c": 1}], "e": {}}), "/a is not answered"),
            (
                json!({"a": 1, "b": [{"c": 1}], "e": {}}),
                "/a is a number, not a text",
            ),
            (
                json!({"a": "", "b": [], "e": {}}),
                "/b has 0 elements, not 2",
            ),
            (
                json!({"a": "", "b": [{"c": ""}], "e": {}}),
                "/b/0 is like none that is shown: {\"c\":\"\"}",
            ),
            (
                json!({"a": "", "b": [{"c": 1}], "e": {"f": 1}}),
                "/e/f is not shown",
            ),
        ] {
            assert_eq!(differences(&shown, &answered), [difference]);
        }
        let only = differences(&json!([{"c": 1}]), &json!([{"c": 2}, {}]));
        assert_eq!(only, ["/1/c is not answered"]);
    }
}
