use base64::prelude::{BASE64_STANDARD, Engine};

use super::*;

const REDIRECT: &str = "http://127.0.0.1:8090/auth/callback";

/// A profile at `base` that differs in this.
fn odd(base: &str, quirk: Value) -> ProviderProfile {
    ProviderProfile {
        params: params(quirk),
        ..profile(base)
    }
}

async fn scope_sent(quirk: Value) -> Option<String> {
    let provider = resolved(&odd("https://idp.example", quirk)).await;
    let scopes = ["repo".to_owned(), "user:email".to_owned()];
    let authorization = Authorization {
        state: "s",
        pkce_verifier: &Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        nonce: "n",
        redirect_uri: REDIRECT,
        scopes: &scopes,
    };
    let url = upstream()
        .authorization_url(&provider, &authorization)
        .unwrap();
    let mut query = url.query_pairs();
    query
        .find(|(name, _)| name == "scope")
        .map(|(_, scope)| scope.into_owned())
}

#[tokio::test]
async fn scopes_are_sent_as_the_provider_wants_them() {
    for (quirk, sent) in [
        (json!({}), Some("repo user:email")),
        (json!({"scope_separator": " "}), Some("repo user:email")),
        (json!({"scope_separator": ","}), Some("repo,user:email")),
        (json!({"skip_scope_on_auth": true}), None),
        (
            json!({"skip_scope_on_auth": false}),
            Some("repo user:email"),
        ),
        (
            json!({"skip_scope_on_auth": true, "scope_separator": ","}),
            None,
        ),
    ] {
        assert_eq!(scope_sent(quirk.clone()).await.as_deref(), sent, "{quirk}");
    }
}

/// What a provider with this quirk is asked, and what its answer comes to.
async fn refreshed(quirk: Value, answer: &Value) -> (Recorded, Result<TokenAnswer, CallFailure>) {
    let provider = TestProvider::start().await;
    provider.answers_json("/token", 200, answer);
    let resolved = resolved(&odd(&provider.base, quirk)).await;
    let refresh_token = Secret::new("old refresh&token");
    let outcome = upstream()
        .redeem_refresh_token(&resolved, &refresh_token, fresh())
        .await;
    let outcome = outcome.map(|answer| resolved.quirks.as_used(answer, true));
    (provider.requests("/token").remove(0), outcome)
}

#[tokio::test]
async fn granted_scopes_are_read_by_the_same_separator() {
    let answer = json!({"access_token": "at", "scope": "repo,user:email,"});
    for (quirk, scopes) in [
        (json!({}), &["repo,user:email,"][..]),
        (json!({"scope_separator": ","}), &["repo", "user:email"]),
    ] {
        let (_, outcome) = refreshed(quirk, &answer).await;
        assert_eq!(outcome.unwrap().scope.unwrap(), scopes);
    }
}

#[tokio::test]
async fn a_request_may_be_json_instead_of_a_form() {
    let answer = json!({"access_token": "at"});
    let (request, outcome) = refreshed(json!({"token_request_format": "json"}), &answer).await;
    assert_eq!(request.headers["content-type"], "application/json");
    let sent: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        sent,
        json!({"grant_type": "refresh_token", "refresh_token": "old refresh&token",
            "client_id": "client one", "client_secret": "s3cret &+"})
    );
    assert_eq!(outcome.unwrap().access_token.expose(), "at");
    let (request, _) = refreshed(json!({"token_request_format": "form"}), &answer).await;
    assert_eq!(request.field("refresh_token"), Some("old refresh&token"));
}

#[tokio::test]
async fn an_error_may_come_with_a_status_of_success() {
    let quirk = json!({"error_in_200": {"pointer": "/ok", "values": [false]}});
    for (answer, error) in [
        (json!({"ok": true, "access_token": "at"}), None),
        (json!({"access_token": "at"}), None),
        (
            json!({"ok": false, "error": "invalid_grant", "access_token": "not one"}),
            Some("invalid_grant"),
        ),
        (
            json!({"ok": false, "access_token": "not one"}),
            Some("invalid_response"),
        ),
    ] {
        let (_, outcome) = refreshed(quirk.clone(), &answer).await;
        let found = outcome.err().map(|failure| failure.error);
        assert_eq!(found.as_deref(), error, "{answer}");
    }
    // Another provider that says the same means nothing by it.
    let answer = json!({"ok": false, "access_token": "at"});
    assert!(refreshed(json!({}), &answer).await.1.is_ok());
}

#[tokio::test]
async fn id_and_secret_in_basic_may_be_taken_as_they_are() {
    for (encoding, expected) in [
        ("form", "client+one:s3cret+%26%2B"),
        ("none", "client one:s3cret &+"),
    ] {
        let provider = TestProvider::start().await;
        provider.answers_json("/token", 200, &json!({"access_token": "at"}));
        provider.answers("/revoke", 200, &[], "");
        let profile = ProviderProfile {
            auth_header: Some("client_secret_basic".to_owned()),
            ..odd(
                &provider.base,
                json!({"basic_auth_encoding": encoding,
                    "revocation_endpoint": format!("{}/revoke", provider.base)}),
            )
        };
        let (upstream, resolved) = (upstream(), resolved(&profile).await);
        let token = Secret::new("rt");
        upstream
            .redeem_refresh_token(&resolved, &token, fresh())
            .await
            .unwrap();
        upstream
            .revoke_token(&resolved, &RevocableToken::Refresh(token), || Ok(fresh()))
            .await
            .unwrap();
        for path in ["/token", "/revoke"] {
            let sent = &provider.requests(path)[0].headers["authorization"];
            let pair = sent.to_str().unwrap().strip_prefix("Basic ").unwrap();
            let pair = BASE64_STANDARD.decode(pair).unwrap();
            assert_eq!(String::from_utf8(pair).unwrap(), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn a_status_without_a_word_may_say_that_the_grant_is_gone() {
    let quirk = json!({"invalid_grant_status": 400});
    for (params, status, body, error) in [
        (&quirk, 400, "", "invalid_grant"),
        (&quirk, 400, "<h1>No</h1>", "invalid_grant"),
        (
            &quirk,
            400,
            r#"{"error":"invalid_client"}"#,
            "invalid_client",
        ),
        (&quirk, 403, "", "status_403"),
        (&quirk, 503, "", "status_503"),
        (&json!({}), 400, "", "status_400"),
    ] {
        let provider = TestProvider::start().await;
        provider.answers("/token", status, &[], body);
        let resolved = resolved(&odd(&provider.base, params.clone())).await;
        let sent = Secret::new("old refresh");
        let outcome = upstream()
            .redeem_refresh_token(&resolved, &sent, fresh())
            .await;
        assert_eq!(outcome.unwrap_err().error, error, "{status} {body}");
    }
}

#[tokio::test]
async fn the_id_token_may_be_what_the_providers_api_takes() {
    let answer = json!({"access_token": "at", "id_token": "a.b.c"});
    for (quirk, used) in [
        (json!({}), "at"),
        (json!({"id_token_as_access_token": true}), "a.b.c"),
    ] {
        let (_, outcome) = refreshed(quirk, &answer).await;
        assert_eq!(outcome.unwrap().access_token.expose(), used);
    }
    let quirk = json!({"id_token_as_access_token": true});
    let (_, outcome) = refreshed(quirk, &json!({"access_token": "at"})).await;
    assert_eq!(outcome.unwrap().access_token.expose(), "at");
}

#[tokio::test]
async fn tokens_are_read_where_the_provider_puts_them() {
    let user = json!({"id": "U1", "access_token": "of the user", "scope": "search:read", "token_type": "user"});
    let both = json!({"ok": true, "access_token": "of the bot", "refresh_token": "of the bot",
        "team": {"id": "T1"}, "authed_user": user});
    let top = json!({"ok": true, "access_token": "refreshed", "token_type": "user", "team": {"id": "T1"}});
    let here = json!({"token_answer": {"token_type": "Bearer", "fields": {"team_id": "/team/id"}}});
    let inside = json!({"token_answer": {"pointer": "/authed_user", "fields": {"team_id": "/team/id", "user_id": "/authed_user/id"}}});
    for (quirk, answer, token, token_type, fields) in [
        (json!({}), &both, "of the bot", "Bearer", json!({})),
        (json!({}), &top, "refreshed", "user", json!({})),
        (here, &top, "refreshed", "Bearer", json!({"team_id": "T1"})),
        (
            inside.clone(),
            &both,
            "of the user",
            "user",
            json!({"team_id": "T1", "user_id": "U1"}),
        ),
        (inside, &top, "refreshed", "user", json!({"team_id": "T1"})),
    ] {
        let (_, outcome) = refreshed(quirk.clone(), answer).await;
        let read = outcome.unwrap();
        assert_eq!(read.access_token.expose(), token, "{quirk}");
        assert_eq!(read.token_type, token_type, "{quirk}");
        assert_eq!(Some(read.fields.expose()), fields.as_object(), "{quirk}");
        // The bot's is not the user's.
        let refresh_token = read.refresh_token.as_ref().map(Secret::expose);
        assert_eq!(
            refresh_token,
            (token == "of the bot").then_some("of the bot")
        );
    }
}

#[tokio::test]
async fn a_providers_own_word_for_a_grant_that_is_gone_is_understood() {
    let answer = json!({"error": "bad_refresh_token", "error_description": "It is spent."});
    let quirk = json!({"token_answer": {"grant_gone": ["bad_refresh_token"]}});
    for (quirk, error) in [(json!({}), "bad_refresh_token"), (quirk, "invalid_grant")] {
        let (_, outcome) = refreshed(quirk, &answer).await;
        assert_eq!(outcome.unwrap_err().error, error);
    }
}
