//! The Python application of `tests/clients`, and the client's command line.

use std::process::Stdio;
use std::time::Duration;

use nexus_tests::{Outcome, TestNexus, python_with_the_client, root};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use url::Url;

/// How long it may take to answer; a call that hangs fails the test.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running application.
pub(crate) struct Application {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// On whose behalf it calls.
    principal: Value,
    _home: TempDir,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Came(Value);

impl Came {
    /// What the call returned.
    #[track_caller]
    pub(crate) fn returned(mut self) -> Value {
        assert!(self.0.get("returned").is_some(), "{self:?}");
        self.0["returned"].take()
    }

    /// Asserts that an HTTP error was raised, with the envelope that says why.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.0["raised"], "HTTPStatusError", "{self:?}");
        let told = (&self.0["status"], &self.0["body"]["error"]);
        assert_eq!(told, (&json!(status), &json!(code)), "{self:?}");
    }

    /// Asserts that the answer does not fit the client's model, at these places.
    #[track_caller]
    pub(crate) fn does_not_fit(&self, places: &[&str]) {
        assert_eq!(self.0["raised"], "ValidationError", "{self:?}");
        assert_eq!(self.0["at"], json!(places));
    }
}

impl Application {
    /// One with this key.
    pub(crate) fn with_key(nexus: &TestNexus, key: &str) -> Application {
        Application::start(nexus, Some(key))
    }

    /// One without a key.
    pub(crate) fn without_key(nexus: &TestNexus) -> Application {
        Application::start(nexus, None)
    }

    fn start(nexus: &TestNexus, key: Option<&str>) -> Application {
        let home = home();
        let mut command = python(&home);
        command
            .arg(root().join("tests/clients/application.py"))
            .env("NEXUS_GATEWAY_URL", gateway(nexus))
            .envs(key.map(|key| ("NEXUS_GATEWAY_API_KEY", key)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("python starts");
        Application {
            input: child.stdin.take().expect("piped"),
            output: BufReader::new(child.stdout.take().expect("piped")).lines(),
            _child: child,
            principal: json!({}),
            _home: home,
        }
    }

    /// From now on it calls on this person's behalf.
    pub(crate) fn acts_for(&mut self, person: &str) {
        self.principal["person"] = json!(person);
    }

    /// From now on it calls as this agent, for this operation.
    pub(crate) fn acts_as(&mut self, agent: &str, operation: &str) {
        self.principal["agent"] = json!(agent);
        self.principal["operation"] = json!(operation);
    }

    /// Calls and waits for what comes of it.
    pub(crate) async fn call(&mut self, call: &str, with: Value) -> Came {
        self.begin(call, &with).await;
        self.end().await
    }

    /// Calls.
    pub(crate) async fn begin(&mut self, call: &str, with: &Value) {
        let line = json!({"call": call, "with": with, "for": self.principal});
        let line = format!("{line}\n");
        self.input
            .write_all(line.as_bytes())
            .await
            .expect("it listens");
    }

    /// Where the call that began sends the user.
    pub(crate) async fn opens(&mut self) -> Url {
        let line = self.line().await;
        let address = line["open"].as_str();
        address
            .unwrap_or_else(|| panic!("{line}"))
            .parse()
            .expect("a URL")
    }

    /// Waits for what comes of the call that began.
    pub(crate) async fn end(&mut self) -> Came {
        Came(self.line().await)
    }

    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        let line = line.expect("it answers").expect("text").expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// A person's directory, where the command line is used: `python -m jarviscore.cli nexus`.
pub(crate) struct CommandLine {
    home: TempDir,
    key: String,
}

impl CommandLine {
    /// For this server, with this key, both of which it is told in `.env`.
    pub(crate) fn with_key(nexus: &TestNexus, key: &str) -> CommandLine {
        let settings = format!(
            "NEXUS_GATEWAY_URL={}\nNEXUS_GATEWAY_API_KEY={key}\n",
            gateway(nexus)
        );
        let home = home();
        std::fs::write(home.path().join(".env"), settings).expect("a file");
        CommandLine {
            home,
            key: key.to_owned(),
        }
    }

    /// Runs a subcommand until it ends by itself.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = python(&self.home);
        command
            .args(["-m", "jarviscore.cli", "nexus"])
            .args(arguments)
            .stdin(Stdio::null());
        let output = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = output.expect("it ends").expect("python starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let outcome = Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        assert!(!outcome.stdout.contains(&self.key), "{outcome:?}");
        outcome
    }
}

fn home() -> TempDir {
    TempDir::with_prefix("nexus-client-").expect("a temporary directory")
}

fn python(home: &TempDir) -> Command {
    let mut command = Command::new(python_with_the_client());
    command
        .env_clear()
        .env("HOME", home.path())
        .current_dir(home.path());
    command
}

fn gateway(nexus: &TestNexus) -> String {
    let gateway = nexus.gateway();
    gateway.base().as_str().trim_end_matches('/').to_owned()
}
