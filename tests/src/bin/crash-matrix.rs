//! `scripts/crash-matrix`: kills the real server and the database under it for long, and reports what is left.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use nexus_tests::Database;
use nexus_tests::crash::{Plan, Report, run};

/// Kills a loaded server, and the database under it, again and again; compares what clients were told with the log.
#[derive(Debug, Parser)]
struct Arguments {
    /// Ends after this many seconds, whatever was reached
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Determines every choice
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends when this many kills, and the appends, are reached; shared among the databases
    #[arg(long, default_value_t = 500)]
    kills: u64,
    /// Ends when this many acknowledged appends, and the kills, are reached; shared among the databases
    #[arg(long, default_value_t = 1_000_000)]
    appends: u64,
    /// Which databases
    #[arg(long, value_enum, default_value_t = Databases::Both)]
    database: Databases,
    /// Clients that read tokens
    #[arg(long, default_value_t = 64)]
    readers: usize,
    /// Verifies the whole log once in so many kills
    #[arg(long, default_value_t = 50)]
    verify_every: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Databases {
    Sqlite,
    Postgres,
    Both,
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let databases: &[Database] = match arguments.database {
        Databases::Sqlite => &[Database::Sqlite],
        Databases::Postgres => &[Database::Postgres],
        Databases::Both => &[Database::Sqlite, Database::Postgres],
    };
    println!("seed {}", arguments.seed);
    let shares = databases.len() as u64;
    let mut reports = Vec::new();
    for database in databases {
        let plan = Plan {
            database: *database,
            seed: arguments.seed,
            within: Duration::from_secs(arguments.seconds / shares),
            kills: arguments.kills.div_ceil(shares),
            appends: arguments.appends.div_ceil(shares),
            connections: 200,
            readers: arguments.readers,
            verify_every: arguments.verify_every,
        };
        reports.push(run(plan).await);
    }
    println!("\n{}", Report::table(&reports));
    let violations: Vec<&String> = reports
        .iter()
        .flat_map(|report| &report.violations)
        .collect();
    for violation in &violations {
        println!("VIOLATION (seed {}): {violation}", arguments.seed);
    }
    let kills: u64 = reports.iter().map(Report::killed).sum();
    let appends: u64 = reports.iter().map(|report| report.acknowledged).sum();
    if kills < arguments.kills || appends < arguments.appends {
        println!("the time was over after {kills} kills and {appends} acknowledged appends");
    }
    ExitCode::from(u8::from(!violations.is_empty()))
}
