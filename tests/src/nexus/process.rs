//! A child process, its output, and its end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use url::Url;

use super::Outcome;
use crate::wait::until;

/// A running server; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts the server and waits for its line `nexus ready gateway=… broker=…`; returns the two addresses.
    pub(super) async fn start(mut command: Command) -> (Process, Url, Url) {
        let mut child = command.spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            keep(child.stdout.take().expect("piped"), Arc::clone(&log)),
            keep(child.stderr.take().expect("piped"), Arc::clone(&log)),
        ];
        let mut process = Process {
            child,
            log,
            readers,
        };
        let (gateway, broker) = until("the server is ready", || {
            std::future::ready(process.addresses())
        })
        .await;
        (process, gateway, broker)
    }

    fn addresses(&mut self) -> Option<(Url, Url)> {
        let log = self.log();
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("the server ended with {status} instead of getting ready:\n{log}");
        }
        let line = log.lines().find(|line| line.starts_with("nexus ready "))?;
        Some((address(line, "gateway=")?, address(line, "broker=")?))
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn says(&self, what: &str) -> bool {
        self.log.lock().unwrap().contains(what)
    }

    pub(super) fn send(&self, signal: &str) {
        send(signal, self.child.id());
    }

    /// Sends a signal and waits for the end; returns the exit code and the log.
    pub(super) async fn end(mut self, signal: &str) -> (Option<i32>, String) {
        self.send(signal);
        let status = until("the server has ended", || {
            std::future::ready(ended(&mut self.child))
        })
        .await;
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        (status.code(), self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Runs a command to its own end.
pub(super) async fn run(mut command: Command) -> Outcome {
    let mut child = command.spawn().expect("the binary starts");
    let (stdout, stderr) = (Arc::default(), Arc::default());
    let readers = [
        keep(child.stdout.take().expect("piped"), Arc::clone(&stdout)),
        keep(child.stderr.take().expect("piped"), Arc::clone(&stderr)),
    ];
    let status = until("the binary has ended", || {
        std::future::ready(ended(&mut child))
    })
    .await;
    for reader in readers {
        reader.join().expect("a reader");
    }
    let take = |text: Arc<Mutex<String>>| text.lock().unwrap().clone();
    Outcome {
        code: status.code(),
        stdout: take(stdout),
        stderr: take(stderr),
    }
}

fn ended(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().expect("a child")
}

fn keep(output: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}

fn address(line: &str, name: &str) -> Option<Url> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name))?
        .parse()
        .ok()
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .status()
        .expect("a shell");
    assert!(sent.success(), "no SIG{signal} to {pid}");
}
