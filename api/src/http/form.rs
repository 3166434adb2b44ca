//! A credential's JSON Schema as the fields of an HTML form, and what a browser sends back as a credential.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Stands before a field's name, so that no field is mistaken for the state.
const PREFIX: &str = "credential.";
/// The field that holds the one-time state.
pub(super) const STATE: &str = "state";

/// A field of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// The credential's member.
    pub(super) name: String,
    /// What it is called.
    pub(super) label: String,
    /// What there is to know about it.
    pub(super) help: Option<String>,
    /// How it is filled in.
    pub(super) input: Input,
    /// Whether the credential is none without it.
    pub(super) required: bool,
    /// What stands in it at first, unless it is masked.
    pub(super) initial: Option<String>,
    /// What password managers and browsers may fill it with (HTML, `autocomplete`).
    pub(super) autocomplete: &'static str,
}

/// How a field is filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line.
    Line,
    /// A line that nobody may read over a shoulder.
    Masked {
        /// Whether it is a number all the same.
        number: bool,
    },
    /// A number.
    Number,
    /// Yes or no.
    Checkbox,
    /// One of these.
    Choice(Vec<Choice>),
    /// Anything else, as JSON.
    Json,
}

/// One of the values that a field may have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// The value.
    value: Value,
    /// What it is called.
    pub(super) label: String,
}

impl Choice {
    /// The value as the form has it.
    pub(super) fn form_value(&self) -> String {
        text_of(&self.value)
    }

    /// None of a list or an object, which no line can name.
    fn of(value: &Value, title: Option<&Value>) -> Option<Self> {
        let is_scalar = !(value.is_array() || value.is_object() || value.is_null());
        is_scalar.then(|| Self {
            value: value.clone(),
            label: title
                .and_then(Value::as_str)
                .map_or_else(|| text_of(value), str::to_owned),
        })
    }
}

/// A scalar as people write it.
fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

impl Field {
    fn of(name: &str, schema: &Value, required: bool) -> Self {
        let text = |member: &str| schema.get(member).and_then(Value::as_str);
        let filled = |member: &str| text(member).filter(|text| !text.trim().is_empty());
        let input = Input::of(schema);
        let default = schema.get("default").filter(|_| input.is_shown());
        Self {
            name: name.to_owned(),
            label: filled("title").unwrap_or(name).to_owned(),
            help: filled("description").map(str::to_owned),
            required,
            initial: default.filter(|value| input.shows(value)).map(text_of),
            autocomplete: autocomplete(name, &input),
            input,
        }
    }

    /// Its name in the form.
    pub(super) fn form_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// What was filled in, as the schema has it; none when nothing was. What cannot be read as the right type stays a
    /// text, of which the schema says what is wrong with it.
    fn read(&self, sent: Option<&str>) -> Option<Value> {
        if self.input == Input::Checkbox {
            return Some(Value::Bool(sent.is_some()));
        }
        let text = sent.filter(|text| !text.is_empty())?;
        let typed = match &self.input {
            Input::Number | Input::Masked { number: true } | Input::Json => {
                serde_json::from_str(text).ok()
            }
            Input::Choice(choices) => choices
                .iter()
                .find(|choice| choice.form_value() == text)
                .map(|choice| choice.value.clone()),
            Input::Line | Input::Masked { number: false } | Input::Checkbox => None,
        };
        Some(typed.unwrap_or_else(|| text.into()))
    }
}

impl Input {
    fn of(schema: &Value) -> Self {
        let text = |member: &str| schema.get(member).and_then(Value::as_str);
        let masked = text("format") == Some("password");
        if let Some(choices) = choices(schema).filter(|_| !masked) {
            return Self::Choice(choices);
        }
        match text("type") {
            Some("boolean") => Self::Checkbox,
            Some("object" | "array") => Self::Json,
            kind => match (matches!(kind, Some("integer" | "number")), masked) {
                (number, true) => Self::Masked { number },
                (true, false) => Self::Number,
                (false, false) => Self::Line,
            },
        }
    }

    /// Whether it can show a value: a box is ticked or shows nothing, and of `null` there is nothing to show.
    fn shows(&self, value: &Value) -> bool {
        match self {
            Self::Checkbox => *value == Value::Bool(true),
            _ => !value.is_null(),
        }
    }

    /// Whether what is typed into it may be seen, and so may come back.
    pub(super) fn is_shown(&self) -> bool {
        !matches!(self, Self::Masked { .. } | Self::Json)
    }
}

/// What a schema lets one choose from: its `enum`, or constants with titles.
fn choices(schema: &Value) -> Option<Vec<Choice>> {
    let list = |member: &str| schema.get(member).and_then(Value::as_array);
    let choices = match list("enum") {
        Some(values) => values.iter().map(|value| Choice::of(value, None)).collect(),
        None => list("oneOf")?
            .iter()
            .map(|one| Choice::of(one.get("const")?, one.get("title")))
            .collect(),
    };
    let choices: Option<Vec<Choice>> = choices;
    choices.filter(|choices| !choices.is_empty())
}

/// An account's name and password are what password managers keep. A key is none of theirs, and no address of a person.
fn autocomplete(name: &str, input: &Input) -> &'static str {
    match (input, name.to_ascii_lowercase().as_str()) {
        (Input::Line, "username" | "user" | "login") => "username",
        (Input::Line, "email") => "email",
        (Input::Masked { .. }, "password") => "current-password",
        _ => "off",
    }
}

/// The fields of a form, the required ones first in the order that the schema names them.
pub(super) fn fields(schema: &Value) -> Vec<Field> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties = properties.unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array);
    let required: Vec<&str> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let first = required
        .iter()
        .filter_map(|name| Some((*name, properties.get(*name)?, true)));
    let others = properties
        .iter()
        .filter(|(name, _)| !required.contains(&name.as_str()))
        .map(|(name, schema)| (name.as_str(), schema, false));
    first
        .chain(others)
        .map(|(name, schema, required)| Field::of(name, schema, required))
        .collect()
}

/// A form as a browser sends it (`application/x-www-form-urlencoded`).
pub(super) struct Sent(Vec<(String, Zeroizing<String>)>);

impl Sent {
    pub(super) fn parse(body: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(body);
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned())))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(sent, _)| sent == name);
        values.next().map(|(_, value)| value.as_str())
    }

    /// The one-time state.
    pub(super) fn state(&self) -> &str {
        self.get(STATE).unwrap_or_default()
    }

    /// What was filled in.
    pub(super) fn value(&self, field: &Field) -> Option<&str> {
        self.get(&field.form_name())
    }

    /// The credential.
    pub(super) fn credential(&self, fields: &[Field]) -> Map<String, Value> {
        let filled = fields
            .iter()
            .filter_map(|field| Some((field.name.clone(), field.read(self.value(field))?)));
        filled.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "required": ["user", "key"],
            "properties": {
                "key": {"type": "string", "format": "password", "title": "API key", "description": "From your account."},
                "user": {"type": "string"},
                "port": {"type": "integer"},
                "region": {"type": "string", "enum": ["eu", "us"]},
                "sandbox": {"type": "boolean"},
                "extra": {"type": "object"},
            },
        })
    }

    #[test]
    fn a_schema_becomes_fields_the_required_ones_first() {
        let fields = fields(&schema());
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["user", "key", "extra", "port", "region", "sandbox"]);
        let key = &fields[1];
        assert_eq!(
            (key.label.as_str(), &key.input),
            ("API key", &Input::Masked { number: false })
        );
        assert_eq!(key.help.as_deref(), Some("From your account."));
        let choice = |value: &str| Choice {
            value: value.into(),
            label: value.to_owned(),
        };
        let choices = Input::Choice(vec![choice("eu"), choice("us")]);
        let inputs = [Input::Json, Input::Number, choices, Input::Checkbox];
        assert!(fields[2..].iter().map(|field| &field.input).eq(&inputs));
        assert!(key.required && !fields[2].required);
    }

    #[test]
    fn what_a_browser_sends_becomes_the_credential_that_the_schema_describes() {
        let body = b"state=s1&credential.user=ann&credential.key=k%26+%C3%A9&credential.port=443\
            &credential.region=eu&credential.sandbox=on&credential.extra=%7B%22a%22%3A1%7D&other=x";
        let sent = Sent::parse(body);
        assert_eq!(sent.state(), "s1");
        let expected = json!({
            "user": "ann", "key": "k& é", "port": 443, "region": "eu", "sandbox": true, "extra": {"a": 1},
        });
        assert_eq!(Value::Object(sent.credential(&fields(&schema()))), expected);
    }

    #[test]
    fn what_is_left_empty_is_absent_and_what_has_the_wrong_type_stays_text() {
        let sent = Sent::parse(b"credential.user=&credential.port=many&credential.key=1");
        let expected = json!({"port": "many", "key": "1", "sandbox": false});
        assert_eq!(Value::Object(sent.credential(&fields(&schema()))), expected);
        assert_eq!(sent.state(), "");
    }

    #[test]
    fn choices_may_be_of_any_scalar_and_have_titles() {
        let schema = json!({"properties": {
            "port": {"type": "integer", "enum": [80, 443], "default": 443},
            "tier": {"oneOf": [{"const": "a", "title": "Free"}, {"const": "b"}]},
            "odd": {"enum": [{"a": 1}]},
        }});
        let fields = fields(&schema);
        let labels = |field: &Field| match &field.input {
            Input::Choice(choices) => choices.iter().map(|choice| choice.label.clone()).collect(),
            _ => Vec::new(),
        };
        let labels: Vec<Vec<String>> = fields.iter().map(labels).collect();
        assert_eq!(labels, [vec![], vec!["80", "443"], vec!["Free", "b"]]);
        assert_eq!(fields[1].initial.as_deref(), Some("443"));
        let sent = Sent::parse(b"credential.port=80&credential.tier=b");
        let expected = json!({"port": 80, "tier": "b"});
        assert_eq!(Value::Object(sent.credential(&fields)), expected);
    }

    #[test]
    fn a_masked_number_is_masked_and_a_number() {
        let schema = json!({"properties": {
            "code": {"type": "number", "format": "password", "default": 7},
            "pin": {"type": "integer", "format": "password", "enum": [1234, 4321]},
        }});
        let fields = fields(&schema);
        for field in &fields {
            assert_eq!(field.input, Input::Masked { number: true });
            assert_eq!(field.initial, None);
        }
        let sent = Sent::parse(b"credential.pin=1234&credential.code=x");
        let expected = json!({"pin": 1234, "code": "x"});
        assert_eq!(Value::Object(sent.credential(&fields)), expected);
    }

    #[test]
    fn password_managers_fill_in_accounts_and_nothing_stands_in_a_masked_field() {
        let schema = json!({"properties": {
            "password": {"format": "password", "default": "hunter2"},
            "secret_key": {"format": "password"},
            "username": {"type": "string", "default": "ann"},
        }});
        let fields = fields(&schema);
        let hints: Vec<_> = fields.iter().map(|field| field.autocomplete).collect();
        assert_eq!(hints, ["current-password", "off", "username"]);
        let initial: Vec<_> = fields
            .iter()
            .map(|field| field.initial.as_deref())
            .collect();
        assert_eq!(initial, [None, None, Some("ann")]);
    }

    #[test]
    fn a_default_of_nothing_fills_in_nothing() {
        let schema = json!({"properties": {
            "line": {"type": "string", "default": null},
            "port": {"type": "integer", "default": null},
            "sandbox": {"type": "boolean", "default": null},
            "strict": {"type": "boolean", "default": "false"},
            "ticked": {"type": "boolean", "default": true},
            "zone": {"enum": [true, false], "default": false},
        }});
        let fields = fields(&schema);
        let initial = fields.iter().map(|field| field.initial.as_deref());
        let expected = [None, None, None, None, Some("true"), Some("false")];
        assert!(initial.eq(expected), "{fields:?}");
    }

    #[test]
    fn a_field_called_state_is_no_state() {
        let sent = Sent::parse(b"credential.state=NY&state=s1");
        let schema = json!({"properties": {"state": {"type": "string"}}});
        assert_eq!(sent.state(), "s1");
        assert_eq!(sent.credential(&fields(&schema))["state"], "NY");
    }
}
