//! Connections with captured API keys, made the way an application makes them.

use std::fmt::Write as _;
use std::path::PathBuf;

use futures::StreamExt as _;
use reqwest::Client;
use serde_json::{Value, json};

/// A key of this many characters makes an answer of about 1.3 kB, the size of one with an OAuth access token.
const KEY_LENGTH: usize = 1_000;
/// Connections in the making at once.
const AT_ONCE: usize = 128;

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
    let client = Client::builder().build().expect("a client");
    let profile = json!({"name": "bench", "auth_type": "api_key"});
    send(&client, &arguments, "/v1/providers", &profile).await;
    let ids: Vec<String> = futures::stream::iter(0..arguments.count)
        .map(|number| connect(&client, &arguments, number))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let lines = ids.iter().fold(String::new(), |mut lines, id| {
        writeln!(lines, "{id}").expect("memory");
        lines
    });
    std::fs::write(&arguments.ids, lines).expect("the ids are written");
    println!("{}", json!({"connections": ids.len()}));
}

async fn connect(client: &Client, arguments: &Arguments, number: usize) -> String {
    let asked = json!({
        "workspace_id": format!("workspace-{}", number % 1_000), "provider_name": "bench",
        "return_url": "http://127.0.0.1:9/done",
    });
    let requested = send(client, arguments, "/v1/request-connection", &asked).await;
    let key = format!("{number:0>KEY_LENGTH$}");
    let captured = json!({"state": requested["state"], "credentials": {"api_key": key}});
    send(client, arguments, "/v1/capture-credential", &captured).await;
    requested["connection_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

async fn send(client: &Client, arguments: &Arguments, path: &str, body: &Value) -> Value {
    let answer = client
        .post(format!("{}{path}", arguments.gateway))
        .header("X-API-Key", &arguments.key)
        .json(body)
        .send()
        .await
        .expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).expect("JSON")
}
