//! What must hold of an append before it may enter the queue: everything that the loading crates
//! cannot decode later makes them panic for ever, so each event is decoded once here.

use nexus_domain::stream::StreamKey;

use crate::append::{Append, AppendError, KeyChange, NameChange, NewEvent};
use shape::Shape;

mod shape;

/// The longest text in a typed column, bytes.
const MAX_TEXT: usize = 512;
/// The longest payload or metadata, bytes.
const MAX_JSON: usize = 1 << 20;
/// The deepest nesting of a payload.
const MAX_DEPTH: usize = 64;
/// The largest sealed blob, bytes.
const MAX_BLOB: usize = 1 << 20;

/// Refuses what could not be stored or loaded.
///
/// # Errors
/// [`AppendError::Invalid`] names what is wrong, never a value.
pub(crate) fn check(append: &Append) -> Result<(), AppendError> {
    if append.events.is_empty() {
        return Err(invalid("it has no events"));
    }
    stream(&append.stream)?;
    for column in [
        &append.columns.connection,
        &append.columns.actor,
        &append.columns.agent,
    ]
    .into_iter()
    .flatten()
    {
        text("index column", column)?;
    }
    if !json("metadata", &append.metadata)?.is_flat_map_of_strings() {
        return Err(invalid("metadata is not a flat object of strings"));
    }
    append.events.iter().try_for_each(event)?;
    append
        .guards
        .iter()
        .try_for_each(|guard| stream(&guard.stream))?;
    append.names.iter().try_for_each(name)?;
    append.keys.iter().try_for_each(key)?;
    if let Some(snapshot) = &append.snapshot {
        json("snapshot", &snapshot.payload)?;
        if append.expected.after(append.events.len()) != Some(snapshot.last_sequence) {
            return Err(invalid("the snapshot is not of the state after its events"));
        }
    }
    Ok(())
}

fn stream(stream: &StreamKey) -> Result<(), AppendError> {
    text("stream type", &stream.stream_type)?;
    text("stream id", &stream.id)
}

fn name(change: &NameChange) -> Result<(), AppendError> {
    let (NameChange::Take { scope, name } | NameChange::Release { scope, name }) = change;
    text("name's scope", scope)?;
    text("name", name)
}

fn key(change: &KeyChange) -> Result<(), AppendError> {
    match change {
        KeyChange::Put(key) => {
            stream(&key.stream)?;
            text("id of the key-encryption key", &key.kek_id)
        }
        KeyChange::Shred(_) => Ok(()),
    }
}

fn event(event: &NewEvent) -> Result<(), AppendError> {
    text("event type", &event.event_type)?;
    text("event version", &event.event_version)?;
    json("payload", &event.payload)?;
    match &event.blob {
        Some(blob) if blob.len() > MAX_BLOB => Err(invalid("the sealed blob is too large")),
        _ => Ok(()),
    }
}

fn text(what: &str, value: &str) -> Result<(), AppendError> {
    if value.is_empty() || value.len() > MAX_TEXT {
        return Err(invalid(&format!(
            "the {what} is empty or longer than {MAX_TEXT} bytes"
        )));
    }
    if value.contains('\0') {
        return Err(invalid(&format!("the {what} holds U+0000")));
    }
    Ok(())
}

fn json(what: &str, value: &str) -> Result<Shape, AppendError> {
    if value.len() > MAX_JSON {
        return Err(invalid(&format!(
            "the {what} is longer than {MAX_JSON} bytes"
        )));
    }
    // PostgreSQL's json keeps the escape and fails only when somebody reads it as text.
    if value.contains('\0') || value.contains("\\u0000") {
        return Err(invalid(&format!("the {what} holds U+0000")));
    }
    let shape: Shape =
        serde_json::from_str(value).map_err(|_| invalid(&format!("the {what} is not JSON")))?;
    if shape.depth > MAX_DEPTH {
        return Err(invalid(&format!(
            "the {what} nests deeper than {MAX_DEPTH}"
        )));
    }
    Ok(shape)
}

fn invalid(reason: &str) -> AppendError {
    AppendError::Invalid(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::append::Expected;

    fn with_payload(payload: String) -> Append {
        let event = NewEvent {
            event_type: "a.b".into(),
            event_version: "1".into(),
            payload,
            blob: None,
        };
        Append::new(
            StreamKey {
                stream_type: "a".into(),
                id: "1".into(),
            },
            Expected::Any,
            vec![event],
        )
    }

    #[test]
    fn what_the_loaders_could_not_decode_is_refused() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&with_payload(nested(64))), Ok(()));
        for payload in [
            nested(65),
            "{".into(),
            String::new(),
            r#""\u0000""#.into(),
            "[NaN]".into(),
        ] {
            assert!(
                matches!(
                    check(&with_payload(payload.clone())),
                    Err(AppendError::Invalid(_))
                ),
                "{payload}"
            );
        }
    }

    #[test]
    fn texts_are_neither_empty_nor_long_nor_hold_a_nul() {
        for id in [String::new(), "x".repeat(513), "a\0b".into()] {
            let mut append = with_payload("{}".into());
            append.stream.id = id;
            assert!(matches!(check(&append), Err(AppendError::Invalid(_))));
        }
    }

    #[test]
    fn metadata_is_a_flat_object_of_strings() {
        for metadata in ["[]", r#"{"a":1}"#, r#"{"a":{}}"#] {
            let append = Append {
                metadata: metadata.into(),
                ..with_payload("{}".into())
            };
            assert!(
                matches!(check(&append), Err(AppendError::Invalid(_))),
                "{metadata}"
            );
        }
    }
}
