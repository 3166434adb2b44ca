//! `GET /auth/capture-schema`, `POST /auth/capture-credential` and `GET /auth/callback` in a real browser: people can use
//! the pages, whatever they see by and however they type, and no page gives away what was typed. Programs get JSON.

use nexus_tests::{
    Chromium, Database, Nexus, Requested, ScriptedApplication, Seen, Sight, TestNexus, is_not_in,
    stored,
};
use serde_json::{Value, json};
use url::Url;

const SECRET: &str = "canary-typed-secret";
const WRONG_SECRET: &str = "canary-wrong-secret";
const LIGHT: Sight = Sight::new(false, 1280);
const PHONE: Sight = Sight::new(true, 360);

/// Every kind of field, and texts that somebody hostile or far away wrote.
fn anything() -> Value {
    let long = "Schlüsselbundverwaltungsberechtigungsnachweis".repeat(4);
    json!({"name": "<b>Anything<b> שירות", "auth_type": "header", "params": {"credential_schema": {
        "type": "object",
        "title": "<script>alert(1)</script>",
        "description": "From <script>alert(2)</script> the settings of your account.",
        "required": ["token", "code", "tier", "hostile"],
        "properties": {
            "token": {"type": "string", "format": "password", "title": "Access token", "description": "Begins with canary."},
            "code": {"type": "string", "title": "Code", "pattern": "^[0-9]{4}$", "description": "Four digits."},
            "tier": {"title": "Tier", "oneOf": [{"const": "f", "title": "Free"}, {"const": "p", "title": "Paid <i>"}]},
            "hostile": {"type": "string", "title": "\"><script>alert(3)</script>", "description": "</p><img src=x onerror=alert(4)>"},
            "region": {"type": "string", "enum": ["eu", "us"], "title": "Region", "default": "us"},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535, "title": "Port"},
            "sandbox": {"type": "boolean", "title": "Sandbox", "description": "Nothing there is real."},
            "extra": {"type": "object", "title": "Extra"},
            "right": {"type": "string", "title": "מפתח גישה", "description": "يوجد في إعدادات حسابك."},
            "long": {"type": "string", "title": long, "description": "x".repeat(300)},
        },
        "additionalProperties": false,
    }}})
}

fn profiles() -> [Value; 6] {
    [
        json!({"name": "weather", "auth_type": "api_key"}),
        json!({"name": "bank", "auth_type": "basic_auth"}),
        json!({"name": "storage", "auth_type": "aws_sigv4", "params": {"service": "s3"}}),
        json!({"name": "signed", "auth_type": "hmac_payload"}),
        json!({"name": "n".repeat(64), "auth_type": "query_param"}),
        anything(),
    ]
}

fn name(profile: &Value) -> &str {
    profile["name"].as_str().expect("a name")
}

async fn vault() -> TestNexus {
    let nexus = TestNexus::start(Database::Sqlite).await;
    for profile in profiles() {
        nexus.register(profile).await;
    }
    nexus
}

/// Where the browser is sent; at the listener itself, whatever `BASE_URL` says.
fn form(nexus: &TestNexus, requested: &Requested) -> Url {
    form_at(nexus, "/auth/capture-schema", requested)
}

fn form_at(nexus: &TestNexus, door: &str, requested: &Requested) -> Url {
    let mut url = nexus.gateway().base().join(door).expect("a path");
    url.set_query(requested.auth_url.query());
    url
}

fn callback(nexus: &TestNexus, query: &str) -> Url {
    let mut url = nexus.callback();
    url.set_query(Some(query));
    url
}

/// Nobody is shut out, by what they see or by how they point.
#[track_caller]
fn is_usable(browser: &mut Chromium, of: &str, sight: Sight) -> Seen {
    let found = browser.judge();
    assert!(found.is_empty(), "{of}, {sight:?}: {found:#?}");
    let seen = browser.look();
    let place = format!("{of}, {sight:?}: {}", seen.text);
    assert_eq!((seen.scrolls, &seen.overflows), (0, &Vec::new()), "{place}");
    assert!(seen.buttons.iter().all(|height| *height >= 44), "{place}");
    for field in &seen.fields {
        assert!(field.height >= 44, "{field:?} in {place}");
        assert!(field.label.is_some(), "{field:?} in {place}");
        assert!(
            field.described.iter().all(Option::is_some),
            "{field:?} in {place}"
        );
    }
    assert_eq!(seen.moves, ["0s"], "who wants no motion gets none");
    let background = if sight.dark {
        "rgb(17, 20, 24)"
    } else {
        "rgb(238, 240, 244)"
    };
    assert_eq!(seen.background, background, "{place}");
    assert_eq!(browser.troubles(), Vec::<String>::new(), "{place}");
    assert!(!seen.html.contains("<script"), "{place}");
    seen
}

/// The fields that a wrong answer to [`anything`] fills in.
fn wrong() -> Value {
    json!({
        "Access token": WRONG_SECRET, "Code": "abc", "Tier": "p", "\"><script>alert(3)</script>": "<u>\"kept\"</u>",
        "Region (optional)": "eu", "Port (optional)": "70000", "Sandbox": true, "Extra (optional)": "{",
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_can_use_every_form_whatever_they_see_by() {
    let nexus = vault().await;
    let mut browser = Chromium::start();
    for profile in profiles() {
        let name = name(&profile);
        let url = form(&nexus, &nexus.request(name).await);
        for sight in Sight::ALL {
            browser.fresh(sight);
            assert_eq!(browser.open(&url), 200);
            let seen = is_usable(&mut browser, name, sight);
            assert_eq!(seen.title, format!("Connect {name}"));
            assert_eq!(seen.heading, Some(seen.title));
            assert!(seen.text.contains("stored encrypted"), "{}", seen.text);
            assert!(seen.text.contains("go back to 127.0.0.1"), "{}", seen.text);
            assert!(
                !seen.text.contains("user-1"),
                "the workspace is nobody's business"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_can_use_a_form_that_was_not_accepted() {
    let nexus = vault().await;
    let mut browser = Chromium::start();
    let profile = anything();
    let url = form(&nexus, &nexus.request(name(&profile)).await);
    for sight in Sight::ALL {
        browser.fresh(sight);
        browser.open(&url);
        browser.fill(&wrong());
        assert_eq!(browser.submit(), 400);
        // Chromium says of every 4xx page that it is one.
        let told = browser.troubles();
        assert!(
            told.iter().all(|said| said.contains("status of 400")),
            "{told:?}"
        );
        let found = browser.judge();
        assert!(found.is_empty(), "{sight:?}: {found:#?}");
        let seen = browser.look();
        assert_eq!(
            (seen.scrolls, &seen.overflows),
            (0, &Vec::new()),
            "{sight:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_say_what_they_are_to_people_and_to_password_managers() {
    let nexus = vault().await;
    let mut browser = Chromium::start();
    let expected = [
        ("weather", vec![("Api key", "password", "off")]),
        (
            "bank",
            vec![
                ("Username", "text", "username"),
                ("Password", "password", "current-password"),
            ],
        ),
        (
            "storage",
            vec![
                ("Access key", "text", "off"),
                ("Secret key", "password", "off"),
                ("Session token", "password", "off"),
            ],
        ),
        (
            "<b>Anything<b> שירות",
            vec![
                ("Access token", "password", "off"),
                ("Code", "text", "off"),
                ("Tier", "select-one", "off"),
                ("Port", "text", "off"),
                ("Extra", "textarea", "off"),
                ("מפתח גישה", "text", "off"),
            ],
        ),
    ];
    for (name, fields) in expected {
        browser.fresh(LIGHT);
        browser.open(&form(&nexus, &nexus.request(name).await));
        let seen = browser.look();
        for (label, kind, autocomplete) in fields {
            let field = seen.field(label);
            assert_eq!(
                (field.kind.as_str(), field.autocomplete.as_deref()),
                (kind, Some(autocomplete)),
                "{label}"
            );
        }
    }
    let seen = browser.look();
    let token = seen.field("Access token");
    assert!(token.required && !token.invalid);
    assert_eq!(token.described, [Some("Begins with canary.".to_owned())]);
    assert_eq!(seen.field("Region").value, "us", "the schema's default");
    assert_eq!(seen.field("Sandbox").kind, "checkbox");
    assert!(!seen.field("Region").required);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_alone_leads_through_a_form_to_the_application() {
    let (nexus, application) = (vault().await, ScriptedApplication::start().await);
    let mut browser = Chromium::start();
    let requested = nexus
        .request_for("bank", application.return_url().as_str())
        .await;
    browser.fresh(PHONE);
    browser.open(&form(&nexus, &requested));
    assert_eq!(browser.walk(), ["field-0", "field-1", "button"]);
    browser.fresh(PHONE);
    browser.open(&form(&nexus, &requested));
    browser.press(&["Tab"]);
    browser.write("ann");
    browser.press(&["Tab"]);
    browser.write(SECRET);
    browser.press(&["Tab"]);
    assert_eq!(browser.press_and_leave("Enter"), 200);
    assert_eq!(browser.look().heading.as_deref(), Some("Welcome back"));
    let token = nexus.token(&requested.id).await.expect(200);
    assert_eq!(
        token["credentials"],
        json!({"username": "ann", "password": SECRET})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_stands_beside_its_field_and_comes_back_but_for_secrets() {
    let nexus = vault().await;
    let mut browser = Chromium::start();
    let profile = anything();
    let requested = nexus.request(name(&profile)).await;
    browser.fresh_without_javascript(PHONE);
    browser.open(&form(&nexus, &requested));
    browser.fill(&wrong());
    assert_eq!(browser.submit(), 400);
    let seen = browser.look();
    assert!(seen.title.starts_with("Not accepted"), "{}", seen.title);
    assert_eq!(seen.focused.as_deref(), Some("summary"), "it is read first");
    assert!(
        seen.alert
            .as_ref()
            .is_some_and(|text| text.contains("Nothing was stored"))
    );
    for (label, wrong) in [("Code", "Code "), ("Port", "Port "), ("Extra", "Extra ")] {
        let field = seen.field(label);
        assert!(field.invalid, "{field:?}");
        let said = field.described.last().expect("a text").as_deref();
        assert!(
            said.is_some_and(|said| said.starts_with(wrong)),
            "{field:?}"
        );
        assert!(
            seen.links
                .iter()
                .any(|link| link.to == field.id && link.text.starts_with(label))
        );
    }
    assert_eq!(seen.links.len(), 3);
    assert!(!seen.field("Access token").invalid);
    for (label, value) in [
        ("Access token", json!("")),
        ("Code", json!("abc")),
        ("Tier", json!("p")),
        ("\"><script>alert(3)</script>", json!("<u>\"kept\"</u>")),
        ("Region", json!("eu")),
        ("Port", json!("70000")),
        ("Sandbox", json!(true)),
        ("Extra", json!("")),
    ] {
        assert_eq!(seen.field(label).value, value, "{label}");
    }
    is_not_in("the page", &seen.html, WRONG_SECRET);
    // A link of the summary leads into its field, where one types on.
    browser.press(&["Tab"]);
    browser.press(&["Enter"]);
    assert_eq!(
        browser.look().focused.as_deref(),
        Some(seen.links[0].to.as_str())
    );
    assert_eq!(nexus.status(&requested.id).await["status"], "pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_scripts_a_form_leads_to_the_application_and_gives_no_secret_away() {
    let (nexus, application) = (vault().await, ScriptedApplication::start().await);
    let mut browser = Chromium::start();
    let profile = anything();
    let requested = nexus
        .request_for(name(&profile), application.return_url().as_str())
        .await;
    browser.fresh_without_javascript(LIGHT);
    browser.open(&form(&nexus, &requested));
    browser.fill(&wrong());
    browser.submit();
    browser.fill(&json!({
        "Access token": SECRET, "Code": "1234", "Port (optional)": "443", "Extra (optional)": "{\"a\": 1}",
    }));
    assert_eq!(browser.submit(), 200);

    let [visit] = &application.visits()[..] else {
        panic!("{:?}", application.visits());
    };
    let expected = format!("/done?keep=1&status=success&connection_id={}", requested.id);
    assert_eq!(
        (visit.method.as_str(), visit.url.as_str()),
        ("GET", expected.as_str())
    );
    assert_eq!(
        (visit.header("referer"), visit.header("origin")),
        (None, None)
    );
    let arrived = format!("{visit:?}");
    let token = nexus.token(&requested.id).await.expect(200);
    let credentials = &token["credentials"];
    assert_eq!(
        (&credentials["token"], &credentials["region"]),
        (&json!(SECRET), &json!("eu"))
    );

    let history = browser.history();
    let places = history.iter().map(|(url, _)| url.as_str());
    let paths: Vec<String> = places
        .map(|url| url.parse::<Url>().expect("an address"))
        .map(|url| url.path().to_owned())
        .collect();
    assert_eq!(
        paths,
        [
            "blank",
            "/auth/capture-schema",
            "/auth/capture-credential",
            "/done"
        ]
    );
    let (history, stored) = (
        format!("{history:?}"),
        stored(&nexus, Database::Sqlite).await,
    );
    for secret in [SECRET, WRONG_SECRET] {
        is_not_in("the application's request", &arrived, secret);
        is_not_in("the history", &history, secret);
        is_not_in("the log", &nexus.log(), secret);
        is_not_in("the database", &stored, secret);
    }
    is_not_in("the application's request", &arrived, &requested.state);
    let told = browser.troubles();
    assert!(
        told.iter().all(|said| said.contains("status of 400")),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_back_finds_no_secret_and_sends_nothing_twice() {
    let nexus = vault().await;
    let mut browser = Chromium::start();
    for door in ["/auth/capture-schema", "/v1/capture-schema"] {
        let application = ScriptedApplication::start().await;
        let requested = nexus
            .request_for("bank", application.return_url().as_str())
            .await;
        browser.fresh(LIGHT);
        type_and_return(&nexus, &mut browser, &form_at(&nexus, door, &requested));
        assert_eq!(browser.submit(), 200);
        let events = nexus.history(&requested.reference()).await;
        browser.back();
        is_spent(&browser.look());
        assert_eq!(nexus.history(&requested.reference()).await, events);
        assert_eq!(application.visits().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_back_from_a_refusal_finds_no_secret_either() {
    let nexus = vault().await;
    let mut browser = Chromium::start();
    for door in ["/auth/capture-schema", "/v1/capture-schema"] {
        let requested = nexus.request("bank").await;
        browser.fresh(LIGHT);
        type_and_return(&nexus, &mut browser, &form_at(&nexus, door, &requested));
        // As if the button had been pressed twice, and the first answer had met nobody.
        let first = json!({"state": requested.state, "credentials": {"username": "ann", "password": SECRET}});
        let taken = nexus.gateway().post("/v1/capture-credential", first).await;
        taken.expect(200);
        assert_eq!(browser.submit(), 409);
        browser.back();
        is_spent(&browser.look());
    }
}

/// Leaves a form that was typed into and goes back to it: unless the browser keeps such pages whole, it proves nothing
/// that it does not show one.
fn type_and_return(nexus: &TestNexus, browser: &mut Chromium, form: &Url) {
    browser.open(form);
    browser.fill(&json!({"Username": "ann", "Password": SECRET}));
    let elsewhere = nexus.gateway().base().join("/livez").expect("a path");
    assert_eq!(browser.open(&elsewhere), 200);
    browser.back();
    let kept = browser.look();
    assert_eq!(
        kept.field("Password").value,
        SECRET,
        "Chromium keeps no page for its back button, so this test proves nothing"
    );
}

#[track_caller]
fn is_spent(seen: &Seen) {
    let heading = seen.heading.as_deref();
    assert_eq!(heading, Some("This link was used already"));
    assert!(seen.text.contains("all is well"), "{}", seen.text);
    assert!(seen.fields.is_empty(), "{:?}", seen.fields);
    assert!(seen.buttons.is_empty(), "{}", seen.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_back_over_a_form_that_was_not_accepted_finds_no_secret_either() {
    let (nexus, application) = (vault().await, ScriptedApplication::start().await);
    let mut browser = Chromium::start();
    let profile = anything();
    let requested = nexus
        .request_for(name(&profile), application.return_url().as_str())
        .await;
    browser.fresh(LIGHT);
    browser.open(&form(&nexus, &requested));
    browser.fill(&wrong());
    assert_eq!(browser.submit(), 400);
    browser.fill(&json!({
        "Access token": SECRET, "Code": "1234", "Port (optional)": "443", "Extra (optional)": "{}",
    }));
    assert_eq!(browser.submit(), 200);
    let events = nexus.history(&requested.reference()).await;
    browser.back();
    let between = browser.look();
    let scheme = between.url.scheme();
    assert_eq!(
        scheme, "chrome-error",
        "the browser asks before it sends again"
    );
    for secret in [SECRET, WRONG_SECRET] {
        is_not_in("the page between", &between.html, secret);
    }
    assert!(between.fields.is_empty(), "{:?}", between.fields);
    browser.back();
    is_spent(&browser.look());
    assert_eq!(nexus.history(&requested.reference()).await, events);
    assert_eq!(application.visits().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_that_cannot_go_on_says_what_happened_and_what_to_do() {
    let (nexus, provider) = TestNexus::with_google(Database::Sqlite).await;
    let application = ScriptedApplication::start().await;
    let requested = nexus
        .request_for("google", application.return_url().as_str())
        .await;
    let used = provider.consent(&requested.auth_url).await;
    nexus.gateway().visit(&used).await.location();
    let pending = nexus.request("google").await.state;
    let pages = [
        (
            used,
            "This link was used already",
            "all is well",
            "state_used",
        ),
        (
            callback(&nexus, "code=x&state=invented%22%3E%3Cscript%3E"),
            "This link is not valid",
            "connect again from there",
            "invalid_state",
        ),
        (
            callback(&nexus, "error=access_denied&state=invented"),
            "This link is not valid",
            "connect again from there",
            "invalid_state",
        ),
        (
            callback(&nexus, "code=x"),
            "This address is incomplete",
            "connect again from there",
            "missing_params",
        ),
        (
            callback(&nexus, &format!("state={pending}")),
            "This address is incomplete",
            "connect again from there",
            "missing_params",
        ),
        (
            callback(&nexus, "state=a&state=b"),
            "This address is incomplete",
            "connect again from there",
            "invalid_field",
        ),
        (
            nexus
                .gateway()
                .base()
                .join("/auth/capture-schema?state=x")
                .expect("a path"),
            "This link is not valid",
            "connect again from there",
            "invalid_state",
        ),
        (
            nexus
                .gateway()
                .base()
                .join("/auth/capture-credential")
                .expect("a path"),
            "There is nothing to see here",
            "Go back to the form",
            "method_not_allowed",
        ),
    ];
    let mut browser = Chromium::start();
    for (url, title, advice, code) in &pages {
        for sight in Sight::ALL {
            browser.fresh(sight);
            let status = browser.open(url);
            assert!((400..500).contains(&status), "{status} {url}");
            let told = browser.troubles();
            assert!(
                told.iter()
                    .all(|said| said.contains("the server responded")),
                "{told:?}"
            );
            let found = browser.judge();
            assert!(found.is_empty(), "{title}, {sight:?}: {found:#?}");
            let seen = browser.look();
            assert_eq!((seen.scrolls, &seen.overflows), (0, &Vec::new()), "{title}");
            assert_eq!(
                (seen.title.as_str(), seen.heading.as_deref()),
                (*title, Some(*title))
            );
            assert!(seen.alert.is_some(), "{}", seen.text);
            for expected in [advice, code] {
                assert!(seen.text.contains(expected), "{expected}: {}", seen.text);
            }
            assert!(!seen.html.contains("<script"), "{}", seen.html);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_link_is_good_the_application_is_told_why_a_consent_failed() {
    let (nexus, provider) = TestNexus::with_google(Database::Sqlite).await;
    let application = ScriptedApplication::start().await;
    let mut browser = Chromium::start();
    let requested = nexus
        .request_for("google", application.return_url().as_str())
        .await;
    provider.deny_next("access_denied");
    browser.fresh(PHONE);
    assert_eq!(browser.open(&requested.auth_url), 200);
    assert_eq!(browser.look().heading.as_deref(), Some("Welcome back"));

    let requested = nexus
        .request_for("google", application.return_url().as_str())
        .await;
    let mut mixed_up = provider.consent(&requested.auth_url).await;
    mixed_up
        .query_pairs_mut()
        .append_pair("iss", "https://elsewhere.test");
    browser.open(&mixed_up);

    let requested = nexus
        .request_for("google", application.return_url().as_str())
        .await;
    let unreachable = provider.consent(&requested.auth_url).await;
    drop(provider);
    browser.open(&unreachable);

    let told: Vec<String> = application
        .visits()
        .iter()
        .map(|visit| visit.url.clone())
        .collect();
    let errors = ["access_denied", "oauth_error", "connect"];
    let expected = errors.map(|error| format!("/done?keep=1&status=failed&error={error}"));
    assert_eq!(told, expected);
    let visits = application.visits();
    assert!(visits.iter().all(|visit| visit.header("referer").is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tries_too_often_is_told_how_long_to_wait() {
    let settings = [
        ("RATE_LIMIT_ENABLED", "true"),
        ("RATE_LIMIT_CALLBACK_RPM", "1"),
    ];
    let nexus = Nexus::new(Database::Sqlite);
    let nexus = settings
        .iter()
        .fold(nexus, |nexus, (name, value)| nexus.set(name, value));
    let nexus = nexus.start().await;
    nexus
        .gateway()
        .get("/auth/callback?code=x")
        .await
        .refused(400, "missing_params");
    let mut browser = Chromium::start();
    browser.fresh(PHONE);
    assert_eq!(browser.open(&callback(&nexus, "code=x")), 429);
    assert!(browser.judge().is_empty());
    let seen = browser.look();
    assert_eq!(seen.title, "Too many attempts");
    assert!(seen.text.contains(" seconds."), "{}", seen.text);
    nexus
        .gateway()
        .get("/auth/callback?code=x")
        .await
        .refused(429, "rate_limited");
    let page = nexus.gateway().request("GET", "/auth/callback?code=x");
    let page = page.header("accept", "text/html").send().await;
    assert!(page.header("retry-after").is_some() && page.text.contains("rate_limited"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_get_json_at_the_same_addresses() {
    let nexus = vault().await;
    let requested = nexus.request("bank").await;
    let query = requested.auth_url.query().expect("a state");
    for door in ["/auth/capture-schema", "/v1/capture-schema"] {
        let answer = nexus.gateway().get(&format!("{door}?{query}")).await;
        assert_eq!(
            answer.expect(200)["required"],
            json!(["username", "password"])
        );
        let refused = nexus.gateway().get(&format!("{door}?state=x")).await;
        refused.refused(400, "invalid_state");
        assert_eq!(refused.header("vary"), Some("accept"));
    }
    for door in ["/auth/callback", "/v1/callback"] {
        let id = "program-7";
        let asked = nexus
            .gateway()
            .request("GET", &format!("{door}?code=x&state=y"));
        let refused = asked.header("x-request-id", id).send().await;
        assert_eq!(refused.refused(400, "invalid_state")["request_id"], id);
        let asked = nexus
            .gateway()
            .request("GET", &format!("{door}?code=x&state=y"));
        let shown = asked
            .header("x-request-id", id)
            .header("accept", "text/html")
            .send()
            .await;
        assert!(shown.text.contains(id), "{}", shown.text);
        let policy = shown.header("content-security-policy").expect("a policy");
        assert!(
            !policy.contains("unsafe") && policy.contains("default-src 'none'"),
            "{policy}"
        );
    }
}
