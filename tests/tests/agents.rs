//! `/admin/v1/agents` on the Broker.
//!
//! - `GET /admin/v1/agents`
//! - `POST /admin/v1/agents`
//! - `GET /admin/v1/agents/{id}`
//! - `PATCH /admin/v1/agents/{id}`
//! - `DELETE /admin/v1/agents/{id}`

use nexus_tests::{Answer, Database, TestNexus, on_both_databases};
use serde_json::{Value, json};

on_both_databases! {
    a_registered_agent_is_shown_and_listed,
    an_id_is_registered_once_and_again_after_its_end,
    ids_and_scopes_that_are_none_are_refused,
    a_change_leaves_what_it_does_not_name,
    an_unknown_agent_is_not_found,
    a_deregistered_agent_is_known_no_more,
    past_states_can_be_asked_for,
    the_log_holds_what_was_done_to_an_agent,
    the_doors_need_an_admin_key,
}

const AGENTS: &str = "/admin/v1/agents";

async fn register(nexus: &TestNexus, agent: Value) -> Answer {
    nexus.broker().post(AGENTS, agent).await
}

async fn mail_bot(nexus: &TestNexus) -> Value {
    let agent = json!({"agent_id": "mail-bot", "description": "Sorts mail", "allowed_scopes": [" mail.read", "mail.send", "mail.read"]});
    register(nexus, agent).await.expect(201)
}

async fn patch(nexus: &TestNexus, id: &str, change: Value) -> Answer {
    let request = nexus.broker().request("PATCH", &format!("{AGENTS}/{id}"));
    request.json(&change).send().await
}

async fn delete(nexus: &TestNexus, id: &str) -> Answer {
    let request = nexus.broker().request("DELETE", &format!("{AGENTS}/{id}"));
    request.send().await
}

async fn show(nexus: &TestNexus, id: &str) -> Answer {
    nexus.broker().get(&format!("{AGENTS}/{id}")).await
}

async fn a_registered_agent_is_shown_and_listed(database: Database) {
    let nexus = TestNexus::start(database).await;
    let empty = nexus.broker().get(AGENTS).await.expect(200);
    assert_eq!(empty, json!({"agents": []}));
    let registered = mail_bot(&nexus).await;
    assert_eq!(registered["agent_id"], "mail-bot");
    assert_eq!(registered["description"], "Sorts mail");
    assert_eq!(
        registered["allowed_scopes"],
        json!(["mail.read", "mail.send"])
    );
    assert_eq!(registered["active"], true);
    assert_eq!(registered["created_at"], registered["updated_at"]);
    let other = json!({"agent_id": "Analyst:2", "active": false});
    let other = register(&nexus, other).await.expect(201);
    assert_eq!(
        (&other["active"], &other["allowed_scopes"]),
        (&json!(false), &json!([]))
    );
    assert_eq!(show(&nexus, "mail-bot").await.expect(200), registered);
    let listed = nexus.broker().get(AGENTS).await.expect(200);
    assert_eq!(listed, json!({"agents": [other, registered]}));
}

async fn an_id_is_registered_once_and_again_after_its_end(database: Database) {
    let nexus = TestNexus::start(database).await;
    let first = mail_bot(&nexus).await;
    let again = json!({"agent_id": "mail-bot"});
    let refused = register(&nexus, again.clone()).await;
    assert_eq!(refused.refused(409, "agent_exists")["agent_id"], "mail-bot");
    delete(&nexus, "mail-bot").await.expect(200);
    let second = register(&nexus, again).await.expect(201);
    assert_eq!(second["allowed_scopes"], json!([]));
    assert!(second["created_at"].as_str() > first["created_at"].as_str());
}

async fn ids_and_scopes_that_are_none_are_refused(database: Database) {
    let nexus = TestNexus::start(database).await;
    for id in [
        json!(null),
        json!(""),
        json!("-x"),
        json!("a b"),
        json!("x".repeat(129)),
    ] {
        let agent = json!({"agent_id": id});
        register(&nexus, agent)
            .await
            .refused(400, "invalid_agent_id");
    }
    for scope in [json!(""), json!("  "), json!("two words")] {
        let agent = json!({"agent_id": "mail-bot", "allowed_scopes": ["mail.read", scope]});
        register(&nexus, agent).await.refused(400, "invalid_scope");
    }
    let wrong = [
        ("allowed_scopes[0]", json!({"allowed_scopes": [7]})),
        ("active", json!({"active": "yes"})),
        ("description", json!({"description": "x".repeat(1_025)})),
        (
            "allowed_scopes",
            json!({"allowed_scopes": vec!["s"; 1_001]}),
        ),
    ];
    for (field, mut agent) in wrong {
        agent["agent_id"] = json!("mail-bot");
        let refused = register(&nexus, agent).await.refused(400, "invalid_field");
        assert_eq!(refused["field"], field);
    }
    show(&nexus, "mail-bot")
        .await
        .refused(404, "agent_not_found");
}

async fn a_change_leaves_what_it_does_not_name(database: Database) {
    let nexus = TestNexus::start(database).await;
    let before = mail_bot(&nexus).await;
    let narrowed = patch(
        &nexus,
        "mail-bot",
        json!({"allowed_scopes": ["mail.read"], "unknown": 1}),
    )
    .await
    .expect(200);
    let expected = json!({"allowed_scopes": ["mail.read"], "description": "Sorts mail", "active": true,
        "agent_id": "mail-bot", "created_at": before["created_at"], "updated_at": narrowed["updated_at"]});
    assert_eq!(narrowed, expected);
    let idle = patch(
        &nexus,
        "mail-bot",
        json!({"active": false, "description": ""}),
    )
    .await
    .expect(200);
    assert_eq!(
        (&idle["active"], &idle["description"]),
        (&json!(false), &json!(""))
    );
    assert_eq!(idle["allowed_scopes"], json!(["mail.read"]));
    let unchanged = patch(&nexus, "mail-bot", json!({"active": false})).await;
    assert_eq!(unchanged.expect(200), idle);
    patch(&nexus, "mail-bot", json!({"allowed_scopes": [""]}))
        .await
        .refused(400, "invalid_scope");
    patch(&nexus, "mail-bot", json!({"active": 1}))
        .await
        .refused(400, "invalid_field");
    assert_eq!(show(&nexus, "mail-bot").await.expect(200), idle);
}

async fn an_unknown_agent_is_not_found(database: Database) {
    let nexus = TestNexus::start(database).await;
    let found = show(&nexus, "nobody").await.refused(404, "agent_not_found");
    assert_eq!(found["agent_id"], "nobody");
    patch(&nexus, "nobody", json!({"active": false}))
        .await
        .refused(404, "agent_not_found");
    delete(&nexus, "nobody")
        .await
        .refused(404, "agent_not_found");
    show(&nexus, "-nobody")
        .await
        .refused(400, "invalid_agent_id");
}

async fn a_deregistered_agent_is_known_no_more(database: Database) {
    let nexus = TestNexus::start(database).await;
    mail_bot(&nexus).await;
    let ended = delete(&nexus, "mail-bot").await.expect(200);
    let expected = json!({"agent_id": "mail-bot", "status": "deregistered", "sessions_closed": 0});
    assert_eq!(ended, expected);
    delete(&nexus, "mail-bot")
        .await
        .refused(404, "agent_not_found");
    show(&nexus, "mail-bot")
        .await
        .refused(404, "agent_not_found");
    let listed = nexus.broker().get(AGENTS).await.expect(200);
    assert_eq!(listed, json!({"agents": []}));
}

async fn past_states_can_be_asked_for(database: Database) {
    let nexus = TestNexus::start(database).await;
    let first = mail_bot(&nexus).await;
    let narrowed = patch(&nexus, "mail-bot", json!({"allowed_scopes": []})).await;
    let narrowed = narrowed.expect(200);
    delete(&nexus, "mail-bot").await.expect(200);
    let at = async |time: &str| {
        let path = format!("{AGENTS}/mail-bot?at={time}");
        nexus.broker().get(&path).await
    };
    let time = |agent: &Value| agent["updated_at"].as_str().expect("a time").to_owned();
    assert_eq!(at(&time(&first)).await.expect(200), first);
    assert_eq!(at(&time(&narrowed)).await.expect(200), narrowed);
    for time in ["2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z"] {
        at(time).await.refused(404, "agent_not_found");
    }
    let refused = at("last-tuesday").await.refused(400, "invalid_field");
    assert_eq!(refused["field"], "at");
}

async fn the_log_holds_what_was_done_to_an_agent(database: Database) {
    let nexus = TestNexus::start(database).await;
    mail_bot(&nexus).await;
    patch(&nexus, "mail-bot", json!({"active": false}))
        .await
        .expect(200);
    delete(&nexus, "mail-bot").await.expect(200);
    for (event_type, epoch) in [
        ("agent.registered", 1),
        ("agent.updated", 2),
        ("agent.deregistered", 3),
    ] {
        let entries = nexus
            .broker()
            .get(&format!("/audit?event_type={event_type}"))
            .await
            .expect(200);
        let entry = &entries[0];
        assert_eq!(entry["agent"], "mail-bot");
        let summary = entry["summary"].as_str().expect("a sentence");
        assert!(summary.ends_with("on agent mail-bot"), "{summary}");
        let data: Value =
            serde_json::from_str(entry["event_data"].as_str().expect("text")).expect("event data");
        assert_eq!(data["epoch"], epoch);
    }
}

async fn the_doors_need_an_admin_key(database: Database) {
    let nexus = TestNexus::start(database).await;
    let stranger = nexus.broker_without_key();
    stranger.get(AGENTS).await.refused(401, "missing_api_key");
    stranger
        .post(AGENTS, json!({"agent_id": "mail-bot"}))
        .await
        .refused(401, "missing_api_key");
    let wrong = nexus.broker().with_key("wrong");
    wrong.get(AGENTS).await.refused(401, "invalid_api_key");
}
