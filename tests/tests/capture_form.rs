//! `GET /auth/capture-schema` in a browser and `POST /auth/capture-credential`: the form for static credentials.

use nexus_tests::{Answer, Client, Database, TestNexus, on_both_databases};
use serde_json::json;

on_both_databases! {
    a_browser_gets_a_form_and_a_program_the_schema,
    what_nobody_named_is_not_chosen,
    a_form_that_is_filled_in_leads_back_to_the_application,
    what_is_wrong_stands_beside_its_field_and_masked_fields_come_back_empty,
    every_answer_to_a_form_has_the_browser_forget_it,
    a_program_may_send_json_to_the_forms_door,
    a_state_that_is_no_good_is_explained_on_a_page,
    a_body_that_is_neither_form_nor_json_is_refused,
    the_form_and_its_door_are_on_the_broker_too,
}

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
const FORM: &str = "application/x-www-form-urlencoded";

async fn bank(database: Database) -> TestNexus {
    let nexus = TestNexus::start(database).await;
    let schema = json!({
        "type": "object",
        "required": ["user", "pin"],
        "properties": {
            "user": {"type": "string", "title": "User <name>", "description": "As on your card."},
            "pin": {"type": "string", "format": "password", "pattern": "^[0-9]{4}$"},
            "region": {"type": "string", "enum": ["eu", "us"]},
            "port": {"type": "integer"},
        },
        "additionalProperties": false,
    });
    let profile =
        json!({"name": "bank", "auth_type": "basic_auth", "params": {"credential_schema": schema}});
    nexus.register(profile).await;
    nexus
}

async fn form(client: &Client, state: &str) -> Answer {
    let path = format!("/auth/capture-schema?state={state}");
    client
        .request("GET", &path)
        .header("accept", BROWSER)
        .send()
        .await
}

async fn submit(client: &Client, body: &str) -> Answer {
    client
        .request("POST", "/auth/capture-credential")
        .header("accept", BROWSER)
        .body(FORM, body)
        .send()
        .await
}

fn is_page(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!answer.text.contains("<script"), "{}", answer.text);
}

async fn a_browser_gets_a_form_and_a_program_the_schema(database: Database) {
    let nexus = bank(database).await;
    let requested = nexus.request("bank").await;
    let page = form(&nexus.gateway(), &requested.state).await;
    is_page(&page, 200);
    for expected in [
        "<h1>Connect <bdi>bank</bdi></h1>",
        "method=\"post\" action=\"../auth/capture-credential\"",
        &format!("name=\"state\" value=\"{}\"", requested.state),
        "User &lt;name&gt;</label>",
        "As on your card.",
        "name=\"credential.pin\" type=\"password\" required",
        "<option value=\"eu\">eu</option>",
        "region<span class=\"optional\"> (optional)</span>",
        "name=\"credential.port\" type=\"text\"",
    ] {
        assert!(page.text.contains(expected), "{expected}\n{}", page.text);
    }
    assert_eq!(page.header("vary"), Some("accept"));
    let path = format!("/v1/capture-schema?state={}", requested.state);
    let schema = nexus.gateway().get(&path).await;
    assert_eq!(schema.header("vary"), Some("accept"));
    assert_eq!(schema.header("cache-control"), Some("no-store"));
    assert_eq!(schema.expect(200)["provider_name"], "bank");
}

async fn what_nobody_named_is_not_chosen(database: Database) {
    let nexus = TestNexus::start(database).await;
    let schema = json!({
        "required": ["kept", "foreign", "null", "sandbox", "pin"],
        "properties": {
            "kept": {"enum": ["a", "b"], "default": "b"},
            "foreign": {"enum": ["c", "d"], "default": "elsewhere"},
            "null": {"enum": ["e", "f"], "default": null},
            "sandbox": {"type": "boolean", "default": null},
            "pin": {"type": "integer", "format": "password"},
        },
    });
    let params = json!({"credential_schema": schema});
    let profile = json!({"name": "bank", "auth_type": "basic_auth", "params": params});
    nexus.register(profile).await;
    let requested = nexus.request("bank").await;
    let page = form(&nexus.gateway(), &requested.state).await;
    let selects: Vec<&str> = page.text.split("<select").skip(1).collect();
    let asks = selects.iter().map(|select| select.contains("Choose…"));
    assert!(asks.eq([false, true, true]), "{}", page.text);
    for (text, times) in [
        (" selected", 1),
        (" checked", 0),
        ("type=\"password\" inputmode=\"decimal\"", 1),
    ] {
        assert_eq!(
            page.text.matches(text).count(),
            times,
            "{text}: {}",
            page.text
        );
    }
}

async fn a_form_that_is_filled_in_leads_back_to_the_application(database: Database) {
    let nexus = bank(database).await;
    let requested = nexus.request("bank").await;
    let body = format!(
        "state={}&credential.user=ann+%26+co&credential.pin=1234&credential.region=&credential.port=443",
        requested.state
    );
    let answer = submit(&nexus.gateway(), &body).await;
    let expected = format!(
        "http://127.0.0.1:9/done?keep=1&status=success&connection_id={}#end",
        requested.id
    );
    assert_eq!(
        (answer.status, answer.location().as_str()),
        (302, expected.as_str())
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
    let token = nexus.token(&requested.id).await.expect(200);
    assert_eq!(
        token["credentials"],
        json!({"user": "ann & co", "pin": "1234", "port": "443"})
    );
    let again = submit(&nexus.gateway(), &body).await;
    is_page(&again, 409);
    assert!(again.text.contains("all is well"), "{}", again.text);
}

async fn what_is_wrong_stands_beside_its_field_and_masked_fields_come_back_empty(
    database: Database,
) {
    let nexus = bank(database).await;
    let requested = nexus.request("bank").await;
    let state = &requested.state;
    let wrong = format!(
        "state={state}&credential.user=ann%22%3E&credential.pin=canary-pin&credential.port=many"
    );
    let page = submit(&nexus.gateway(), &wrong).await;
    is_page(&page, 400);
    assert!(page.text.contains("Nothing was stored"), "{}", page.text);
    for (field, id) in [("pin", 1), ("port", 2)] {
        let described = format!("aria-describedby=\"wrong-{id}\" aria-invalid=\"true\"");
        assert!(page.text.contains(&described), "{described}\n{}", page.text);
        let message = format!("<p class=\"wrong\" id=\"wrong-{id}\"><bdi>{field}</bdi> ");
        assert!(page.text.contains(&message), "{message}\n{}", page.text);
    }
    assert!(
        page.text.contains("value=\"ann&quot;&gt;\""),
        "{}",
        page.text
    );
    assert!(!page.text.contains("canary-pin"), "{}", page.text);
    assert!(!nexus.log().contains("canary-pin"));
    assert_eq!(nexus.status(&requested.id).await["status"], "pending");
    let right = format!("state={state}&credential.user=ann&credential.pin=1234");
    assert_eq!(submit(&nexus.gateway(), &right).await.status, 302);
}

async fn every_answer_to_a_form_has_the_browser_forget_it(database: Database) {
    let nexus = bank(database).await;
    let (gateway, requested) = (nexus.gateway(), nexus.request("bank").await);
    let state = &requested.state;
    let (wrong, right) = (
        format!("state={state}&credential.user=ann&credential.pin=one"),
        format!("state={state}&credential.user=ann&credential.pin=1234"),
    );
    let large = format!("state={state}&credential.user={}", "x".repeat(300 * 1024));
    let sent = [
        (wrong.as_str(), 400),
        (&large, 413),
        (&right, 302),
        (&right, 409),
        ("", 400),
    ];
    for (body, status) in sent {
        let answer = submit(&gateway, body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(
            answer.header("set-cookie"),
            Some("nexus-form=sent; Path=/; Max-Age=1; HttpOnly; SameSite=Strict"),
            "{status}"
        );
    }
    let body = json!({"state": state, "credentials": {}});
    let refused = gateway.post("/auth/capture-credential", body).await;
    assert_eq!((refused.status, refused.header("set-cookie")), (409, None));
}

async fn a_program_may_send_json_to_the_forms_door(database: Database) {
    let nexus = bank(database).await;
    let requested = nexus.request("bank").await;
    let gateway = nexus.gateway();
    let send = |credentials| {
        let body = json!({"state": requested.state, "credentials": credentials});
        gateway.post("/auth/capture-credential", body)
    };
    let refused = send(json!({"user": "ann"})).await;
    assert_eq!(
        refused.refused(400, "invalid_credentials")["fields"][0]["path"],
        "/pin"
    );
    let taken = send(json!({"user": "ann", "pin": "1234"})).await;
    assert_eq!(taken.location_param("status").as_deref(), Some("success"));
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
}

async fn a_state_that_is_no_good_is_explained_on_a_page(database: Database) {
    let nexus = bank(database).await;
    let gateway = nexus.gateway();
    is_page(&form(&gateway, "invented%22%3E").await, 400);
    is_page(&submit(&gateway, "state=invented").await, 400);
    is_page(&submit(&gateway, "").await, 400);
    gateway
        .request("POST", "/auth/capture-credential")
        .body(FORM, "state=invented")
        .send()
        .await
        .refused(400, "invalid_state");
}

async fn a_body_that_is_neither_form_nor_json_is_refused(database: Database) {
    let nexus = bank(database).await;
    let send = |kind: &'static str, body: String| {
        let door = nexus.gateway().request("POST", "/auth/capture-credential");
        door.body(kind, body).send()
    };
    send("text/plain", "state=x".to_owned())
        .await
        .refused(415, "unsupported_media_type");
    send("application/json", "[".to_owned())
        .await
        .refused(400, "invalid_json");
    send(FORM, format!("state={}", "x".repeat(300 * 1024)))
        .await
        .refused(413, "body_too_large");
}

async fn the_form_and_its_door_are_on_the_broker_too(database: Database) {
    let nexus = bank(database).await;
    let requested = nexus.request("bank").await;
    let broker = nexus.broker_without_key();
    is_page(&form(&broker, &requested.state).await, 200);
    let body = format!(
        "state={}&credential.user=ann&credential.pin=1234",
        requested.state
    );
    assert_eq!(submit(&broker, &body).await.status, 302);
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
}
