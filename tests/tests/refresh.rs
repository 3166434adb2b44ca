//! `POST /v1/refresh/{id}`: claim, exchange, record.

use nexus_tests::{
    Answer, Connected, Database, Nexus, Reply, ScriptedProvider, TestNexus, Wire,
    on_both_databases, until,
};
use serde_json::{Value, json};

on_both_databases! {
    a_refresh_gives_a_new_token_that_is_served_from_then_on,
    without_a_new_refresh_token_the_old_one_is_kept,
    a_provider_may_answer_loosely,
    what_a_connection_cannot_do_is_refused,
    only_a_dead_grant_changes_the_connection,
    the_providers_retry_after_is_passed_on,
    callers_at_once_share_one_exchange_and_each_is_recorded,
    callers_at_once_share_one_failure,
    a_caller_who_goes_away_does_not_cancel_the_exchange,
    a_rotated_refresh_token_is_durable_before_anyone_sees_what_came_with_it,
    unknown_outcomes_are_tried_again_without_limit_where_nothing_rotates,
    where_tokens_rotate_an_unknown_outcome_is_tried_once_more,
    a_repeat_that_succeeds_ends_the_doubt,
    where_a_token_is_taken_again_for_a_while_lost_answers_cost_nothing,
    a_failure_before_a_byte_was_sent_is_known,
    the_claim_of_a_killed_server_is_taken_over_after_its_deadline,
    a_token_that_died_with_its_server_needs_the_user,
    a_provider_that_moved_gets_no_old_token,
    the_id_token_of_a_refresh_is_served_whoever_has_asked_for_the_issuers_keys,
}

async fn started(database: Database) -> (TestNexus, ScriptedProvider, Connected) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = nexus.connected(&provider, "google").await;
    (nexus, provider, connected)
}

fn access_token(answer: &Answer) -> String {
    answer.expect(200)["access_token"]
        .as_str()
        .expect("an access token")
        .to_owned()
}

async fn refreshes(nexus: &TestNexus, connected: &Connected) -> Vec<String> {
    let history = nexus.history(&connected.reference()).await;
    history
        .into_iter()
        .filter(|event| event.starts_with("connection.refresh") || event.contains("attention"))
        .collect()
}

/// Waits until this many callers wait for somebody else's exchange, as the log tells.
async fn waiting(nexus: &TestNexus, callers: usize) {
    let count = || {
        nexus
            .log()
            .matches("waiting for another caller's refresh")
            .count()
    };
    until("the others wait", || async {
        (count() == callers).then_some(())
    })
    .await;
}

async fn a_refresh_gives_a_new_token_that_is_served_from_then_on(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let old = access_token(&nexus.token(&connected.id).await);
    let first = access_token(&nexus.refresh(&connected.id).await);
    assert_ne!(first, old);
    assert_eq!(access_token(&nexus.token(&connected.id).await), first);
    let second = access_token(&nexus.refresh(&connected.id).await);
    assert_ne!(second, first);
    assert_eq!(
        provider
            .refreshes()
            .iter()
            .map(|call| call.status)
            .collect::<Vec<_>>(),
        [200, 200]
    );
    let expected = [
        "connection.refresh_started",
        "connection.refreshed",
        "connection.refresh_started",
        "connection.refreshed",
    ];
    assert_eq!(refreshes(&nexus, &connected).await, expected);
    let newest = nexus.audit().await.pop().expect("an entry");
    let data: Value =
        serde_json::from_str(newest["event_data"].as_str().expect("text")).expect("JSON");
    assert_eq!(
        (&data["door"], &data["credential_version"]),
        (&json!("refresh"), &json!(3))
    );
}

async fn without_a_new_refresh_token_the_old_one_is_kept(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    provider.always(Reply::tokens().without_refresh_token());
    // The provider has replaced nothing yet, so it keeps accepting what it gave at the consent.
    for _ in 0..3 {
        nexus.refresh(&connected.id).await.expect(200);
    }
    let presented: Vec<String> = provider
        .refreshes()
        .iter()
        .map(|call| call.form("refresh_token").expect("a token").to_owned())
        .collect();
    assert_eq!(presented.len(), 3);
    assert!(presented.iter().all(|token| *token == presented[0]));
}

async fn a_provider_may_answer_loosely(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let body = json!({"access_token": "canary-access-loose", "token_type": "bEaReR", "expires_in": "7200", "refresh_token": "", "surprise": [1]});
    provider.next(Reply::raw(
        200,
        "application/json;charset=UTF-8",
        &body.to_string(),
    ));
    let token = nexus.refresh(&connected.id).await.expect(200);
    assert_eq!(token["access_token"], "canary-access-loose");
    assert!(
        token["expires_in"].as_i64().is_some_and(|left| left > 7000),
        "{token}"
    );
    assert_eq!(
        token["scope"], "openid email",
        "scopes that were not repeated stay"
    );
    nexus.refresh(&connected.id).await.expect(200);
}

async fn what_a_connection_cannot_do_is_refused(database: Database) {
    let (nexus, provider, _connected) = started(database).await;
    nexus
        .refresh("0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90")
        .await
        .refused(404, "connection_not_found");
    nexus
        .refresh("not-a-uuid")
        .await
        .refused(404, "connection_not_found");
    let pending = nexus.request("google").await;
    assert_eq!(
        nexus
            .refresh(&pending.id)
            .await
            .refused(409, "connection_not_active")["status"],
        "pending"
    );
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let captured = nexus.capture("weather", json!({"api_key": "k"})).await;
    nexus
        .refresh(&captured.id)
        .await
        .refused(400, "static_token");
    provider.next(Reply::tokens().without_refresh_token());
    let unrefreshable = nexus.connect(&provider, "google").await;
    nexus
        .refresh(&unrefreshable.id)
        .await
        .refused(400, "static_token");
    let path = format!("/v1/refresh/{}", pending.id);
    nexus
        .gateway()
        .get(&path)
        .await
        .refused(405, "method_not_allowed");
    assert_eq!(provider.refreshes().len(), 0);
}

async fn only_a_dead_grant_changes_the_connection(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    nexus.register(provider.profile("google")).await;
    let dead = [
        ("invalid_grant", "refresh_token_invalid"),
        ("interaction_required", "refresh_token_invalid"),
        ("login_required", "refresh_token_invalid"),
        ("consent_required", "refresh_token_invalid"),
        ("account_selection_required", "refresh_token_invalid"),
        ("access_denied", "provider_revoked"),
    ];
    for (code, reason) in dead {
        let connected = nexus.connect(&provider, "google").await;
        provider.next(Reply::error(400, code));
        let refused = nexus
            .refresh(&connected.id)
            .await
            .refused(409, "attention_required");
        assert_eq!(refused["reason"], reason, "{code}");
        assert_eq!(
            nexus.status(&connected.id).await["status"],
            "attention",
            "{code}"
        );
        assert_eq!(
            refreshes(&nexus, &connected).await,
            [
                "connection.refresh_started",
                "connection.refresh_failed",
                "connection.attention_required"
            ]
        );
        nexus
            .refresh(&connected.id)
            .await
            .refused(409, "attention_required");
    }
    let transient = [
        Reply::error(401, "invalid_client"),
        Reply::error(400, "unauthorized_client"),
        Reply::error(400, "invalid_request"),
        Reply::error(400, "temporarily_unavailable"),
        Reply::error(429, "invalid_grant"),
        Reply::error(503, "invalid_grant"),
        Reply::raw(429, "text/html", "slow down"),
        Reply::raw(500, "text/html", "<h1>Oops</h1>"),
        Reply::raw(302, "text/html", ""),
        Reply::raw(200, "text/html", "<h1>Sign in</h1>"),
        Reply::raw(200, "application/json", "{\"access_token\":"),
        Reply::raw(200, "application/json", "{}"),
        Reply::raw(200, "application/json", &"x".repeat(2 * 1024 * 1024)),
    ];
    let connected = nexus.connect(&provider, "google").await;
    let before = access_token(&nexus.token(&connected.id).await);
    for reply in transient {
        let shown = format!("{reply:?}");
        provider.next(reply);
        let answer = nexus.refresh(&connected.id).await;
        assert_eq!(
            answer.status,
            502,
            "{} for {}",
            answer.text,
            &shown[..shown.len().min(200)]
        );
        answer.refused(502, "provider_error");
        assert_eq!(nexus.status(&connected.id).await["status"], "active");
    }
    assert_eq!(
        access_token(&nexus.token(&connected.id).await),
        before,
        "the old credential is still served"
    );
    nexus.refresh(&connected.id).await.expect(200);
    assert_eq!(
        nexus.status(&connected.id).await["health_status"],
        "healthy"
    );
}

async fn the_providers_retry_after_is_passed_on(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    provider.next(Reply::error(429, "slow_down").retry_after("17"));
    let answer = nexus.refresh(&connected.id).await;
    answer.refused(502, "provider_error");
    assert_eq!(answer.header("retry-after"), Some("17"));
    nexus.refresh(&connected.id).await.expect(200);
    assert_eq!(
        provider.refreshes().len(),
        2,
        "a forced refresh reaches the provider all the same"
    );
}

async fn callers_at_once_share_one_exchange_and_each_is_recorded(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (gateway, path) = (nexus.gateway(), format!("/v1/refresh/{}", connected.id));
            tokio::spawn(async move { gateway.request("POST", &path).send().await })
        })
        .collect();
    gate.arrived().await;
    waiting(&nexus, 7).await;
    gate.open();
    let mut tokens = Vec::new();
    for caller in callers {
        tokens.push(access_token(&caller.await.expect("a caller")));
    }
    tokens.dedup();
    assert_eq!((tokens.len(), provider.refreshes().len()), (1, 1));
    assert_eq!(
        refreshes(&nexus, &connected).await,
        ["connection.refresh_started", "connection.refreshed"]
    );
    let reads = nexus
        .audit()
        .await
        .iter()
        .filter(|entry| entry["event_type"] == "credential.retrieved")
        .count();
    assert_eq!(reads, 8);
}

async fn callers_at_once_share_one_failure(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let (held, gate) = Reply::error(400, "invalid_grant").held();
    provider.next(held);
    let call = || {
        let (gateway, path) = (nexus.gateway(), format!("/v1/refresh/{}", connected.id));
        tokio::spawn(async move { gateway.request("POST", &path).send().await })
    };
    let holder = call();
    gate.arrived().await;
    let waiter = call();
    waiting(&nexus, 1).await;
    gate.open();
    for caller in [holder, waiter] {
        caller
            .await
            .expect("a caller")
            .refused(409, "attention_required");
    }
    assert_eq!(provider.refreshes().len(), 1);
}

async fn a_caller_who_goes_away_does_not_cancel_the_exchange(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let caller = tokio::spawn({
        let (gateway, path) = (nexus.gateway(), format!("/v1/refresh/{}", connected.id));
        async move { gateway.request("POST", &path).send().await }
    });
    gate.arrived().await;
    caller.abort();
    gate.open();
    until("the answer is recorded", || async {
        refreshes(&nexus, &connected)
            .await
            .contains(&"connection.refreshed".to_owned())
            .then_some(())
    })
    .await;
    nexus.refresh(&connected.id).await.expect(200);
}

async fn a_rotated_refresh_token_is_durable_before_anyone_sees_what_came_with_it(
    database: Database,
) {
    let (mut nexus, provider, connected) = started(database).await;
    for _ in 0..3 {
        let seen = access_token(&nexus.refresh(&connected.id).await);
        nexus.kill9().await;
        nexus.start_again().await;
        assert_eq!(access_token(&nexus.token(&connected.id).await), seen);
    }
    nexus.refresh(&connected.id).await.expect(200);
    assert!(
        provider.refreshes().iter().all(|call| call.status == 200),
        "no token was used twice"
    );
}

async fn unknown_outcomes_are_tried_again_without_limit_where_nothing_rotates(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let mut profile = provider.profile("google");
    profile["params"] = json!({"refresh_rotation": "never"});
    nexus.register(profile).await;
    provider.always(Reply::tokens().with_the_same_refresh_token());
    let connected = nexus.connect(&provider, "google").await;
    for wire in [
        Wire::ClosedBefore,
        Wire::ClosedMidway,
        Wire::Reset,
        Wire::ClosedBefore,
    ] {
        provider.next(Reply::tokens().with_the_same_refresh_token().on_wire(wire));
        nexus
            .refresh(&connected.id)
            .await
            .refused(502, "provider_error");
        assert_eq!(nexus.status(&connected.id).await["status"], "active");
    }
    nexus.refresh(&connected.id).await.expect(200);
}

async fn where_tokens_rotate_an_unknown_outcome_is_tried_once_more(database: Database) {
    let nexus = Nexus::new(database)
        .set("UPSTREAM_TIMEOUT", "1s")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("google")).await;
    let connected = nexus.connect(&provider, "google").await;
    nexus.refresh(&connected.id).await.expect(200);
    // Neither answer arrives, so nobody knows whether the token was replaced.
    provider.next(Reply::error(503, "x").on_wire(Wire::Silence));
    nexus
        .refresh(&connected.id)
        .await
        .refused(502, "provider_error");
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
    provider.next(Reply::error(503, "x").on_wire(Wire::ClosedBefore));
    nexus.refresh(&connected.id).await;
    let refused = nexus
        .refresh(&connected.id)
        .await
        .refused(409, "attention_required");
    assert_eq!(refused["reason"], "refresh_outcome_unknown");
    assert_eq!(
        provider.refreshes().len(),
        3,
        "the token was sent once more and no more"
    );
    let started: Vec<Value> = nexus
        .audit()
        .await
        .iter()
        .filter(|entry| entry["event_type"] == "connection.refresh_started")
        .map(|entry| {
            serde_json::from_str::<Value>(entry["event_data"].as_str().expect("text"))
                .expect("JSON")["repeat"]
                .clone()
        })
        .collect();
    assert_eq!(started, [false, false, true]);
}

async fn where_a_token_is_taken_again_for_a_while_lost_answers_cost_nothing(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    provider.take_tokens_again();
    let mut profile = provider.profile("google");
    profile["params"] = json!({"refresh_reuse_grace_seconds": 86_400});
    nexus.register(profile).await;
    let connected = nexus.connect(&provider, "google").await;
    nexus.refresh(&connected.id).await.expect(200);
    for wire in [Wire::ClosedBefore, Wire::ClosedMidway, Wire::Reset] {
        provider.next(Reply::tokens().on_wire(wire));
        nexus
            .refresh(&connected.id)
            .await
            .refused(502, "provider_error");
        assert_eq!(nexus.status(&connected.id).await["status"], "active");
    }
    nexus.refresh(&connected.id).await.expect(200);
    let presented: Vec<String> = provider
        .refreshes()
        .iter()
        .map(|call| call.form("refresh_token").expect("a token").to_owned())
        .collect();
    assert_eq!(presented.len(), 5);
    assert!(presented[1..].iter().all(|token| *token == presented[1]));
    // After what was answered the newest token is presented, as always.
    nexus.refresh(&connected.id).await.expect(200);
    let newest = provider.refreshes().pop().expect("a call");
    assert_ne!(newest.form("refresh_token"), Some(presented[1].as_str()));
}

async fn a_repeat_that_succeeds_ends_the_doubt(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    nexus.refresh(&connected.id).await.expect(200);
    for _ in 0..3 {
        // The provider never got to look at the request.
        provider.next(Reply::error(503, "x").on_wire(Wire::ClosedBefore));
        nexus
            .refresh(&connected.id)
            .await
            .refused(502, "provider_error");
        nexus.refresh(&connected.id).await.expect(200);
    }
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
}

async fn a_failure_before_a_byte_was_sent_is_known(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    nexus.refresh(&connected.id).await.expect(200);
    drop(provider);
    for _ in 0..4 {
        let refused = nexus
            .refresh(&connected.id)
            .await
            .refused(502, "provider_error");
        assert_eq!(refused["provider_error"], "connect");
    }
    assert_eq!(nexus.status(&connected.id).await["status"], "active");
}

async fn the_claim_of_a_killed_server_is_taken_over_after_its_deadline(database: Database) {
    let mut nexus = Nexus::new(database)
        .set("UPSTREAM_TIMEOUT", "1s")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("google")).await;
    let connected = nexus.connect(&provider, "google").await;
    let (held, gate) = Reply::error(503, "x").held();
    provider.next(held);
    let caller = tokio::spawn({
        let (gateway, path) = (nexus.gateway(), format!("/v1/refresh/{}", connected.id));
        async move { gateway.request("POST", &path).try_send().await.is_err() }
    });
    gate.arrived().await;
    nexus.kill9().await;
    assert!(
        caller.await.expect("a caller"),
        "the caller never got an answer"
    );
    nexus.start_again().await;
    nexus
        .refresh(&connected.id)
        .await
        .refused(503, "refresh_unavailable");
    assert_eq!(
        provider.refreshes().len(),
        1,
        "before the deadline nobody else asks"
    );
    let answer = until("the claim is taken over", || async {
        let answer = nexus.refresh(&connected.id).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    answer.expect(200);
    assert_eq!(provider.refreshes().len(), 2);
    let expected = [
        "connection.refresh_started",
        "connection.refresh_started",
        "connection.refreshed",
    ];
    assert_eq!(refreshes(&nexus, &connected).await, expected);
}

async fn a_token_that_died_with_its_server_needs_the_user(database: Database) {
    let mut nexus = Nexus::new(database)
        .set("UPSTREAM_TIMEOUT", "1s")
        .start()
        .await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("google")).await;
    let connected = nexus.connect(&provider, "google").await;
    nexus.refresh(&connected.id).await.expect(200);
    // The provider replaces the token, and the answer dies with the server.
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let caller = tokio::spawn({
        let (gateway, path) = (nexus.gateway(), format!("/v1/refresh/{}", connected.id));
        async move { gateway.request("POST", &path).try_send().await.is_err() }
    });
    gate.arrived().await;
    nexus.kill9().await;
    assert!(caller.await.expect("a caller"));
    nexus.start_again().await;
    let answer = until("the claim is taken over", || async {
        let answer = nexus.refresh(&connected.id).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert_eq!(
        answer.refused(409, "attention_required")["reason"],
        "refresh_token_invalid"
    );
    assert_eq!(nexus.status(&connected.id).await["status"], "attention");
}

async fn a_provider_that_moved_gets_no_old_token(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let id = nexus.register(provider.plain_profile("plain")).await;
    let connected = nexus.connect(&provider, "plain").await;
    let other = ScriptedProvider::start().await;
    let mut moved = other.plain_profile("plain");
    // The hosts differ by name, not only by port.
    moved["token_url"] = json!(format!(
        "{}/token",
        other.issuer().replace("127.0.0.1", "localhost")
    ));
    nexus
        .admin()
        .patch(&format!("/v1/providers/{id}"), moved)
        .await
        .expect(200);
    let refused = nexus
        .refresh(&connected.id)
        .await
        .refused(409, "attention_required");
    assert_eq!(refused["reason"], "provider_changed");
    assert_eq!(other.calls().len(), 0);
}

async fn the_id_token_of_a_refresh_is_served_whoever_has_asked_for_the_issuers_keys(
    database: Database,
) {
    let (mut nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let mut profile = provider.plain_profile("google");
    profile["issuer"] = json!(provider.issuer());
    profile["scopes"] = json!(["openid"]);
    nexus.register(profile).await;
    let connected = nexus.connect(&provider, "google").await;
    let served = async |nexus: &TestNexus| {
        let token = nexus.token(&connected.id).await.expect(200);
        token["id_token"].as_str().expect("an id token").to_owned()
    };
    let consented = served(&nexus).await;
    nexus.terminate().await;
    nexus.start_again().await;
    nexus.refresh(&connected.id).await.expect(200);
    assert_ne!(served(&nexus).await, consented);
}
