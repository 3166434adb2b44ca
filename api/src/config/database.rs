//! Which database, and how it is reached.

use std::path::{Path, PathBuf};

use nexus_domain::secret::Secret;
use url::Url;

use super::error::ConfigError;
use super::parse::{given, switch};
use super::settings::Settings;

/// The database that holds the log and the read models.
#[derive(Debug, Clone)]
pub enum DatabaseChoice {
    /// The embedded default.
    Sqlite {
        /// The database's file.
        path: PathBuf,
    },
    /// PostgreSQL.
    Postgres {
        /// `postgres://…` with its password; `sslmode` and `sslrootcert` are parameters of its query.
        url: Secret,
    },
}

const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];
const ENCRYPTED: [&str; 3] = ["require", "verify-ca", "verify-full"];

/// The database of the settings.
pub(super) fn choose(settings: &Settings, data_dir: &Path) -> Result<DatabaseChoice, ConfigError> {
    let url = settings
        .database_url
        .as_ref()
        .map(|url| url.expose().trim())
        .unwrap_or_default();
    let choice = match url.split_once(':') {
        None if url.is_empty() => DatabaseChoice::Sqlite {
            path: data_dir.join("nexus.db"),
        },
        Some(("sqlite", path)) => sqlite(path)?,
        Some(("postgres" | "postgresql", _)) => return postgres(url, settings),
        _ => return Err(refused("must begin with sqlite: or postgres://")),
    };
    refuse_tls_without_a_server(settings)?;
    Ok(choice)
}

fn refused(problem: &str) -> ConfigError {
    ConfigError::new("DATABASE_URL", problem)
}

/// `sqlite:nexus.db`, `sqlite://nexus.db` and `sqlite:///var/lib/nexus.db`.
fn sqlite(rest: &str) -> Result<DatabaseChoice, ConfigError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.ends_with('/') || path.contains(['?', '#']) {
        return Err(refused(
            "sqlite:// must be followed by a file's path and nothing else",
        ));
    }
    if path == ":memory:" {
        return Err(refused(
            "a database in memory would lose the log at every stop",
        ));
    }
    Ok(DatabaseChoice::Sqlite {
        path: PathBuf::from(path),
    })
}

fn refuse_tls_without_a_server(settings: &Settings) -> Result<(), ConfigError> {
    if switch("ENFORCE_DB_SSL", settings.enforce_db_ssl.as_ref(), false)? {
        return Err(ConfigError::new(
            "ENFORCE_DB_SSL",
            "asks for PostgreSQL, but the database is SQLite",
        ));
    }
    Ok(())
}

fn postgres(text: &str, settings: &Settings) -> Result<DatabaseChoice, ConfigError> {
    // What the parser says might quote the password.
    let mut url = Url::parse(text).map_err(|_| refused("is not a postgres:// URL"))?;
    if url.path().trim_matches('/').is_empty() {
        return Err(refused("must name a database, as in postgres://host/nexus"));
    }
    if let Some(mode) = given(settings.db_sslmode.as_ref()) {
        replace_parameter(&mut url, "sslmode", mode);
    }
    if let Some(file) = given(settings.db_sslrootcert.as_ref()) {
        replace_parameter(&mut url, "sslrootcert", file);
    }
    check_tls(&url, settings)?;
    Ok(DatabaseChoice::Postgres {
        url: Secret::new(String::from(url)),
    })
}

fn check_tls(url: &Url, settings: &Settings) -> Result<(), ConfigError> {
    let mode = parameter(url, "sslmode");
    if let Some(mode) = mode.as_deref().filter(|mode| !MODES.contains(mode)) {
        let problem = format!("`{mode}` is none of {}", MODES.join(", "));
        return Err(ConfigError::new("DB_SSLMODE", problem));
    }
    let encrypted = mode.is_some_and(|mode| ENCRYPTED.contains(&mode.as_str()));
    if switch("ENFORCE_DB_SSL", settings.enforce_db_ssl.as_ref(), false)? && !encrypted {
        let problem = format!("needs DB_SSLMODE to be one of {}", ENCRYPTED.join(", "));
        return Err(ConfigError::new("ENFORCE_DB_SSL", problem));
    }
    Ok(())
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Sets a parameter of the query in place of one that is there.
fn replace_parameter(url: &mut Url, name: &str, value: &str) {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .into_owned()
        .filter(|(key, _)| key != name)
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair(name, value);
}

/// The URL as it may be shown: its password masked.
pub(super) fn shown(choice: &DatabaseChoice) -> String {
    match choice {
        DatabaseChoice::Sqlite { path } => format!("sqlite://{}", path.display()),
        DatabaseChoice::Postgres { url } => without_password(url.expose()),
    }
}

fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return super::REDACTED.to_owned();
    };
    if url.password().is_some() && url.set_password(Some("********")).is_err() {
        return super::REDACTED.to_owned();
    }
    if parameter(&url, "password").is_some() {
        replace_parameter(&mut url, "password", "********");
    }
    url.into()
}
