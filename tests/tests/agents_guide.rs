//! docs/agents.md is followed as a reader follows it: its programs are saved beside the shell that runs its commands, and
//! what it shows is what they answer. Each language opens and closes the sessions that it tells of.

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
/// How they are run, in the same order.
const RUNS: [&str; 3] = [
    "python3 agent.py",
    "npx tsc --target es2023 --module nodenext --types node agent.mts && node agent.mjs",
    "go run agent.go",
];
/// Who calls, as the log knows it: each language's own HTTP client.
const LANGUAGES: [&str; 4] = ["Python-urllib/", "node", "Go-http-client/", "curl/"];
/// For the provider's scopes, for the agent's own, on behalf of a user.
const SESSIONS: usize = 3;

/// The packages that the program in TypeScript needs, as the guide has its reader install them.
fn node_modules() -> PathBuf {
    let modules = root().join("tests/agents-guide/node_modules");
    assert!(modules.is_dir(), "run scripts/test, or npm ci beside it");
    modules
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
        // Where `localhost` is.
        .set("BIND_ADDRESS", "127.0.0.1")
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

/// A reader who has saved the programs, at a vault and a provider that run.
struct Setting {
    guide: String,
    nexus: TestNexus,
    provider: RealProvider,
    reader: Reader,
    _backend: ScriptedBackend,
}

impl Setting {
    async fn new() -> Setting {
        let guide = std::fs::read_to_string(root().join("docs/agents.md")).expect("the guide");
        let (nexus, backend) = started().await;
        let provider = RealProvider::start(&nexus.callback(), 3600).await;
        let python = python_with_libraries();
        let variables = [
            ("NEXUS_KEY", "key-of-the-agents"),
            ("USER_CONTEXT_TOKEN", "token-of-alice"),
            ("PYTHON", python.to_str().expect("text")),
            // Nothing is fetched.
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("npm_config_offline", "true"),
            ("npm_config_update_notifier", "false"),
        ];
        let reader = Reader::of(&nexus, &provider, &variables);
        save(&guide, reader.directory());
        let mut setting = Setting {
            guide,
            nexus,
            provider,
            reader,
            _backend: backend,
        };
        // The Python that has the libraries comes first.
        let search = "```sh\nPATH=$(dirname \"$PYTHON\"):$PATH\n```\n";
        setting.follow(search).await;
        setting
    }

    async fn follow(&mut self, markdown: &str) -> usize {
        let reader = &mut self.reader;
        reader.follow(markdown, &self.nexus, &self.provider).await
    }

    /// How many sessions this client opened; panics unless it closed each.
    async fn closed(&self, client: &str) -> usize {
        let opened = caused(&self.nexus, "session.opened", client, "session_id").await;
        let closed = caused(&self.nexus, "session.closed", client, "session_id").await;
        assert_eq!(opened, closed, "{client}");
        opened.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_program_of_the_agents_guide_works_and_says_what_is_shown() {
    let mut setting = Setting::new().await;
    let guide = setting.guide.clone();
    assert_eq!(setting.follow(&guide).await, 1, "a consent");
    for client in LANGUAGES {
        assert_eq!(setting.closed(client).await, SESSIONS, "{client}");
        let refused = caused(&setting.nexus, "agent.session_denied", client, "agent").await;
        assert_eq!(refused, ["mail-bot"], "{client}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_shown_a_token_of_another_issuer_fails_and_closes_its_sessions() {
    let mut setting = Setting::new().await;
    let guide = setting.guide.clone();
    let (preparation, _) = guide.split_once("\n## Python\n").expect("a heading");
    setting.follow(preparation).await;
    let port = setting.nexus.gateway().base().port().expect("a port");
    // The same vault by another name than the one in its tokens.
    let renamed = format!("```sh\nGATEWAY=http://localhost:{port}\n```\n");
    setting.follow(&renamed).await;
    for run in RUNS {
        let fails =
            format!("```sh\n({run}) || echo failed\n```\n```text\nAPI: alice\nfailed\n```\n");
        setting.follow(&fails).await;
    }
    for client in &LANGUAGES[..RUNS.len()] {
        // The second one's token was not believed.
        assert_eq!(setting.closed(client).await, 2, "{client}");
    }
}
