//! The log read from the database itself, without a server.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use nexus_ledger::postgres::PostgresOptions;
use nexus_ledger::verify::{Progress, Trust, VerifyError, verify_with};
use nexus_ledger::{Backend, Database, OpenError};

use super::{AuditError, Summary};

/// The database, named as the server's settings name it; with --offline.
#[derive(Args)]
pub(crate) struct DatabaseArgs {
    /// `sqlite:FILE` or `postgres://…` [default: nexus.db in the data directory].
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// File that holds the database's URL.
    #[arg(
        long,
        env = "DATABASE_URL_FILE",
        value_name = "FILE",
        conflicts_with = "database_url"
    )]
    database_url_file: Option<PathBuf>,
    /// The server's data directory.
    #[arg(
        long,
        env = "DATA_DIR",
        default_value = "./nexus-data",
        value_name = "DIRECTORY"
    )]
    data_dir: PathBuf,
    /// How the connection to PostgreSQL is protected, such as `verify-full`.
    #[arg(long, env = "DB_SSLMODE", value_name = "MODE")]
    db_sslmode: Option<String>,
    /// The root certificate of PostgreSQL's.
    #[arg(long, env = "DB_SSLROOTCERT", value_name = "FILE")]
    db_sslrootcert: Option<PathBuf>,
}

impl std::fmt::Debug for DatabaseArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseArgs")
            .field(
                "database_url",
                &self.database_url.as_ref().map(|_| "[redacted]"),
            )
            .field("database_url_file", &self.database_url_file)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// Why the database cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfflineError {
    #[error("DATABASE_URL: {0}")]
    Url(String),
    #[error("DATABASE_URL_FILE: {} {problem}", .path.display())]
    UrlFile { path: PathBuf, problem: String },
    #[error("there is no database at {}", .0.display())]
    NoFile(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl DatabaseArgs {
    /// The URL, or what the file holds; empty when nothing is given.
    fn url(&self) -> Result<Cow<'_, str>, OfflineError> {
        let Some(path) = self
            .database_url_file
            .as_deref()
            .filter(|path| not_empty(path))
        else {
            return Ok(Cow::Borrowed(
                self.database_url.as_deref().unwrap_or_default(),
            ));
        };
        let problem = |problem: String| OfflineError::UrlFile {
            path: path.to_owned(),
            problem,
        };
        let url = std::fs::read_to_string(path)
            .map_err(|error| problem(format!("cannot be read: {error}")))?;
        if url.trim().is_empty() {
            return Err(problem("is empty".to_owned()));
        }
        Ok(Cow::Owned(url))
    }

    fn database(&self) -> Result<Database, OfflineError> {
        let url = self.url()?;
        let url = url.trim();
        match url.split_once(':') {
            None if url.is_empty() => existing(self.data_dir.join("nexus.db")),
            Some(("sqlite", rest)) => {
                existing(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))
            }
            _ => {
                let given =
                    |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
                let root = self.db_sslrootcert.as_deref();
                let root = root.filter(|path| not_empty(path));
                PostgresOptions::parse(url, given(&self.db_sslmode).as_deref(), root)
                    .map(Database::Postgres)
                    .map_err(OfflineError::Url)
            }
        }
    }
}

fn not_empty(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// A file that is missing is told apart from one that is no database.
fn existing(path: PathBuf) -> Result<Database, OfflineError> {
    if Path::is_file(&path) {
        Ok(Database::Sqlite { path })
    } else {
        Err(OfflineError::NoFile(path))
    }
}

/// Verifies the log of a database.
pub(super) async fn verify(
    arguments: &DatabaseArgs,
    trust: &Trust,
    progress: impl FnMut(Progress),
) -> Result<Summary, AuditError> {
    let database = arguments.database()?;
    let backend = Backend::open_read_only(&database)
        .await
        .map_err(OfflineError::from)?;
    match verify_with(&backend, trust, progress).await {
        Ok(verified) => Ok(Summary {
            size: verified.size,
            root: BASE64.encode(verified.root),
            checkpoints: verified.checkpoints,
            outside: verified.outside,
            signed: verified.signed,
        }),
        Err(error @ VerifyError::Divergence { .. }) => Err(AuditError::Diverges(error.to_string())),
        Err(VerifyError::Read(error)) => Err(AuditError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(url: &str) -> DatabaseArgs {
        DatabaseArgs {
            database_url: Some(url.to_owned()),
            database_url_file: None,
            data_dir: PathBuf::from("/nowhere"),
            db_sslmode: None,
            db_sslrootcert: None,
        }
    }

    #[test]
    fn the_database_is_named_as_the_servers_settings_name_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("nexus.db");
        std::fs::write(&file, "").unwrap();
        let shown = file.display();
        for url in [format!("sqlite:{shown}"), format!("sqlite://{shown}")] {
            let Database::Sqlite { path } = named(&url).database().unwrap() else {
                panic!("{url}")
            };
            assert_eq!(path, file);
        }
        let in_data_dir = DatabaseArgs {
            data_dir: directory.path().to_owned(),
            ..named("")
        };
        assert!(matches!(in_data_dir.database(), Ok(Database::Sqlite { path }) if path == file));
        let postgres = named("postgres://u:p@h/d").database();
        assert!(matches!(postgres, Ok(Database::Postgres(_))));
    }

    #[test]
    fn a_file_may_hold_the_url() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url");
        let arguments = || DatabaseArgs {
            database_url_file: Some(file.clone()),
            ..named("")
        };
        let said = || arguments().database().unwrap_err().to_string();
        assert!(said().starts_with(&format!("DATABASE_URL_FILE: {} cannot", file.display())));
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(
            said(),
            format!("DATABASE_URL_FILE: {} is empty", file.display())
        );
        std::fs::write(&file, "postgres://u:p@h/d\n").unwrap();
        assert!(matches!(arguments().database(), Ok(Database::Postgres(_))));
    }

    #[test]
    fn what_is_no_database_is_named_without_its_password() {
        let said = |arguments: DatabaseArgs| arguments.database().unwrap_err().to_string();
        assert_eq!(said(named("")), "there is no database at /nowhere/nexus.db");
        let refused = said(named("mysql://u:hunter2@h/d"));
        assert!(
            refused.starts_with("DATABASE_URL: ") && !refused.contains("hunter2"),
            "{refused}"
        );
        assert!(!format!("{:?}", named("postgres://u:hunter2@h/d")).contains("hunter2"));
    }
}
