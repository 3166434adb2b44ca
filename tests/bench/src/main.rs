//! The measuring half of `scripts/bench`, which starts everything, drives it with `wrk` and writes the table.
//!
//! Each subcommand is one of the things measured, or fills what is measured. Results are one JSON object a line on
//! standard output; a server prints `ready http://…` once it listens.

mod append;
mod bare;
mod database;
mod fill;
mod library;
mod rebuild;
mod replay;
mod seed;
mod sessions;
mod usual;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "nexus-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Creates an empty database on a PostgreSQL server and prints its URL.
    Database(database::Arguments),
    /// Connects accounts at a running vault, through its doors, and writes their ids to a file.
    Seed(seed::Arguments),
    /// Opens sessions in a log whose time is over already.
    Sessions(sessions::Arguments),
    /// Serves one file's bytes as JSON: what axum does when there is nothing to do.
    Bare(bare::Arguments),
    /// Serves credentials the usual way: a pooled SELECT and an audit INSERT per request.
    Usual(usual::Arguments),
    /// Appends events to new streams through the ledger.
    Append(append::Arguments),
    /// Executes commands on new streams through `postgres-es`.
    Library(library::Arguments),
    /// Appends lives of connections, and nine reads of credentials for each of their events.
    Fill(fill::Arguments),
    /// The same, and rebuilds and verifies the `connections` read model from them.
    Rebuild(fill::Arguments),
    /// The same, and replays them through `cqrs-es`'s `QueryReplay` into a view repository.
    Replay(fill::Arguments),
}

#[tokio::main]
async fn main() {
    // It fails only when a provider is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    match Cli::parse().command {
        Command::Database(arguments) => database::run(arguments).await,
        Command::Seed(arguments) => seed::run(arguments).await,
        Command::Sessions(arguments) => sessions::run(arguments).await,
        Command::Bare(arguments) => bare::run(arguments).await,
        Command::Usual(arguments) => usual::run(arguments).await,
        Command::Append(arguments) => append::run(arguments).await,
        Command::Library(arguments) => library::run(arguments).await,
        Command::Fill(arguments) => fill::run(arguments).await,
        Command::Rebuild(arguments) => rebuild::run(arguments).await,
        Command::Replay(arguments) => replay::run(arguments).await,
    }
}
