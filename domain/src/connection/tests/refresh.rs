//! Refreshing: one redemption at a time, and none that may have happened already.

use super::super::{Claim, ConnectionError, Status};
use super::*;

/// A connection whose provider is known to rotate, with credential version 2 made by attempt 1.
fn rotating() -> Connection {
    then(&claimed(), rotated(1, 2))
}

/// After attempt 2 of a rotating connection ended unknown.
fn unknown_once() -> Connection {
    then(
        &then(&rotating(), claim(Rotation::Auto, None)),
        failed(2, Outcome::Unknown, "timeout"),
    )
}

fn started(decision: Result<Vec<Event>, ConnectionError>) -> (u64, bool) {
    match decision.unwrap().as_slice() {
        [
            Event::RefreshStarted {
                attempt, repeat, ..
            },
        ] => (*attempt, *repeat),
        events => panic!("{events:?}"),
    }
}

#[test]
fn a_claim_names_the_attempt_and_the_credential_it_redeems() {
    let event = Event::RefreshStarted {
        attempt: 1,
        deadline_ms: DEADLINE_MS,
        credential_version: 1,
        repeat: false,
        forced: false,
        first_sent_at: None,
    };
    assert_eq!(
        active().decide(claim(Rotation::Auto, None)),
        Ok(vec![event])
    );
    assert_eq!(
        claimed().refresh.claim,
        Some(Claim {
            attempt: 1,
            repeat: false,
            credential_version: 1,
            first_sent_at: None,
        })
    );
}

#[test]
fn one_claim_is_held_at_a_time() {
    assert_eq!(
        claimed().decide(claim(Rotation::Auto, None)),
        Err(Error::ClaimHeld { attempt: 1 })
    );
    assert_eq!(
        claimed().decide(claim(Rotation::Auto, Some(2))),
        Err(Error::ClaimHeld { attempt: 1 })
    );
    assert_eq!(
        started(claimed().decide(claim(Rotation::Auto, Some(1)))),
        (2, false)
    );
}

#[test]
fn what_cannot_be_refreshed_says_why() {
    let claim = || claim(Rotation::Auto, None);
    assert_eq!(Connection::default().decide(claim()), Err(Error::NotFound));
    assert_eq!(
        pending().decide(claim()),
        Err(Error::NotActive(Status::Pending))
    );
    assert_eq!(
        failed_consent().decide(claim()),
        Err(Error::NotActive(Status::Failed))
    );
    assert_eq!(
        revoked().decide(claim()),
        Err(Error::NotActive(Status::Revoked))
    );
    assert_eq!(captured().decide(claim()), Err(Error::StaticCredential));
    let reason = AttentionReason::RefreshTokenInvalid;
    assert_eq!(
        in_attention(reason).decide(claim()),
        Err(Error::InAttention(reason))
    );
    let mut bare = complete("s1", 1);
    if let Command::CompleteConsent { refreshable, .. } = &mut bare {
        *refreshable = false;
    }
    assert_eq!(
        then(&exchanging(), bare).decide(claim()),
        Err(Error::NotRefreshable)
    );
}

#[test]
fn a_token_is_not_sent_to_a_host_that_its_provider_moved_to() {
    let claim = Command::ClaimRefresh {
        forced: true,
        deadline_ms: DEADLINE_MS,
        takeover: None,
        rotation: Rotation::Auto,
        reuse_grace: None,
        provider_epoch: EPOCH + 1,
    };
    let event = Event::AttentionRequired {
        reason: AttentionReason::ProviderChanged,
        attempt: None,
    };
    assert_eq!(active().decide(claim), Ok(vec![event]));
}

#[test]
fn a_refresh_replaces_the_credential_and_frees_the_claim() {
    let connection = then(&claimed(), refreshed(1, 2));
    assert_eq!(
        (connection.refresh.claim, connection.refresh.ever_rotated),
        (None, false)
    );
    let credential = connection.credential.unwrap();
    assert_eq!(
        (
            credential.sealed,
            credential.attempt,
            credential.refreshable
        ),
        (sealed(2), 1, true)
    );
    assert_eq!(credential.account.as_deref(), Some("ada"));
    assert!(rotating().refresh.ever_rotated);
}

#[test]
fn an_answer_is_recorded_once() {
    assert_eq!(rotating().decide(rotated(1, 3)), Ok(vec![]));
}

#[test]
fn an_attempt_that_was_never_started_has_no_answer() {
    for attempt in [0, 2] {
        assert_eq!(
            claimed().decide(refreshed(attempt, 2)),
            Err(Error::UnknownAttempt { attempt })
        );
        assert_eq!(
            claimed().decide(failed(attempt, Outcome::Known, "timeout")),
            Err(Error::UnknownAttempt { attempt })
        );
    }
}

#[test]
fn a_late_answer_is_recorded_beside_the_claim_that_took_over() {
    let taken_over = then(&claimed(), claim(Rotation::Auto, Some(1)));
    let late = then(&taken_over, refreshed(1, 2));
    assert_eq!(late.credential.as_ref().unwrap().attempt, 1);
    assert_eq!(late.refresh.claim.unwrap().attempt, 2);
    let newer = then(&late, refreshed(2, 3));
    assert_eq!(
        (newer.credential.unwrap().sealed, newer.refresh.claim),
        (sealed(3), None)
    );
}

#[test]
fn a_late_answer_older_than_the_credential_is_superseded() {
    let taken_over = then(&claimed(), claim(Rotation::Auto, Some(1)));
    assert_eq!(
        then(&taken_over, refreshed(2, 2)).decide(refreshed(1, 3)),
        Ok(vec![])
    );
}

#[test]
fn a_new_consent_supersedes_every_attempt_before_it() {
    let reconnected = [
        request("s2", ConsentKind::Oauth2),
        accept("s2"),
        complete("s2", 2),
    ]
    .into_iter()
    .fold(claimed(), |state, command| then(&state, command));
    assert_eq!(reconnected.refresh.claim, None);
    assert_eq!(reconnected.decide(refreshed(1, 3)), Ok(vec![]));
    assert_eq!(
        reconnected.decide(failed(1, Outcome::Known, "invalid_grant")),
        Ok(vec![])
    );
}

#[test]
fn a_late_answer_mends_an_outcome_that_was_unknown() {
    let lost = then(&unknown_once(), claim(Rotation::Auto, None));
    let attention = then(
        &then(&lost, failed(3, Outcome::Unknown, "timeout")),
        claim(Rotation::Auto, None),
    );
    assert_eq!(attention.status, Status::Attention);
    let mended = then(&attention, rotated(3, 3));
    assert_eq!(
        (mended.status, mended.attention, mended.reason),
        (Status::Active, None, None)
    );
}

#[test]
fn a_rotating_token_is_redeemed_once_more_after_an_unknown_outcome_and_no_third_time() {
    let once = unknown_once();
    assert_eq!(started(once.decide(claim(Rotation::Auto, None))), (3, true));
    let twice = then(
        &then(&once, claim(Rotation::Auto, None)),
        failed(3, Outcome::Unknown, "timeout"),
    );
    let event = Event::AttentionRequired {
        reason: AttentionReason::RefreshOutcomeUnknown,
        attempt: Some(3),
    };
    assert_eq!(twice.decide(claim(Rotation::Auto, None)), Ok(vec![event]));
}

#[test]
fn a_claim_whose_holder_died_has_an_unknown_outcome() {
    let held = then(&rotating(), claim(Rotation::Auto, None));
    assert_eq!(
        started(held.decide(claim(Rotation::Auto, Some(2)))),
        (3, true)
    );
    let held_again = then(&held, claim(Rotation::Auto, Some(2)));
    let event = Event::AttentionRequired {
        reason: AttentionReason::RefreshOutcomeUnknown,
        attempt: Some(3),
    };
    assert_eq!(
        held_again.decide(claim(Rotation::Auto, Some(3))),
        Ok(vec![event])
    );
}

/// After this many attempts, a second apart since second 1000, of which nobody knows what became.
fn unknown_in_grace(attempts: u64) -> Connection {
    let mut connection = rotating();
    for (attempt, second) in (2..).zip(1000..).take(attempts.try_into().unwrap()) {
        connection = then(&connection, claim_in_grace(second, None));
        connection = then(&connection, failed(attempt, Outcome::Unknown, "timeout"));
    }
    connection
}

#[test]
fn within_the_grace_a_token_is_redeemed_again_without_limit() {
    let often = unknown_in_grace(20);
    assert_eq!(
        started(often.decide(claim_in_grace(1029, None))),
        (22, false)
    );
}

#[test]
fn after_the_grace_the_one_repeat_is_still_there_and_no_second() {
    let often = unknown_in_grace(20);
    assert_eq!(
        started(often.decide(claim_in_grace(1030, None))),
        (22, true)
    );
    let repeated = then(
        &then(&often, claim_in_grace(1030, None)),
        failed(22, Outcome::Unknown, "timeout"),
    );
    let event = Event::AttentionRequired {
        reason: AttentionReason::RefreshOutcomeUnknown,
        attempt: Some(22),
    };
    for second in [1000, 1029, 1031] {
        assert_eq!(
            repeated.decide(claim_in_grace(second, None)),
            Ok(vec![event.clone()])
        );
    }
}

#[test]
fn the_grace_is_counted_from_the_first_send_and_not_from_the_last() {
    let twice = then(
        &then(&unknown_in_grace(1), claim_in_grace(1029, None)),
        failed(3, Outcome::Unknown, "timeout"),
    );
    assert_eq!(started(twice.decide(claim_in_grace(1031, None))), (4, true));
}

#[test]
fn a_new_token_has_a_grace_of_its_own() {
    let replaced = then(
        &then(&unknown_in_grace(1), claim_in_grace(1029, None)),
        rotated(3, 3),
    );
    let unknown = then(
        &then(&replaced, claim_in_grace(1050, None)),
        failed(4, Outcome::Unknown, "timeout"),
    );
    assert_eq!(
        started(unknown.decide(claim_in_grace(1079, None))),
        (5, false)
    );
    assert_eq!(
        started(unknown.decide(claim_in_grace(1080, None))),
        (5, true)
    );
}

#[test]
fn a_claim_whose_holder_died_is_taken_over_within_the_grace() {
    let held = then(&rotating(), claim_in_grace(1000, None));
    assert_eq!(
        started(held.decide(claim_in_grace(1020, Some(2)))),
        (3, false)
    );
    assert_eq!(
        started(held.decide(claim_in_grace(1030, Some(2)))),
        (3, true)
    );
}

#[test]
fn a_send_whose_time_nobody_noted_and_a_clock_that_went_back_have_no_grace() {
    assert_eq!(
        started(unknown_once().decide(claim_in_grace(1001, None))),
        (3, true)
    );
    assert_eq!(
        started(unknown_in_grace(1).decide(claim_in_grace(999, None))),
        (3, true)
    );
    assert_eq!(
        started(unknown_in_grace(1).decide(claim(Rotation::Auto, None))),
        (3, true)
    );
}

#[test]
fn a_provider_that_does_not_rotate_is_asked_without_limit() {
    let mut connection = active();
    for attempt in 1..=5 {
        assert_eq!(
            started(connection.decide(claim(Rotation::Auto, None))),
            (attempt, false)
        );
        connection = then(&connection, claim(Rotation::Auto, None));
        connection = then(&connection, failed(attempt, Outcome::Unknown, "timeout"));
    }
    assert_eq!(
        (connection.status, connection.refresh.failures),
        (Status::Active, 5)
    );
}

#[test]
fn the_providers_setting_overrules_what_was_seen() {
    let unknown = then(&claimed(), failed(1, Outcome::Unknown, "timeout"));
    assert_eq!(
        started(unknown.decide(claim(Rotation::Auto, None))),
        (2, false)
    );
    assert_eq!(
        started(unknown.decide(claim(Rotation::Always, None))),
        (2, true)
    );
    assert_eq!(
        started(unknown_once().decide(claim(Rotation::Never, None))),
        (3, false)
    );
}

#[test]
fn a_known_failure_may_be_repeated() {
    let held = then(&rotating(), claim(Rotation::Auto, None));
    let known = then(&held, failed(2, Outcome::Known, "status_503"));
    assert_eq!(
        started(known.decide(claim(Rotation::Auto, None))),
        (3, false)
    );
}

#[test]
fn a_known_failure_of_a_repeat_leaves_the_first_outcome_unknown() {
    let repeat = then(&unknown_once(), claim(Rotation::Auto, None));
    let known = then(&repeat, failed(3, Outcome::Known, "connect"));
    assert_eq!(
        started(known.decide(claim(Rotation::Auto, None))),
        (4, true)
    );
}

#[test]
fn an_unknown_outcome_counts_only_against_the_token_it_redeemed() {
    let repeat = then(&unknown_once(), claim(Rotation::Auto, None));
    let late = then(&repeat, rotated(2, 3));
    let unknown = then(&late, failed(3, Outcome::Unknown, "timeout"));
    assert_eq!(
        started(unknown.decide(claim(Rotation::Auto, None))),
        (4, false)
    );
}

#[test]
fn only_codes_that_end_the_grant_turn_to_attention() {
    let grant_ended = [
        "invalid_grant",
        "interaction_required",
        "login_required",
        "consent_required",
        "account_selection_required",
        "access_denied",
    ];
    for code in grant_ended {
        let decision = claimed().decide(failed(1, Outcome::Known, code));
        assert_eq!(
            names(&decision),
            ["connection.refresh_failed", "connection.attention_required"],
            "{code}"
        );
    }
    let transient = [
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "temporarily_unavailable",
        "status_429",
        "status_500",
        "invalid_response",
        "connect",
        "",
    ];
    for code in transient {
        assert_eq!(
            names(&claimed().decide(failed(1, Outcome::Known, code))),
            ["connection.refresh_failed"],
            "{code}"
        );
    }
}

#[test]
fn an_unknown_outcome_never_ends_a_grant() {
    assert_eq!(
        names(&claimed().decide(failed(1, Outcome::Unknown, "invalid_grant"))),
        ["connection.refresh_failed"]
    );
}

#[test]
fn a_refusal_of_a_token_that_was_replaced_meanwhile_ends_nothing() {
    let taken_over = then(&claimed(), claim(Rotation::Auto, Some(1)));
    let late = then(&taken_over, rotated(1, 2));
    assert_eq!(
        names(&late.decide(failed(2, Outcome::Known, "invalid_grant"))),
        ["connection.refresh_failed"]
    );
}

#[test]
fn a_failure_of_an_attempt_that_was_given_up_on_changes_nothing() {
    let taken_over = then(&claimed(), claim(Rotation::Auto, Some(1)));
    assert_eq!(
        taken_over.decide(failed(1, Outcome::Known, "invalid_grant")),
        Ok(vec![])
    );
}

#[test]
fn failures_are_counted_until_a_success_and_told_to_those_who_wait() {
    let mut connection = active();
    for attempt in 1..=3 {
        connection = then(&connection, claim(Rotation::Auto, None));
        let failure = RefreshFailure {
            outcome: Outcome::Known,
            error: "status_429".into(),
            http_status: Some(429),
            retry_after_seconds: Some(7),
        };
        connection = then(
            &connection,
            Command::RecordRefreshFailure { attempt, failure },
        );
        assert_eq!(u64::from(connection.refresh.failures), attempt);
    }
    let last = connection.refresh.last_failure.clone().unwrap();
    assert_eq!(
        (last.attempt, last.http_status, last.retry_after_seconds),
        (3, Some(429), Some(7))
    );
    let recovered = then(
        &then(&connection, claim(Rotation::Auto, None)),
        refreshed(4, 2),
    );
    assert_eq!(
        (recovered.refresh.failures, recovered.refresh.last_failure),
        (0, None)
    );
}

#[test]
fn attention_is_required_of_an_active_connection_once() {
    let require = |reason| Command::RequireAttention { reason };
    let attention = in_attention(AttentionReason::ProviderRevoked);
    assert_eq!(
        (attention.status, attention.reason.as_deref()),
        (Status::Attention, Some("provider_revoked"))
    );
    assert_eq!(
        attention.decide(require(AttentionReason::ProviderRevoked)),
        Ok(vec![])
    );
    assert_eq!(
        claimed().decide(require(AttentionReason::ProviderRevoked)),
        Err(Error::ClaimHeld { attempt: 1 })
    );
    assert_eq!(
        pending().decide(require(AttentionReason::ProviderRevoked)),
        Err(Error::NotActive(Status::Pending))
    );
}
