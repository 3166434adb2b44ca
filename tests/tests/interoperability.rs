//! Providers that others have made, from the consent to the revocation: npm's oidc-provider, Django OAuth Toolkit,
//! Debian's Glewlwyd.
//!
//! - `POST /v1/request-connection`
//! - `GET /auth/callback`
//! - `GET /v1/check-connection/{id}`
//! - `GET /v1/token/{id}`
//! - `POST /v1/refresh/{id}`
//! - `DELETE /v1/connections/{id}`

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nexus_tests::{
    Answer, Connected, Database, DjangoProvider, Glewlwyd, RealProvider, Requested,
    ScriptedProvider, TestNexus,
};
use serde_json::{Value, json};
use url::Url;

/// Comes back from the provider with a consent.
async fn arrive(nexus: &TestNexus, requested: Requested, callback: &Url) -> Connected {
    let answer = nexus.gateway().visit(callback).await;
    assert_eq!(
        answer.location_param("status").as_deref(),
        Some("success"),
        "{}\n{}",
        answer.location(),
        nexus.log()
    );
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
    Connected { id: requested.id }
}

/// Takes a connection through its life, while `resource` says, asked with a token, who somebody is.
async fn live(nexus: &TestNexus, connected: &Connected, resource: &str, who: (&str, &str)) {
    let (member, person) = who;
    let first = access_token(&nexus.token(&connected.id).await);
    assert_eq!(ask(resource, &first).await.expect("good")[member], person);
    let second = access_token(&nexus.refresh(&connected.id).await);
    assert_ne!(second, first);
    assert_eq!(ask(resource, &second).await.expect("good")[member], person);
    // The refresh token of the answer, if there was one, has replaced the one before.
    let third = access_token(&nexus.refresh(&connected.id).await);
    assert_ne!(third, second);
    assert_eq!(access_token(&nexus.token(&connected.id).await), third);
    assert_eq!(ask(resource, &third).await.expect("good")[member], person);
}

/// Ends a connection; its provider is to say that it has.
async fn end(nexus: &TestNexus, connected: &Connected) {
    let path = format!("/v1/connections/{}", connected.id);
    let ended = nexus.gateway().delete(&path).await.expect(200);
    assert_eq!(ended["provider_revoked"], true, "{ended}");
    assert_eq!(nexus.status(&connected.id).await["reason"], "revoked");
}

/// Asserts that a grant that was withdrawn is known to need its person.
async fn needs_its_person(nexus: &TestNexus, connected: &Connected) {
    let refused = nexus.refresh(&connected.id).await;
    let refused = refused.refused(409, "attention_required");
    assert_eq!(refused["reason"], "refresh_token_invalid");
    assert_eq!(nexus.status(&connected.id).await["status"], "attention");
}

fn access_token(answer: &Answer) -> String {
    let body = answer.expect(200);
    body["access_token"].as_str().expect("a token").to_owned()
}

/// What a resource says to the bearer of a token, or the status of its refusal.
async fn ask(resource: &str, token: &str) -> Result<Value, u16> {
    let client = reqwest::Client::builder().no_proxy().build();
    let request = client.expect("a client").get(resource).bearer_auth(token);
    let response = request.send().await.expect("the resource answers");
    match response.status().as_u16() {
        200 => Ok(response.json().await.expect("JSON")),
        status => Err(status),
    }
}

/// A part of the id token that a connection serves: 0 is its header, 1 its claims.
async fn id_token(nexus: &TestNexus, connected: &Connected, part: usize) -> Value {
    let body = nexus.token(&connected.id).await.expect(200);
    let token = body["credentials"]["id_token"].as_str();
    let part = token.expect("an id token").split('.').nth(part);
    let json = BASE64_URL_SAFE_NO_PAD.decode(part.expect("a part"));
    serde_json::from_slice(&json.expect("base64url")).expect("JSON")
}

/// An address with another `iss`, or with none.
fn with_iss(url: &Url, iss: Option<&str>) -> Url {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| name != "iss")
        .collect();
    let mut url = url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .extend_pairs(iss.map(|iss| ("iss", iss)));
    url
}

fn param(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(known, _)| known == name);
    found.map(|(_, value)| value.into_owned())
}

async fn with_npm() -> (TestNexus, RealProvider) {
    let nexus = TestNexus::start(Database::Sqlite).await;
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    nexus
        .register(provider.profile("npm", "nexus-demo", "client_secret_post"))
        .await;
    (nexus, provider)
}

async fn with_django() -> (TestNexus, DjangoProvider) {
    let nexus = TestNexus::start(Database::Sqlite).await;
    let provider = DjangoProvider::start(&nexus.callback()).await;
    nexus.register(provider.plain_profile("django")).await;
    (nexus, provider)
}

async fn with_glewlwyd() -> (TestNexus, Glewlwyd) {
    let nexus = TestNexus::start(Database::Sqlite).await;
    let provider = Glewlwyd::start(&nexus.callback()).await;
    nexus.register(provider.basic_profile("glewlwyd")).await;
    (nexus, provider)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oidc_provider_knows_a_client_whose_id_and_secret_have_to_be_encoded() {
    let (nexus, provider) = with_npm().await;
    nexus.register(provider.odd_profile("odd")).await;
    let requested = nexus.request("odd").await;
    let callback = provider.consent(&requested.auth_url, "alice").await;
    assert_eq!(param(&callback, "iss").as_deref(), Some(provider.issuer()));
    let connected = arrive(&nexus, requested, &callback).await;
    live(&nexus, &connected, &provider.user_info(), ("sub", "alice")).await;
    let last = access_token(&nexus.token(&connected.id).await);
    end(&nexus, &connected).await;
    assert_eq!(ask(&provider.user_info(), &last).await, Err(401));
    assert_eq!(provider.granted("refresh_token"), 2);
    assert_eq!(provider.refused("refresh_token"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_issuer_is_another_or_left_out_is_refused_and_its_code_not_spent() {
    let (nexus, provider) = with_npm().await;
    for iss in [
        Some("https://mallory.example"),
        Some(&format!("{}/", provider.issuer()) as &str),
        Some(""),
        None,
    ] {
        let requested = nexus.request("npm").await;
        let callback = provider.consent(&requested.auth_url, "alice").await;
        let answer = nexus.gateway().visit(&with_iss(&callback, iss)).await;
        assert_eq!(answer.location_param("status").as_deref(), Some("failed"));
        assert_eq!(
            answer.location_param("error").as_deref(),
            Some("oauth_error")
        );
        assert_eq!(nexus.status(&requested.id).await["status"], "failed");
        // Nor does the same answer count when it comes as it was.
        nexus
            .gateway()
            .visit(&callback)
            .await
            .refused(400, "state_used");
    }
    assert_eq!(provider.granted("authorization_code"), 0);
    assert_eq!(provider.refused("authorization_code"), 0);
}

/// The attack that RFC 9207 is about: a person sets out for a provider that is dishonest, which sends them on to an
/// honest one, as if by our request there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_of_an_honest_provider_does_not_reach_a_dishonest_one() {
    let (nexus, honest) = with_npm().await;
    let dishonest = ScriptedProvider::start().await;
    nexus.register(dishonest.profile("with-issuer")).await;
    nexus
        .register(dishonest.plain_profile("without-issuer"))
        .await;
    for name in ["with-issuer", "without-issuer"] {
        let requested = nexus.request(name).await;
        let kept = requested.auth_url.query_pairs().filter(|(name, _)| {
            ["state", "code_challenge", "nonce", "redirect_uri"].contains(&name.as_ref())
        });
        let mut onward: Url = format!("{}/auth", honest.issuer()).parse().expect("a URL");
        onward
            .query_pairs_mut()
            .extend_pairs(kept)
            .append_pair("client_id", "nexus-demo")
            .append_pair("response_type", "code")
            .append_pair("code_challenge_method", "S256")
            .append_pair("scope", "openid");
        let callback = honest.consent(&onward, "alice").await;
        assert_eq!(param(&callback, "iss").as_deref(), Some(honest.issuer()));
        assert!(param(&callback, "code").is_some());
        let answer = nexus.gateway().visit(&callback).await;
        assert_eq!(
            answer.location_param("error").as_deref(),
            Some("oauth_error"),
            "{name}"
        );
        assert_eq!(dishonest.calls().len(), 0, "{name} was sent the code");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oidc_provider_signs_with_a_new_key_at_the_second_login() {
    let (nexus, provider) = with_npm().await;
    let mut kid = "signing-1".to_owned();
    for login in ["alice", "bob"] {
        let requested = nexus.request("npm").await;
        let callback = provider.consent(&requested.auth_url, login).await;
        let connected = arrive(&nexus, requested, &callback).await;
        assert_eq!(id_token(&nexus, &connected, 0).await["kid"], kid);
        assert_eq!(id_token(&nexus, &connected, 1).await["sub"], login);
        let rotated = provider.rotate_keys().await;
        // What comes with a refresh is verified with the keys at hand: until they are fetched, the one before serves.
        nexus.refresh(&connected.id).await.expect(200);
        assert_eq!(id_token(&nexus, &connected, 0).await["kid"], kid);
        kid = rotated;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_is_known_by_its_doors_alone_and_knows_a_client_that_has_to_be_encoded() {
    let (nexus, provider) = with_django().await;
    let requested = nexus.request("django").await;
    let callback = provider.consent(&requested.auth_url).await;
    // Nobody has told the vault what it is.
    assert_eq!(param(&callback, "iss"), Some(provider.issuer()));
    let connected = arrive(&nexus, requested, &callback).await;
    let granted = nexus.token(&connected.id).await.expect(200);
    assert_eq!(granted["scope"], "read write");
    live(&nexus, &connected, &provider.resource(), ("name", "alice")).await;
    let last = access_token(&nexus.token(&connected.id).await);
    end(&nexus, &connected).await;
    assert_eq!(ask(&provider.resource(), &last).await, Err(403));
    let call = |grant_type: &str| json!({"event": "token", "grant_type": grant_type, "basic": true, "status": 200});
    assert_eq!(
        provider.token_calls(),
        ["authorization_code", "refresh_token", "refresh_token"].map(call)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_cancels_at_django_has_not_connected() {
    let (nexus, provider) = with_django().await;
    let requested = nexus.request("django").await;
    let callback = provider.answer(&requested.auth_url, false).await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(
        answer.location_param("error").as_deref(),
        Some("access_denied")
    );
    let status = nexus.status(&requested.id).await;
    assert_eq!(
        (&status["status"], &status["reason"]),
        (&json!("failed"), &json!("consent_denied"))
    );
    assert_eq!(provider.token_calls(), [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_signs_id_tokens_with_the_clients_secret() {
    let (nexus, provider) = with_django().await;
    nexus.register(provider.hmac_profile("hmac")).await;
    let requested = nexus.request("hmac").await;
    let callback = provider.consent(&requested.auth_url).await;
    let connected = arrive(&nexus, requested, &callback).await;
    assert_eq!(id_token(&nexus, &connected, 0).await["alg"], "HS256");
    let first = id_token(&nexus, &connected, 1).await;
    assert_eq!(first["iss"], provider.issuer());
    live(&nexus, &connected, &provider.resource(), ("name", "alice")).await;
    // Each refresh has brought another.
    let newest = id_token(&nexus, &connected, 1).await;
    assert_eq!(newest["sub"], first["sub"]);
    assert_ne!(newest["at_hash"], first["at_hash"]);
    end(&nexus, &connected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn glewlwyd_connects_refreshes_and_revokes_with_a_secret_and_with_a_signature() {
    let (nexus, provider) = with_glewlwyd().await;
    nexus.register(provider.signing_profile("signing")).await;
    nexus.register(provider.odd_profile("odd")).await;
    for (name, login) in [("glewlwyd", "alice"), ("signing", "bob"), ("odd", "alice")] {
        let requested = nexus.request(name).await;
        let callback = provider.consent(&requested.auth_url, login).await;
        assert_eq!(param(&callback, "iss"), Some(provider.issuer()));
        let connected = arrive(&nexus, requested, &callback).await;
        assert_eq!(id_token(&nexus, &connected, 0).await["alg"], "ES256");
        let consented = id_token(&nexus, &connected, 1).await;
        live(&nexus, &connected, &provider.user_info(), ("name", login)).await;
        // It sends none with a refresh.
        assert_eq!(id_token(&nexus, &connected, 1).await, consented);
        end(&nexus, &connected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn glewlwyd_signs_with_a_new_key_at_the_second_login() {
    let (nexus, mut provider) = with_glewlwyd().await;
    let mut newest = None;
    for login in ["alice", "bob"] {
        let requested = nexus.request("glewlwyd").await;
        let callback = provider.consent(&requested.auth_url, login).await;
        let connected = arrive(&nexus, requested, &callback).await;
        let kid = id_token(&nexus, &connected, 0).await["kid"].clone();
        assert!(newest.is_none_or(|newest: String| kid == newest), "{kid}");
        newest = Some(provider.rotate_keys().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn glewlwyd_signs_with_another_key_of_the_same_id_at_the_second_login() {
    let (nexus, mut provider) = with_glewlwyd().await;
    let mut kids = Vec::new();
    for login in ["alice", "bob"] {
        let requested = nexus.request("glewlwyd").await;
        let callback = provider.consent(&requested.auth_url, login).await;
        let connected = arrive(&nexus, requested, &callback).await;
        kids.push(id_token(&nexus, &connected, 0).await["kid"].clone());
        provider.replace_key().await;
    }
    assert_eq!(kids[0], kids[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_takes_back_at_django_needs_them() {
    let (nexus, provider) = with_django().await;
    let requested = nexus.request("django").await;
    let callback = provider.consent(&requested.auth_url).await;
    let connected = arrive(&nexus, requested, &callback).await;
    nexus.refresh(&connected.id).await.expect(200);
    provider.withdraw().await;
    needs_its_person(&nexus, &connected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_takes_back_at_glewlwyd_needs_them() {
    let (nexus, provider) = with_glewlwyd().await;
    let requested = nexus.request("glewlwyd").await;
    let callback = provider.consent(&requested.auth_url, "alice").await;
    let connected = arrive(&nexus, requested, &callback).await;
    nexus.refresh(&connected.id).await.expect(200);
    provider.withdraw("alice").await;
    needs_its_person(&nexus, &connected).await;
}
