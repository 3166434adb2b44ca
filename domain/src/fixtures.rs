//! The stored form of every event, kept for ever in `tests/fixtures/<event type>.v1.json`.

use std::fs;
use std::path::{Path, PathBuf};

use cqrs_es::DomainEvent;
use serde_json::Value;

fn path(event_type: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(format!("{event_type}.v1.json"))
}

/// The stored event of this type.
pub(crate) fn read<E: DomainEvent>(event_type: &str) -> E {
    serde_json::from_str(&fs::read_to_string(path(event_type)).unwrap()).unwrap()
}

/// Asserts that each of these types has a stored event, which decodes and encodes equal.
pub(crate) fn check<E: DomainEvent>(event_types: &[&str]) {
    for event_type in event_types {
        let stored: Value =
            serde_json::from_str(&fs::read_to_string(path(event_type)).unwrap()).unwrap();
        let event: E = read(event_type);
        assert_eq!(event.event_type(), *event_type);
        assert_eq!(event.event_version(), "1");
        assert_eq!(
            serde_json::to_value(&event).unwrap(),
            stored,
            "{event_type}"
        );
    }
}
