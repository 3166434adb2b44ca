use std::sync::Arc;

use nexus_domain::provider::ProviderProfile;
use nexus_domain::sealing::{KeyId, SealedRef};
use nexus_domain::stream::StreamKey;
use nexus_ledger::NewEvent;

use super::*;
use crate::fixtures::recorded;

const ID: Uuid = Uuid::from_u128(7);

fn at(position: u64) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(position).unwrap())
}

fn record(position: u64, event: &ProviderEvent) -> RecordedEvent {
    RecordedEvent {
        blob: Provider::sealed(event).map(|_| Arc::from(position.to_be_bytes())),
        ..recorded(
            StreamKey::new("provider", ID.to_string()),
            position,
            NewEvent::of(event).unwrap(),
        )
    }
}

/// The rows after each of these events.
fn rows(events: &[ProviderEvent]) -> Vec<ProviderRow> {
    let mut row = None;
    (1..)
        .zip(events)
        .map(|(position, event)| {
            row = Providers::apply(row.take(), &record(position, event)).unwrap();
            row.clone().unwrap()
        })
        .collect()
}

fn sealed(version: u32) -> SealedRef {
    SealedRef {
        digest: format!("{version:064x}"),
        key_id: KeyId::default(),
        version,
    }
}

fn field(version: u32, position: u64) -> SealedField {
    SealedField {
        sealed: sealed(version),
        position,
        blob: Some(position.to_be_bytes().to_vec()),
    }
}

fn profile(name: &str) -> ProviderProfile {
    ProviderProfile {
        name: name.to_owned(),
        ..ProviderProfile::default()
    }
}

fn registered(secret: Option<SealedRef>) -> ProviderEvent {
    ProviderEvent::Registered {
        profile: profile("Straße"),
        secret,
        epoch: 1,
    }
}

fn updated(name: &str, secret: SecretChange) -> ProviderEvent {
    ProviderEvent::Updated {
        profile: profile(name),
        secret,
        epoch: 2,
        changed: vec!["name".to_owned()],
    }
}

fn full_history() -> Vec<ProviderRow> {
    rows(&[
        registered(Some(sealed(1))),
        updated("Strasse", SecretChange::Keep),
        updated("Other", SecretChange::Set(sealed(2))),
        updated("Other", SecretChange::Clear),
        updated("Other", SecretChange::Set(sealed(3))),
        ProviderEvent::Deleted {},
    ])
}

#[test]
fn only_providers_concern_it() {
    let mut event = record(1, &registered(None));
    assert_eq!(Providers::key(&event), Some(ID.to_string().as_str()));
    event.stream.stream_type = "connection".into();
    assert_eq!(Providers::key(&event), None);
}

#[test]
fn a_row_tells_where_its_stream_stands_and_since_when() {
    let row = full_history().remove(1);
    assert_eq!(row.provider_id(), ProviderId::from_uuid(ID));
    assert_eq!((row.sequence, row.position), (2, 2));
    assert_eq!((row.created_at, row.updated_at), (at(1), at(2)));
    assert_eq!(
        (row.state.profile.name.as_str(), row.state.epoch),
        ("Strasse", 2)
    );
    assert!(row.is_registered());
}

#[test]
fn a_name_is_found_without_regard_to_case_until_the_provider_is_deleted() {
    let keys: Vec<Option<String>> = full_history().iter().map(ProviderRow::name_key).collect();
    let keys: Vec<Option<&str>> = keys.iter().map(Option::as_deref).collect();
    let expected = [
        Some("strasse"),
        Some("strasse"),
        Some("other"),
        Some("other"),
        Some("other"),
        None,
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_deleted_provider_keeps_its_settings_and_secrets() {
    let row = full_history().pop().unwrap();
    assert!(!row.is_registered());
    assert_eq!(row.state.profile.name, "Other");
    assert_eq!(row.secret, Some(field(3, 5)));
}

#[test]
fn the_newest_secrets_are_kept_with_their_position() {
    let secrets: Vec<Option<SealedField>> =
        full_history().into_iter().map(|row| row.secret).collect();
    let expected = [
        Some(field(1, 1)),
        Some(field(1, 1)),
        Some(field(2, 3)),
        None,
        Some(field(3, 5)),
        Some(field(3, 5)),
    ];
    assert_eq!(secrets, expected);
    assert_eq!(rows(&[registered(None)])[0].secret, None);
}

#[test]
fn a_blob_is_superseded_once_its_secrets_are() {
    let superseded: Vec<Option<u64>> = full_history()
        .windows(2)
        .map(|pair| Providers::superseded_blob(&pair[0], Some(&pair[1])))
        .collect();
    assert_eq!(superseded, [None, Some(1), Some(3), None, None]);
}

#[test]
fn a_row_reads_back_from_its_values() {
    for row in full_history() {
        assert_eq!(
            Providers::from_values(Providers::to_values(&row)).unwrap(),
            row
        );
    }
}

#[test]
fn every_column_holds_what_it_is_named_for() {
    let row = full_history().remove(2);
    let named: Vec<(&str, Value)> = Providers::COLUMNS
        .iter()
        .map(|column| column.name)
        .zip(Providers::to_values(&row))
        .collect();
    let expected = vec![
        ("id", ID.to_string().into()),
        ("sequence", 3.into()),
        ("position", 3.into()),
        ("name_key", "other".to_owned().into()),
        ("state", encode(&row.state).into()),
        ("created_at", at(1).as_micros().into()),
        ("updated_at", at(3).as_micros().into()),
        ("secret_sealed", encode(&sealed(2)).into()),
        ("secret_position", 3.into()),
        ("secret_blob", Some(3_u64.to_be_bytes().to_vec()).into()),
    ];
    assert_eq!(named, expected);
    assert_eq!(named.len(), Providers::COLUMNS.len());
}

#[test]
fn an_event_that_does_not_decode_is_an_error() {
    let mut event = record(1, &registered(None));
    event.payload = "{}".to_owned();
    assert!(Providers::apply(None, &event).is_err());
}
