//! `nexus`: the vault's server.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use nexus_api::config::{Config, Settings};
use nexus_api::health_check::check_health;
use nexus_api::logging;
use nexus_api::panics::keep_messages_out_of_the_log;
use nexus_api::server::serve;
use tokio::signal::unix::{SignalKind, signal};

/// A request makes many small allocations; the system's allocator costs a fifth of a status poll.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced credential vault for AI agents.
#[derive(Parser)]
#[command(name = "nexus", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the Gateway and the Broker (the default).
    Serve,
    /// Prints the effective configuration, secrets redacted; writes nothing.
    CheckConfig,
    /// Asks the vault that runs with these settings whether it is healthy: exit code 0 when it is, 1 when not.
    Health,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one sentence about why the program ends"
)]
fn report(error: &anyhow::Error) {
    eprintln!("nexus: {error:#}");
}

fn start() -> anyhow::Result<()> {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config = cli.settings.with_sources(&matches);
    let config = config.with_secret_files()?.validate()?;
    match cli.command {
        Some(Command::CheckConfig) => {
            print(&config);
            Ok(())
        }
        Some(Command::Health) => Ok(check_health(config.bind_address, config.gateway_port)?),
        Some(Command::Serve) | None => {
            let _flushed = logging::start(config.log_format, std::io::stderr());
            keep_messages_out_of_the_log();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut terminate = signal(SignalKind::terminate())?;
                let mut interrupt = signal(SignalKind::interrupt())?;
                let stop = async {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                };
                serve(config, stop).await
            })
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(config: &Config) {
    for (name, value, source) in config.effective() {
        println!("{name}={value}  # {source}");
    }
    for note in &config.notes {
        println!("# {note}");
    }
}
