//! A provider's process, which says in lines of JSON what it does; the first says that it is ready.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::wait::until;

/// How long it may take to put its things away.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running provider. Its standard input ends when this is dropped or when we are killed, and with it the provider.
#[derive(Debug)]
pub(super) struct Announced {
    child: Child,
    input: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<Value>>>,
    complaints: Arc<Mutex<String>>,
    /// Says nothing, and is cut when the provider's output ends.
    silence: Mutex<Receiver<()>>,
}

impl Announced {
    /// Starts it and waits for its first line.
    pub(super) async fn start(mut command: Command) -> Announced {
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let (lines, complaints) = (Arc::default(), Arc::default());
        let (speaking, silence) = channel();
        keep_lines(
            child.stdout.take().expect("piped"),
            Arc::clone(&lines),
            speaking,
        );
        keep_text(child.stderr.take().expect("piped"), Arc::clone(&complaints));
        let mut announced = Announced {
            input: child.stdin.take(),
            child,
            lines,
            complaints,
            silence: Mutex::new(silence),
        };
        until("the provider is ready", || {
            std::future::ready(announced.is_ready())
        })
        .await;
        announced
    }

    fn is_ready(&mut self) -> Option<()> {
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("the provider ended with {status} instead of getting ready");
        }
        (!self.lines.lock().unwrap().is_empty()).then_some(())
    }

    /// What it said first.
    pub(super) fn ready(&self) -> Value {
        self.lines.lock().unwrap()[0].clone()
    }

    /// A text of what it said first.
    pub(super) fn text(&self, member: &str) -> String {
        let ready = self.ready();
        ready[member].as_str().expect("a text").to_owned()
    }

    /// What it knows of a client.
    pub(super) fn client(&self, id: &str) -> Value {
        let ready = self.ready();
        let mut clients = ready["clients"].as_array().expect("clients").iter();
        clients
            .find(|client| client["client_id"] == id)
            .unwrap_or_else(|| panic!("no client {id}"))
            .clone()
    }

    /// All it has said.
    pub(super) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// Tells it something and waits for the line that follows.
    pub(super) async fn tell(&mut self, line: &str) -> Value {
        let before = self.lines().len();
        let input = self.input.as_mut().expect("it listens");
        writeln!(input, "{line}").expect("it listens");
        until("the provider answers", || {
            std::future::ready(self.lines.lock().unwrap().get(before).cloned())
        })
        .await
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        drop(self.input.take());
        // Either it ends by itself, or not at all.
        let _ = self.silence.lock().unwrap().recv_timeout(FAREWELL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the provider said:\n{}", self.complaints.lock().unwrap());
        }
    }
}

fn keep_lines(
    output: impl Read + Send + 'static,
    kept: Arc<Mutex<Vec<Value>>>,
    speaking: Sender<()>,
) {
    std::thread::spawn(move || {
        let _speaking = speaking;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            kept.lock()
                .unwrap()
                .extend(serde_json::from_str::<Value>(&line));
        }
    });
}

fn keep_text(output: impl Read + Send + 'static, kept: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut kept = kept.lock().unwrap();
            kept.push_str(&line);
            kept.push('\n');
        }
    });
}
