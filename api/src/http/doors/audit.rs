//! `GET /audit`: the event log as auditors see it.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::Uri;
use nexus_domain::reference::ConnectionId;
use nexus_domain::time::Timestamp;
use nexus_projections::{AuditEntry, AuditQuery};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Doors;
use crate::application::Fault;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;
use crate::http::page;

/// References are UUIDs of this version, ids are not.
const REFERENCE_VERSION: usize = 8;

/// The filters; each is a text until it is judged.
#[derive(Deserialize)]
pub(super) struct Filters {
    event_type: Option<String>,
    connection_id: Option<String>,
    since: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

impl Filters {
    fn into_query(self) -> Result<AuditQuery, ApiError> {
        let since = self.since.map(|since| Timestamp::parse_rfc3339(&since));
        let before = page::cursor(self.cursor.as_deref())?;
        let before = before.map(|position| position.parse());
        Ok(AuditQuery {
            event_type: self.event_type.filter(|event_type| !event_type.is_empty()),
            connection: self.connection_id.and_then(|id| reference_of(&id)),
            since: since
                .transpose()
                .map_err(|_| ApiError::invalid_since("since must be an RFC 3339 time."))?,
            before: before.transpose().map_err(|_| page::invalid_cursor())?,
            limit: page::limit(self.limit.as_deref())? as usize,
        })
    }
}

/// The reference of a connection, given either as itself or as the connection's id. What is neither
/// is nobody's.
fn reference_of(given: &str) -> Option<String> {
    if given.is_empty() {
        return None;
    }
    let id = ConnectionId::parse(given).ok();
    Some(match id {
        Some(id) if id.as_uuid().get_version_num() != REFERENCE_VERSION => {
            id.reference().to_string()
        }
        Some(id) => id.as_uuid().to_string(),
        None => given.to_owned(),
    })
}

fn entry(entry: &AuditEntry) -> Value {
    let metadata = |name: &str| entry.metadata.get(name);
    json!({
        "id": entry.id,
        "connection_id": entry.connection,
        "event_type": entry.event_type,
        "event_data": entry.event_data,
        "ip_address": metadata("ip_address"),
        "user_agent": metadata("user_agent"),
        "created_at": entry.created_at,
        "position": entry.position,
        "actor": metadata("actor"),
        "agent": entry.agent,
        "subject": metadata("subject"),
        "operation": metadata("operation"),
        "summary": entry.summary(),
        "provider_id": entry.provider_id,
        "session_id": entry.session_id,
        "request_id": metadata("request_id"),
        "legacy_event_type": entry.legacy_event_type,
    })
}

/// Entries, newest first.
pub(super) async fn get(
    State(doors): State<Doors>,
    uri: Uri,
    Query(filters): Query<Filters>,
) -> Result<Response, ApiError> {
    let query = filters.into_query()?;
    let found = doors.application.reads.audit(&query).await;
    let entries = found.map_err(Fault::from)?;
    let full = entries.len() == query.limit;
    let next = entries.last().filter(|_| full);
    let next = next.map(|last| last.position.to_string());
    let entries: Vec<Value> = entries.iter().map(entry).collect();
    let response = page::with_next(Json(entries).into_response(), &uri, next.as_deref());
    Ok(no_store(response))
}
