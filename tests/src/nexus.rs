//! The real server binary.

mod process;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use url::Url;

use crate::answer::Answer;
use crate::client::{Client, Record};
use crate::contract::Contract;
use crate::database::{Database, TestDatabase};
use process::Process;

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the repository")
        .to_owned()
}

/// The server's binary.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| beside_this_executable("nexus"))
}

/// A binary beside this executable: a program is in `target/<profile>`, a test in `target/<profile>/deps`.
pub(crate) fn beside_this_executable(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this executable");
    let mut places = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|place| place.join(name));
    places.find(|binary| binary.is_file()).unwrap_or_else(|| {
        panic!(
            "no {name} beside {}: cargo build -p nexus-api -p nexus-admin",
            own.display()
        )
    })
}

/// A loopback address of one server's own, so that nobody takes its ports while it is down: neither another
/// server nor a client, whose connections begin at 127.0.0.1.
fn loopback() -> Ipv4Addr {
    Ipv4Addr::new(
        127,
        fastrand::u8(1..),
        fastrand::u8(..),
        fastrand::u8(1..255),
    )
}

/// A server that does not run yet: its settings, its data directory, its database.
#[derive(Debug)]
pub struct Nexus {
    settings: BTreeMap<String, String>,
    data_dir: TempDir,
    database: TestDatabase,
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code, `None` when a signal ended it.
    pub code: Option<i32>,
    /// All it said on standard output.
    pub stdout: String,
    /// All it said on standard error.
    pub stderr: String,
}

impl Nexus {
    /// An empty data directory and an empty database. Every port is a free one.
    pub fn new(database: Database) -> Nexus {
        Nexus::over(TestDatabase::create(database))
    }

    /// An empty data directory and this database.
    pub fn over(database: TestDatabase) -> Nexus {
        let data_dir = TempDir::with_prefix("nexus-test-").expect("a temporary directory");
        let mut settings = BTreeMap::from([
            ("PORT".to_owned(), "0".to_owned()),
            ("BROKER_PORT".to_owned(), "0".to_owned()),
            ("BIND_ADDRESS".to_owned(), loopback().to_string()),
            ("RUST_LOG".to_owned(), "debug".to_owned()),
            // Tests count what providers are asked.
            ("HEALTH_CHECK_INTERVAL".to_owned(), "0".to_owned()),
        ]);
        if let Some(url) = database.url() {
            settings.insert("DATABASE_URL".to_owned(), url.to_owned());
        }
        let nexus = Nexus {
            settings,
            data_dir,
            database,
        };
        let data_dir = nexus.data_dir().display().to_string();
        nexus.set("DATA_DIR", &data_dir)
    }

    /// The same with one setting more.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Nexus {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same without a setting.
    #[must_use]
    pub fn without(mut self, name: &str) -> Nexus {
        self.settings.remove(name);
        self
    }

    /// The data directory, which the first start makes.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.path().join("data")
    }

    /// The database.
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Starts it and waits until it is ready; panics with its log when it is not.
    pub async fn start(self) -> TestNexus {
        let (process, gateway, broker) = Process::start(self.command(&[])).await;
        TestNexus {
            nexus: self,
            process: Some(process),
            earlier: String::new(),
            gateway,
            broker,
            record: Record::default(),
        }
    }

    /// Runs the binary with arguments until it ends by itself.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        process::run(self.command(arguments)).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env_clear()
            .envs(&self.settings)
            .current_dir(self.data_dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct TestNexus {
    nexus: Nexus,
    process: Option<Process>,
    earlier: String,
    gateway: Url,
    broker: Url,
    record: Record,
}

impl TestNexus {
    /// A server with default settings on an empty database.
    pub async fn start(database: Database) -> TestNexus {
        Nexus::new(database).start().await
    }

    /// The Gateway, without a key.
    pub fn gateway(&self) -> Client {
        Client::new(self.gateway.clone(), Contract::gateway()).with_record(&self.record)
    }

    /// Where providers send browsers back to.
    pub fn callback(&self) -> Url {
        self.gateway.join("/auth/callback").expect("a path")
    }

    /// The Gateway, with the admin key.
    pub fn admin(&self) -> Client {
        self.gateway().with_key(&self.api_key())
    }

    /// The Broker, without a key.
    pub fn broker_without_key(&self) -> Client {
        Client::new(self.broker.clone(), Contract::broker()).with_record(&self.record)
    }

    /// The Broker, with the admin key.
    pub fn broker(&self) -> Client {
        self.broker_without_key().with_key(&self.api_key())
    }

    /// Keeps every answer from now on, for [`TestNexus::answers`].
    pub fn record_answers(&self) {
        self.record.begin();
    }

    /// Every answer since [`TestNexus::record_answers`], in the order in which they came.
    pub fn answers(&self) -> Vec<Answer> {
        self.record.answers()
    }

    /// The key that the first start made.
    pub fn api_key(&self) -> String {
        let path = self.data_dir().join("api.key");
        let key = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        key.trim().to_owned()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.nexus.data_dir()
    }

    /// The database.
    pub fn database(&self) -> &TestDatabase {
        self.nexus.database()
    }

    /// What it was started with.
    pub fn settings(&self) -> &Nexus {
        &self.nexus
    }

    /// All it has said so far, on both outputs, before and since restarts.
    pub fn log(&self) -> String {
        let now = self.process.as_ref().map(Process::log).unwrap_or_default();
        format!("{}{now}", self.earlier)
    }

    /// Ends it with SIGKILL.
    pub async fn kill9(&mut self) {
        if let Some(process) = self.process.take() {
            self.earlier.push_str(&process.end("KILL").await.1);
        }
    }

    /// Ends it with SIGTERM; returns its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        let process = self.process.take().expect("the server runs");
        let (code, log) = process.end("TERM").await;
        self.earlier.push_str(&log);
        code
    }

    /// Sends SIGTERM and does not wait; [`TestNexus::ended`] does.
    pub fn ask_to_stop(&self) {
        self.process.as_ref().expect("the server runs").send("TERM");
    }

    /// Waits until it has ended by itself; returns its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let process = self.process.take().expect("the server runs");
        // Signal 0 is no signal.
        let (code, log) = process.end("0").await;
        self.earlier.push_str(&log);
        code
    }

    /// Changes a setting from the next start on; `None` takes it away.
    pub fn change(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self
                .nexus
                .settings
                .insert(name.to_owned(), value.to_owned()),
            None => self.nexus.settings.remove(name),
        };
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").pid()
    }

    /// Whether it has said this since it was last started.
    pub fn says(&self, what: &str) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.says(what))
    }

    /// What is left of it, given that it does not run.
    pub fn remains(&self) -> &Nexus {
        assert!(self.process.is_none(), "the server still runs");
        &self.nexus
    }

    /// Starts it again after [`TestNexus::kill9`] or [`TestNexus::terminate`], at the same addresses.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server still runs");
        let port = |url: &Url| url.port().expect("a port").to_string();
        let mut command = self.nexus.command(&[]);
        command
            .env("PORT", port(&self.gateway))
            .env("BROKER_PORT", port(&self.broker));
        let (process, gateway, broker) = Process::start(command).await;
        assert_eq!((&gateway, &broker), (&self.gateway, &self.broker));
        self.process = Some(process);
    }

    /// Stops it in order; what is left can be looked at, and started again with other settings.
    pub async fn into_stopped(mut self) -> Nexus {
        self.terminate().await;
        self.nexus
    }

    /// Starts a second server on the same PostgreSQL database, with the same keys and free ports.
    pub async fn beside(&self) -> TestNexus {
        self.beside_with(|nexus| nexus).await
    }

    /// The same with settings of its own.
    pub async fn beside_with(&self, settings: impl FnOnce(Nexus) -> Nexus) -> TestNexus {
        let url = self
            .database()
            .url()
            .expect("a PostgreSQL database")
            .to_owned();
        let keys = ["encryption.key", "state.key", "audit.key", "api.key"];
        let other = settings(Nexus::new(Database::Sqlite).set("DATABASE_URL", &url));
        std::fs::create_dir(other.data_dir()).expect("a directory");
        for key in keys {
            std::fs::copy(self.data_dir().join(key), other.data_dir().join(key)).expect("a key");
        }
        other.start().await
    }

    /// Runs the binary beside this one, with the same settings, until it ends by itself.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        self.nexus.run(arguments).await
    }
}
