//! Stored forms: events for ever, states until their version rises.

use serde_json::{Value, json};

use super::super::{EVENT_TYPES, Status};
use super::*;
use crate::fixtures;

#[test]
fn every_event_has_a_fixture_that_decodes_and_encodes_equal() {
    fixtures::check::<Event>(EVENT_TYPES);
}

#[test]
fn the_stored_events_fold() {
    let stored = |name: &str| fixtures::read::<Event>(name);
    let history = [
        "connection.requested",
        "connection.consent_returned",
        "connection.activated",
        "connection.refresh_started",
        "connection.refreshed",
    ]
    .map(stored);
    let connection = given(&history);
    assert_eq!(
        (connection.status, connection.credential_version),
        (Status::Active, 2)
    );
    assert!(connection.refresh.ever_rotated);
    assert_eq!(
        given(&[stored("connection.requested"), stored("connection.failed")]).status,
        Status::Failed
    );
}

#[test]
fn the_first_send_of_a_token_is_stored_where_it_counts_and_missing_otherwise() {
    let stored = |claim| serde_json::to_value(&active().decide(claim).unwrap()[0]).unwrap();
    let plain = stored(claim(Rotation::Auto, None));
    assert!(plain.get("first_sent_at").is_none(), "{plain}");
    let noted = stored(claim_in_grace(1000, None));
    assert_eq!(noted["first_sent_at"], "1970-01-01T00:16:40.000000Z");
}

#[test]
fn an_event_names_the_ciphertext_beside_it() {
    for (name, version) in [
        ("connection.requested", 1),
        ("connection.activated", 1),
        ("connection.credential_captured", 1),
        ("connection.refreshed", 2),
    ] {
        assert_eq!(
            Connection::sealed(&fixtures::read(name)).unwrap().version,
            version,
            "{name}"
        );
    }
    let without = EVENT_TYPES
        .iter()
        .filter(|name| Connection::sealed(&fixtures::read(name)).is_none());
    assert_eq!(without.count(), EVENT_TYPES.len() - 4);
}

#[test]
fn a_state_of_another_version_does_not_decode() {
    let mut stored = serde_json::to_value(claimed()).unwrap();
    assert_eq!(stored["state_version"], json!(Connection::STATE_VERSION));
    assert_eq!(
        serde_json::from_value::<Connection>(stored.clone()).unwrap(),
        claimed()
    );
    stored["state_version"] = json!(Connection::STATE_VERSION + 1);
    assert!(serde_json::from_value::<Connection>(stored.clone()).is_err());
    stored.as_object_mut().unwrap().remove("state_version");
    assert!(serde_json::from_value::<Connection>(stored).is_err());
}

#[test]
fn every_reason_is_stored_as_it_is_written_on_the_wire() {
    for reason in [
        AttentionReason::RefreshTokenInvalid,
        AttentionReason::ProviderRevoked,
        AttentionReason::RefreshOutcomeUnknown,
        AttentionReason::CredentialExpired,
        AttentionReason::ProviderChanged,
    ] {
        assert_eq!(
            serde_json::to_value(reason).unwrap(),
            Value::from(reason.as_str())
        );
    }
    for reason in [
        FailureReason::ConsentDenied,
        FailureReason::ExchangeFailed,
        FailureReason::ExchangeOutcomeUnknown,
        FailureReason::InvalidIdToken,
        FailureReason::AccountMismatch,
        FailureReason::ProviderChanged,
    ] {
        assert_eq!(
            serde_json::to_value(reason).unwrap(),
            Value::from(reason.as_str())
        );
    }
    for status in [
        Status::Absent,
        Status::Pending,
        Status::Active,
        Status::Attention,
        Status::Failed,
        Status::Revoked,
        Status::Deleted,
    ] {
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            Value::from(status.as_str())
        );
    }
}
