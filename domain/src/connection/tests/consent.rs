//! From the request to the credential, and to the end.

use super::super::Status;
use super::*;

#[test]
fn a_request_makes_a_connection_pending() {
    let connection = pending();
    assert_eq!(connection.status, Status::Pending);
    assert_eq!(connection.workspace_id, "user");
    assert_eq!(connection.provider_id, Some(provider_id()));
    assert_eq!(connection.pending.unwrap().state_digest, "s1");
}

#[test]
fn a_request_that_is_still_pending_is_replaced_by_a_newer_one() {
    let connection = then(&pending(), request("s2", ConsentKind::Oauth2));
    assert_eq!(connection.decide(accept("s1")), Err(Error::StateUnknown));
    assert!(connection.decide(accept("s2")).is_ok());
}

#[test]
fn a_request_of_another_workspace_or_provider_is_refused() {
    let mut other = request("s2", ConsentKind::Oauth2);
    if let Command::Request { workspace_id, .. } = &mut other {
        *workspace_id = "someone else".into();
    }
    assert_eq!(active().decide(other), Err(Error::WorkspaceMismatch));
    let mut other = request("s2", ConsentKind::Oauth2);
    if let Command::Request { provider_id, .. } = &mut other {
        *provider_id = ProviderId::default();
    }
    assert_eq!(active().decide(other), Err(Error::ProviderMismatch));
}

#[test]
fn a_request_waits_for_the_exchange_under_way() {
    assert_eq!(
        exchanging().decide(request("s2", ConsentKind::Oauth2)),
        Err(Error::ExchangeInProgress)
    );
}

#[test]
fn a_callback_spends_the_state_before_the_code_is_exchanged() {
    let event = Event::ConsentReturned {
        state_digest: "s1".into(),
        deadline_ms: EXCHANGE_MS,
    };
    assert_eq!(pending().decide(accept("s1")), Ok(vec![event]));
    assert_eq!(exchanging().decide(accept("s1")), Err(Error::StateUsed));
    assert_eq!(exchanging().pending.unwrap().returned, Some(EXCHANGE_MS));
}

#[test]
fn a_state_stays_spent_after_its_consent_ended() {
    assert_eq!(active().decide(accept("s1")), Err(Error::StateUsed));
    assert_eq!(captured().decide(capture("s1", 2)), Err(Error::StateUsed));
    assert_eq!(failed_consent().decide(accept("s1")), Err(Error::StateUsed));
    assert_eq!(revoked().decide(accept("s1")), Err(Error::StateUsed));
}

#[test]
fn another_state_is_unknown() {
    assert_eq!(pending().decide(accept("s2")), Err(Error::StateUnknown));
    assert_eq!(active().decide(accept("s2")), Err(Error::StateUnknown));
}

#[test]
fn a_state_expires_at_its_time() {
    let at = |now| Command::AcceptCallback {
        state_digest: "s1".into(),
        now,
        exchange_within_ms: EXCHANGE_MS,
    };
    assert!(
        pending()
            .decide(at(Timestamp::from_micros(LAPSES.as_micros() - 1)))
            .is_ok()
    );
    assert_eq!(pending().decide(at(LAPSES)), Err(Error::StateExpired));
}

#[test]
fn a_state_of_one_kind_of_consent_opens_no_other() {
    assert_eq!(pending().decide(capture("s1", 1)), Err(Error::WrongConsent));
    assert_eq!(
        after([request("s1", ConsentKind::Static)]).decide(accept("s1")),
        Err(Error::WrongConsent)
    );
}

#[test]
fn the_outcome_of_an_exchange_activates_the_connection() {
    let connection = active();
    assert_eq!(connection.status, Status::Active);
    assert_eq!(connection.pending, None);
    let credential = connection.credential.unwrap();
    assert_eq!(
        (
            credential.sealed,
            credential.refreshable,
            credential.attempt
        ),
        (sealed(1), true, 0)
    );
    assert_eq!(credential.account.as_deref(), Some("ada"));
}

#[test]
fn a_credential_without_an_exchange_is_refused() {
    assert_eq!(
        pending().decide(complete("s1", 1)),
        Err(Error::NotAwaitingExchange)
    );
    assert_eq!(
        exchanging().decide(complete("s2", 1)),
        Err(Error::NotAwaitingExchange)
    );
    assert_eq!(
        active().decide(complete("s1", 2)),
        Err(Error::NotAwaitingExchange)
    );
}

#[test]
fn a_credential_is_sealed_as_the_next_version() {
    for version in [0, 2] {
        assert_eq!(
            exchanging().decide(complete("s1", version)),
            Err(Error::StaleVersion { expected: 1 })
        );
        assert_eq!(
            after([request("s1", ConsentKind::Static)]).decide(capture("s1", version)),
            Err(Error::StaleVersion { expected: 1 })
        );
        assert_eq!(
            claimed().decide(refreshed(1, version + 1)),
            Err(Error::StaleVersion { expected: 2 })
        );
    }
}

#[test]
fn a_captured_credential_activates_the_connection_at_once() {
    let connection = captured();
    assert_eq!(
        (connection.status, connection.pending.as_ref()),
        (Status::Active, None)
    );
    assert!(connection.is_static());
    assert!(!connection.credential.unwrap().refreshable);
}

#[test]
fn a_refusal_at_the_provider_fails_the_first_consent() {
    let connection = failed_consent();
    assert_eq!(
        (connection.status, connection.reason.as_deref()),
        (Status::Failed, Some("consent_denied"))
    );
    assert_eq!(connection.pending, None);
}

#[test]
fn a_refusal_needs_an_open_state() {
    assert_eq!(
        pending().decide(fail("s2", FailureReason::ConsentDenied)),
        Err(Error::StateUnknown)
    );
    assert_eq!(
        failed_consent().decide(fail("s1", FailureReason::ConsentDenied)),
        Err(Error::StateUsed)
    );
    assert_eq!(
        active().decide(fail("s1", FailureReason::ConsentDenied)),
        Err(Error::StateUsed)
    );
}

#[test]
fn a_refusal_with_a_spent_state_does_not_end_the_exchange_under_way() {
    assert_eq!(
        exchanging().decide(fail("s1", FailureReason::ConsentDenied)),
        Err(Error::StateUsed)
    );
}

#[test]
fn an_exchange_that_fails_ends_the_consent() {
    let connection = then(&exchanging(), fail("s1", FailureReason::ExchangeFailed));
    assert_eq!(
        (connection.status, connection.reason.as_deref()),
        (Status::Failed, Some("exchange_failed"))
    );
    assert_eq!(
        connection.decide(complete("s1", 1)),
        Err(Error::NotAwaitingExchange)
    );
}

#[test]
fn a_failed_connection_can_be_requested_again() {
    let connection = then(&failed_consent(), request("s2", ConsentKind::Oauth2));
    assert_eq!(
        (connection.status, connection.reason),
        (Status::Pending, None)
    );
}

#[test]
fn while_reconnecting_the_old_credential_keeps_serving() {
    let reconnecting = then(&active(), request("s2", ConsentKind::Oauth2));
    assert_eq!(
        (reconnecting.status, &reconnecting.credential),
        (Status::Active, &active().credential)
    );
    let denied = then(&reconnecting, fail("s2", FailureReason::ConsentDenied));
    assert_eq!(
        (denied.status, denied.reason.as_deref(), &denied.credential),
        (Status::Active, None, &active().credential)
    );
    let lapsed = then(
        &reconnecting,
        Command::Expire {
            now: LAPSES,
            exchange_deadline_passed: false,
        },
    );
    assert_eq!(
        (lapsed.status, &lapsed.credential),
        (Status::Active, &active().credential)
    );
    assert_eq!(lapsed.pending, None);
}

#[test]
fn a_failed_reconnection_leaves_attention_as_it_was() {
    let before = in_attention(AttentionReason::RefreshTokenInvalid);
    let reconnecting = then(&before, request("s2", ConsentKind::Oauth2));
    let denied = then(&reconnecting, fail("s2", FailureReason::ConsentDenied));
    assert_eq!(
        (denied.status, denied.reason),
        (Status::Attention, before.reason)
    );
}

#[test]
fn a_reconnection_mends_attention() {
    let connection = [
        request("s2", ConsentKind::Oauth2),
        accept("s2"),
        complete("s2", 2),
    ]
    .into_iter()
    .fold(
        in_attention(AttentionReason::RefreshTokenInvalid),
        |connection, command| then(&connection, command),
    );
    assert_eq!(
        (connection.status, connection.attention, connection.reason),
        (Status::Active, None, None)
    );
    assert_eq!(connection.credential.unwrap().sealed, sealed(2));
}

#[test]
fn another_account_cannot_take_a_connection_over() {
    let reconnecting = then(
        &then(&active(), request("s2", ConsentKind::Oauth2)),
        accept("s2"),
    );
    assert_eq!(
        reconnecting.decide(complete_as("s2", 2, Some("eve"))),
        Err(Error::AccountMismatch)
    );
    assert!(
        reconnecting
            .decide(complete_as("s2", 2, Some("ada")))
            .is_ok()
    );
    let failed = then(&reconnecting, fail("s2", FailureReason::AccountMismatch));
    assert_eq!(
        (failed.status, &failed.credential),
        (Status::Active, &active().credential)
    );
}

#[test]
fn a_consent_lapses_at_its_time() {
    let expire = |now| Command::Expire {
        now,
        exchange_deadline_passed: true,
    };
    assert_eq!(pending().decide(expire(NOW)), Err(Error::NotDue));
    let lapsed = then(&pending(), expire(LAPSES));
    assert_eq!(
        (lapsed.status, lapsed.reason.as_deref()),
        (Status::Failed, Some("pending_expired"))
    );
    assert_eq!(lapsed.decide(expire(LAPSES)), Err(Error::NotDue));
}

#[test]
fn an_exchange_lapses_at_its_deadline_and_no_sooner() {
    let expire = |exchange_deadline_passed| Command::Expire {
        now: LAPSES,
        exchange_deadline_passed,
    };
    assert_eq!(exchanging().decide(expire(false)), Err(Error::NotDue));
    let lapsed = then(&exchanging(), expire(true));
    assert_eq!(
        (lapsed.status, lapsed.reason.as_deref()),
        (Status::Failed, Some("exchange_outcome_unknown"))
    );
}

#[test]
fn a_late_answer_to_a_lapsed_exchange_counts() {
    let lapsed = then(
        &exchanging(),
        Command::Expire {
            now: NOW,
            exchange_deadline_passed: true,
        },
    );
    assert_eq!(then(&lapsed, complete("s1", 1)).status, Status::Active);
}

#[test]
fn a_newer_request_replaces_a_lapsed_exchange() {
    let lapsed = then(
        &exchanging(),
        Command::Expire {
            now: NOW,
            exchange_deadline_passed: true,
        },
    );
    let again = then(&lapsed, request("s2", ConsentKind::Oauth2));
    assert_eq!(
        again.decide(complete("s1", 1)),
        Err(Error::NotAwaitingExchange)
    );
    assert_eq!(
        then(&then(&again, accept("s2")), complete("s2", 1)).status,
        Status::Active
    );
}

#[test]
fn revoking_ends_everything_and_is_harmless_when_repeated() {
    for connection in [
        pending(),
        exchanging(),
        active(),
        captured(),
        claimed(),
        failed_consent(),
        in_attention(AttentionReason::ProviderChanged),
    ] {
        let ended = then(
            &connection,
            Command::Revoke {
                provider_revocation: None,
                reason: Some("the user left".into()),
            },
        );
        assert_eq!(
            (
                ended.status,
                &ended.credential,
                &ended.pending,
                ended.refresh.claim
            ),
            (Status::Revoked, &None, &None, None)
        );
        assert_eq!(ended.decide(revoke()), Ok(vec![]));
    }
}

#[test]
fn the_epoch_rises_when_less_is_granted_and_with_the_end() {
    let granted = |scopes: &[&str]| Event::Refreshed {
        attempt: 1,
        credential: sealed(2),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        expires_at: Some(LAPSES),
        rotated: false,
    };
    let mut connection = active();
    let mut epochs = vec![connection.epoch];
    for event in [
        granted(&["read"]),
        granted(&["write", "read"]),
        granted(&["write"]),
        granted(&["write", "read"]),
        Event::Revoked {
            reason: None,
            provider_revocation: None,
        },
    ] {
        connection.evolve(&event);
        epochs.push(connection.epoch);
    }
    assert_eq!(epochs, [0, 0, 0, 1, 1, 2]);
}

#[test]
fn nothing_arrives_after_the_end() {
    let ended = then(&exchanging(), revoke());
    assert_eq!(
        ended.decide(complete("s1", 1)),
        Err(Error::Ended(Status::Revoked))
    );
    let ended = then(&claimed(), revoke());
    assert_eq!(
        ended.decide(refreshed(1, 2)),
        Err(Error::Ended(Status::Revoked))
    );
    assert_eq!(
        ended.decide(failed(1, Outcome::Known, "invalid_grant")),
        Ok(vec![])
    );
    assert_eq!(
        ended.decide(request("s2", ConsentKind::Oauth2)),
        Err(Error::Ended(Status::Revoked))
    );
}

#[test]
fn only_what_has_ended_is_erased() {
    assert_eq!(active().decide(Command::Erase), Err(Error::NotEnded));
    assert_eq!(pending().decide(Command::Erase), Err(Error::NotEnded));
    for ended in [revoked(), failed_consent()] {
        let erased = then(&ended, Command::Erase);
        assert_eq!(erased.status, Status::Deleted);
        assert_eq!(erased.decide(Command::Erase), Ok(vec![]));
    }
}
