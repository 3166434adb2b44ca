//! `GET /audit`: the event log as auditors see it.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use nexus_domain::time::Timestamp;
use nexus_projections::{AuditEntry, AuditQuery};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Doors;
use crate::application::Fault;
use crate::http::error::ApiError;
use crate::http::headers::no_store;
use crate::http::json::Json;

/// How many entries are returned when the caller does not say.
const DEFAULT_LIMIT: usize = 50;
/// The most entries of one answer.
const MAX_LIMIT: usize = 1_000;

/// The filters; each is a text until it is judged.
#[derive(Deserialize)]
pub(super) struct Filters {
    event_type: Option<String>,
    since: Option<String>,
    limit: Option<String>,
}

impl Filters {
    fn into_query(self) -> Result<AuditQuery, ApiError> {
        let since = self
            .since
            .filter(|since| !since.is_empty())
            .map(|since| Timestamp::parse_rfc3339(&since));
        let limit = self.limit.map_or(Some(DEFAULT_LIMIT), |limit| {
            limit
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        });
        Ok(AuditQuery {
            event_type: self.event_type.filter(|event_type| !event_type.is_empty()),
            since: since
                .transpose()
                .map_err(|_| ApiError::invalid_since("since must be an RFC 3339 time."))?,
            limit: limit
                .ok_or_else(|| ApiError::invalid_limit("limit must be a number from 1 to 1000."))?,
        })
    }
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
        "agent": metadata("agent"),
        "subject": metadata("subject"),
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
    Query(filters): Query<Filters>,
) -> Result<Response, ApiError> {
    let entries = doors
        .application
        .reads
        .audit(&filters.into_query()?)
        .await
        .map_err(Fault::from)?;
    Ok(no_store(
        Json(entries.iter().map(entry).collect::<Vec<_>>()).into_response(),
    ))
}
