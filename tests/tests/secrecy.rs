//! Secrets pushed through every flow, then searched for everywhere they must not be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexus_tests::{
    Answer, Database, Nexus, Reply, ScriptedProvider, TestNexus, Wire, is_not_in,
    on_both_databases, stored,
};
use serde_json::{Value, json};

on_both_databases! {
    no_secret_is_found_where_it_must_not_be,
}

/// Secrets of the callers' own that no answer may hold. The provider keeps a list of those that it gave out.
const NEVER_ANSWERED: [&str; 14] = [
    "canary-client-secret",
    "canary-newer-secret",
    "canary-newest-secret",
    "canary-private-key",
    "canary-refused-secret",
    "canary-refused-key",
    "canary-unread-body",
    "canary-wrong-type",
    "canary-wrong-admin-key",
    "canary-bearer",
    "canary-of-a-query",
    "canary-code-of-nobody",
    "canary-state-of-nobody",
    "canary-unknown-id",
];

/// Captured secrets, which only a door that hands out credentials may answer.
const CAPTURED: [(&str, &str, &str); 9] = [
    ("api_key", "api_key", "canary-api-key"),
    ("header", "api_key", "canary-header-key"),
    ("query_param", "api_key", "canary-query-key"),
    ("basic_auth", "username", "canary-username"),
    ("basic_auth", "password", "canary-password"),
    ("hmac_payload", "secret", "canary-hmac-secret"),
    ("aws_sigv4", "access_key", "canary-aws-access-key"),
    ("aws_sigv4", "secret_key", "canary-aws-secret-key"),
    ("aws_sigv4", "session_token", "canary-aws-session"),
];

/// What was moved, by where it may be seen.
#[derive(Default)]
struct Secrets {
    /// In no answer.
    never: Vec<String>,
    /// In answers of the doors that hand out credentials.
    served: Vec<String>,
    /// Bearer ids and one-time states: in the answers of the consent they belong to.
    bearer: Vec<String>,
}

async fn no_secret_is_found_where_it_must_not_be(database: Database) {
    let mut nexus = Nexus::new(database)
        .set("SNAPSHOT_EVERY", "2")
        .set("RUST_LOG", "trace")
        .start()
        .await;
    nexus.record_answers();
    let provider = ScriptedProvider::start().await;
    let mut secrets = Secrets::default();
    consents(&nexus, &provider, &mut secrets).await;
    failed_consents(&nexus, &provider, &mut secrets).await;
    captures(&nexus, &mut secrets).await;
    refusals(&nexus).await;
    sort(&nexus, &provider, &mut secrets);
    let trail = serde_json::to_string(&nexus.audit().await).expect("JSON");
    let checkpoint = nexus.operate(&["audit", "checkpoint"]).await.stdout;
    // Killed rather than stopped, so that the write-ahead log is searched as well.
    nexus.kill9().await;

    answers_hold_only_what_they_may(&nexus.answers(), &secrets);
    urls_hold_no_key_material(&provider, &secrets);
    let places = [
        ("the trail", trail),
        ("the newest checkpoint", checkpoint),
        ("the logs", nexus.log()),
        ("the database", stored(&nexus, database).await),
    ];
    let all = [&secrets.never, &secrets.served, &secrets.bearer].map(Vec::as_slice);
    for (place, text) in &places {
        assert!(
            text.contains("nexus") || text.contains("provider"),
            "{place} was read"
        );
        for secret in all.concat() {
            is_not_in(place, text, &secret);
        }
    }
    assert!(
        places[3].1.contains("refresh_started"),
        "the search sees what is stored in clear"
    );
}

/// Sorts what the provider, the server's files and its callers know.
fn sort(nexus: &TestNexus, provider: &ScriptedProvider, secrets: &mut Secrets) {
    let given = provider.secrets();
    assert!(given.len() > 12, "the flows moved secrets: {}", given.len());
    let (never, served): (Vec<_>, Vec<_>) = given.into_iter().partition(|secret| {
        secret.starts_with("canary-refresh-") || secret.starts_with("canary-code-")
    });
    assert!(never.len() > 4 && served.len() > 4);
    let verifiers: Vec<String> = provider
        .calls()
        .iter()
        .filter_map(|call| call.form("code_verifier").map(str::to_owned))
        .collect();
    assert!(
        verifiers.len() > 2,
        "codes were exchanged with their verifiers"
    );
    secrets.never.extend(never);
    secrets.never.extend(verifiers);
    secrets.never.extend(NEVER_ANSWERED.map(str::to_owned));
    for key in ["encryption.key", "state.key", "audit.key", "api.key"] {
        let text = std::fs::read_to_string(nexus.data_dir().join(key)).expect("a key");
        secrets
            .never
            .push(text.trim().trim_end_matches('=').to_owned());
    }
    secrets.served.extend(served);
    secrets
        .served
        .extend(CAPTURED.map(|(_, _, secret)| secret.to_owned()));
}

fn answers_hold_only_what_they_may(answers: &[Answer], secrets: &Secrets) {
    assert!(
        answers.len() > 40,
        "the answers were kept: {}",
        answers.len()
    );
    for answer in answers {
        let text = format!("{} {:?} {}", answer.status, answer.headers, answer.text);
        let path = answer.request.split(' ').next_back().expect("a path");
        let credential = path.starts_with("/v1/token/") || path.starts_with("/v1/refresh/");
        let consent = [
            "/v1/request-connection",
            "/v1/callback",
            "/auth/callback",
            "/v1/capture-credential",
        ]
        .contains(&path);
        let mut forbidden: Vec<&String> = secrets.never.iter().collect();
        if !(credential && answer.status == 200) {
            forbidden.extend(&secrets.served);
        }
        if !(credential || consent && answer.status < 400) {
            forbidden.extend(&secrets.bearer);
        }
        for secret in forbidden {
            let place = format!("the answer to {}: {text}", answer.request);
            is_not_in(&place, &text, secret);
        }
    }
}

/// The browser's own way to the provider holds the state and the challenge; nothing that is a key.
fn urls_hold_no_key_material(provider: &ScriptedProvider, secrets: &Secrets) {
    let urls = provider.urls();
    assert!(urls.iter().any(|url| url.starts_with("/token")), "{urls:?}");
    for url in &urls {
        for secret in secrets.never.iter().chain(&secrets.served) {
            is_not_in("a URL at the provider", url, secret);
        }
    }
}

/// Registers, moves and uses provider secrets; connects, refreshes, reads; both ways of client authentication.
async fn consents(nexus: &TestNexus, provider: &ScriptedProvider, secrets: &mut Secrets) {
    let mut profile = provider.profile("google");
    profile["params"] = json!({"private_key": "canary-private-key", "audience": "x"});
    let id = nexus.register(profile.clone()).await;
    let path = format!("/v1/providers/{id}");
    let change = json!({"client_secret": "canary-newer-secret", "description": "y"});
    nexus.admin().patch(&path, change).await.expect(200);
    profile["client_secret"] = json!("canary-newest-secret");
    nexus.admin().put(&path, profile).await.expect(200);
    let mut basic = provider.profile("basic");
    basic["auth_header"] = json!("client_secret_basic");
    nexus.register(basic).await;
    for path in [path.as_str(), "/v1/providers", "/v1/providers/metadata"] {
        nexus.admin().get(path).await.expect(200);
    }
    for name in ["google", "basic"] {
        let connected = nexus.connect(provider, name).await;
        for _ in 0..2 {
            nexus.refresh(&connected.id).await.expect(200);
            nexus.token(&connected.id).await.expect(200);
        }
        chatty_failures(nexus, provider, &connected.id).await;
        nexus.status(&connected.id).await;
        secrets.bearer.push(connected.id);
    }
}

/// A provider that repeats all it was sent: as an error's code, in its description, beside JSON, and cut off.
async fn chatty_failures(nexus: &TestNexus, provider: &ScriptedProvider, id: &str) {
    let mut known = provider.secrets();
    known.extend(["canary-newest-secret", "canary-client-secret"].map(str::to_owned));
    let last = known
        .iter()
        .rfind(|secret| secret.starts_with("canary-refresh-"));
    let as_code = json!({"error": last, "error_description": "x"}).to_string();
    let as_description = json!({"error": "invalid_request", "error_description": known.join(" ")});
    let basic = STANDARD.encode("client-1:canary-client-secret");
    let as_header = json!({"error": "temporarily_unavailable", "error_description": format!("you sent Basic {basic}")});
    for (status, kind, body) in [
        (400, "application/json", as_code),
        (400, "application/json", as_description.to_string()),
        (503, "application/json", as_header.to_string()),
        (500, "text/plain", known.join(" ")),
        (
            200,
            "application/json",
            format!("{{\"access_token\": [\"{}\"]}}", known.join("\", \"")),
        ),
        (200, "text/html", known.join("&")),
    ] {
        provider.next(Reply::raw(status, kind, &body));
        nexus.refresh(id).await.refused(502, "provider_error");
    }
    provider.next(Reply::tokens().on_wire(Wire::ClosedMidway));
    nexus.refresh(id).await.refused(502, "provider_error");
}

async fn failed_consents(nexus: &TestNexus, provider: &ScriptedProvider, secrets: &mut Secrets) {
    let quoted = provider.secrets().join(" ");
    let repeated = json!({"error": "invalid_grant", "error_description": quoted}).to_string();
    for reply in [
        Reply::error(400, "invalid_grant"),
        Reply::raw(400, "application/json", &repeated),
        Reply::raw(200, "text/plain", &quoted),
    ] {
        let failed = nexus.request("google").await;
        provider.next(reply);
        let callback = provider.consent(&failed.auth_url).await;
        nexus.gateway().visit(&callback).await.location();
        // Once more, the state being spent.
        nexus
            .gateway()
            .visit(&callback)
            .await
            .refused(400, "state_used");
        nexus.status(&failed.id).await;
        secrets.bearer.extend([failed.id, failed.state]);
    }
}

async fn captures(nexus: &TestNexus, secrets: &mut Secrets) {
    let kinds = [
        "api_key",
        "header",
        "query_param",
        "basic_auth",
        "hmac_payload",
        "aws_sigv4",
    ];
    for kind in kinds {
        let fields: Value = CAPTURED
            .iter()
            .filter(|(of, _, _)| *of == kind)
            .map(|(_, field, secret)| ((*field).to_owned(), json!(secret)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        nexus
            .register(json!({"name": kind, "auth_type": kind}))
            .await;
        let captured = nexus.capture(kind, fields.clone()).await;
        let body = nexus.token(&captured.id).await.expect(200);
        assert_eq!(body["credentials"], fields);
        nexus
            .refresh(&captured.id)
            .await
            .refused(400, "static_token");
        secrets.bearer.push(captured.id);
    }
    let refused = nexus.request("api_key").await;
    let submit = |fields: Value| {
        let body = json!({"state": refused.state, "credentials": fields});
        nexus
            .gateway()
            .request("POST", "/v1/capture-credential")
            .json(&body)
    };
    let nested = json!({"api_key": {"nested": "canary-refused-key"}});
    submit(nested)
        .send()
        .await
        .refused(400, "invalid_credentials");
    let listed = json!({"api_key": ["canary-refused-key"]});
    submit(listed)
        .send()
        .await
        .refused(400, "invalid_credentials");
    let text = json!("canary-refused-key");
    submit(text).send().await.refused(400, "invalid_field");
    secrets.bearer.extend([refused.id, refused.state]);
}

/// What is refused before it means anything: in bodies, headers, paths and queries.
async fn refusals(nexus: &TestNexus) {
    let posted = |path: &str, body: &str| {
        let request = nexus.admin().request("POST", path);
        request.body("application/json", body.to_owned())
    };
    for path in [
        "/v1/providers",
        "/v1/request-connection",
        "/v1/capture-credential",
    ] {
        let broken = r#"{"client_secret": "canary-unread-body", "name": canary-unread-body"#;
        posted(path, broken)
            .send()
            .await
            .refused(400, "invalid_json");
    }
    let wrong = r#"{"name": "x", "auth_type": "oauth2", "client_secret": {"is": "canary-wrong-type"}, "client_id": ["canary-wrong-type"]}"#;
    assert_eq!(posted("/v1/providers", wrong).send().await.status, 400);
    let wrong = r#"{"state": ["canary-wrong-type"], "credentials": {}}"#;
    posted("/v1/capture-credential", wrong)
        .send()
        .await
        .refused(400, "invalid_field");
    let refused = json!({"name": "bad/name", "auth_type": "oauth2", "client_id": "c", "client_secret": "canary-refused-secret", "auth_url": "http://elsewhere.test", "token_url": "http://elsewhere.test"});
    assert_eq!(
        nexus.admin().post("/v1/providers", refused).await.status,
        400
    );
    let unread = posted("/v1/providers", "canary-unread-body").header("content-type", "text/plain");
    assert_eq!(unread.send().await.status / 100, 4);

    let gateway = nexus.gateway();
    let wrong_key = gateway.with_key("canary-wrong-admin-key");
    wrong_key
        .get("/v1/providers")
        .await
        .refused(401, "invalid_api_key");
    let bearer = gateway
        .request("GET", "/v1/providers")
        .header("authorization", "Bearer canary-bearer");
    bearer.send().await.refused(401, "missing_api_key");
    nexus
        .broker_without_key()
        .with_key("canary-wrong-admin-key")
        .get("/audit")
        .await
        .refused(401, "invalid_api_key");

    gateway
        .get("/v1/token/canary-unknown-id")
        .await
        .refused(404, "connection_not_found");
    gateway
        .get("/v1/canary-unknown-id?access_token=canary-of-a-query")
        .await
        .refused(404, "not_found");
    nexus
        .broker()
        .get("/audit?limit=canary-of-a-query")
        .await
        .refused(400, "invalid_limit");
    nexus
        .broker()
        .get("/audit?since=canary-of-a-query")
        .await
        .refused(400, "invalid_since");
    let nobodys = "code=canary-code-of-nobody&state=canary-state-of-nobody";
    gateway
        .get(&format!("/v1/callback?{nobodys}"))
        .await
        .refused(400, "invalid_state");
    gateway
        .get("/v1/capture-schema?state=canary-state-of-nobody")
        .await
        .refused(400, "invalid_state");
}
