//! docs/agents.md is followed as a reader follows it: its programs are saved beside the shell that runs its commands, and
//! what it shows is what they answer. Each language opens and closes the sessions that it tells of.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nexus_tests::{
    Database, Nexus, Reader, RealProvider, ScriptedBackend, TestNexus, program,
    python_with_libraries, root,
};
use serde_json::{Value, json};

/// What each program is called in the commands that run it.
const PROGRAMS: [(&str, &str); 3] = [
    ("python", "agent.py"),
    ("ts", "agent.mts"),
    ("go", "agent.go"),
];
/// Who calls, as the log knows it: each language's own HTTP client.
const LANGUAGES: [&str; 4] = ["Python-urllib/", "node", "Go-http-client/", "curl/"];
/// For the provider's scopes, for the agent's own, on behalf of a user.
const SESSIONS: usize = 3;

/// The provider's programs for TypeScript, as the guide has its reader install them.
fn node_modules() -> PathBuf {
    let modules = root().join("tests/agents-guide/node_modules");
    assert!(modules.is_dir(), "run scripts/test, or npm ci beside it");
    modules
}

/// The search path, where the Python that has the libraries comes first.
fn search_path() -> OsString {
    let python = python_with_libraries();
    let first = python.parent().map(Path::to_owned);
    let path = std::env::var_os("PATH").expect("a search path");
    let all = first.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(all).expect("a search path")
}

fn save(guide: &str, directory: &Path) {
    for (kind, name) in PROGRAMS {
        std::fs::write(directory.join(name), program(guide, kind)).expect("a file");
    }
    let modules = directory.join("node_modules");
    std::os::unix::fs::symlink(node_modules(), modules).expect("a link");
}

/// A vault with a key for callers, and a backend that vouches for alice.
async fn started() -> (TestNexus, ScriptedBackend) {
    let backend = ScriptedBackend::start().await;
    let alice = json!({"user_id": "alice", "tenant_id": "acme", "clearance_level": "internal",
        "permissions": ["report.write"]});
    backend.user("token-of-alice", alice);
    let nexus = Nexus::new(Database::Sqlite)
        .set("GATEWAY_API_KEYS", "key-of-the-agents")
        .set("BACKEND_AUTH_URL", backend.url())
        .start()
        .await;
    (nexus, backend)
}

/// The values of a member in the log's entries of one type that this client caused, sorted.
async fn caused(nexus: &TestNexus, event: &str, client: &str, member: &str) -> Vec<String> {
    let path = format!("/audit?event_type={event}&limit=1000");
    let entries = nexus.broker().get(&path).await.expect(200);
    let entries = entries.as_array().expect("entries").iter();
    let mine = entries.filter(|entry| {
        let agent = entry["user_agent"].as_str();
        agent.is_some_and(|agent| agent.starts_with(client))
    });
    let mut values: Vec<String> = mine.map(|entry| text(&entry[member])).collect();
    values.sort();
    values
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_program_of_the_agents_guide_works_and_says_what_is_shown() {
    let guide = std::fs::read_to_string(root().join("docs/agents.md")).expect("the guide");
    let (nexus, _backend) = started().await;
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    let path = search_path();
    let path = path.to_str().expect("text");
    let variables = [
        ("NEXUS_KEY", "key-of-the-agents"),
        ("USER_CONTEXT_TOKEN", "token-of-alice"),
        ("PATH", path),
        // Nothing is fetched.
        ("GOPROXY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("npm_config_offline", "true"),
        ("npm_config_update_notifier", "false"),
    ];
    let mut reader = Reader::of(&nexus, &provider, &variables);
    save(&guide, reader.directory());
    assert_eq!(reader.follow(&guide, &nexus, &provider).await, 1);

    for client in LANGUAGES {
        let opened = caused(&nexus, "session.opened", client, "session_id").await;
        let closed = caused(&nexus, "session.closed", client, "session_id").await;
        assert_eq!((opened.len(), &opened), (SESSIONS, &closed), "{client}");
        let refused = caused(&nexus, "agent.session_denied", client, "agent").await;
        assert_eq!(refused, ["mail-bot"], "{client}");
    }
}
