//! A PostgreSQL server of a test's own, which may be stopped, killed and starved.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::nexus::root;

/// A cluster of `scripts/postgres control`. It is gone when this is dropped, also when the test is killed.
#[derive(Debug)]
pub struct Cluster {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    url: String,
    directory: PathBuf,
    _script: Child,
}

impl Cluster {
    /// Starts one in a temporary directory.
    pub async fn start() -> Cluster {
        Cluster::control(&[]).await
    }

    /// Starts one on a file system of its own of this size, such as `120m`; needs the right to mount.
    pub async fn start_on_small_disk(size: &str) -> Cluster {
        Cluster::control(&[size]).await
    }

    async fn control(arguments: &[&str]) -> Cluster {
        let mut script = Command::new(root().join("scripts/postgres"))
            .arg("control")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A signal to the test is not for it: it ends when its input does.
            .process_group(0)
            .spawn()
            .expect("scripts/postgres starts");
        let orders = script.stdin.take().expect("piped");
        let mut answers = BufReader::new(script.stdout.take().expect("piped")).lines();
        let url = said(&mut answers, "DATABASE_URL=").await;
        let directory = said(&mut answers, "DIRECTORY=").await.into();
        Cluster {
            orders,
            answers,
            url,
            directory,
            _script: script,
        }
    }

    /// Its `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its data are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Stops it as a crash would: no checkpoint, clients cut off.
    pub async fn stop_immediately(&mut self) {
        self.order("stop").await;
    }

    /// SIGKILL to every process of it; returns when none is left.
    pub async fn kill(&mut self) {
        self.order("kill").await;
    }

    /// SIGKILL to one process that serves a client; the server ends all the others and recovers by itself.
    pub async fn kill_backend(&mut self) {
        self.order("kill-backend").await;
    }

    /// Starts it again after [`Cluster::stop_immediately`] or [`Cluster::kill`]; returns when it accepts connections.
    pub async fn start_again(&mut self) {
        self.order("start").await;
    }

    async fn order(&mut self, order: &str) {
        let line = format!("{order}\n");
        self.orders
            .write_all(line.as_bytes())
            .await
            .expect("scripts/postgres listens");
        assert_eq!(said(&mut self.answers, "ok").await, "");
    }
}

/// The rest of the next line, which begins with `prefix`.
async fn said(answers: &mut Lines<BufReader<ChildStdout>>, prefix: &str) -> String {
    let line = answers.next_line().await.expect("a pipe");
    let line = line.expect("scripts/postgres has ended; what it said is above");
    let rest = line.strip_prefix(prefix);
    rest.unwrap_or_else(|| panic!("scripts/postgres said {line}"))
        .to_owned()
}
