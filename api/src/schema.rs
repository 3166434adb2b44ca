//! Validation of captured credentials against a provider's JSON Schema (draft 2020-12 or 7).

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Retrieve, Uri, ValidationError, Validator};
use serde::Serialize;
use serde_json::Value;

mod message;

/// One thing that is wrong with captured credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) of the field, `""` for the credentials as a whole.
    pub path: String,
    /// A sentence's end, as in "is required". It never holds a value that was sent.
    pub message: String,
}

impl FieldError {
    /// What is wrong with a member of the credentials.
    #[must_use]
    pub fn of(member: &str, message: impl Into<String>) -> FieldError {
        FieldError {
            path: format!("/{}", escape(member)),
            message: message.into(),
        }
    }
}

/// Why a schema cannot be used. The sentence quotes the schema, never a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSchema(String);

/// A schema made ready for use.
#[derive(Debug)]
pub struct CredentialSchema(Validator);

impl CredentialSchema {
    /// Compiles a schema of draft 2020-12 (also the default) or 7. References to other documents are not followed:
    /// a schema that has one is invalid, and nothing is fetched.
    pub fn compile(schema: &Value) -> Result<CredentialSchema, InvalidSchema> {
        let draft = draft_of(schema)?;
        jsonschema::options()
            .with_draft(draft)
            .with_retriever(Unreachable)
            .build(schema)
            .map(CredentialSchema)
            .map_err(|error| InvalidSchema(error.to_string()))
    }

    /// Accepts credentials, or lists everything that is wrong with them.
    pub fn validate(&self, credentials: &Value) -> Result<(), Vec<FieldError>> {
        let errors: Vec<FieldError> = self
            .0
            .iter_errors(credentials)
            .map(|error| field_error(&error))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// Compiles and validates in one go; a schema that cannot be used is reported as an error of the whole.
pub fn validate(schema: &Value, credentials: &Value) -> Result<(), Vec<FieldError>> {
    let schema = CredentialSchema::compile(schema).map_err(|error| {
        let message =
            format!("cannot be checked: the provider's credential schema is invalid ({error})");
        vec![FieldError {
            path: String::new(),
            message,
        }]
    })?;
    schema.validate(credentials)
}

fn draft_of(schema: &Value) -> Result<Draft, InvalidSchema> {
    let Some(named) = schema.get("$schema") else {
        return Ok(Draft::Draft202012);
    };
    match named.as_str().map(|uri| uri.trim_end_matches('#')) {
        Some("https://json-schema.org/draft/2020-12/schema") => Ok(Draft::Draft202012),
        Some("http://json-schema.org/draft-07/schema") => Ok(Draft::Draft7),
        _ => Err(InvalidSchema(
            "`$schema` must name draft 2020-12 or draft 7".to_owned(),
        )),
    }
}

fn field_error(error: &ValidationError<'_>) -> FieldError {
    let parent = error.instance_path().as_str();
    let path = match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{parent}/{}", escape(property.as_str().unwrap_or_default()))
        }
        _ => parent.to_owned(),
    };
    FieldError {
        path,
        message: message::of(error.kind()),
    }
}

/// A member's name as a reference token (RFC 6901 §3).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Follows no reference out of the schema.
struct Unreachable;

impl Retrieve for Unreachable {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("the schema refers to another document, {uri}").into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(schema: &Value, credentials: &Value) -> Vec<(String, String)> {
        let errors = validate(schema, credentials).unwrap_err();
        errors
            .into_iter()
            .map(|error| (error.path, error.message))
            .collect()
    }

    fn pair(path: &str, message: &str) -> (String, String) {
        (path.to_owned(), message.to_owned())
    }

    #[test]
    fn credentials_that_satisfy_the_schema_are_accepted() {
        let schema = json!({"type": "object", "required": ["api_key"], "properties": {
            "api_key": {"type": "string", "format": "password", "minLength": 3}}});
        assert_eq!(validate(&schema, &json!({"api_key": "abc"})), Ok(()));
    }

    #[test]
    fn everything_that_is_wrong_is_listed_with_its_path() {
        let schema = json!({"type": "object", "required": ["api_key", "a/b"], "properties": {
            "region": {"enum": ["eu", "us"]}, "nested": {"properties": {"port": {"type": "integer"}}}}});
        let sent = json!({"region": "s3cret", "nested": {"port": "s3cret"}});
        let mut found = errors(&schema, &sent);
        found.sort();
        assert_eq!(
            found,
            [
                pair("/api_key", "is required"),
                pair("/a~1b", "is required"),
                pair("/nested/port", "must be of type integer"),
                pair("/region", "must be one of the values the schema lists"),
            ]
        );
    }

    #[test]
    fn no_message_repeats_what_was_sent() {
        let schemas = [
            json!({"const": 1}),
            json!({"type": "object"}),
            json!({"pattern": "^x$"}),
            json!({"maxLength": 2}),
            json!({"not": {"type": "string"}}),
            json!({"anyOf": [{"type": "null"}, {"maxLength": 1}]}),
            json!({"oneOf": [{"type": "null"}, {"maxLength": 1}]}),
            json!(false),
            json!({"enum": []}),
        ];
        for schema in schemas {
            for error in validate(&schema, &json!("s3cret")).unwrap_err() {
                assert!(
                    !format!("{error:?}").contains("s3cret"),
                    "{schema}: {error:?}"
                );
            }
        }
        let closed = json!({"additionalProperties": false, "propertyNames": {"maxLength": 2}});
        for (path, message) in errors(&closed, &json!({"s3cret": "s3cret"})) {
            assert!(
                !path.contains("s3cret") && !message.contains("s3cret"),
                "{path} {message}"
            );
        }
    }

    #[test]
    fn draft_7_is_understood_and_other_drafts_are_not() {
        let draft_7 = json!({"$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"key": {"type": "string"}}, "properties": {"k": {"$ref": "#/definitions/key"}}});
        assert_eq!(
            errors(&draft_7, &json!({"k": 1})),
            [pair("/k", "must be of type string")]
        );
        let draft_4 = json!({"$schema": "http://json-schema.org/draft-04/schema#"});
        assert!(
            CredentialSchema::compile(&draft_4)
                .unwrap_err()
                .to_string()
                .contains("$schema")
        );
    }

    #[test]
    fn a_reference_to_another_document_makes_the_schema_invalid() {
        let remote = json!({"$ref": "https://schemas.example/credential.json"});
        let error = CredentialSchema::compile(&remote).unwrap_err();
        assert!(error.to_string().contains("schemas.example"), "{error}");
        assert!(
            validate(&remote, &json!({})).unwrap_err()[0]
                .message
                .contains("schema is invalid")
        );
    }

    #[test]
    fn a_schema_that_is_none_is_invalid() {
        assert!(CredentialSchema::compile(&json!({"type": "strnig"})).is_err());
        assert!(CredentialSchema::compile(&json!({"pattern": "("})).is_err());
    }
}
