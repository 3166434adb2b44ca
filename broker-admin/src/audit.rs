//! The audit log: verifying it, and what an auditor keeps to verify it by.

mod offline;
mod outside;
mod progress;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::broker::{Broker, BrokerError, Verification};

pub(crate) use offline::OfflineError;
pub(crate) use outside::OutsideError;

use offline::DatabaseArgs;
use progress::Bar;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Derives every hash of the log again from its raw events and checks every signed checkpoint.
    Verify(VerifyArgs),
    /// Prints the public key under which checkpoints are signed; keep it apart from the vault.
    Key,
    /// Prints the newest signed checkpoint; keep it where nobody who can write the database can.
    Checkpoint,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Reads the database itself, and trusts no server. The server may run meanwhile.
    #[arg(long, requires = "public_key_source")]
    offline: bool,
    #[command(flatten)]
    key: PublicKeyArgs,
    /// A checkpoint that was kept outside; may be given more than once.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Where the public key comes from, with --offline.
#[derive(Debug, Args)]
#[group(id = "public_key_source", multiple = false)]
pub(crate) struct PublicKeyArgs {
    /// The public key, as `nexus-admin audit key` prints it.
    #[arg(long, env = "AUDIT_PUBLIC_KEY", value_name = "KEY")]
    public_key: Option<String>,
    /// A file that holds the public key.
    #[arg(long, value_name = "FILE")]
    public_key_file: Option<PathBuf>,
}

/// Why the log is not verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Offline(#[from] OfflineError),
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error("the log could not be verified: {0}")]
    Failed(String),
    #[error("the server does not know of the verification any more; start it again")]
    Forgotten,
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The log is not what was recorded. The only one with an exit code of its own.
    #[error("{0}")]
    Diverges(String),
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) size: u64,
    /// Base64, as in a checkpoint.
    pub(crate) root: String,
    pub(crate) checkpoints: u64,
    pub(crate) outside: u64,
    pub(crate) signed: u64,
}

impl Summary {
    fn text(&self) -> String {
        let Self {
            size,
            root,
            checkpoints,
            outside,
            signed,
        } = self;
        let unsigned = match size.saturating_sub(*signed) {
            0 => String::new(),
            after => format!(
                "not signed yet: {after} at the end; whoever can write the database could have changed them\n"
            ),
        };
        format!(
            "verified: {size} events, root {root}\n\
             checkpoints that agree: {checkpoints} in the database, {outside} kept outside\n\
             {unsigned}"
        )
    }
}

/// Does what does not need the server.
pub(crate) async fn run_offline(
    arguments: &VerifyArgs,
    output: &mut impl Write,
) -> Result<(), AuditError> {
    let key = outside::public_key(
        arguments.key.public_key.as_deref(),
        arguments.key.public_key_file.as_deref(),
    )?;
    let notes = outside::notes(&arguments.checkpoints)?;
    let trust = outside::trust(key, &notes)?;
    let bar = Bar::new("verifying");
    let summary = offline::verify(&arguments.database, &trust, |progress| {
        bar.show(progress.position, progress.head);
    })
    .await?;
    drop(bar);
    output.write_all(summary.text().as_bytes())?;
    Ok(())
}

/// Does what the server does for us.
pub(crate) async fn run(
    command: &Audit,
    broker: &Broker,
    output: &mut impl Write,
) -> Result<(), AuditError> {
    match command {
        Audit::Key => output.write_all(broker.audit_key().await?.as_bytes())?,
        Audit::Checkpoint => output.write_all(broker.checkpoint().await?.as_bytes())?,
        Audit::Verify(arguments) => {
            let notes = outside::notes(&arguments.checkpoints)?;
            let notes: Vec<String> = notes.into_iter().map(|(_, note)| note).collect();
            let summary = verify_at(broker, &notes).await?;
            output.write_all(summary.text().as_bytes())?;
        }
    }
    Ok(())
}

impl Audit {
    /// The arguments of a verification that the server takes no part in.
    pub(crate) fn offline(&self) -> Option<&VerifyArgs> {
        match self {
            Self::Verify(arguments) if arguments.offline => Some(arguments),
            _ => None,
        }
    }
}

/// Starts a verification, or joins the one under way, and waits for its end.
async fn verify_at(broker: &Broker, notes: &[String]) -> Result<Summary, AuditError> {
    broker.start_verification(notes).await?;
    let bar = Bar::new("verifying");
    loop {
        match broker.verification().await?.ok_or(AuditError::Forgotten)? {
            Verification::Running { position, head } => bar.show(position, head),
            Verification::Done {
                size,
                root,
                checkpoints,
                outside,
                signed,
            } => {
                return Ok(Summary {
                    size,
                    root,
                    checkpoints,
                    outside,
                    signed,
                });
            }
            Verification::Diverged { message, .. } => return Err(AuditError::Diverges(message)),
            Verification::Failed { message } => return Err(AuditError::Failed(message)),
        }
        tokio::time::sleep(crate::LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::broker::scripted::{Scripted, broker_at};

    /// What comes of a verification whose states the Broker tells one after another.
    async fn told(states: &[Value]) -> Result<Summary, AuditError> {
        let mut answers = vec![(202, "{}".to_owned())];
        answers.extend(states.iter().map(|state| {
            let body = json!({"verification": state});
            (200, body.to_string())
        }));
        let scripted = Scripted::serve(answers);
        verify_at(&broker_at(&scripted.url, "key"), &[]).await
    }

    #[tokio::test]
    async fn a_verification_is_watched_until_it_is_done() {
        let running = json!({"state": "running", "position": 20, "head": 40});
        let done = json!({"state": "done", "size": 42, "root": "cm9vdA==", "checkpoints": 7, "outside": 1, "signed": 40});
        let summary = told(&[running, done]).await.unwrap();
        assert_eq!(
            summary.text(),
            "verified: 42 events, root cm9vdA==\n\
             checkpoints that agree: 7 in the database, 1 kept outside\n\
             not signed yet: 2 at the end; whoever can write the database could have changed them\n"
        );
    }

    #[tokio::test]
    async fn only_a_divergence_is_a_verdict() {
        let diverged = json!({"state": "diverged", "position": 3, "message": "the log diverges"});
        let failed = json!({"state": "failed", "message": "the database is away"});
        let said =
            |error: AuditError| (matches!(error, AuditError::Diverges(_)), error.to_string());
        assert_eq!(
            said(told(&[diverged]).await.unwrap_err()),
            (true, "the log diverges".to_owned())
        );
        assert_eq!(
            said(told(&[failed]).await.unwrap_err()),
            (
                false,
                "the log could not be verified: the database is away".to_owned()
            )
        );
        assert!(matches!(
            told(&[Value::Null]).await,
            Err(AuditError::Forgotten)
        ));
    }

    #[tokio::test]
    async fn a_verification_under_way_is_joined_unless_it_would_miss_our_checkpoints() {
        let done = json!({"verification": {"state": "done", "size": 0, "root": "", "checkpoints": 0, "outside": 0, "signed": 0}});
        let busy = r#"{"error": "conflict", "code": "conflict", "message": "A verification is under way.", "request_id": "r"}"#;
        let answers = vec![(409, busy.to_owned()), (200, done.to_string())];
        let scripted = Scripted::serve(answers.clone());
        verify_at(&broker_at(&scripted.url, "key"), &[])
            .await
            .unwrap();
        let scripted = Scripted::serve(answers);
        let broker = broker_at(&scripted.url, "key");
        let refused = verify_at(&broker, &["note".to_owned()]).await;
        assert!(matches!(
            refused,
            Err(AuditError::Broker(BrokerError::Refused { .. }))
        ));
    }
}
