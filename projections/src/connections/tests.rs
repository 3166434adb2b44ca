use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_domain::connection::{AttentionReason, ConsentKind, FailureReason, Outcome};
use nexus_domain::provider::{AuthType, ProviderId};
use nexus_domain::sealing::KeyId;
use nexus_domain::stream::StreamKey;
use uuid::Uuid;

use super::*;

const LAPSES: Timestamp = Timestamp::from_seconds(900);
const EXCHANGE: Duration = Duration::from_secs(20);
const CLAIM: Duration = Duration::from_secs(30);

/// When the event at a position is recorded: ten seconds after the one before.
fn at(position: u64) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(position).unwrap() * 10)
}

fn record(position: u64, event: &ConnectionEvent) -> RecordedEvent {
    let carries = Connection::sealed(event).is_some();
    RecordedEvent {
        position,
        stream: StreamKey::new("connection", "ref"),
        sequence: position,
        event_type: event.stored_name().to_owned(),
        event_version: "1".to_owned(),
        recorded_at: at(position),
        payload: serde_json::to_string(event).unwrap(),
        metadata: "{}".to_owned(),
        leaf: [0; 32],
        blob_digest: None,
        blob: carries.then(|| Arc::from(blob(position))),
    }
}

fn blob(position: u64) -> Vec<u8> {
    format!("blob {position}").into_bytes()
}

/// The rows after each of these events.
fn rows(events: &[ConnectionEvent]) -> Vec<ConnectionRow> {
    let mut row = None;
    (1..)
        .zip(events)
        .map(|(position, event)| {
            row = Connections::apply(row.take(), &record(position, event)).unwrap();
            row.clone().unwrap()
        })
        .collect()
}

/// The row after all of these events.
fn given(events: &[ConnectionEvent]) -> ConnectionRow {
    rows(events).pop().unwrap()
}

fn sealed(version: u32) -> SealedRef {
    SealedRef {
        digest: format!("{version:064x}"),
        key_id: KeyId::default(),
        version,
    }
}

fn requested() -> ConnectionEvent {
    ConnectionEvent::Requested {
        workspace_id: "user".into(),
        provider_id: ProviderId::from_uuid(Uuid::from_u128(1)),
        provider_name: "Example".into(),
        auth_type: AuthType::Oauth2,
        consent: ConsentKind::Oauth2,
        scopes: vec!["read".into()],
        return_url: "https://app.test/done".into(),
        metadata: None,
        action: None,
        state_digest: "s1".into(),
        expires_at: LAPSES,
        sealed_id: sealed(1),
        provider_epoch: Some(1),
    }
}

fn returned() -> ConnectionEvent {
    ConnectionEvent::ConsentReturned {
        state_digest: "s1".into(),
        deadline_ms: 20_000,
    }
}

fn activated() -> ConnectionEvent {
    ConnectionEvent::Activated {
        credential: sealed(1),
        scopes: vec!["read".into()],
        expires_at: Some(LAPSES),
        account: None,
        refreshable: true,
        provider_epoch: 1,
    }
}

fn claimed(attempt: u64) -> ConnectionEvent {
    ConnectionEvent::RefreshStarted {
        attempt,
        deadline_ms: 30_000,
        credential_version: 1,
        repeat: false,
        forced: false,
        first_sent_at: None,
    }
}

fn refreshed(attempt: u64, version: u32) -> ConnectionEvent {
    ConnectionEvent::Refreshed {
        attempt,
        credential: sealed(version),
        scopes: vec!["read".into()],
        expires_at: Some(LAPSES),
        rotated: true,
    }
}

fn refresh_failed(attempt: u64, retry_after_seconds: Option<u64>) -> ConnectionEvent {
    ConnectionEvent::RefreshFailed {
        attempt,
        outcome: Outcome::Known,
        error: "status_503".into(),
        http_status: Some(503),
        retry_after_seconds,
    }
}

fn failed() -> ConnectionEvent {
    ConnectionEvent::Failed {
        reason: FailureReason::ConsentDenied,
        error: None,
    }
}

fn revoked() -> ConnectionEvent {
    ConnectionEvent::Revoked {
        reason: None,
        provider_revocation: None,
    }
}

/// A history that fills every column but one, and the row after each event.
fn full_history() -> Vec<ConnectionRow> {
    rows(&[
        requested(),
        returned(),
        activated(),
        claimed(1),
        refresh_failed(1, Some(7)),
        claimed(2),
        refreshed(2, 2),
        revoked(),
    ])
}

#[test]
fn only_connections_concern_it() {
    let mut event = record(1, &requested());
    assert_eq!(Connections::key(&event), Some("ref"));
    event.stream.stream_type = "provider".into();
    assert_eq!(Connections::key(&event), None);
}

#[test]
fn a_row_tells_where_its_stream_stands_and_since_when() {
    let row = given(&[requested(), returned(), activated()]);
    assert_eq!(row.reference, "ref");
    assert_eq!((row.sequence, row.position), (3, 3));
    assert_eq!((row.created_at, row.updated_at), (at(1), at(3)));
    assert_eq!(row.state.status, Status::Active);
    assert!(row.serves());
}

#[test]
fn a_pending_consent_is_due_when_it_lapses() {
    let row = given(&[requested()]);
    assert_eq!((row.due_at(), row.exchange_deadline), (Some(LAPSES), None));
    assert!(!row.serves());
}

#[test]
fn an_exchange_under_way_is_due_at_its_deadline_by_the_logs_clock() {
    let row = given(&[requested(), returned()]);
    assert_eq!(row.exchange_deadline, Some(at(2).plus(EXCHANGE)));
    assert_eq!(row.due_at(), row.exchange_deadline);
}

#[test]
fn an_ended_consent_is_due_no_more() {
    for end in [
        activated(),
        failed(),
        ConnectionEvent::Expired {},
        revoked(),
    ] {
        let row = given(&[requested(), returned(), end.clone()]);
        assert_eq!(
            (row.due_at(), row.exchange_deadline),
            (None, None),
            "{end:?}"
        );
    }
}

#[test]
fn a_claim_holds_until_its_deadline_by_the_logs_clock() {
    let row = given(&[requested(), returned(), activated(), claimed(1)]);
    assert_eq!(row.claim_deadline, Some(at(4).plus(CLAIM)));
    let taken_over = given(&[requested(), returned(), activated(), claimed(1), claimed(2)]);
    assert_eq!(taken_over.claim_deadline, Some(at(5).plus(CLAIM)));
}

#[test]
fn a_claim_that_ended_has_no_deadline() {
    let attention = ConnectionEvent::AttentionRequired {
        reason: AttentionReason::ProviderRevoked,
        attempt: Some(1),
    };
    for end in [
        refreshed(1, 2),
        refresh_failed(1, None),
        attention,
        revoked(),
    ] {
        let row = given(&[
            requested(),
            returned(),
            activated(),
            claimed(1),
            end.clone(),
        ]);
        assert_eq!(row.claim_deadline, None, "{end:?}");
    }
}

#[test]
fn a_late_answer_leaves_the_newer_claim_its_deadline() {
    let row = given(&[
        requested(),
        returned(),
        activated(),
        claimed(1),
        claimed(2),
        refreshed(1, 2),
    ]);
    assert_eq!(row.claim_deadline, Some(at(5).plus(CLAIM)));
}

#[test]
fn the_wait_after_failures_doubles_up_to_a_minute() {
    let waits: Vec<u64> = (1..=9)
        .map(|failures| backoff(failures).as_secs())
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(backoff(u32::MAX), MAX_BACKOFF);
}

#[test]
fn a_provider_that_asks_for_more_time_gets_it() {
    let after = |events: &[ConnectionEvent]| {
        given(&[&[requested(), returned(), activated(), claimed(1)], events].concat()).retry_at
    };
    let seconds = |position, seconds| Some(at(position).plus(Duration::from_secs(seconds)));
    assert_eq!(after(&[refresh_failed(1, None)]), seconds(5, 1));
    assert_eq!(after(&[refresh_failed(1, Some(90))]), seconds(5, 90));
    assert_eq!(
        after(&[
            refresh_failed(1, Some(0)),
            claimed(2),
            refresh_failed(2, None)
        ]),
        seconds(7, 2)
    );
    assert_eq!(
        after(&[refresh_failed(1, Some(90)), claimed(2), refreshed(2, 2)]),
        None
    );
}

#[test]
fn the_id_and_the_newest_credential_are_kept_with_their_positions() {
    let rows = full_history();
    let field = |version, position| {
        Some(SealedField {
            sealed: sealed(version),
            position,
            blob: Some(blob(position)),
        })
    };
    assert_eq!((&rows[1].id, &rows[1].credential), (&field(1, 1), &None));
    assert_eq!(
        (&rows[2].id, &rows[2].credential),
        (&field(1, 1), &field(1, 3))
    );
    assert_eq!(
        (&rows[6].id, &rows[6].credential),
        (&field(1, 1), &field(2, 7))
    );
    assert_eq!((&rows[7].id, &rows[7].credential), (&None, &None));
}

#[test]
fn a_captured_credential_is_kept() {
    let captured = ConnectionEvent::CredentialCaptured {
        state_digest: "s1".into(),
        credential: sealed(1),
        provider_epoch: 1,
    };
    let row = given(&[requested(), captured]);
    assert_eq!(row.credential.map(|field| field.position), Some(2));
}

#[test]
fn a_blob_is_superseded_once_its_credential_is() {
    let rows = full_history();
    let superseded: Vec<Option<u64>> = rows
        .windows(2)
        .map(|pair| Connections::superseded_blob(&pair[0], Some(&pair[1])))
        .collect();
    assert_eq!(superseded, [None, None, None, None, None, Some(3), Some(7)]);
    assert_eq!(Connections::superseded_blob(&rows[6], None), Some(7));
}

#[test]
fn a_row_reads_back_from_its_values() {
    for row in full_history() {
        assert_eq!(
            Connections::from_values(Connections::to_values(&row)).unwrap(),
            row
        );
    }
}

#[test]
fn every_column_holds_what_it_is_named_for() {
    let columns = |row: &ConnectionRow| -> BTreeMap<&str, Value> {
        Connections::COLUMNS
            .iter()
            .map(|column| column.name)
            .zip(Connections::to_values(row))
            .collect()
    };
    let rows = full_history();
    let exchanging = columns(&rows[1]);
    assert_eq!(exchanging.len(), Connections::COLUMNS.len());
    let micros = |timestamp: Timestamp| Value::from(timestamp.as_micros());
    let expected = [
        ("reference", Value::from("ref".to_owned())),
        ("sequence", 2.into()),
        ("position", 2.into()),
        ("status", "pending".to_owned().into()),
        ("workspace_id", "user".to_owned().into()),
        ("provider_id", Uuid::from_u128(1).to_string().into()),
        ("due_at", micros(at(2).plus(EXCHANGE))),
        ("state", encode(&rows[1].state).into()),
        ("created_at", micros(at(1))),
        ("updated_at", micros(at(2))),
        ("exchange_deadline", micros(at(2).plus(EXCHANGE))),
        ("claim_deadline", Value::Integer(None)),
        ("retry_at", Value::Integer(None)),
        ("id_sealed", encode(&sealed(1)).into()),
        ("id_position", 1.into()),
        ("id_blob", Some(blob(1)).into()),
        ("credential_sealed", Value::Text(None)),
        ("credential_position", Value::Integer(None)),
        ("credential_blob", Value::Bytes(None)),
        ("revoked_at", Value::Integer(None)),
        ("revoking_until", Value::Integer(None)),
        ("revocation_sealed", Value::Text(None)),
        ("revocation_position", Value::Integer(None)),
        ("revocation_blob", Value::Bytes(None)),
    ];
    assert_eq!(exchanging, BTreeMap::from(expected));
    let failing = columns(&rows[5]);
    assert_eq!(failing["claim_deadline"], micros(at(6).plus(CLAIM)));
    assert_eq!(
        failing["retry_at"],
        micros(at(5).plus(Duration::from_secs(7)))
    );
    assert_eq!(failing["credential_sealed"], encode(&sealed(1)).into());
    assert_eq!(failing["credential_position"], 3.into());
    assert_eq!(failing["credential_blob"], Some(blob(3)).into());
}

#[test]
fn a_token_to_be_revoked_is_kept_for_a_day_or_until_that_has_ended() {
    let revoked = ConnectionEvent::Revoked {
        reason: None,
        provider_revocation: Some(sealed(1)),
    };
    let row = given(&[requested(), revoked.clone()]);
    assert_eq!(row.revoked_at, Some(at(2)));
    assert_eq!(
        row.revoking_until,
        Some(at(2).plus(Duration::from_hours(24)))
    );
    let field = row.revocation.clone().unwrap();
    assert_eq!(
        (field.position, &row.id, &row.credential),
        (2, &None, &None)
    );
    let ended = ConnectionEvent::ProviderRevocationEnded {
        revoked: true,
        error: None,
    };
    let after = given(&[requested(), revoked, ended]);
    assert_eq!(
        (after.revoked_at, after.revoking_until),
        (Some(at(2)), None)
    );
    assert_eq!(after.revocation, None);
    assert_eq!(Connections::superseded_blob(&row, Some(&after)), Some(2));
}

#[test]
fn values_are_of_their_columns_kinds() {
    use crate::table::Kind;
    for row in full_history() {
        for (column, value) in Connections::COLUMNS
            .iter()
            .zip(Connections::to_values(&row))
        {
            let kind = match value {
                Value::Text(_) => Kind::Text,
                Value::Integer(_) => Kind::Integer,
                Value::Bytes(_) => Kind::Bytes,
            };
            assert_eq!(kind, column.kind, "{}", column.name);
        }
    }
}

#[test]
fn values_that_are_no_row_are_refused() {
    let good = Connections::to_values(&given(&[requested()]));
    let altered = |index: usize, value: Value| {
        let mut values = good.clone();
        values[index] = value;
        Connections::from_values(values).unwrap_err().to_string()
    };
    assert_eq!(altered(0, Value::Text(None)), "a required column is NULL");
    assert_eq!(altered(1, (-1).into()), "a count is negative");
    assert_eq!(
        altered(2, Value::Bytes(None)),
        "a column of the row has another type"
    );
    assert!(altered(7, "{}".to_owned().into()).ends_with("does not decode"));
    let short = Connections::from_values(good[..5].to_vec()).unwrap_err();
    assert_eq!(short.to_string(), "the row has too few columns");
}

#[test]
fn an_event_that_does_not_decode_is_an_error_that_shows_nothing_of_it() {
    let mut event = record(1, &requested());
    event.payload = r#"{"type":"connection.invented","secret":"canary"}"#.to_owned();
    let error = Connections::apply(None, &event).unwrap_err().to_string();
    assert!(
        error.ends_with("does not decode") && !error.contains("canary"),
        "{error}"
    );
}
