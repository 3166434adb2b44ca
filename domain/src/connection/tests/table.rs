//! Every state × every command is decided. A name is what happens, `-` nothing; a capital letter
//! begins the rule that refuses.

use std::fmt::Write;

use super::*;

fn states() -> Vec<(&'static str, Connection)> {
    vec![
        ("absent", Connection::default()),
        ("pending", pending()),
        ("capturing", after([request("s1", ConsentKind::Static)])),
        ("exchanging", exchanging()),
        ("active", active()),
        ("captured", captured()),
        ("refreshing", claimed()),
        (
            "reconnecting",
            then(&active(), request("s1b", ConsentKind::Oauth2)),
        ),
        (
            "attention",
            in_attention(AttentionReason::RefreshTokenInvalid),
        ),
        ("outcome unknown", outcome_unknown()),
        ("failed", failed_consent()),
        ("revoked", revoked()),
        ("deleted", deleted()),
    ]
}

/// Attempt 2, a repeat, ended as unknown as the first.
fn outcome_unknown() -> Connection {
    let repeated = then(&claimed(), claim(Rotation::Always, Some(1)));
    then(&repeated, claim(Rotation::Always, Some(2)))
}

fn commands() -> Vec<(&'static str, Command)> {
    vec![
        ("request", request("s2", ConsentKind::Oauth2)),
        ("accept callback", accept("s1")),
        ("complete consent", complete("s1", 1)),
        ("capture credential", capture("s1", 1)),
        ("fail", fail("s1", FailureReason::ExchangeFailed)),
        (
            "expire",
            Command::Expire {
                now: LAPSES,
                exchange_deadline_passed: true,
            },
        ),
        ("claim refresh", claim(Rotation::Auto, None)),
        ("record refresh", refreshed(1, 2)),
        ("record failure", failed(1, Outcome::Known, "timeout")),
        (
            "require attention",
            Command::RequireAttention {
                reason: AttentionReason::ProviderRevoked,
            },
        ),
        ("revoke", revoke()),
        (
            "end revocation",
            Command::EndProviderRevocation {
                revoked: true,
                error: None,
            },
        ),
        ("erase", Command::Erase),
    ]
}

fn shown(decision: Result<Vec<Event>, Error>) -> String {
    match decision {
        Ok(events) if events.is_empty() => "-".into(),
        Ok(events) => events
            .iter()
            .map(|event| event.stored_name().trim_start_matches("connection."))
            .collect::<Vec<_>>()
            .join("+"),
        Err(error) => format!("{error:?}")
            .split([' ', '('])
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// One block per state, one line per command.
fn table() -> String {
    let mut table = String::new();
    for (state, connection) in states() {
        writeln!(table, "{state}").unwrap();
        for (name, command) in commands() {
            let decided = shown(connection.decide(command));
            writeln!(table, "  {name:<18} {decided}").unwrap();
        }
    }
    table
}

#[test]
fn every_state_decides_every_command() {
    let expected = include_str!("table.txt");
    let decided = table();
    for (line, (decided, expected)) in decided.lines().zip(expected.lines()).enumerate() {
        assert_eq!(decided, expected, "line {}", line + 1);
    }
    assert_eq!(
        decided.lines().count(),
        expected.lines().count(),
        "{decided}"
    );
}
