//! The audit log: the event log itself, read newest first. It has no table of its own, so it
//! cannot lag, diverge or need rebuilding.

use std::collections::BTreeMap;

use nexus_domain::time::Timestamp;
use nexus_ledger::RecordedEvent;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::log::{self, Selection};
use crate::store::{QueryError, ReadStore};

/// What auditors ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only events of this stored name, or of the names that this older name stands for.
    pub event_type: Option<String>,
    /// Only events of the connection of this reference.
    pub connection: Option<String>,
    /// Only events recorded at this time or later.
    pub since: Option<Timestamp>,
    /// Only events before this position.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// An event as auditors see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// A `UUIDv8` of the event's leaf hash.
    pub id: Uuid,
    /// Its global position.
    pub position: u64,
    /// The reference of the connection concerned.
    pub connection: Option<String>,
    /// The stored name.
    pub event_type: String,
    /// What the Go services called it, where they had a name.
    pub legacy_event_type: Option<&'static str>,
    /// The payload as stored: JSON text.
    pub event_data: String,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// The provider concerned.
    pub provider_id: Option<String>,
    /// The agent concerned.
    pub agent: Option<String>,
    /// The agent session concerned.
    pub session_id: Option<String>,
    /// Who and how: the event's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// Stored names by the older names that stand for them.
const LEGACY_NAMES: &[(&str, &[&str])] = &[
    (
        "connection.created",
        &["connection.activated", "connection.credential_captured"],
    ),
    ("token_retrieved", &["credential.retrieved"]),
    ("provider.created", &["provider.registered"]),
    ("token_refresh_fatal", &["connection.attention_required"]),
];

/// The stored names that a filter means.
#[must_use]
pub fn event_types(filter: &str) -> Vec<String> {
    match LEGACY_NAMES.iter().find(|(legacy, _)| *legacy == filter) {
        Some((_, names)) => names.iter().map(|name| (*name).to_owned()).collect(),
        None => vec![filter.to_owned()],
    }
}

fn legacy_name(event_type: &str) -> Option<&'static str> {
    LEGACY_NAMES
        .iter()
        .find(|(_, names)| names.contains(&event_type))
        .map(|(legacy, _)| *legacy)
}

impl AuditEntry {
    /// The fold: an event as auditors see it.
    #[must_use]
    pub fn of(event: &RecordedEvent) -> Self {
        let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap_or_default();
        let text = |name: &str| {
            payload
                .get(name)
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        };
        let of_stream = |stream_type: &str| {
            (event.stream.stream_type == stream_type).then(|| event.stream.id.clone())
        };
        let metadata: BTreeMap<String, String> =
            serde_json::from_str(&event.metadata).unwrap_or_default();
        Self {
            id: entry_id(&event.leaf),
            position: event.position,
            connection: of_stream("connection").or_else(|| text("connection")),
            event_type: event.event_type.clone(),
            legacy_event_type: legacy_name(&event.event_type),
            event_data: event.payload.clone(),
            created_at: event.recorded_at,
            provider_id: of_stream("provider").or_else(|| text("provider_id")),
            agent: of_stream("agent").or_else(|| metadata.get("agent").cloned()),
            session_id: of_stream("session").or_else(|| text("session_id")),
            metadata,
        }
    }

    /// One sentence about it.
    #[must_use]
    pub fn summary(&self) -> String {
        let actor = self.metadata.get("actor").map_or("someone", String::as_str);
        let subject = self
            .connection
            .as_ref()
            .map(|id| format!("connection {id}"));
        let subject =
            subject.or_else(|| self.provider_id.as_ref().map(|id| format!("provider {id}")));
        let is_agents = self.event_type.starts_with("agent.");
        let agent = self.agent.as_ref().filter(|_| is_agents);
        let subject = subject.or_else(|| agent.map(|id| format!("agent {id}")));
        match subject {
            Some(subject) => format!("{} by {actor} on {subject}", self.event_type),
            None => format!("{} by {actor}", self.event_type),
        }
    }
}

fn entry_id(leaf: &[u8; 32]) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"nexus audit entry v1")
        .chain_update(leaf)
        .finalize();
    let mut bytes = [0; 16];
    for (byte, source) in bytes.iter_mut().zip(digest) {
        *byte = source;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

impl ReadStore {
    /// Audit entries, newest first.
    ///
    /// # Errors
    /// [`QueryError`]
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, QueryError> {
        let from = match query.since {
            None => 1,
            Some(since) => log::first_since(self.backend(), since).await?,
        };
        // One query per name, so that each can use the index its name allows.
        let names = match query.event_type.as_deref().map(event_types) {
            None => vec![None],
            Some(names) => names.into_iter().map(Some).collect(),
        };
        let mut events = Vec::new();
        for name in names {
            let selection = Selection {
                event_type: name,
                connection: query.connection.clone(),
                from,
                before: query.before,
            };
            events.extend(log::newest(self.backend(), selection, query.limit).await?);
        }
        events.sort_by_key(|event| std::cmp::Reverse(event.position));
        events.truncate(query.limit);
        Ok(events.iter().map(AuditEntry::of).collect())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`QueryError`] when it does not.
    pub async fn ping(&self) -> Result<(), QueryError> {
        Ok(log::ping(self.backend()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_domain::stream::StreamKey;

    fn event() -> RecordedEvent {
        RecordedEvent {
            position: 7,
            stream: StreamKey { stream_type: "access".into(), id: "2026-11-24/n".into() },
            sequence: 1,
            event_type: "credential.retrieved".into(),
            event_version: "1".into(),
            recorded_at: Timestamp::from_micros(1),
            payload: r#"{"type":"credential.retrieved","connection":"ref","provider_id":"p","door":"token"}"#.into(),
            metadata: r#"{"actor":"key:1","request_id":"r"}"#.into(),
            leaf: [7; 32],
            blob_digest: None,
            blob: None,
        }
    }

    #[test]
    fn an_entry_tells_who_did_what_to_which_connection() {
        let entry = AuditEntry::of(&event());
        assert_eq!(entry.connection.as_deref(), Some("ref"));
        assert_eq!(entry.provider_id.as_deref(), Some("p"));
        assert_eq!(entry.legacy_event_type, Some("token_retrieved"));
        assert_eq!(
            entry.summary(),
            "credential.retrieved by key:1 on connection ref"
        );
        assert_eq!(entry.id.get_version_num(), 8);
    }

    #[test]
    fn older_names_stand_for_stored_ones() {
        assert_eq!(
            event_types("connection.created"),
            ["connection.activated", "connection.credential_captured"]
        );
        assert_eq!(event_types("connection.revoked"), ["connection.revoked"]);
    }
}
