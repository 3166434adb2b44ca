//! `nexus-admin`: how operators act on a running vault, over its Broker.
//!
//! The server has the database and does the work. What is done here with `--offline` only reads it, so
//! that an auditor need not trust the server.

mod audit;
mod broker;
mod key;
mod projections;
mod session_keys;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use reqwest::Url;

use audit::{Audit, AuditError};
use broker::{Broker, BrokerError};
use key::{KeyError, KeySource};
use projections::RebuildError;
use session_keys::{Keys, KeysError};

/// Between two looks at work that the server does.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The exit code of a log that is not what was recorded.
const NOT_VERIFIED: u8 = 4;

/// Operates a running vault over its Broker.
///
/// Exit codes: 0 done, 1 failed, 2 used wrongly, 4 verification failed.
#[derive(Debug, Parser)]
#[command(name = "nexus-admin", version)]
struct Cli {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct ConnectionArgs {
    /// Where the Broker listens.
    #[arg(long, env = "BROKER_BASE_URL", default_value = "http://127.0.0.1:8080", value_parser = broker::base_url, global = true)]
    broker_url: Url,
    #[command(flatten)]
    key: KeySource,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The audit log: verifying it, and what an auditor keeps to verify it by.
    #[command(subcommand)]
    Audit(Audit),
    /// The keys that sign agents' session tokens: which there are, and making a new one.
    #[command(subcommand)]
    Keys(Keys),
    /// The read models: which generation serves, and rebuilding them from the log.
    #[command(subcommand)]
    Projections(Projections),
}

#[derive(Debug, Subcommand)]
enum Projections {
    /// Lists the read models, their generations and their newest rebuilds.
    Status,
    /// Rebuilds read models from the log while the server runs, and waits until they are done.
    Rebuild {
        /// Which ones, one after another; all when none is named.
        names: Vec<String>,
    },
    /// Compares read models with the log while the server runs; changes nothing.
    Verify {
        /// Which ones, one after another; all when none is named.
        names: Vec<String>,
    },
}

/// Why the program failed, as one sentence.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Audit(AuditError::Diverges(_)) => ExitCode::from(NOT_VERIFIED),
            _ => ExitCode::FAILURE,
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    // It fails only when a provider is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(Cli::parse(), &mut io::stdout()).await {
        Ok(code) => code,
        Err(failure) => {
            // Nobody is left to tell when this fails too.
            drop(writeln!(io::stderr(), "nexus-admin: {failure}"));
            failure.exit_code()
        }
    }
}

async fn run(cli: Cli, output: &mut impl Write) -> Result<ExitCode, Failure> {
    if let Command::Audit(audit) = &cli.command
        && let Some(arguments) = audit.offline()
    {
        audit::run_offline(arguments, output).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let broker = Broker::new(cli.connection.broker_url, &cli.connection.key.read()?)?;
    match cli.command {
        Command::Audit(audit) => audit::run(&audit, &broker, output).await?,
        Command::Keys(keys) => session_keys::run(keys, &broker, output).await?,
        Command::Projections(Projections::Status) => {
            let listing = broker.projections().await?;
            output.write_all(projections::table(&listing).as_bytes())?;
        }
        Command::Projections(Projections::Rebuild { names }) => {
            for name in projections::named(&broker.projections().await?, names)? {
                let rebuilt = projections::rebuild(&broker, &name).await?;
                writeln!(output, "{name}: {rebuilt}")?;
            }
        }
        Command::Projections(Projections::Verify { names }) => {
            let mut clean = true;
            for name in projections::named(&broker.projections().await?, names)? {
                let verified = projections::verify(&broker, &name).await?;
                writeln!(output, "{name}: {verified}")?;
                clean &= verified.is_clean();
            }
            if !clean {
                return Ok(ExitCode::from(NOT_VERIFIED));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn refused(arguments: &[&str]) -> clap::Error {
        Cli::try_parse_from([&["nexus-admin"], arguments].concat()).unwrap_err()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_has_exit_code_2() {
        for arguments in [
            &["projections", "burn"][..],
            &["projections"],
            &["--broker-url", "nowhere", "projections", "status"],
            &["projections", "status", "connections"],
            &["audit"],
            &["keys"],
            &["keys", "list", "--compromised"],
            &["audit", "verify", "--offline"],
            &[
                "audit",
                "verify",
                "--public-key",
                "k",
                "--public-key-file",
                "f",
            ],
        ] {
            assert_eq!(refused(arguments).exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn a_broker_url_that_is_none_is_named() {
        let error = refused(&["projections", "status", "--broker-url", "ftp://vault.test"]);
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert!(error.to_string().contains("ftp://vault.test"), "{error}");
    }

    #[test]
    fn any_number_of_read_models_can_be_named() {
        let cli = Cli::try_parse_from(["nexus-admin", "projections", "rebuild", "a", "b"]).unwrap();
        let Command::Projections(Projections::Rebuild { names }) = cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!(names, ["a", "b"]);
    }
}
