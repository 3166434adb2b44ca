//! The typed columns beside an event. They repeat what is in it and are no part of its leaf, so a
//! changed one would hide an entry from an auditor's filter without changing a hash.

use std::borrow::Cow;

use serde::Deserialize;

use crate::append::{IndexColumns, RecordedEvent};

/// What the metadata says of who acted.
#[derive(Default, Deserialize)]
struct Who<'a> {
    #[serde(borrow)]
    actor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    agent: Option<Cow<'a, str>>,
}

/// What the payload says of whom it concerns.
#[derive(Default, Deserialize)]
struct Concerned<'a> {
    #[serde(borrow)]
    connection: Option<Cow<'a, str>>,
}

/// Whether the columns say what the event says: the actor and the agent of its metadata; and of a
/// connection's event that connection, of a record of access the connection in its payload, of any
/// other none.
///
/// Streams of types that are not the vault's own carry what their writers chose.
pub(super) fn agree(event: &RecordedEvent, columns: &IndexColumns) -> bool {
    let stream = &event.stream;
    let connection = match stream.stream_type.as_str() {
        "connection" => Some(Cow::from(stream.id.as_str())),
        "access" => serde_json::from_str(&event.payload)
            .map(|concerned: Concerned<'_>| concerned.connection)
            .unwrap_or_default(),
        "provider" | "vault" => None,
        _ => return true,
    };
    let who: Who<'_> = serde_json::from_str(&event.metadata).unwrap_or_default();
    columns.connection.as_deref() == connection.as_deref()
        && columns.actor.as_deref() == who.actor.as_deref()
        && columns.agent.as_deref() == who.agent.as_deref()
}
