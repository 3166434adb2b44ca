//! Sessions of an agent, opened the way an application opens them.

use std::path::PathBuf;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::seed::{AT_ONCE, Vault, write_lines};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The Gateway's URL.
    #[arg(long)]
    gateway: String,
    /// A key.
    #[arg(long)]
    key: String,
    /// How many sessions.
    #[arg(long)]
    count: usize,
    /// What is sent to open one.
    #[arg(long)]
    request: Value,
    /// Which field of the answers is written,
    #[arg(long)]
    field: String,
    /// and where to, one a line.
    #[arg(long)]
    file: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) {
    let vault = Vault::new(arguments.gateway, arguments.key);
    let fields: Vec<String> = futures::stream::iter(0..arguments.count)
        .map(|_| async {
            let opened = vault.send("/v1/agent-sessions", &arguments.request).await;
            opened[&arguments.field]
                .as_str()
                .expect("a text")
                .to_owned()
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    write_lines(&arguments.file, &fields);
    println!("{}", json!({"sessions": fields.len()}));
}
