//! Sessions of agents on the Gateway: `POST /v1/agent-sessions`, `POST /v1/agent-sessions/obo`,
//! `GET /v1/agent-sessions/{id}` and `DELETE /v1/agent-sessions/{id}`.

use nexus_tests::{
    Answer, Connected, Database, Nexus, Reply, ScriptedBackend, ScriptedProvider, TestNexus,
    on_both_databases, until,
};
use serde_json::{Value, json};

on_both_databases! {
    an_agent_is_given_the_connections_access_token_for_the_providers_scopes,
    an_agent_is_given_a_token_of_the_vaults_for_other_scopes,
    what_is_missing_or_malformed_is_told_first,
    every_gate_has_its_code_and_refusals_are_on_record,
    several_connections_that_fit_are_a_choice,
    a_session_lasts_as_long_as_was_asked_and_no_longer_than_its_token,
    a_session_ends_when_it_is_closed,
    a_session_ends_with_what_its_agent_may_no_longer_do,
    a_session_ends_with_its_connection,
    what_was_taken_back_does_not_revive_when_it_is_given_again,
    a_session_on_behalf_of_a_user_is_within_what_the_user_may_do,
    a_users_token_that_is_not_believed_opens_nothing,
    nobody_acts_for_users_until_it_is_set_up,
    a_session_is_its_subjects,
    the_doors_need_a_key,
}

const SESSIONS: &str = "/v1/agent-sessions";
const OBO: &str = "/v1/agent-sessions/obo";

async fn open(nexus: &TestNexus, asked: Value) -> Answer {
    nexus.admin().post(SESSIONS, asked).await
}

async fn register(nexus: &TestNexus, scopes: &[&str]) {
    let agent = json!({"agent_id": "mail-bot", "allowed_scopes": scopes});
    let answer = nexus.broker().post("/admin/v1/agents", agent).await;
    answer.expect(201);
}

async fn change_agent(nexus: &TestNexus, change: Value) {
    let request = nexus.broker().request("PATCH", "/admin/v1/agents/mail-bot");
    request.json(&change).send().await.expect(200);
}

async fn shown(nexus: &TestNexus, session: &Value) -> Value {
    let id = session["session_id"].as_str().expect("an id");
    let path = format!("{SESSIONS}/{id}");
    nexus.admin().get(&path).await.expect(200)
}

async fn ended(nexus: &TestNexus, session: &Value) -> Option<String> {
    let shown = shown(nexus, session).await;
    assert_eq!(
        shown["active"].as_bool(),
        Some(shown.get("closed_reason").is_none())
    );
    shown["closed_reason"].as_str().map(str::to_owned)
}

async fn close(nexus: &TestNexus, session: &Value) -> Value {
    let id = session["session_id"].as_str().expect("an id");
    let path = format!("{SESSIONS}/{id}");
    nexus.admin().delete(&path).await.expect(200)
}

/// A user who granted `read` and `write`, and an agent that may do these and `report`.
async fn started(database: Database) -> (TestNexus, ScriptedProvider, Connected) {
    let (nexus, provider) = (
        TestNexus::start(database).await,
        ScriptedProvider::start().await,
    );
    let connected = mail(&nexus, &provider).await;
    (nexus, provider, connected)
}

async fn mail(nexus: &TestNexus, provider: &ScriptedProvider) -> Connected {
    let mut profile = provider.profile("mail");
    profile["scopes"] = json!(["openid", "read", "write", "send"]);
    nexus.register(profile).await;
    register(nexus, &["read", "write", "send", "report"]).await;
    provider.next(Reply::tokens().scope("openid read write"));
    nexus.connect(provider, "mail").await
}

async fn an_agent_is_given_the_connections_access_token_for_the_providers_scopes(
    database: Database,
) {
    let (nexus, _provider, connected) = started(database).await;
    let asked =
        json!({"agent_id": "mail-bot", "scopes": [" read", "read"], "connection_id": connected.id});
    let answer = open(&nexus, asked).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let session = answer.expect(201);
    let token = nexus.token(&connected.id).await.expect(200);
    assert_eq!(session["access_token"], token["access_token"]);
    assert_eq!(session["token_type"], "bearer");
    assert_eq!(session["scopes_granted"], json!(["read"]));
    assert_eq!(session["token_scope"], "openid read write");
    assert_eq!(session["connection_id"], connected.id.as_str());
    assert_eq!(
        (
            &session["active"],
            &session["obo"],
            &session["clearance_level"]
        ),
        (&json!(true), &json!(false), &Value::Null)
    );
    let shown = shown(&nexus, &session).await;
    assert_eq!(shown.get("access_token"), None);
    assert_eq!(shown["active"], true);
    assert_eq!(shown["expires_at"], session["expires_at"]);
    let mut read = nexus.audit().await.into_iter().filter(|entry| {
        entry["event_type"] == "credential.retrieved" && !entry["session_id"].is_null()
    });
    let read = read.next().expect("the read is on record");
    assert_eq!(
        (&read["session_id"], &read["agent"]),
        (&session["session_id"], &json!("mail-bot"))
    );
    let closed = close(&nexus, &session).await;
    assert_eq!(closed["token_revoked"], false);
}

async fn an_agent_is_given_a_token_of_the_vaults_for_other_scopes(database: Database) {
    let (nexus, _provider, connected) = started(database).await;
    for connection in [Value::Null, json!(connected.id)] {
        let asked = json!({"agent_id": "mail-bot", "scopes": ["report"], "connection_id": connection, "ttl_seconds": 60});
        let session = open(&nexus, asked).await.expect(201);
        assert_eq!(session["token_type"], "session");
        assert_eq!(session["token_scope"], "report");
        assert_eq!(session["connection_id"], connection);
        let token = session["session_token"].as_str().expect("a token");
        for verdict in nexus.verdicts(token, &nexus.issuer()).await {
            let said = verdict.expect("libraries that are not ours believe it");
            assert_eq!(said["jti"], session["session_id"]);
            assert_eq!(
                (&said["scope"], &said["sub"]),
                (&json!("report"), &json!("mail-bot"))
            );
            assert_eq!(said.get("act"), None);
        }
        assert_eq!(session.get("access_token"), None);
        assert_eq!(close(&nexus, &session).await["token_revoked"], true);
    }
}

/// Why sessions were refused, the first first.
async fn reasons_on_record(nexus: &TestNexus) -> Vec<String> {
    let path = "/audit?event_type=agent.session_denied&limit=100";
    let denied = nexus.broker().get(path).await.expect(200);
    denied
        .as_array()
        .expect("entries")
        .iter()
        .rev()
        .map(|entry| {
            assert_eq!(entry["agent"], "mail-bot");
            let data = entry["event_data"].as_str().expect("text");
            let data: Value = serde_json::from_str(data).expect("JSON");
            data["reason"].as_str().expect("a reason").to_owned()
        })
        .collect()
}

async fn what_is_missing_or_malformed_is_told_first(database: Database) {
    let (nexus, _provider, _connected) = started(database).await;
    let asked = |more: Value| {
        let mut asked = json!({"agent_id": "mail-bot", "scopes": ["report"]});
        for (name, value) in more.as_object().expect("an object") {
            asked[name] = value.clone();
        }
        asked
    };
    let malformed = [
        (json!({"agent_id": null, "scopes": []}), "missing_agent_id"),
        (json!({"agent_id": ""}), "missing_agent_id"),
        (json!({"scopes": [], "ttl_seconds": -1}), "missing_scopes"),
        (
            json!({"scopes": ["read", " "], "ttl_seconds": -1}),
            "invalid_scope",
        ),
        (
            json!({"agent_id": "nobody", "ttl_seconds": -1}),
            "invalid_ttl",
        ),
        (json!({"ttl_seconds": 3_601}), "invalid_ttl"),
    ];
    for (more, code) in malformed {
        open(&nexus, asked(more)).await.refused(400, code);
    }
    let unknown_agent = asked(json!({"agent_id": "nobody"}));
    open(&nexus, unknown_agent)
        .await
        .refused(404, "agent_not_found");
    assert_eq!(reasons_on_record(&nexus).await, Vec::<String>::new());
}

async fn every_gate_has_its_code_and_refusals_are_on_record(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let key = json!({"name": "weather", "auth_type": "api_key", "scopes": ["read"]});
    nexus.register(key).await;
    let captured = nexus.capture("weather", json!({"api_key": "k"})).await;
    let pending = nexus.request("mail").await;
    let id = connected.id.as_str();
    let unknown = "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90";
    let asked = |more: Value| {
        let mut asked = json!({"agent_id": "mail-bot", "scopes": ["read"], "connection_id": id});
        for (name, value) in more.as_object().expect("an object") {
            asked[name] = value.clone();
        }
        asked
    };
    let gates = [
        (
            json!({"scopes": ["read", "other"]}),
            403,
            "scope_not_allowed",
        ),
        (
            json!({"connection_id": null}),
            400,
            "missing_connection_selector",
        ),
        (
            json!({"connection_id": null, "provider_name": "mail"}),
            400,
            "missing_connection_selector",
        ),
        (json!({"connection_id": "x"}), 400, "invalid_connection_id"),
        (
            json!({"provider_name": "weather"}),
            400,
            "provider_mismatch",
        ),
        (
            json!({"provider_name": "nothing"}),
            404,
            "provider_not_found",
        ),
        (
            json!({"connection_id": unknown}),
            404,
            "connection_not_found",
        ),
        (json!({"workspace_id": "eve"}), 404, "connection_not_found"),
        (
            json!({"connection_id": null, "workspace_id": "eve"}),
            404,
            "connection_not_found",
        ),
        (json!({"scopes": ["read", "report"]}), 400, "mixed_scopes"),
        (
            json!({"connection_id": pending.id}),
            400,
            "connection_not_active",
        ),
        (
            json!({"connection_id": captured.id}),
            400,
            "unsupported_agent_session_provider",
        ),
        (json!({"scopes": ["send"]}), 403, "scope_not_granted"),
    ];
    for (more, status, code) in gates.clone() {
        open(&nexus, asked(more)).await.refused(status, code);
    }
    change_agent(&nexus, json!({"active": false})).await;
    open(&nexus, asked(json!({})))
        .await
        .refused(403, "agent_inactive");
    let reasons = reasons_on_record(&nexus).await;
    let expected: Vec<&str> = gates.iter().map(|(_, _, code)| *code).collect();
    assert_eq!(reasons, [expected, vec!["agent_inactive"]].concat());
    let reads = nexus.audit().await;
    let reads = reads
        .iter()
        .filter(|entry| entry["event_type"] == "credential.retrieved");
    assert_eq!(reads.count(), 0, "nothing was handed out");
    assert_eq!(provider.refreshes().len(), 0);
}

async fn several_connections_that_fit_are_a_choice(database: Database) {
    let (nexus, provider, first) = started(database).await;
    let asked = json!({"agent_id": "mail-bot", "scopes": ["read"], "workspace_id": "user-1", "provider_name": "mail"});
    let session = open(&nexus, asked.clone()).await.expect(201);
    assert_eq!(session["connection_id"], first.id.as_str());
    provider.next(Reply::tokens().scope("openid read write"));
    let second = nexus.connect(&provider, "mail").await;
    let refused = open(&nexus, asked)
        .await
        .refused(409, "connection_ambiguous");
    let choices = refused["choices"].as_array().expect("choices");
    let ids: Vec<&Value> = choices
        .iter()
        .map(|choice| &choice["connection_id"])
        .collect();
    assert_eq!(ids, [&json!(second.id), &json!(first.id)]);
    assert_eq!(choices[0]["provider_name"], "mail");
}

async fn a_session_lasts_as_long_as_was_asked_and_no_longer_than_its_token(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let asked = json!({"agent_id": "mail-bot", "scopes": ["report"], "ttl_seconds": 1});
    let short = open(&nexus, asked).await.expect(201);
    until("its time is over", || async {
        (ended(&nexus, &short).await.as_deref() == Some("expired")).then_some(())
    })
    .await;
    until("that is recorded", || async {
        let path = "/audit?event_type=session.expired";
        let entries = nexus.broker().get(path).await.expect(200);
        (entries[0]["session_id"] == short["session_id"]).then_some(())
    })
    .await;
    assert_eq!(ended(&nexus, &short).await.as_deref(), Some("expired"));
    provider.next(Reply::tokens().expires_in(json!(120)));
    nexus.refresh(&connected.id).await.expect(200);
    let asked = json!({"agent_id": "mail-bot", "scopes": ["read"], "connection_id": connected.id, "ttl_seconds": 3_600});
    let session = open(&nexus, asked).await.expect(201);
    let path = "/v1/resolve?workspace_id=user-1&provider_name=mail";
    let token = nexus.admin().get(path).await.expect(200);
    assert_eq!(session["expires_at"], token["expires_at"]);
}

async fn a_session_ends_when_it_is_closed(database: Database) {
    let (nexus, _provider, _connected) = started(database).await;
    let asked = json!({"agent_id": "mail-bot", "scopes": ["report"]});
    let session = open(&nexus, asked).await.expect(201);
    let expected = json!({"status": "closed", "session_id": session["session_id"], "active": false, "token_revoked": true});
    assert_eq!(close(&nexus, &session).await, expected);
    assert_eq!(close(&nexus, &session).await, expected);
    assert_eq!(ended(&nexus, &session).await.as_deref(), Some("closed"));
    for id in ["x", "sess_00000000000000000000000000000000"] {
        let path = format!("{SESSIONS}/{id}");
        let admin = nexus.admin();
        admin.get(&path).await.refused(404, "session_not_found");
        admin.delete(&path).await.refused(404, "session_not_found");
    }
}

async fn a_session_ends_with_what_its_agent_may_no_longer_do(database: Database) {
    let (nexus, _provider, connected) = started(database).await;
    let asked = |scope: &str, id: Value| json!({"agent_id": "mail-bot", "scopes": [scope], "connection_id": id});
    let id = json!(connected.id);
    let read = open(&nexus, asked("read", id.clone())).await.expect(201);
    let write = open(&nexus, asked("write", id)).await.expect(201);
    let report = open(&nexus, asked("report", Value::Null)).await.expect(201);
    change_agent(&nexus, json!({"allowed_scopes": ["read", "report"]})).await;
    assert_eq!(
        ended(&nexus, &write).await.as_deref(),
        Some("agent_narrowed")
    );
    assert_eq!(ended(&nexus, &read).await, None);
    change_agent(&nexus, json!({"active": false})).await;
    assert_eq!(
        ended(&nexus, &read).await.as_deref(),
        Some("agent_narrowed")
    );
    change_agent(&nexus, json!({"active": true})).await;
    let again = open(&nexus, asked("report", Value::Null)).await.expect(201);
    assert_eq!(
        ended(&nexus, &report).await.as_deref(),
        Some("agent_narrowed")
    );
    let request = nexus
        .broker()
        .request("DELETE", "/admin/v1/agents/mail-bot");
    let deregistered = request.send().await.expect(200);
    assert_eq!(deregistered["sessions_closed"], 1);
    assert_eq!(
        ended(&nexus, &again).await.as_deref(),
        Some("agent_narrowed")
    );
    until("every end is on record", || async {
        let path = "/audit?event_type=session.closed";
        let entries = nexus.broker().get(path).await.expect(200);
        (entries.as_array().map(Vec::len) == Some(4)).then_some(())
    })
    .await;
}

async fn a_session_ends_with_its_connection(database: Database) {
    let (nexus, _provider, connected) = started(database).await;
    let mut sessions = Vec::new();
    for scope in ["read", "report"] {
        let asked =
            json!({"agent_id": "mail-bot", "scopes": [scope], "connection_id": connected.id});
        sessions.push(open(&nexus, asked).await.expect(201));
    }
    let path = format!("/v1/connections/{}", connected.id);
    let revoked = nexus.gateway().delete(&path).await.expect(200);
    assert_eq!(revoked["sessions_closed"], 2);
    for session in &sessions {
        let reason = ended(&nexus, session).await;
        assert_eq!(reason.as_deref(), Some("connection_narrowed"));
        assert_eq!(shown(&nexus, session).await["connection_id"], Value::Null);
    }
}

async fn what_was_taken_back_does_not_revive_when_it_is_given_again(database: Database) {
    let (nexus, provider, connected) = started(database).await;
    let asked = json!({"agent_id": "mail-bot", "scopes": ["write"], "connection_id": connected.id});
    let by_agent = open(&nexus, asked.clone()).await.expect(201);
    change_agent(&nexus, json!({"allowed_scopes": []})).await;
    change_agent(&nexus, json!({"allowed_scopes": ["read", "write"]})).await;
    assert_eq!(
        ended(&nexus, &by_agent).await.as_deref(),
        Some("agent_narrowed")
    );
    let by_connection = open(&nexus, asked.clone()).await.expect(201);
    for scope in ["openid read", "openid read write"] {
        provider.next(Reply::tokens().scope(scope));
        nexus.refresh(&connected.id).await.expect(200);
        let reason = ended(&nexus, &by_connection).await;
        assert_eq!(reason.as_deref(), Some("connection_narrowed"), "{scope}");
    }
    let again = open(&nexus, asked).await.expect(201);
    assert_eq!(ended(&nexus, &again).await, None);
}

async fn vouched(database: Database) -> (TestNexus, ScriptedProvider, ScriptedBackend, Connected) {
    let (provider, backend) = (
        ScriptedProvider::start().await,
        ScriptedBackend::start().await,
    );
    let nexus = Nexus::new(database)
        .set("BACKEND_AUTH_URL", backend.url().as_ref())
        .start()
        .await;
    let connected = mail(&nexus, &provider).await;
    let ann = json!({"user_id": "user-1", "tenant_id": "acme", "clearance_level": "internal", "permissions": ["read", "report"]});
    backend.user("canary-ann", ann);
    (nexus, provider, backend, connected)
}

async fn a_session_on_behalf_of_a_user_is_within_what_the_user_may_do(database: Database) {
    let (nexus, _provider, backend, connected) = vouched(database).await;
    let asked = |scopes: Value| json!({"agent_id": "mail-bot", "scopes": scopes, "provider_name": "mail", "user_context_token": "canary-ann"});
    let post = async |asked: Value| nexus.admin().post(OBO, asked).await;
    let session = post(asked(json!(["read"]))).await.expect(201);
    assert!(
        session["session_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("obo_"))
    );
    assert_eq!(session["connection_id"], connected.id.as_str());
    for (name, value) in [
        ("obo", json!(true)),
        ("acting_for", json!("user-1")),
        ("tenant_id", json!("acme")),
        ("clearance_level", json!("internal")),
    ] {
        assert_eq!(session[name], value);
        assert_eq!(shown(&nexus, &session).await[name], value);
    }
    let own = post(asked(json!(["report"]))).await.expect(201);
    let token = own["session_token"].as_str().expect("a token");
    for verdict in nexus.verdicts(token, &nexus.issuer()).await {
        let said = verdict.expect("libraries that are not ours believe it");
        assert_eq!(
            (&said["sub"], &said["tenant_id"]),
            (&json!("user-1"), &json!("acme"))
        );
        assert_eq!(said["act"], json!({"sub": "mail-bot"}));
    }
    post(asked(json!(["other", "write"])))
        .await
        .refused(403, "scope_not_permitted_for_agent");
    post(asked(json!(["write"])))
        .await
        .refused(403, "user_not_authorized_for_scope");
    assert_eq!(
        reasons_on_record(&nexus).await,
        [
            "scope_not_permitted_for_agent",
            "user_not_authorized_for_scope"
        ]
    );
    let mut missing = asked(json!(["read"]));
    missing["user_context_token"] = json!("");
    post(missing)
        .await
        .refused(400, "missing_user_context_token");
    // A connection of somebody else's is none.
    let eve = json!({"user_id": "eve", "permissions": ["read"]});
    backend.user("canary-eve", eve);
    let mut foreign = asked(json!(["read"]));
    foreign["user_context_token"] = json!("canary-eve");
    post(foreign.clone())
        .await
        .refused(404, "connection_not_found");
    foreign["connection_id"] = json!(connected.id);
    post(foreign).await.refused(404, "connection_not_found");
    assert!(!nexus.log().contains("canary-"), "{}", nexus.log());
    let trail = nexus.broker().get("/audit?limit=1000").await;
    assert!(!trail.text.contains("canary-"), "{}", trail.text);
}

async fn a_users_token_that_is_not_believed_opens_nothing(database: Database) {
    let (nexus, _provider, backend, _connected) = vouched(database).await;
    let asked =
        json!({"agent_id": "mail-bot", "scopes": ["report"], "user_context_token": "canary-who"});
    let post = async || nexus.admin().post(OBO, asked.clone()).await;
    post().await.refused(401, "invalid_user_context_token");
    backend.next(503, "{}");
    let unavailable = post().await;
    unavailable.refused(503, "backend_auth_unavailable");
    assert!(unavailable.header("retry-after").is_some());
    backend.next(200, "{\"user_id\": \"user-1\"}");
    post().await.refused(503, "backend_auth_unavailable");
}

async fn nobody_acts_for_users_until_it_is_set_up(database: Database) {
    let (nexus, _provider, _connected) = started(database).await;
    let asked = json!({"agent_id": "mail-bot", "scopes": ["report"], "user_context_token": "x"});
    let answer = nexus.admin().post(OBO, asked).await;
    answer.refused(503, "obo_not_configured");
}

async fn a_session_is_its_subjects(database: Database) {
    let (nexus, _provider, connected) = started(database).await;
    let asked = json!({"agent_id": "mail-bot", "scopes": ["read"], "connection_id": connected.id});
    let ask = async |method: &str, path: &str, subject: &str, body: Option<&Value>| {
        let request = nexus.admin().request(method, path);
        let request = request.header("x-nexus-subject", subject);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await
    };
    ask("POST", SESSIONS, "eve", Some(&asked))
        .await
        .refused(404, "connection_not_found");
    let session = ask("POST", SESSIONS, "user-1", Some(&asked))
        .await
        .expect(201);
    let path = format!(
        "{SESSIONS}/{}",
        session["session_id"].as_str().expect("an id")
    );
    for method in ["GET", "DELETE"] {
        let foreign = ask(method, &path, "eve", None).await;
        foreign.refused(404, "session_not_found");
    }
    assert_eq!(ended(&nexus, &session).await, None);
    ask("DELETE", &path, "user-1", None).await.expect(200);
}

async fn the_doors_need_a_key(database: Database) {
    let (nexus, _provider, _connected) = started(database).await;
    let asked = json!({"agent_id": "mail-bot", "scopes": ["report"]});
    let path = format!("{SESSIONS}/sess_00000000000000000000000000000000");
    let stranger = nexus.gateway();
    stranger
        .post(SESSIONS, asked)
        .await
        .refused(401, "missing_api_key");
    stranger.get(&path).await.refused(401, "missing_api_key");
    stranger.delete(&path).await.refused(401, "missing_api_key");
    let caller = nexus
        .into_stopped()
        .await
        .set("GATEWAY_API_KEYS", "caller-1")
        .start()
        .await;
    let with_key = caller.gateway().with_key("caller-1");
    let asked = json!({"agent_id": "mail-bot", "scopes": ["report"]});
    with_key.post(SESSIONS, asked).await.expect(201);
}
