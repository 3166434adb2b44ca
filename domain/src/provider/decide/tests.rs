use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::fixtures;
use crate::provider::{EVENT_TYPES, MASK};
use crate::sealing::KeyId;

type Command = ProviderCommand;
type Event = ProviderEvent;
type Error = ProviderError;

const HOST: &str = "https://accounts.example.test";
const OTHER_HOST: &str = "https://elsewhere.example.test";

/// Of an OAuth provider whose endpoints are at `host`.
fn profile(host: &str) -> ProviderProfile {
    ProviderProfile {
        name: "Example".to_owned(),
        client_id: Some("client-1".to_owned()),
        auth_url: Some(format!("{HOST}/authorize")),
        token_url: Some(format!("{host}/token")),
        has_client_secret: true,
        ..ProviderProfile::default()
    }
}

/// The same of a client that has no secret.
fn public_client(host: &str) -> ProviderProfile {
    ProviderProfile {
        auth_header: Some("none".to_owned()),
        has_client_secret: false,
        ..profile(host)
    }
}

fn described(profile: ProviderProfile) -> ProviderProfile {
    ProviderProfile {
        description: Some("changed".to_owned()),
        ..profile
    }
}

fn sealed(version: u32) -> SealedRef {
    SealedRef {
        digest: "ab".repeat(32),
        key_id: KeyId::default(),
        version,
    }
}

fn set(version: u32) -> SecretChange {
    SecretChange::Set(sealed(version))
}

fn registered() -> Event {
    Event::Registered {
        profile: profile(HOST),
        secret: Some(sealed(1)),
        epoch: 1,
    }
}

fn registered_publicly() -> Event {
    Event::Registered {
        profile: public_client(HOST),
        secret: None,
        epoch: 1,
    }
}

fn updated(profile: ProviderProfile, secret: SecretChange, epoch: u64, changed: &[&str]) -> Event {
    Event::Updated {
        profile,
        secret,
        epoch,
        changed: changed.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn update(profile: ProviderProfile, secret: SecretChange) -> Command {
    Command::Update { profile, secret }
}

fn given(history: &[Event]) -> Given {
    let mut provider = Provider::default();
    for event in history {
        provider.evolve(event);
    }
    Given(provider)
}

struct Given(Provider);

impl Given {
    fn when(&self, command: Command) -> Decision {
        self.0.decide(command)
    }
}

#[test]
fn registering_records_the_profile_and_its_secret() {
    let decision = given(&[]).when(Command::Register {
        profile: profile(HOST),
        secret: Some(sealed(1)),
    });
    assert_eq!(decision, Ok(vec![registered()]));
}

#[test]
fn registering_trims_the_name() {
    let profile_with_blanks = ProviderProfile {
        name: "  Example\t".to_owned(),
        ..profile(HOST)
    };
    let decision = given(&[]).when(Command::Register {
        profile: profile_with_blanks,
        secret: Some(sealed(1)),
    });
    assert_eq!(decision, Ok(vec![registered()]));
}

#[test]
fn registering_twice_is_refused_also_after_the_end() {
    let again = || Command::Register {
        profile: profile(HOST),
        secret: Some(sealed(2)),
    };
    assert_eq!(
        given(&[registered()]).when(again()),
        Err(Error::AlreadyRegistered)
    );
    assert_eq!(
        given(&[registered(), Event::Deleted {}]).when(again()),
        Err(Error::AlreadyRegistered)
    );
}

#[test]
fn an_invalid_profile_is_refused() {
    let nameless = || ProviderProfile {
        name: " ".to_owned(),
        ..profile(HOST)
    };
    let register = given(&[]).when(Command::Register {
        profile: nameless(),
        secret: Some(sealed(1)),
    });
    assert!(matches!(register, Err(Error::Invalid(error)) if error.field == "name"));
    let change = given(&[registered()]).when(update(nameless(), SecretChange::Keep));
    assert!(matches!(change, Err(Error::Invalid(error)) if error.field == "name"));
}

#[test]
fn a_claim_to_have_a_client_secret_does_not_count_without_one() {
    let decision = given(&[]).when(Command::Register {
        profile: profile(HOST),
        secret: None,
    });
    assert!(matches!(decision, Err(Error::Invalid(error)) if error.field == "client_secret"));
    let claimed = ProviderProfile {
        has_client_secret: true,
        ..public_client(HOST)
    };
    let decision = given(&[]).when(Command::Register {
        profile: claimed.clone(),
        secret: None,
    });
    assert_eq!(decision, Ok(vec![registered_publicly()]));
    assert_eq!(
        given(&[registered_publicly()]).when(update(claimed, SecretChange::Keep)),
        Ok(Vec::new())
    );
}

#[test]
fn secrets_without_a_client_secret_are_not_enough_for_a_confidential_client() {
    let without = ProviderProfile {
        has_client_secret: false,
        ..profile(HOST)
    };
    let decision = given(&[]).when(Command::Register {
        profile: without,
        secret: Some(sealed(1)),
    });
    assert!(matches!(decision, Err(Error::Invalid(error)) if error.field == "client_secret"));
}

#[test]
fn the_client_secret_stays_while_the_secrets_stay() {
    let forgotten = ProviderProfile {
        has_client_secret: false,
        ..profile(HOST)
    };
    assert_eq!(
        given(&[registered()]).when(update(forgotten, SecretChange::Keep)),
        Ok(Vec::new())
    );
}

#[test]
fn clearing_a_secret_that_is_required_is_refused() {
    let decision = given(&[registered()]).when(update(profile(HOST), SecretChange::Clear));
    assert!(matches!(decision, Err(Error::Invalid(error)) if error.field == "client_secret"));
}

#[test]
fn a_secret_may_be_cleared_when_the_client_becomes_public() {
    let decision = given(&[registered()]).when(update(public_client(HOST), SecretChange::Clear));
    let changed = ["auth_header", "has_client_secret", "secret"];
    assert_eq!(
        decision,
        Ok(vec![updated(
            public_client(HOST),
            SecretChange::Clear,
            1,
            &changed
        )])
    );
}

#[test]
fn clearing_no_secret_keeps_none() {
    let provider = given(&[registered_publicly()]);
    assert_eq!(
        provider.when(update(public_client(HOST), SecretChange::Clear)),
        Ok(Vec::new())
    );
    let change = described(public_client(HOST));
    let expected = updated(change.clone(), SecretChange::Keep, 1, &["description"]);
    assert_eq!(
        provider.when(update(change, SecretChange::Clear)),
        Ok(vec![expected])
    );
}

#[test]
fn an_update_that_changes_nothing_is_no_event() {
    assert_eq!(
        given(&[registered()]).when(update(profile(HOST), SecretChange::Keep)),
        Ok(Vec::new())
    );
}

#[test]
fn an_update_names_the_fields_that_differ() {
    let change = ProviderProfile {
        scopes: vec!["read".to_owned()],
        client_id: Some("client-2".to_owned()),
        ..described(profile(HOST))
    };
    let expected = updated(
        change.clone(),
        SecretChange::Keep,
        1,
        &["client_id", "description", "scopes"],
    );
    assert_eq!(
        given(&[registered()]).when(update(change, SecretChange::Keep)),
        Ok(vec![expected])
    );
}

#[test]
fn a_new_secret_alone_is_a_change() {
    let decision = given(&[registered()]).when(update(profile(HOST), set(2)));
    assert_eq!(
        decision,
        Ok(vec![updated(profile(HOST), set(2), 1, &["secret"])])
    );
}

#[test]
fn secrets_are_sealed_as_the_next_version_even_after_a_clearing() {
    let register = given(&[]).when(Command::Register {
        profile: profile(HOST),
        secret: Some(sealed(2)),
    });
    assert_eq!(register, Err(Error::StaleVersion { expected: 1 }));
    let cleared = updated(public_client(HOST), SecretChange::Clear, 1, &["secret"]);
    for history in [vec![registered()], vec![registered(), cleared]] {
        for stale in [0, 1, 3] {
            assert_eq!(
                given(&history).when(update(profile(HOST), set(stale))),
                Err(Error::StaleVersion { expected: 2 })
            );
        }
        assert!(given(&history).when(update(profile(HOST), set(2))).is_ok());
    }
}

#[test]
fn a_new_host_needs_the_secret_again() {
    let provider = given(&[registered()]);
    let refused = Err(Error::HostChangeNeedsSecret { field: "token_url" });
    assert_eq!(
        provider.when(update(profile(OTHER_HOST), SecretChange::Keep)),
        refused
    );
    let public = ProviderProfile {
        auth_header: Some("none".to_owned()),
        ..profile(OTHER_HOST)
    };
    assert_eq!(provider.when(update(public, SecretChange::Clear)), refused);
    let expected = updated(profile(OTHER_HOST), set(2), 2, &["token_url", "secret"]);
    assert_eq!(
        provider.when(update(profile(OTHER_HOST), set(2))),
        Ok(vec![expected])
    );
}

#[test]
fn every_field_that_entrusts_a_host_counts() {
    let revocation = json!({"revocation_endpoint": format!("{OTHER_HOST}/revoke")});
    let changes = [
        ("token_url", profile(OTHER_HOST)),
        (
            "issuer",
            ProviderProfile {
                issuer: Some(OTHER_HOST.to_owned()),
                ..profile(HOST)
            },
        ),
        (
            "params.revocation_endpoint",
            ProviderProfile {
                params: serde_json::from_value(revocation).unwrap(),
                ..profile(HOST)
            },
        ),
        ("token_url", profile("http://accounts.example.test")),
        ("token_url", profile("https://accounts.example.test:8443")),
    ];
    for (field, change) in changes {
        assert_eq!(
            given(&[registered()]).when(update(change, SecretChange::Keep)),
            Err(Error::HostChangeNeedsSecret { field })
        );
    }
}

#[test]
fn a_host_that_is_entrusted_already_may_be_used_otherwise() {
    let revocation = json!({"revocation_endpoint": format!("{HOST}/revoke")});
    let change = ProviderProfile {
        token_url: Some(format!("{HOST}:443/v2/token")),
        issuer: Some(HOST.to_owned()),
        params: serde_json::from_value(revocation).unwrap(),
        ..profile(HOST)
    };
    let expected = updated(
        change.clone(),
        SecretChange::Keep,
        1,
        &["issuer", "params", "token_url"],
    );
    assert_eq!(
        given(&[registered()]).when(update(change, SecretChange::Keep)),
        Ok(vec![expected])
    );
}

#[test]
fn a_new_host_of_a_public_client_raises_the_epoch_only() {
    let decision =
        given(&[registered_publicly()]).when(update(public_client(OTHER_HOST), SecretChange::Keep));
    assert_eq!(
        decision,
        Ok(vec![updated(
            public_client(OTHER_HOST),
            SecretChange::Keep,
            2,
            &["token_url"]
        )])
    );
}

#[test]
fn a_host_that_comes_back_raises_the_epoch_again() {
    let moved = updated(profile(OTHER_HOST), set(2), 2, &["secret", "token_url"]);
    let decision = given(&[registered(), moved]).when(update(profile(HOST), set(3)));
    assert_eq!(
        decision,
        Ok(vec![updated(
            profile(HOST),
            set(3),
            3,
            &["token_url", "secret"]
        )])
    );
}

#[test]
fn deleting_twice_is_harmless() {
    assert_eq!(
        given(&[registered()]).when(Command::Delete),
        Ok(vec![Event::Deleted {}])
    );
    assert_eq!(
        given(&[registered(), Event::Deleted {}]).when(Command::Delete),
        Ok(Vec::new())
    );
}

#[test]
fn a_deleted_provider_keeps_its_settings_and_its_secret() {
    let Given(provider) = given(&[registered(), Event::Deleted {}]);
    assert_eq!(
        (provider.status, provider.profile, provider.secret),
        (Status::Deleted, profile(HOST), Some(sealed(1)))
    );
}

#[test]
fn every_state_decides_every_command() {
    let commands = || {
        [
            Command::Register {
                profile: profile(HOST),
                secret: Some(sealed(1)),
            },
            update(profile(HOST), SecretChange::Keep),
            update(described(profile(HOST)), SecretChange::Keep),
            update(profile(HOST), set(2)),
            update(profile(OTHER_HOST), SecretChange::Keep),
            update(public_client(HOST), SecretChange::Clear),
            Command::Delete,
        ]
    };
    let outcome = |decision: Decision| match decision {
        Ok(events) => events
            .iter()
            .map(Event::stored_name)
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => error.to_string(),
    };
    let (missing, twice) = (
        "the provider does not exist",
        "the provider was registered before",
    );
    let host = "changing the host of `token_url` needs its secrets again";
    let change = "provider.updated";
    let table = [
        (
            vec![],
            [
                "provider.registered",
                missing,
                missing,
                missing,
                missing,
                missing,
                missing,
            ],
        ),
        (
            vec![registered()],
            [twice, "", change, change, host, change, "provider.deleted"],
        ),
        (
            vec![registered(), Event::Deleted {}],
            [twice, missing, missing, missing, missing, missing, ""],
        ),
    ];
    for (history, expected) in table {
        let provider = given(&history);
        assert_eq!(
            commands().map(|command| outcome(provider.when(command))),
            expected,
            "{:?}",
            provider.0.status
        );
    }
}

#[test]
fn the_blob_beside_an_event_is_the_one_it_sets() {
    let with = [registered(), updated(profile(HOST), set(1), 1, &[])];
    assert!(
        with.iter()
            .all(|event| Provider::sealed(event) == Some(&sealed(1)))
    );
    let without = [
        registered_publicly(),
        updated(profile(HOST), SecretChange::Keep, 1, &[]),
        updated(profile(HOST), SecretChange::Clear, 1, &[]),
        Event::Deleted {},
    ];
    assert!(
        without
            .iter()
            .all(|event| Provider::sealed(event).is_none())
    );
}

#[test]
fn every_event_has_a_fixture_that_decodes_and_encodes_equal() {
    fixtures::check::<Event>(EVENT_TYPES);
}

#[test]
fn the_stored_events_fold() {
    let Given(provider) = given(
        &EVENT_TYPES
            .iter()
            .map(|name| fixtures::read(name))
            .collect::<Vec<Event>>(),
    );
    assert_eq!(
        (provider.status, provider.epoch, provider.secret_version),
        (Status::Deleted, 2, 2)
    );
    assert_eq!(
        provider.profile.issuer.as_deref(),
        Some("https://login.example.test")
    );
}

#[test]
fn a_state_of_another_version_does_not_deserialize() {
    let mut state = serde_json::to_value(given(&[registered()]).0).unwrap();
    assert_eq!(state["state_version"], Provider::STATE_VERSION);
    state["state_version"] = json!(Provider::STATE_VERSION + 1);
    assert!(serde_json::from_value::<Provider>(state).is_err());
}

#[tokio::test]
async fn the_framework_decides_and_folds_alike() {
    let sink = cqrs_es::event_sink::EventSink::default();
    let mut provider = Provider::default();
    let command = Command::Register {
        profile: profile(HOST),
        secret: Some(sealed(1)),
    };
    cqrs_es::Aggregate::handle(&mut provider, command, &(), &sink)
        .await
        .unwrap();
    assert_eq!(sink.collect().await, vec![registered()]);
    assert_eq!(provider, given(&[registered()]).0);
}

fn profiles() -> impl Strategy<Value = ProviderProfile> {
    let params = select(vec![
        json!({}),
        json!({"prompt": "consent"}),
        json!({"private_key": MASK, "revocation_endpoint": OTHER_HOST}),
    ]);
    (
        select(vec![HOST, OTHER_HOST]),
        any::<bool>(),
        any::<bool>(),
        params,
    )
        .prop_map(|(host, public, changed, params): (_, _, _, Value)| {
            let profile = if public {
                public_client(host)
            } else {
                profile(host)
            };
            let profile = if changed { described(profile) } else { profile };
            ProviderProfile {
                params: serde_json::from_value(params).unwrap(),
                ..profile
            }
        })
}

/// A command but for the version of its secrets.
fn wishes() -> impl Strategy<Value = Command> {
    let secrets = || select(vec![SecretChange::Keep, set(0), SecretChange::Clear]);
    prop_oneof![
        2 => (profiles(), any::<bool>()).prop_map(|(profile, secret)| Command::Register { profile, secret: secret.then(|| sealed(0)) }),
        8 => (profiles(), secrets()).prop_map(|(profile, secret)| update(profile, secret)),
        1 => Just(Command::Delete),
    ]
}

fn fitted(command: Command, provider: &Provider) -> Command {
    let next = provider.secret_version + 1;
    match command {
        Command::Register { profile, secret } => Command::Register {
            profile,
            secret: secret.map(|_| sealed(next)),
        },
        Command::Update {
            profile,
            secret: SecretChange::Set(_),
        } => update(profile, set(next)),
        other @ (Command::Update { .. } | Command::Delete) => other,
    }
}

/// Carries the wishes out; the states after each event, and the events.
fn carry_out(wishes: Vec<Command>) -> (Vec<Provider>, Vec<Event>) {
    let (mut states, mut history) = (vec![Provider::default()], Vec::new());
    for wish in wishes {
        let now = states.last().unwrap().clone();
        for event in now.decide(fitted(wish, &now)).unwrap_or_default() {
            let mut next = states.last().unwrap().clone();
            next.evolve(&event);
            states.push(next);
            history.push(event);
        }
    }
    (states, history)
}

proptest! {
    #[test]
    fn a_replayed_state_is_the_live_one(wishes in vec(wishes(), 0..30)) {
        let (states, history) = carry_out(wishes);
        let stored: Vec<String> = history.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let replayed: Vec<Event> = stored.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        prop_assert_eq!(&replayed, &history);
        prop_assert_eq!(&given(&replayed).0, states.last().unwrap());
    }

    #[test]
    fn a_state_reads_back_and_goes_on(wishes in vec(wishes(), 0..30)) {
        let (states, history) = carry_out(wishes);
        for (index, state) in states.iter().enumerate() {
            let mut read: Provider = serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap();
            prop_assert_eq!(&read, state);
            for event in &history[index..] {
                read.evolve(event);
            }
            prop_assert_eq!(&read, states.last().unwrap());
        }
    }

    #[test]
    fn no_stored_secret_reaches_a_new_host_unless_it_is_given_again(wishes in vec(wishes(), 0..30)) {
        let (states, history) = carry_out(wishes);
        for (pair, event) in states.windows(2).zip(&history) {
            let (before, after) = (&pair[0], &pair[1]);
            let moved = before.status == Status::Registered && before.profile.changed_host(&after.profile).is_some();
            prop_assert_eq!(after.epoch, before.epoch + u64::from(moved || before.status == Status::Absent));
            let given_again = Provider::sealed(event).is_some();
            prop_assert!(!moved || before.secret.is_none() || given_again);
        }
    }

    #[test]
    fn a_recorded_profile_is_valid_and_says_of_its_client_secret_what_is_true(wishes in vec(wishes(), 0..30)) {
        for state in carry_out(wishes).0.iter().filter(|state| state.status != Status::Absent) {
            prop_assert_eq!(state.profile.validate(state.profile.has_client_secret), Ok(()));
            prop_assert!(state.secret.is_some() || !state.profile.has_client_secret);
        }
    }

    #[test]
    fn any_order_of_stored_events_folds(names in vec(select(EVENT_TYPES), 0..10)) {
        let history: Vec<Event> = names.iter().map(|name| fixtures::read(name)).collect();
        let status = history.iter().rev().find_map(|event| match event {
            Event::Registered { .. } => Some(Status::Registered),
            Event::Deleted {} => Some(Status::Deleted),
            Event::Updated { .. } => None,
        });
        prop_assert_eq!(given(&history).0.status, status.unwrap_or_default());
    }
}
