//! Clients that nobody wrote: generators make them of `openapi.yaml` here and now, their types are checked by a program that
//! uses them, and the program tells the whole story against the real server.
//!
//! - `POST /v1/providers`
//! - `GET /v1/providers`
//! - `PATCH /v1/providers/{id}`
//! - `DELETE /v1/providers/{id}`
//! - `POST /v1/request-connection`
//! - `GET /v1/check-connection/{id}`
//! - `GET /v1/token/{id}`
//! - `POST /v1/refresh/{id}`
//! - `GET /v1/resolve`
//! - `GET /v1/capture-schema`
//! - `POST /v1/capture-credential`
//! - `GET /v1/connections`
//! - `DELETE /v1/connections/{id}`
//! - `POST /v1/agent-sessions`
//! - `POST /v1/agent-sessions/obo`
//! - `GET /v1/agent-sessions/{id}`
//! - `DELETE /v1/agent-sessions/{id}`
//! - `POST /v1/oauth/introspect`
//! - `POST /admin/v1/agents`
//! - `GET /admin/v1/agents`
//! - `GET /audit`

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nexus_tests::{
    Database, Nexus, Reply, ScriptedBackend, ScriptedProvider, TestNexus, python_with_generators,
    root,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// What agents are given.
const CALLER: &str = "key-of-the-agents";

/// What every client finds, in this order.
fn story() -> Vec<Value> {
    let refused =
        |status: u16, code: &str| json!({"step": "refused", "status": status, "code": code});
    let refused_as = |status: u16, code: &str, member: &str, value: Value| {
        let mut line = refused(status, code);
        line[member] = value;
        line
    };
    let registered = |name: &str, kind: &str, secret: bool| json!({"step": "registered", "name": name, "kind": kind, "secret": secret});
    let revoked =
        json!({"step": "revoked", "status": "revoked", "unreadable": true, "sessions": 0});
    let closed = |revoked: bool| json!({"step": "closed", "revoked": revoked, "reason": "closed", "active": false});
    vec![
        registered("corp", "oauth2", true),
        registered("weather", "api_key", false),
        refused(409, "provider_exists"),
        json!({"step": "changed", "description": "Our people", "params": {"access_type": "offline"}}),
        json!({"step": "providers", "kinds": ["api_key", "oauth2"], "scopes": ["openid", "email"]}),
        refused_as(409, "connection_not_active", "it_is", json!("pending")),
        json!({"step": "status", "status": "pending"}),
        json!({"step": "status", "status": "active"}),
        json!({"step": "token", "kind": "oauth2", "sent": "Authorization", "scope": "openid email", "expires": "number"}),
        json!({"step": "refreshed", "changed": true}),
        json!({"step": "resolved", "same": true, "expires": "string"}),
        refused(404, "connection_not_found"),
        json!({"step": "form", "fields": ["api_key"], "provider": "weather"}),
        refused_as(400, "invalid_credentials", "fields", json!(["/api_key"])),
        json!({"step": "captured", "status": "success"}),
        json!({"step": "token", "kind": "header", "sent": "X-Weather-Key", "value": "w-123"}),
        refused(400, "static_token"),
        json!({"step": "connections", "names": ["weather", "corp"]}),
        refused(403, "api_key_not_permitted"),
        json!({"step": "session", "kind": "bearer", "scopes": ["email"], "is_the_connections": true}),
        json!({"step": "introspected", "active": true, "subject": "mail-bot", "scope": "report.write"}),
        json!({"step": "session", "kind": "session", "scopes": ["report.write"], "for": "alice"}),
        refused_as(403, "scope_not_allowed", "scope", json!("payroll.read")),
        closed(false),
        closed(true),
        closed(true),
        refused_as(
            409,
            "attention_required",
            "reason",
            json!("refresh_token_invalid"),
        ),
        json!({"step": "status", "status": "attention"}),
        revoked.clone(),
        revoked,
        json!({"step": "status", "status": "failed", "reason": "revoked"}),
        json!({"step": "deleted", "same": true}),
    ]
}

/// How long a program may take, compilers included.
const LONGEST: Duration = Duration::from_mins(3);

/// A vault with a key for callers, a backend that vouches for alice, and a provider.
struct Setting {
    nexus: TestNexus,
    provider: ScriptedProvider,
    _backend: ScriptedBackend,
    directory: TempDir,
}

impl Setting {
    async fn new() -> Setting {
        let backend = ScriptedBackend::start().await;
        let alice = json!({"user_id": "alice", "tenant_id": "acme", "clearance_level": "internal",
            "permissions": ["report.write"]});
        backend.user("token-of-alice", alice);
        let nexus = Nexus::new(Database::Sqlite)
            .set("GATEWAY_API_KEYS", CALLER)
            .set("BACKEND_AUTH_URL", backend.url())
            .start()
            .await;
        Setting {
            nexus,
            provider: ScriptedProvider::start().await,
            _backend: backend,
            directory: TempDir::with_prefix("nexus-generated-").expect("a directory"),
        }
    }

    /// A file here.
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command in here that knows where everything is.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let address = |base: &url::Url| base.as_str().trim_end_matches('/').to_owned();
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env("GATEWAY", address(self.nexus.gateway().base()))
            .env("BROKER", address(self.nexus.broker().base()))
            .env("PROVIDER", self.provider.issuer())
            .env("API_KEY", self.nexus.api_key())
            .env("NEXUS_KEY", CALLER)
            .env("CLIENT_SECRET", "canary-client-secret")
            .env("USER_CONTEXT_TOKEN", "token-of-alice")
            .env("no_proxy", "*")
            .kill_on_drop(true);
        command
    }

    /// What the program finds, but for what it has somebody else do.
    async fn told(&self, mut program: Command) -> Vec<Value> {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut found = Vec::new();
        let story = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                let line: Value = serde_json::from_str(&line).expect("JSON");
                match line["step"].as_str().expect("a step") {
                    "consent" => self.consent(&line["auth_url"]).await,
                    "ask" => self.asked(&line["what"], &mut input).await,
                    _ => found.push(line),
                }
            }
            succeeded(&mut child).await;
        };
        timeout(LONGEST, story).await.expect("it ends in time");
        found
    }

    async fn consent(&self, auth_url: &Value) {
        let auth_url = auth_url.as_str().expect("an address");
        let callback = self.provider.consent(&auth_url.parse().expect("one")).await;
        let back = self.nexus.gateway().visit(&callback).await;
        assert_eq!(back.location_param("status").as_deref(), Some("success"));
    }

    async fn asked(&self, what: &Value, input: &mut ChildStdin) {
        match what.as_str().expect("a word") {
            "withdraw" => self.provider.next(Reply::error(400, "invalid_grant")),
            "agent" => {
                let agent =
                    json!({"agent_id": "mail-bot", "allowed_scopes": ["email", "report.write"]});
                let broker = self.nexus.broker();
                broker.post("/admin/v1/agents", agent).await.expect(201);
            }
            other => panic!("nobody does {other}"),
        }
        input.write_all(b"\n").await.expect("it listens");
    }
}

async fn succeeded(child: &mut Child) {
    let status = child.wait().await.expect("a status");
    assert!(status.success(), "{status}");
}

/// Runs it to its end; panics with what it said when it fails.
async fn run(mut command: Command) {
    let ended = timeout(LONGEST, command.output()).await;
    let ended = ended.expect("it ends in time").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&ended.stdout) + &text(&ended.stderr);
    assert!(ended.status.success(), "{}: {said}", ended.status);
}

fn programs() -> PathBuf {
    root().join("tests/generated-client")
}

fn link_modules(directory: &Path) {
    let modules = programs().join("node_modules");
    assert!(modules.is_dir(), "run tests/generated-client/install");
    std::os::unix::fs::symlink(modules, directory.join("node_modules")).expect("a link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_typescript_is_generated_compiled_and_tells_the_whole_story() {
    let setting = Setting::new().await;
    link_modules(setting.directory.path());
    std::fs::copy(programs().join("story.mts"), setting.file("story.mts")).expect("a copy");
    for (document, types) in [
        ("openapi.yaml", "gateway.ts"),
        ("broker-admin/openapi.yaml", "broker.ts"),
    ] {
        let mut generate = setting.command("node_modules/.bin/openapi-typescript");
        generate
            .arg(root().join(document))
            .args(["--output", types]);
        run(generate).await;
    }
    let mut compile = setting.command("node_modules/.bin/tsc");
    compile.args(["--strict", "--noUncheckedIndexedAccess"]);
    compile.args(["--exactOptionalPropertyTypes", "--noUnusedLocals"]);
    compile.args(["--target", "es2023", "--module", "nodenext"]);
    compile.args(["--types", "node", "story.mts"]);
    run(compile).await;

    let mut program = setting.command("node");
    program.arg("story.mjs");
    let mut wanted = story();
    let session = wanted.iter().position(|line| line["step"] == "session");
    wanted.insert(
        session.expect("a session"),
        json!({"step": "agent", "id": "mail-bot", "scopes": ["email", "report.write"]}),
    );
    wanted.push(json!({"step": "agents", "ids": ["mail-bot"]}));
    wanted.push(json!({"step": "audit", "types": ["session.opened"]}));
    assert_eq!(setting.told(program).await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_python_is_generated_type_checked_and_tells_the_whole_story() {
    let setting = Setting::new().await;
    let python = python_with_generators();
    let tools = python.parent().expect("a directory");
    let story_py = programs().join("story.py");

    // How the code looks is nobody's business here.
    std::fs::write(setting.file("config.yaml"), "post_hooks: []\n").expect("a file");
    let mut generate = setting.command(tools.join("openapi-python-client"));
    generate
        .args(["generate", "--fail-on-warning", "--config", "config.yaml"])
        .arg("--path")
        .arg(root().join("openapi.yaml"))
        .args(["--output-path", "client"]);
    run(generate).await;
    let mut check = setting.command(tools.join("mypy"));
    check
        .env("MYPYPATH", "client")
        .arg("--strict")
        .arg(&story_py);
    run(check).await;

    let mut program = setting.command(&python);
    program.env("PYTHONPATH", "client").arg(&story_py);
    assert_eq!(setting.told(program).await, story());
}
