//! docs/cookbook.md is followed as a reader follows it: its programs are saved beside the shell that runs its commands, and
//! what it shows is what they answer.
//!
//! - `POST /v1/request-connection`
//! - `GET /v1/check-connection/{id}`
//! - `GET /v1/token/{id}`
//! - `POST /v1/refresh/{id}`
//! - `GET /v1/capture-schema`
//! - `POST /v1/capture-credential`
//! - `POST /v1/agent-sessions`
//! - `DELETE /v1/agent-sessions/{id}`
//! - `GET /.well-known/jwks.json`

use std::os::unix::fs::symlink;

use nexus_tests::{Database, Nexus, Reader, RealProvider, Reply, ScriptedProvider, program, root};
use serde_json::Value;

/// What each program is saved as. The one in Rust is built with these tests.
const PROGRAMS: [(&str, &str); 3] = [("python", "app.py"), ("ts", "app.mts"), ("go", "app.go")];
/// With curl and Rust.
const LANGUAGES: usize = 5;

fn cookbook() -> String {
    std::fs::read_to_string(root().join("docs/cookbook.md")).expect("the cookbook")
}

#[test]
fn the_program_in_rust_is_the_one_that_is_built_here() {
    let built = root().join("tests/src/bin/cookbook.rs");
    let built = std::fs::read_to_string(built).expect("the source");
    assert!(
        program(&cookbook(), "rust") == built,
        "docs/cookbook.md and tests/src/bin/cookbook.rs differ"
    );
}

#[test]
fn the_program_in_rust_is_built_with_the_crates_that_the_document_names() {
    let ours = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let version = |manifest: &str, name: &str| {
        let line = manifest
            .lines()
            .find(|line| line.starts_with(&format!("{name} = ")));
        line.and_then(|line| line.split('"').nth(1))
            .map(str::to_owned)
    };
    let shown = program(&cookbook(), "toml");
    for line in shown.lines().filter(|line| line.contains(" = ")) {
        let (name, _) = line.split_once(" = ").expect("a crate");
        assert_eq!(version(&shown, name), version(&ours, name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_program_of_the_cookbook_works_and_says_what_is_shown() {
    let nexus = Nexus::new(Database::Sqlite)
        // Where the client's redirect is registered and `localhost` is.
        .set("BIND_ADDRESS", "127.0.0.1")
        .set("GATEWAY_API_KEYS", "key-of-the-agents")
        .start()
        .await;
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    let weather = ScriptedProvider::start().await;
    for _ in 0..LANGUAGES {
        weather.next_account(Reply::error(429, "slow_down").retry_after("0"));
        weather.next_account(Reply::tokens());
    }
    let variables = [
        ("NEXUS_KEY", "key-of-the-agents"),
        ("WEATHER_API", &weather.account_url()),
        // Nothing is fetched.
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("npm_config_offline", "true"),
        ("npm_config_update_notifier", "false"),
    ];
    let mut reader = Reader::of(&nexus, &provider, &variables);
    let text = cookbook();
    let place = reader.directory().to_owned();
    for (kind, name) in PROGRAMS {
        std::fs::write(place.join(name), program(&text, kind)).expect("a file");
    }
    let modules = root().join("tests/agents-guide/node_modules");
    assert!(modules.is_dir(), "run scripts/test, or npm ci beside it");
    symlink(modules, place.join("node_modules")).expect("a link");
    symlink(env!("CARGO_BIN_EXE_cookbook"), place.join("app")).expect("a link");
    let search = "```sh\nPATH=$PWD:$PATH\n```\n";
    reader.follow(search, &nexus, &provider).await;

    let consents = reader.follow(&text, &nexus, &provider).await;
    assert_eq!(consents, 2 * LANGUAGES, "a consent and a second one");
    assert_eq!(provider.granted("refresh_token"), LANGUAGES);
    let calls = weather.accounts();
    assert_eq!(calls.len(), 2 * LANGUAGES);
    for call in calls {
        assert_eq!(call.header("x-weather-key"), Some("w-123"), "{call:?}");
    }
    let closed = nexus.broker().get("/audit?event_type=session.closed").await;
    let closed: Value = closed.expect(200);
    assert_eq!(closed.as_array().map(Vec::len), Some(2), "{closed}");
}
