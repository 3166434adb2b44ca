//! A real browser: a headless Chromium that `tests/pages` drives, and axe in it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::nexus::root;
use crate::wait::PATIENCE;

/// A running browser with one page. It is gone when this is dropped.
///
/// Its methods block the thread, so tests that use one run on several.
#[derive(Debug)]
pub struct Chromium {
    driver: Child,
    orders: Option<ChildStdin>,
    reports: Receiver<String>,
    patience: Duration,
}

/// How somebody looks at a page.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    /// Whether the person prefers dark pages.
    pub dark: bool,
    /// How wide the window is, in CSS pixels.
    pub width: u32,
}

impl Sight {
    /// Light and dark, on a telephone and on a desk.
    pub const ALL: [Sight; 4] = [
        Sight::new(false, 360),
        Sight::new(true, 360),
        Sight::new(false, 1280),
        Sight::new(true, 1280),
    ];

    /// One of them.
    pub const fn new(dark: bool, width: u32) -> Sight {
        Sight { dark, width }
    }
}

/// What stands on the page.
#[derive(Debug, Deserialize)]
pub struct Seen {
    /// The address.
    pub url: Url,
    /// The window's title.
    pub title: String,
    /// The first heading.
    pub heading: Option<String>,
    /// What is to be read.
    pub text: String,
    /// The document as it is now.
    pub html: String,
    /// The fields to fill in, in their order.
    pub fields: Vec<SeenField>,
    /// What is announced.
    pub alert: Option<String>,
    /// The ways from the summary of errors to the fields.
    pub links: Vec<Link>,
    /// What has the focus: its id, or its class.
    pub focused: Option<String>,
    /// The heights of the buttons.
    pub buttons: Vec<u32>,
    /// What reaches over the right edge.
    pub overflows: Vec<String>,
    /// By how much one could scroll to the side.
    pub scrolls: i32,
    /// The page's colour.
    pub background: String,
    /// How long the buttons' colours take to change.
    pub moves: Vec<String>,
}

/// A field as it stands on a page.
#[derive(Debug, Deserialize)]
pub struct SeenField {
    /// Its id.
    pub id: String,
    /// Its name in the form.
    pub name: String,
    /// `text`, `password`, `checkbox`, `select-one`, `textarea`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its label.
    pub label: Option<String>,
    /// The texts that `aria-describedby` names, which exist.
    pub described: Vec<Option<String>>,
    /// Whether it is said to be wrong.
    pub invalid: bool,
    /// Whether it must be filled in.
    pub required: bool,
    /// What may fill it in.
    pub autocomplete: Option<String>,
    /// What is in it.
    pub value: Value,
    /// How high one can hit it.
    pub height: u32,
}

/// A link within the page.
#[derive(Debug, Deserialize)]
pub struct Link {
    /// What it says.
    pub text: String,
    /// The id it leads to.
    pub to: String,
}

impl Seen {
    /// The field of this label, which may be said to be optional.
    pub fn field(&self, label: &str) -> &SeenField {
        let optional = format!("{label} (optional)");
        let is = |field: &&SeenField| {
            let own = field.label.as_deref();
            own == Some(label) || own == Some(optional.as_str())
        };
        let found = self.fields.iter().find(is);
        found.unwrap_or_else(|| panic!("no {label} among {:?}", self.fields))
    }
}

impl Chromium {
    /// Starts it.
    pub fn start() -> Chromium {
        Self::driven_by(&mut driver(), PATIENCE)
    }

    fn driven_by(driver: &mut Command, patience: Duration) -> Chromium {
        let driver = driver.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut driver = driver.spawn().expect("the driver starts");
        Chromium {
            orders: driver.stdin.take(),
            reports: lines(driver.stdout.take().expect("piped")),
            driver,
            patience,
        }
    }

    fn order(&mut self, order: &Value) -> Value {
        let orders = self.orders.as_mut().expect("the driver listens");
        let (reports, patience) = (&self.reports, self.patience);
        let line = tokio::task::block_in_place(|| {
            writeln!(orders, "{order}").expect("the driver listens");
            reports.recv_timeout(patience)
        });
        let line = match line {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("waited {patience:?} in vain for {order}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the driver ended at {order}"),
        };
        let mut report: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no report of {order}: {error}"));
        assert!(report["failed"].is_null(), "{order}: {}", report["failed"]);
        report["report"].take()
    }

    /// Forgets everything and looks with other eyes.
    pub fn fresh(&mut self, sight: Sight) {
        self.begin(sight, true, None);
    }

    /// The same with scripts switched off.
    pub fn fresh_without_javascript(&mut self, sight: Sight) {
        self.begin(sight, false, None);
    }

    /// The same with every request under one id, which pages show.
    pub fn fresh_as(&mut self, sight: Sight, request_id: &str) {
        self.begin(sight, true, Some(request_id));
    }

    fn begin(&mut self, sight: Sight, javascript: bool, request_id: Option<&str>) {
        let scheme = if sight.dark { "dark" } else { "light" };
        self.order(&json!({
            "do": "page", "scheme": scheme, "width": sight.width, "javascript": javascript, "request_id": request_id,
        }));
    }

    /// Follows an address to the page at its end; returns the status.
    pub fn open(&mut self, url: &Url) -> u16 {
        status(&self.order(&json!({"do": "open", "url": url})))
    }

    /// Goes back, be it to the browser's own page that asks whether to send a form again.
    pub fn back(&mut self) {
        self.order(&json!({"do": "back"}));
    }

    /// Fills in fields by their labels: texts, `true` and `false` for boxes, values for choices.
    pub fn fill(&mut self, fields: &Value) {
        self.order(&json!({"do": "fill", "fields": fields}));
    }

    /// Presses keys, by their names.
    pub fn press(&mut self, keys: &[&str]) {
        self.order(&json!({"do": "press", "keys": keys}));
    }

    /// Presses a key that leads to another page; returns its status.
    pub fn press_and_leave(&mut self, key: &str) -> u16 {
        status(&self.order(&json!({"do": "press", "keys": [key], "leaves": true})))
    }

    /// Types where the focus is.
    pub fn write(&mut self, text: &str) {
        self.order(&json!({"do": "type", "text": text}));
    }

    /// Clicks the form's button; returns the status of the page it leads to.
    pub fn submit(&mut self) -> u16 {
        status(&self.order(&json!({"do": "submit"})))
    }

    /// What stands on the page.
    pub fn look(&mut self) -> Seen {
        serde_json::from_value(self.order(&json!({"do": "look"}))).expect("a page")
    }

    /// What axe finds wrong with the page, or cannot decide; panics when it judged nothing.
    pub fn judge(&mut self) -> Vec<Value> {
        let mut verdict = self.order(&json!({"do": "judge"}));
        let passed = verdict["passed"].as_u64().expect("a number");
        assert!(passed > 10, "axe looked at {passed} rules");
        let mut found = Vec::new();
        for kind in ["violations", "undecided"] {
            let told: Vec<Value> = serde_json::from_value(verdict[kind].take()).expect("a list");
            found.extend(told);
        }
        found
    }

    /// Where the focus goes from the top of the page to its end; panics where one does not see it.
    pub fn walk(&mut self) -> Vec<String> {
        let stops = self.order(&json!({"do": "walk"}));
        let stops = stops.as_array().expect("a list").iter().map(|stop| {
            assert_eq!(stop["seen"], true, "the focus is not seen: {stop}");
            stop["at"].as_str().expect("an id").to_owned()
        });
        stops.collect()
    }

    /// The addresses of the history and the names of their pages.
    pub fn history(&mut self) -> Vec<(String, String)> {
        let history = self.order(&json!({"do": "history"}));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let entries = history["entries"].as_array().expect("a list").iter();
        entries
            .map(|entry| (text(&entry["url"]), text(&entry["title"])))
            .collect()
    }

    /// What the page's console was told since it is fresh: broken policies, errors.
    pub fn troubles(&mut self) -> Vec<String> {
        serde_json::from_value(self.order(&json!({"do": "troubles"}))).expect("a list")
    }

    /// Takes a picture of the page's content, PNG, so much of it from the top.
    pub fn shoot(&mut self, path: &Path, height: u32) {
        self.order(&json!({"do": "shoot", "path": path, "height": height}));
    }
}

fn driver() -> Command {
    let directory = root().join("tests/pages");
    assert!(
        directory.join("node_modules").is_dir(),
        "run scripts/test, or npm ci in {}",
        directory.display()
    );
    let mut driver = Command::new("node");
    driver.current_dir(&directory).arg("drive.mjs");
    driver
}

/// The driver's reports as they come, until it ends.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, reports) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).lines();
        lines
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    reports
}

fn status(report: &Value) -> u16 {
    let status = report["status"].as_u64().expect("an answer");
    u16::try_from(status).expect("a status")
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The driver takes the browser with it.
        drop(self.orders.take());
        let ended = loop {
            if let Err(error) = self.reports.recv_timeout(self.patience) {
                break error;
            }
        };
        if ended == RecvTimeoutError::Timeout {
            let _ = self.driver.kill();
        }
        let _ = self.driver.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    #[should_panic(expected = "in vain")]
    async fn a_driver_that_says_nothing_is_not_waited_for_for_ever() {
        let mut silent = Command::new("tail");
        silent.args(["-f", "/dev/null"]);
        let mut browser = Chromium::driven_by(&mut silent, Duration::from_millis(50));
        browser.look();
    }

    #[test]
    fn no_profile_stays_whether_the_browser_starts_or_not() {
        for (browser, starts) in [("/usr/bin/chromium", true), ("/nowhere/chromium", false)] {
            let place = tempfile::tempdir().expect("a directory");
            let mut driver = driver();
            driver.arg(browser).env("TMPDIR", place.path());
            let ended = driver.stdin(Stdio::null()).output().expect("node starts");
            assert_eq!(ended.status.success(), starts, "{ended:?}");
            let left = std::fs::read_dir(place.path()).expect("a directory");
            assert_eq!(left.count(), 0, "{browser}");
        }
    }
}
