//! docs/guide.md is followed as a reader follows it: its commands in one shell, from the top to the bottom, the browser
//! where it says so. What it shows as answers has the form of the real ones.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nexus_tests::{Database, RealProvider, Shown, Step, TestNexus, differences, root, steps};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use url::Url;

/// How the guide sends its reader to the browser.
const BROWSER: &str = "Open in a browser: ";
/// What the shell says when a step is done.
const DONE: &str = "-- step done --";
/// Longer than any step; a step that hangs fails the test.
const PATIENCE: Duration = Duration::from_mins(2);

/// The reader's shell.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    directory: TempDir,
}

impl Shell {
    fn start(variables: &[(&str, &str)]) -> Shell {
        let directory = TempDir::with_prefix("nexus-guide-").expect("a temporary directory");
        let errors = std::fs::File::create(directory.path().join("stderr")).expect("a file");
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc", "-euo", "pipefail"])
            .envs(variables.iter().copied())
            .env("no_proxy", "*")
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .expect("bash starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Shell {
            child,
            input,
            output,
            directory,
        }
    }

    /// What the step writes; panics when a command of it fails.
    async fn run(&mut self, step: &Step) -> String {
        let file = self.directory.path().join("step.sh");
        std::fs::write(&file, &step.commands).expect("a file");
        let line = format!(". ./step.sh < /dev/null\nprintf '\\n{DONE}\\n'\n");
        self.input
            .write_all(line.as_bytes())
            .await
            .expect("the shell listens");
        let told = tokio::time::timeout(PATIENCE, self.until_done()).await;
        let told = told.unwrap_or_else(|_| panic!("line {} does not end", step.line));
        match told {
            Ok(text) => text.trim().to_owned(),
            Err(text) => {
                let status = self.child.wait().await.expect("a status");
                let errors = errors(self.directory.path());
                panic!(
                    "line {}: {status}\n{}\n{text}\n{errors}",
                    step.line, step.commands
                )
            }
        }
    }

    /// Everything until the step is done, or, as an error, until the shell has ended.
    async fn until_done(&mut self) -> Result<String, String> {
        let mut text = String::new();
        while let Some(line) = self.output.next_line().await.expect("text") {
            if line == DONE {
                return Ok(text);
            }
            text.push_str(&line);
            text.push('\n');
        }
        Err(text)
    }
}

fn errors(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("stderr")).unwrap_or_default()
}

/// Signs in and consents, and lets the browser come back to the application.
async fn consent(nexus: &TestNexus, provider: &RealProvider, address: &str) {
    let address: Url = address.parse().expect("an address");
    let callback = provider.consent(&address, "alice").await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(answer.location_param("status").as_deref(), Some("success"));
}

#[track_caller]
fn compare(step: &Step, told: &str) {
    match &step.shown {
        Shown::Nothing => {}
        Shown::Text(text) => assert_eq!(told, text, "line {}:\n{}", step.line, step.commands),
        Shown::Json(shown) => {
            let answered: Value = serde_json::from_str(told)
                .unwrap_or_else(|error| panic!("line {}: {error}: {told}", step.line));
            let found = differences(shown, &answered);
            assert!(
                found.is_empty(),
                "line {}: {found:#?}\n{answered:#}",
                step.line
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_guide_works_and_answers_as_shown() {
    let nexus = TestNexus::start(Database::Sqlite).await;
    let callback = nexus
        .gateway()
        .base()
        .join("/auth/callback")
        .expect("a path");
    let provider = RealProvider::start(&callback, 3600).await;
    let address = |base: &Url| base.as_str().trim_end_matches('/').to_owned();
    let mut shell = Shell::start(&[
        ("GATEWAY", &address(nexus.gateway().base())),
        ("BROKER", &address(nexus.broker().base())),
        ("PROVIDER", provider.issuer()),
        ("API_KEY", &nexus.api_key()),
    ]);
    let guide = std::fs::read_to_string(root().join("docs/guide.md")).expect("the guide");
    let mut consents = 0;
    for step in steps(&guide) {
        let told = shell.run(&step).await;
        if let Some(address) = told.strip_prefix(BROWSER) {
            consent(&nexus, &provider, address).await;
            consents += 1;
        }
        compare(&step, &told);
    }
    assert_eq!(consents, 2, "a consent and a second one");
}
