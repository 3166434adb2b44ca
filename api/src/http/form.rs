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
}

/// How a field is filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line.
    Line,
    /// A line that nobody may read over a shoulder.
    Masked,
    /// A number.
    Number,
    /// Yes or no.
    Checkbox,
    /// One of these.
    Choice(Vec<String>),
    /// Anything else, as JSON.
    Json,
}

impl Field {
    fn of(name: &str, schema: &Value, required: bool) -> Self {
        let text = |member: &str| schema.get(member).and_then(Value::as_str);
        Self {
            name: name.to_owned(),
            label: text("title").unwrap_or(name).to_owned(),
            help: text("description").map(str::to_owned),
            input: Input::of(schema),
            required,
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
        let typed = match self.input {
            Input::Number | Input::Json => serde_json::from_str(text).ok(),
            Input::Line | Input::Masked | Input::Checkbox | Input::Choice(_) => None,
        };
        Some(typed.unwrap_or_else(|| text.into()))
    }
}

impl Input {
    fn of(schema: &Value) -> Self {
        let text = |member: &str| schema.get(member).and_then(Value::as_str);
        let choices = schema.get("enum").and_then(Value::as_array);
        let choices = choices.map(|choices| choices.iter().map(Value::as_str).collect());
        if let Some(Some(choices)) = choices {
            let choices: Vec<&str> = choices;
            return Self::Choice(choices.into_iter().map(str::to_owned).collect());
        }
        match text("type") {
            Some("boolean") => Self::Checkbox,
            Some("integer" | "number") => Self::Number,
            Some("object" | "array") => Self::Json,
            _ if text("format") == Some("password") => Self::Masked,
            _ => Self::Line,
        }
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
            ("API key", &Input::Masked)
        );
        assert_eq!(key.help.as_deref(), Some("From your account."));
        let choices = Input::Choice(vec!["eu".to_owned(), "us".to_owned()]);
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
    fn a_field_called_state_is_no_state() {
        let sent = Sent::parse(b"credential.state=NY&state=s1");
        let schema = json!({"properties": {"state": {"type": "string"}}});
        assert_eq!(sent.state(), "s1");
        assert_eq!(sent.credential(&fields(&schema))["state"], "NY");
    }
}
