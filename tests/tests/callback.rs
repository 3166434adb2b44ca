//! The callback: a person comes back from the provider.
//!
//! - `GET /auth/callback`
//! - `GET /v1/callback`

use nexus_tests::{
    Database, IdTokenFault, Nexus, Reply, ScriptedProvider, TestNexus, Wire, on_both_databases,
    until,
};
use serde_json::json;
use url::Url;

on_both_databases! {
    a_consent_makes_the_connection_active,
    the_client_authenticates_as_its_profile_says,
    a_state_works_once_and_the_code_is_exchanged_once,
    of_two_callbacks_at_once_one_exchanges_the_code,
    a_state_that_is_not_ours_opens_nothing,
    a_browser_gets_a_page,
    a_denied_consent_is_told_to_the_application,
    a_consent_after_its_time_is_refused,
    a_failed_exchange_fails_the_consent_for_good,
    a_wrong_id_token_fails_the_consent,
    without_an_issuer_an_id_token_is_neither_needed_nor_served,
    an_answer_from_another_issuer_is_refused,
    what_another_issuer_says_of_a_consent_is_not_repeated,
    a_code_is_not_sent_to_where_the_provider_has_moved_meanwhile,
    an_id_token_that_is_to_be_used_is_verified_each_time,
    the_callback_is_on_both_surfaces,
}

async fn a_consent_makes_the_connection_active(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    let callback = provider.consent(&requested.auth_url).await;
    let answer = nexus.gateway().visit(&callback).await;
    let location = answer.location();
    let query: Vec<(String, String)> = location.query_pairs().into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        query,
        [
            pair("keep", "1"),
            pair("status", "success"),
            pair("connection_id", &requested.id),
            pair("provider", "google")
        ]
    );
    assert_eq!(location.fragment(), Some("end"));
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
    let history = [
        "connection.requested",
        "connection.consent_returned",
        "connection.activated",
    ];
    assert_eq!(nexus.history(&requested.reference()).await, history);

    let calls = provider.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (calls[0].status, calls[0].form("grant_type")),
        (200, Some("authorization_code"))
    );
    assert!(
        calls[0]
            .form("code_verifier")
            .is_some_and(|verifier| verifier.len() >= 43)
    );
}

async fn the_client_authenticates_as_its_profile_says(database: Database) {
    let nexus = TestNexus::start(database).await;
    let provider = ScriptedProvider::start().await;
    for (name, auth_header) in [
        ("post", "client_secret_post"),
        ("basic", "client_secret_basic"),
        ("none", "none"),
    ] {
        let mut profile = provider.profile(name);
        profile["auth_header"] = json!(auth_header);
        profile["client_secret"] = if name == "none" {
            json!(null)
        } else {
            json!("s e:cret+/%")
        };
        nexus.register(profile).await;
        nexus.connect(&provider, name).await;
        let call = provider.calls().pop().expect("a call");
        let basic = call.basic.clone();
        match name {
            "post" => assert_eq!(
                (call.form("client_secret"), basic),
                (Some("s e:cret+/%"), None)
            ),
            "basic" => {
                assert_eq!(
                    basic,
                    Some(("client-1".to_owned(), "s e:cret+/%".to_owned()))
                );
                assert_eq!(call.form("client_secret"), None);
            }
            _ => assert_eq!(
                (call.form("client_id"), call.form("client_secret"), basic),
                (Some("client-1"), None, None)
            ),
        }
    }
}

async fn a_state_works_once_and_the_code_is_exchanged_once(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    let callback = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&callback).await.location();
    nexus
        .gateway()
        .visit(&callback)
        .await
        .refused(400, "state_used");
    let again = provider.consent(&requested.auth_url).await;
    nexus
        .gateway()
        .visit(&again)
        .await
        .refused(400, "state_used");
    assert_eq!(provider.calls().len(), 1);
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
}

async fn of_two_callbacks_at_once_one_exchanges_the_code(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let (held, gate) = Reply::tokens().held();
    provider.next(held);
    let requested = nexus.request("google").await;
    let callback = provider.consent(&requested.auth_url).await;
    let first = tokio::spawn({
        let (gateway, callback) = (nexus.gateway(), callback.clone());
        async move { gateway.visit(&callback).await }
    });
    gate.arrived().await;
    nexus
        .gateway()
        .visit(&callback)
        .await
        .refused(400, "state_used");
    assert_eq!(nexus.status(&requested.id).await["status"], "pending");
    gate.open();
    let answer = first.await.expect("a callback");
    assert_eq!(answer.location_param("status").as_deref(), Some("success"));
    assert_eq!(provider.calls().len(), 1);
}

async fn a_state_that_is_not_ours_opens_nothing(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let get = |query: String| {
        let gateway = nexus.gateway();
        async move { gateway.get(&format!("/auth/callback?{query}")).await }
    };
    get("code=x&state=invented".to_owned())
        .await
        .refused(400, "invalid_state");
    get("code=x".to_owned())
        .await
        .refused(400, "missing_params");
    get(String::new()).await.refused(400, "missing_params");
    let state = nexus.request("google").await.state;
    get(format!("state={state}"))
        .await
        .refused(400, "missing_params");
    let mut tampered = state.clone().into_bytes();
    tampered[10] = if tampered[10] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).expect("text");
    get(format!("code=x&state={tampered}"))
        .await
        .refused(400, "invalid_state");
    assert_eq!(provider.calls().len(), 0);
}

async fn a_browser_gets_a_page(database: Database) {
    let (nexus, _provider) = TestNexus::with_google(database).await;
    let path = "/auth/callback?code=%3Cscript%3E&state=%3Cscript%3E";
    let answer = nexus
        .gateway()
        .request("GET", path)
        .header("accept", "text/html,*/*;q=0.8")
        .send()
        .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    assert!(!answer.text.contains("<script>"), "{}", answer.text);
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
}

async fn a_denied_consent_is_told_to_the_application(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    provider.deny_next("access_denied");
    let requested = nexus.request("google").await;
    let callback = provider.consent(&requested.auth_url).await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(answer.location_param("status").as_deref(), Some("failed"));
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(answer.location_param("connection_id"), None);
    let status = nexus.status(&requested.id).await;
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&json!("failed"), &json!("consent_denied"))
    );
    assert_eq!(
        nexus
            .history(&requested.reference())
            .await
            .last()
            .expect("events"),
        "connection.failed"
    );
    nexus
        .token(&requested.id)
        .await
        .refused(409, "connection_not_active");
    nexus
        .gateway()
        .visit(&callback)
        .await
        .refused(400, "state_used");
}

async fn a_consent_after_its_time_is_refused(database: Database) {
    let nexus = Nexus::new(database).set("STATE_TTL", "1s").start().await;
    let provider = ScriptedProvider::start().await;
    nexus.register(provider.profile("google")).await;
    let requested = nexus.request("google").await;
    let callback = provider.consent(&requested.auth_url).await;
    until("the request lapses", || async {
        (nexus.status(&requested.id).await["status"] == "failed").then_some(())
    })
    .await;
    assert_eq!(
        nexus.status(&requested.id).await["reason"],
        "pending_expired"
    );
    nexus
        .gateway()
        .visit(&callback)
        .await
        .refused(400, "invalid_state");
    assert_eq!(provider.calls().len(), 0);
    until("the lapse is recorded", || async {
        nexus
            .history(&requested.reference())
            .await
            .contains(&"connection.expired".to_owned())
            .then_some(())
    })
    .await;
}

async fn a_failed_exchange_fails_the_consent_for_good(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let failures = [
        (Reply::error(400, "invalid_grant"), "invalid_grant"),
        (Reply::error(401, "invalid_client"), "invalid_client"),
        (Reply::raw(500, "text/html", "<h1>Oops</h1>"), "status_500"),
        (
            Reply::raw(200, "application/json", "{\"access_token\": 7}"),
            "invalid_response",
        ),
        (
            Reply::tokens().on_wire(Wire::ClosedBefore),
            "exchange_outcome_unknown",
        ),
        (
            Reply::tokens().on_wire(Wire::ClosedMidway),
            "exchange_outcome_unknown",
        ),
        (
            Reply::tokens().on_wire(Wire::Reset),
            "exchange_outcome_unknown",
        ),
    ];
    for (count, (reply, error)) in failures.into_iter().enumerate() {
        provider.next(reply);
        let requested = nexus.request("google").await;
        let callback = provider.consent(&requested.auth_url).await;
        let answer = nexus.gateway().visit(&callback).await;
        assert_eq!(
            answer.location_param("status").as_deref(),
            Some("failed"),
            "{error}"
        );
        assert_eq!(answer.location_param("error").as_deref(), Some(error));
        assert_eq!(nexus.status(&requested.id).await["status"], "failed");
        nexus
            .gateway()
            .visit(&callback)
            .await
            .refused(400, "state_used");
        assert_eq!(
            provider.calls().len(),
            count + 1,
            "a code is never exchanged twice"
        );
    }
}

async fn a_wrong_id_token_fails_the_consent(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let faults = [
        Some(IdTokenFault::WrongIssuer),
        Some(IdTokenFault::WrongAudience),
        Some(IdTokenFault::WrongNonce),
        Some(IdTokenFault::NoNonce),
        Some(IdTokenFault::Expired),
        Some(IdTokenFault::BadSignature),
        Some(IdTokenFault::AlgNone),
        Some(IdTokenFault::UnknownKey),
        None,
    ];
    for fault in faults {
        provider.next(Reply::tokens().id_token(fault));
        let requested = nexus.request("google").await;
        let callback = provider.consent(&requested.auth_url).await;
        let answer = nexus.gateway().visit(&callback).await;
        assert_eq!(
            answer.location_param("status").as_deref(),
            Some("failed"),
            "{fault:?}"
        );
        assert_eq!(
            answer.location_param("error").as_deref(),
            Some("oauth_error"),
            "{fault:?}"
        );
        nexus
            .token(&requested.id)
            .await
            .refused(409, "connection_not_active");
    }
    nexus.connect(&provider, "google").await;
}

async fn without_an_issuer_an_id_token_is_neither_needed_nor_served(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let mut profile = provider.plain_profile("plain");
    profile["scopes"] = json!(["openid", "read"]);
    nexus.register(profile).await;
    for reply in [
        Reply::tokens().id_token(None),
        Reply::tokens().id_token(Some(IdTokenFault::BadSignature)),
    ] {
        provider.next(reply);
        let connected = nexus.connect(&provider, "plain").await;
        let token = nexus.token(&connected.id).await.expect(200);
        assert_eq!(token["credentials"].get("id_token"), None);
    }
    assert_eq!(provider.discoveries(), 0);
}

async fn an_answer_from_another_issuer_is_refused(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let requested = nexus.request("google").await;
    let mut callback = provider.consent(&requested.auth_url).await;
    callback
        .query_pairs_mut()
        .append_pair("iss", "https://elsewhere.test");
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(answer.location_param("status").as_deref(), Some("failed"));
    assert_eq!(provider.calls().len(), 0, "the code goes to nobody");
}

async fn what_another_issuer_says_of_a_consent_is_not_repeated(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    for (iss, told) in [
        (provider.issuer(), "access_denied"),
        ("https://elsewhere.test", "oauth_error"),
    ] {
        provider.deny_next("access_denied");
        let requested = nexus.request("google").await;
        let mut callback = provider.consent(&requested.auth_url).await;
        callback.query_pairs_mut().append_pair("iss", iss);
        let answer = nexus.gateway().visit(&callback).await;
        assert_eq!(answer.location_param("error").as_deref(), Some(told));
    }
}

async fn a_code_is_not_sent_to_where_the_provider_has_moved_meanwhile(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let id = nexus.register(provider.plain_profile("plain")).await;
    let requested = nexus.request("plain").await;
    let callback = provider.consent(&requested.auth_url).await;
    let elsewhere = ScriptedProvider::start().await;
    let path = format!("/v1/providers/{id}");
    let moved = elsewhere.plain_profile("plain");
    nexus.admin().patch(&path, moved).await.expect(200);
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("provider_changed")
    );
    let status = nexus.status(&requested.id).await;
    assert_eq!(status["reason"], "provider_changed");
    assert_eq!((provider.calls().len(), elsewhere.calls().len()), (0, 0));
}

async fn an_id_token_that_is_to_be_used_is_verified_each_time(database: Database) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let mut profile = provider.profile("google");
    profile["params"] = json!({"id_token_as_access_token": true});
    nexus.register(profile).await;
    let connected = nexus.connect(&provider, "google").await;
    let is_jwt = |token: &serde_json::Value| {
        let text = token["access_token"].as_str().expect("a token");
        text.split('.').count() == 3
    };
    assert!(is_jwt(&nexus.token(&connected.id).await.expect(200)));
    assert!(is_jwt(&nexus.refresh(&connected.id).await.expect(200)));
    provider.next(Reply::tokens().id_token(Some(IdTokenFault::BadSignature)));
    assert!(!is_jwt(&nexus.refresh(&connected.id).await.expect(200)));
    provider.next(Reply::tokens().id_token(None));
    let requested = nexus.request("google").await;
    let callback = provider.consent(&requested.auth_url).await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("oauth_error")
    );
}

async fn the_callback_is_on_both_surfaces(database: Database) {
    let (nexus, provider) = TestNexus::with_google(database).await;
    let elsewhere = |callback: &Url, base: &Url, path: &str| {
        let mut url = base.join(path).expect("a path");
        url.set_query(callback.query());
        url
    };
    let callback = provider
        .consent(&nexus.request("google").await.auth_url)
        .await;
    let versioned = elsewhere(&callback, nexus.gateway().base(), "/v1/callback");
    assert_eq!(
        nexus
            .gateway()
            .visit(&versioned)
            .await
            .location_param("status")
            .as_deref(),
        Some("success")
    );
    let callback = provider
        .consent(&nexus.request("google").await.auth_url)
        .await;
    let broker = nexus.broker_without_key();
    let internal = elsewhere(&callback, broker.base(), "/auth/callback");
    assert_eq!(
        broker
            .visit(&internal)
            .await
            .location_param("status")
            .as_deref(),
        Some("success")
    );
}
