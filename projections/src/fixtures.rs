//! Events as the log gives them, for the tests of folds.

use nexus_domain::stream::StreamKey;
use nexus_domain::time::Timestamp;
use nexus_ledger::{NewEvent, RecordedEvent};

/// The event at a position, as many seconds after the epoch; alone in the log, its sequence is its position.
pub(crate) fn recorded(stream: StreamKey, position: u64, event: NewEvent) -> RecordedEvent {
    RecordedEvent {
        position,
        stream,
        sequence: position,
        event_type: event.event_type,
        event_version: event.event_version,
        recorded_at: Timestamp::from_seconds(i64::try_from(position).unwrap()),
        payload: event.payload,
        metadata: "{}".to_owned(),
        leaf: [0; 32],
        blob_digest: None,
        blob: None,
    }
}
