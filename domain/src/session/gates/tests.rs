use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;
use crate::agent::AgentProfile;

fn scopes(scopes: &[&str]) -> Vec<String> {
    scopes.iter().map(|&scope| scope.to_owned()).collect()
}

fn agent(allowed: &[&str], active: bool) -> Agent {
    let mut agent = Agent::default();
    agent.status = agent::Status::Registered;
    agent.profile = AgentProfile {
        allowed_scopes: scopes(allowed),
        active,
        ..AgentProfile::default()
    };
    agent
}

fn user(permissions: &[&str]) -> Principal {
    Principal {
        acting_for: "ann".to_owned(),
        tenant_id: None,
        clearance_level: None,
        permissions: scopes(permissions),
    }
}

fn connection(granted: &[&str], status: Status) -> Connection {
    let mut connection = Connection::default();
    connection.status = status;
    connection.scopes = scopes(granted);
    connection
}

fn provider(offers: &[&str]) -> ProviderProfile {
    ProviderProfile {
        scopes: scopes(offers),
        ..ProviderProfile::default()
    }
}

fn one<'a>(connection: &'a Connection, provider: &'a ProviderProfile) -> Selection<'a> {
    Selection::One(Selected {
        connection,
        provider,
    })
}

#[test]
fn an_agent_is_let_through_up_to_what_it_is_registered_for() {
    let asked = scopes(&["read", "write"]);
    let gates = Gates {
        scopes: &asked,
        on_behalf: false,
    };
    assert_eq!(
        gates.agent(Some(&agent(&["write", "read", "send"], true))),
        Ok(())
    );
    assert_eq!(gates.agent(None), Err(Refusal::AgentNotFound));
    let mut ended = agent(&["read", "write"], true);
    ended.status = agent::Status::Deregistered;
    assert_eq!(gates.agent(Some(&ended)), Err(Refusal::AgentNotFound));
    let idle = agent(&["read", "write"], false);
    assert_eq!(gates.agent(Some(&idle)), Err(Refusal::AgentInactive));
    let beyond = Err(Refusal::ScopeNotAllowed("write".to_owned()));
    assert_eq!(gates.agent(Some(&agent(&["read"], true))), beyond);
    let gates = Gates {
        on_behalf: true,
        ..gates
    };
    let beyond = Err(Refusal::ScopeNotPermitted("write".to_owned()));
    assert_eq!(gates.agent(Some(&agent(&["read"], true))), beyond);
}

#[test]
fn a_user_lets_through_what_they_may_do() {
    let asked = scopes(&["read", "write"]);
    let gates = Gates {
        scopes: &asked,
        on_behalf: false,
    };
    assert_eq!(gates.user(&user(&["write", "read"])), Ok(()));
    let beyond = Err(Refusal::UserNotAuthorized("read".to_owned()));
    assert_eq!(gates.user(&user(&["write"])), beyond);
}

#[test]
fn a_connection_lets_through_what_it_was_granted() {
    let offers = provider(&["read", "write"]);
    let active = connection(&["read", "extra"], Status::Active);
    let asked = |asked: &[&str], selection: &Selection<'_>| {
        let scopes = scopes(asked);
        Gates {
            scopes: &scopes,
            on_behalf: false,
        }
        .connection(selection, |_| false)
    };
    let provider_scopes = |provider_scopes| Ok(Granted { provider_scopes });
    let selected = one(&active, &offers);
    assert_eq!(asked(&["read", "extra"], &selected), provider_scopes(true));
    assert_eq!(asked(&["report"], &selected), provider_scopes(false));
    assert_eq!(
        asked(&["write"], &selected),
        Err(Refusal::ScopeNotGranted("write".to_owned()))
    );
    assert_eq!(
        asked(&["read", "report"], &selected),
        Err(Refusal::MixedScopes("report".to_owned()))
    );
    let key = ProviderProfile {
        auth_type: AuthType::ApiKey,
        ..provider(&["read"])
    };
    let unsupported = Err(Refusal::UnsupportedProvider);
    assert_eq!(asked(&["read"], &one(&active, &key)), unsupported);
    for (status, refusal) in [
        (Status::Absent, Refusal::ConnectionNotFound),
        (Status::Deleted, Refusal::ConnectionNotFound),
        (Status::Pending, Refusal::ConnectionNotActive("pending")),
        (Status::Attention, Refusal::ConnectionNotActive("attention")),
        (Status::Failed, Refusal::ConnectionNotActive("failed")),
        (Status::Revoked, Refusal::ConnectionNotActive("revoked")),
    ] {
        let connection = connection(&["read"], status);
        assert_eq!(
            asked(&["read"], &one(&connection, &offers)),
            Err(refusal.clone())
        );
        assert_eq!(asked(&["report"], &one(&connection, &offers)), Err(refusal));
    }
}

#[test]
fn without_a_connection_only_scopes_of_no_provider_are_let_through() {
    let asked = |asked: &[&str], selection: &Selection<'_>| {
        let scopes = scopes(asked);
        let gates = Gates {
            scopes: &scopes,
            on_behalf: false,
        };
        gates.connection(selection, |scope| scope.starts_with("mail."))
    };
    let custom = Ok(Granted {
        provider_scopes: false,
    });
    let nothing = Selection::Nothing { provider: None };
    assert_eq!(asked(&["report"], &nothing), custom);
    assert_eq!(
        asked(&["mail.read"], &nothing),
        Err(Refusal::MissingSelector)
    );
    let mixed = Err(Refusal::MixedScopes("report".to_owned()));
    assert_eq!(asked(&["mail.read", "report"], &nothing), mixed);
    // A named provider's scopes count, and no other's.
    let offers = provider(&["read"]);
    let named = Selection::Nothing {
        provider: Some(&offers),
    };
    assert_eq!(asked(&["mail.read"], &named), custom);
    assert_eq!(asked(&["read"], &named), Err(Refusal::MissingSelector));
    let refused = Selection::Refused(Refusal::ConnectionAmbiguous);
    assert_eq!(
        asked(&["report"], &refused),
        Err(Refusal::ConnectionAmbiguous)
    );
}

const WORLD: [&str; 5] = ["a", "b", "c", "d", "e"];

fn some() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(WORLD.to_vec(), 0..=WORLD.len())
}

proptest! {
    /// What all gates let through is in the intersection of what each permits.
    #[test]
    fn what_is_granted_is_within_every_limit(
        asked in subsequence(WORLD.to_vec(), 1..=WORLD.len()),
        allowed in some(), permitted in some(), granted in some(), offered in some(),
    ) {
        let asked = scopes(&asked);
        let gates = Gates { scopes: &asked, on_behalf: false };
        let (connection, provider) = (connection(&granted, Status::Active), provider(&offered));
        let through = gates.agent(Some(&agent(&allowed, true))).is_ok() && gates.user(&user(&permitted)).is_ok();
        if let (true, Ok(decided)) = (through, gates.connection(&one(&connection, &provider), |_| false)) {
            for scope in &asked {
                let scope = scope.as_str();
                prop_assert!(allowed.contains(&scope) && permitted.contains(&scope));
                prop_assert_eq!(decided.provider_scopes, granted.contains(&scope));
            }
        }
    }
}
