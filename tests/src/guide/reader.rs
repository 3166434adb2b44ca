//! Somebody who follows a document.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use url::Url;

use super::{Shown, Step, differences, steps};
use crate::nexus::TestNexus;
use crate::real::RealProvider;

/// How a document sends its reader to the browser.
const BROWSER: &str = "Open in a browser: ";
/// What the shell says when a step is done.
const DONE: &str = "-- step done --";
/// Longer than any step, even one that compiles a standard library for the first time; a step that hangs fails the test.
const PATIENCE: Duration = Duration::from_mins(5);

/// A reader with one shell, in a directory of its own.
#[derive(Debug)]
pub struct Reader {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    directory: TempDir,
}

impl Reader {
    /// One whose shell has these variables: among others where server and provider are, as `GATEWAY`, `BROKER`,
    /// `PROVIDER` and `API_KEY`.
    pub fn of(nexus: &TestNexus, provider: &RealProvider, variables: &[(&str, &str)]) -> Reader {
        let address = |base: &Url| base.as_str().trim_end_matches('/').to_owned();
        let directory = TempDir::with_prefix("nexus-guide-").expect("a temporary directory");
        let errors = File::create(directory.path().join("stderr")).expect("a file");
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc", "-euo", "pipefail"])
            .env("GATEWAY", address(nexus.gateway().base()))
            .env("BROKER", address(nexus.broker().base()))
            .env("PROVIDER", provider.issuer())
            .env("API_KEY", nexus.api_key())
            .env("no_proxy", "*")
            .envs(variables.iter().copied())
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .expect("bash starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Reader {
            child,
            input,
            output,
            directory,
        }
    }

    /// Where the reader is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs every step from the top to the bottom, signs in and consents where it is sent to the browser, and holds what is
    /// answered against what is shown. Returns how often it consented; panics at the first difference.
    pub async fn follow(
        &mut self,
        markdown: &str,
        nexus: &TestNexus,
        provider: &RealProvider,
    ) -> usize {
        let mut consents = 0;
        for step in steps(markdown) {
            let told = self.run(&step).await;
            if let Some(address) = told.strip_prefix(BROWSER) {
                consent(nexus, provider, address).await;
                consents += 1;
            }
            compare(&step, &told);
        }
        consents
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
