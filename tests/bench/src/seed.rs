//! Connections with captured API keys, made the way an application makes them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use reqwest::Client;
use serde_json::{Value, json};

/// A key of this many characters makes an answer of about 1.3 kB, the size of one with an OAuth access token.
const KEY_LENGTH: usize = 1_000;
/// Connections or sessions in the making at once.
pub(crate) const AT_ONCE: usize = 128;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The Gateway's URL.
    #[arg(long)]
    gateway: String,
    /// The admin key.
    #[arg(long)]
    key: String,
    /// How many connections.
    #[arg(long)]
    count: usize,
    /// Where the ids go, one a line.
    #[arg(long)]
    ids: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) {
    let vault = Vault::new(arguments.gateway, arguments.key);
    let profile = json!({"name": "bench", "auth_type": "api_key"});
    vault.send("/v1/providers", &profile).await;
    let ids: Vec<String> = futures::stream::iter(0..arguments.count)
        .map(|number| connect(&vault, number))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    write_lines(&arguments.ids, &ids);
    println!("{}", json!({"connections": ids.len()}));
}

async fn connect(vault: &Vault, number: usize) -> String {
    let asked = json!({
        "workspace_id": format!("workspace-{}", number % 1_000), "provider_name": "bench",
        "return_url": "http://127.0.0.1:9/done",
    });
    let requested = vault.send("/v1/request-connection", &asked).await;
    let key = format!("{number:0>KEY_LENGTH$}");
    let captured = json!({"state": requested["state"], "credentials": {"api_key": key}});
    vault.send("/v1/capture-credential", &captured).await;
    requested["connection_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// A file of these lines.
pub(crate) fn write_lines(file: &Path, lines: &[String]) {
    let text = lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").expect("memory");
        text
    });
    std::fs::write(file, text).expect("the file is written");
}

/// A running vault's Gateway.
pub(crate) struct Vault {
    client: Client,
    gateway: String,
    key: String,
}

impl Vault {
    pub(crate) fn new(gateway: String, key: String) -> Self {
        let client = Client::builder().build().expect("a client");
        Self {
            client,
            gateway,
            key,
        }
    }

    /// What a door answers to this.
    pub(crate) async fn send(&self, path: &str, body: &Value) -> Value {
        let answer = self
            .client
            .post(format!("{}{path}", self.gateway))
            .header("X-API-Key", &self.key)
            .json(body)
            .send()
            .await
            .expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }
}
