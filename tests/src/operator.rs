//! Those who act on a stopped server's database: an operator with `nexus-admin`, an auditor who only reads, and whoever
//! owns the tables.

use std::path::PathBuf;
use std::process::Stdio;

use nexus_ledger::checkpoint::VerifierKey;
use nexus_ledger::{Backend, RecordedEvent};
use rusqlite::Connection;
use tokio::process::Command;

use crate::nexus::{Nexus, Outcome, TestNexus, beside_this_executable};

impl Nexus {
    /// Runs `nexus-admin` with this server's settings of the database and none of its keys.
    pub async fn admin_command(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(beside_this_executable("nexus-admin"));
        command
            .args(arguments)
            .env_clear()
            .env("DATA_DIR", self.data_dir())
            .stdin(Stdio::null());
        if let Some(url) = self.database().url() {
            command.env("DATABASE_URL", url);
        }
        let output = command.output().await.expect("the binary runs");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// What `nexus-admin audit verify --offline` says with the right public key and more arguments.
    pub async fn verify_offline(&self, more: &[&str]) -> Outcome {
        let key = self.public_key();
        let verify = ["audit", "verify", "--offline", "--public-key", &key];
        self.admin_command(&[&verify, more].concat()).await
    }

    /// The public half of the key that signs checkpoints, as it is published.
    pub fn public_key(&self) -> String {
        VerifierKey::of("nexus", &self.audit_key()).to_string()
    }

    /// Every event of the log, read from outside.
    pub async fn events(&self) -> Vec<RecordedEvent> {
        let backend = Backend::open_read_only(&self.options().database)
            .await
            .expect("the database opens");
        backend.read(1, 10_000).await.expect("the log")
    }

    /// Runs statements as the owner of the tables, who has lifted every trigger and, on `SQLite`, every check.
    pub async fn tamper(&self, statements: &str) {
        if self.database().url().is_none() {
            let file = self.database_file();
            let connection = Connection::open(file).expect("the database");
            lift(&connection).expect("the triggers go");
            connection
                .execute_batch(statements)
                .expect("the database obeys");
        } else {
            let tables = [
                "events",
                "sealed_blobs",
                "log_heads",
                "checkpoints",
                "data_keys",
            ];
            for table in tables {
                let lifted = format!("ALTER TABLE {table} DISABLE TRIGGER USER");
                self.database().execute(&lifted).await;
            }
            self.database().execute(statements).await;
        }
    }

    /// Bytes as a literal of this database.
    pub fn bytes(&self, bytes: &[u8]) -> String {
        let hex = bytes
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        match self.database().url() {
            None => format!("x'{hex}'"),
            Some(_) => format!("'\\x{hex}'::bytea"),
        }
    }

    fn database_file(&self) -> PathBuf {
        self.data_dir().join("nexus.db")
    }
}

impl TestNexus {
    /// Runs `nexus-admin` against this server's Broker.
    pub async fn operate(&self, arguments: &[&str]) -> Outcome {
        let broker = self.broker_without_key().base().to_string();
        let key = self.data_dir().join("api.key").display().to_string();
        let connection = ["--broker-url", &broker, "--api-key-file", &key];
        self.settings()
            .admin_command(&[arguments, &connection].concat())
            .await
    }
}

fn lift(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA ignore_check_constraints = ON")?;
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'")?;
    let names: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for name in names {
        connection.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    Ok(())
}
