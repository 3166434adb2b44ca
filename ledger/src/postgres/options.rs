//! `DATABASE_URL`, parsed once: both drivers are configured from its parts, because each refuses
//! settings that the other takes.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexus_domain::secret::Secret;
use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode as TokioSslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::tls;

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 5432;
/// Settings of every session. Sequential scans are off because a plan made while a table was tiny
/// lasts; compilation and workers are off because that makes some plans look expensive.
const SESSION: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("statement_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "30s"),
];
/// Unanswered bytes break a connection after this long.
const UNANSWERED: Duration = Duration::from_secs(10);
/// A silent connection is probed after this long.
const SILENT: Duration = Duration::from_secs(10);

/// Where the server is, who connects, and how far it is trusted.
#[derive(Clone)]
pub struct PostgresOptions {
    host: Host,
    port: u16,
    user: String,
    password: Option<Secret>,
    database: String,
    application_name: String,
    ssl: SslMode,
    roots: Option<Vec<u8>>,
    connector: MakeRustlsConnect,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Tcp(String),
    Socket(PathBuf),
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    /// Not at all.
    Disable,
    /// Encrypted when the server offers it; nobody is authenticated.
    Prefer,
    /// Encrypted; the server is not authenticated.
    Require,
    /// Encrypted, and the certificate and its name are verified.
    VerifyFull,
}

impl PostgresOptions {
    /// Reads `postgres://user:password@host:port/database?…`. Query parameters: `host` (a socket's
    /// directory), `port`, `user`, `password`, `dbname`, `application_name`, `sslmode`,
    /// `sslrootcert`. The arguments `sslmode` and `sslrootcert` win over the URL's.
    ///
    /// Without an `sslmode`, a root certificate means `verify-full` and none `prefer`. `verify-ca`
    /// verifies the name as well: the public authorities are trusted beside the file, so that a
    /// certificate of any name would do otherwise. A socket is never encrypted.
    ///
    /// # Errors
    /// A sentence that names the part at fault, never the password.
    pub fn parse(
        url: &str,
        sslmode: Option<&str>,
        sslrootcert: Option<&Path>,
    ) -> Result<Self, String> {
        let parts = Parts::of(url)?;
        let sslrootcert = sslrootcert.map(Path::to_path_buf).or(parts.sslrootcert);
        let host = parts.host.ok_or("the database URL names no host")?;
        let asked = ssl_mode(sslmode.or(parts.sslmode.as_deref()), sslrootcert.is_some())?;
        let ssl = match host {
            Host::Tcp(_) => asked,
            Host::Socket(_) => SslMode::Disable,
        };
        let roots = match &sslrootcert {
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                format!(
                    "the root certificate {} cannot be read: {error}",
                    path.display()
                )
            })?),
            None => None,
        };
        let user = parts.user.ok_or("the database URL names no user")?;
        Ok(Self {
            host,
            port: parts.port.unwrap_or(DEFAULT_PORT),
            database: parts.database.unwrap_or_else(|| user.clone()),
            user,
            password: parts.password,
            application_name: parts.application_name.unwrap_or_else(|| "nexus".to_owned()),
            ssl,
            connector: tls::connector(ssl, roots.as_deref())?,
            roots,
        })
    }

    /// Whether the server must prove who it is before anything is said to it. A socket of this
    /// machine needs no proof.
    #[must_use]
    pub fn verifies_server(&self) -> bool {
        self.ssl == SslMode::VerifyFull || matches!(self.host, Host::Socket(_))
    }

    pub(super) fn connector(&self) -> MakeRustlsConnect {
        self.connector.clone()
    }

    pub(super) fn tokio_postgres(&self) -> Config {
        let mut config = Config::new();
        match &self.host {
            Host::Tcp(host) => config.host(host),
            Host::Socket(directory) => config.host_path(directory),
        };
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name(&self.application_name)
            .options(
                SESSION
                    .map(|(name, value)| format!("-c {name}={value}"))
                    .join(" "),
            )
            .ssl_mode(match self.ssl {
                SslMode::Disable => TokioSslMode::Disable,
                SslMode::Prefer => TokioSslMode::Prefer,
                SslMode::Require | SslMode::VerifyFull => TokioSslMode::Require,
            })
            .connect_timeout(super::CONNECT_WITHIN)
            .tcp_user_timeout(UNANSWERED)
            .keepalives_idle(SILENT)
            .keepalives_interval(SILENT / 4)
            .keepalives_retries(3);
        config
    }

    /// Every part is set, so that none is taken from `PGHOST` and the like.
    pub(super) fn sqlx(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .port(self.port)
            .username(&self.user)
            .password(self.password.as_ref().map_or("", Secret::expose))
            .database(&self.database)
            .application_name(&self.application_name)
            .options(SESSION)
            .ssl_root_cert_from_pem(self.roots.clone().unwrap_or_default())
            .ssl_mode(match self.ssl {
                SslMode::Disable => PgSslMode::Disable,
                SslMode::Prefer => PgSslMode::Prefer,
                SslMode::Require => PgSslMode::Require,
                SslMode::VerifyFull => PgSslMode::VerifyFull,
            });
        match &self.host {
            Host::Tcp(host) => options.host(host),
            Host::Socket(directory) => options.socket(directory),
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "[redacted]"))
            .field("database", &self.database)
            .field("ssl", &self.ssl)
            .finish_non_exhaustive()
    }
}

fn ssl_mode(named: Option<&str>, has_roots: bool) -> Result<SslMode, String> {
    match (named, has_roots) {
        (None | Some("require"), true) | (Some("verify-ca" | "verify-full"), _) => {
            Ok(SslMode::VerifyFull)
        }
        (None | Some("prefer"), false) => Ok(SslMode::Prefer),
        (Some("require"), false) => Ok(SslMode::Require),
        (Some("disable"), false) => Ok(SslMode::Disable),
        (Some(mode @ ("disable" | "prefer")), true) => Err(format!(
            "a root certificate is given, but sslmode {mode} verifies nothing"
        )),
        (Some(mode), _) => Err(format!(
            "sslmode {mode:?} is none of disable, prefer, require, verify-ca, verify-full"
        )),
    }
}

/// What a URL says; parameters win over what stands before them, as in libpq.
#[derive(Default)]
struct Parts {
    host: Option<Host>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<Secret>,
    database: Option<String>,
    application_name: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
}

impl Parts {
    fn of(url: &str) -> Result<Self, String> {
        let hostless = hostless(url);
        let url = Url::parse(hostless.as_deref().unwrap_or(url))
            .map_err(|error| format!("the database URL is not a URL: {error}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!(
                "the database URL begins with {}://, not postgres://",
                url.scheme()
            ));
        }
        let mut parts = Self {
            host: url
                .host_str()
                .filter(|_| hostless.is_none())
                .map(decoded)
                .transpose()?
                .and_then(host),
            port: url.port(),
            user: non_empty(decoded(url.username())?),
            password: url.password().map(decoded).transpose()?.map(Secret::new),
            database: non_empty(decoded(url.path().trim_start_matches('/'))?),
            ..Self::default()
        };
        for parameter in url
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|parameter| !parameter.is_empty())
        {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            parts.set(&decoded(name)?, decoded(value)?)?;
        }
        Ok(parts)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "host" => self.host = host(value),
            "port" => {
                let port = value.parse();
                self.port = Some(
                    port.map_err(|_| "the port in the database URL is not a number below 65536")?,
                );
            }
            "user" => self.user = non_empty(value),
            "password" => self.password = Some(Secret::new(value)),
            "dbname" => self.database = non_empty(value),
            "application_name" => self.application_name = non_empty(value),
            "sslmode" => self.sslmode = Some(value),
            "sslrootcert" => self.sslrootcert = Some(value.into()),
            _ => {
                return Err(format!(
                    "the database URL has an unknown parameter {name:?}"
                ));
            }
        }
        Ok(())
    }
}

/// `postgres://user@/database?host=…` is no URL, but everybody writes it: the same with a host to
/// be ignored. `None` for a URL that needs none.
fn hostless(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    authority
        .ends_with('@')
        .then(|| format!("{scheme}://{authority}ignored{rest}"))
}

fn host(text: String) -> Option<Host> {
    if text.starts_with('/') {
        return Some(Host::Socket(text.into()));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inner| inner.parse::<Ipv6Addr>().is_ok());
    non_empty(bare.map(str::to_owned).unwrap_or(text)).map(Host::Tcp)
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| "the database URL holds an escape that is not UTF-8")?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<PostgresOptions, String> {
        PostgresOptions::parse(url, None, None)
    }

    #[test]
    fn a_url_is_taken_apart_and_its_escapes_are_decoded() {
        let options =
            parse("postgres://us%40er:p%2Fw%20d@db.example:6543/vault?application_name=a").unwrap();
        assert_eq!(options.host, Host::Tcp("db.example".into()));
        assert_eq!(
            (
                options.port,
                options.user.as_str(),
                options.database.as_str()
            ),
            (6543, "us@er", "vault")
        );
        assert_eq!(options.password.as_ref().map(Secret::expose), Some("p/w d"));
        assert_eq!(options.application_name, "a");
    }

    #[test]
    fn what_a_url_leaves_out_is_the_usual() {
        let options = parse("postgresql://nexus@[::1]").unwrap();
        assert_eq!(options.host, Host::Tcp("::1".into()));
        assert_eq!((options.port, options.database.as_str()), (5432, "nexus"));
        assert!(options.password.is_none());
    }

    #[test]
    fn a_socket_is_a_host_that_is_a_path() {
        let socket = Host::Socket("/run/postgresql".into());
        assert_eq!(
            parse("postgres://u@%2Frun%2Fpostgresql/d").unwrap().host,
            socket
        );
        assert_eq!(
            parse("postgres://u@/d?host=/run/postgresql").unwrap().host,
            socket
        );
        assert_eq!(
            parse("postgres:///d?host=%2Frun%2Fpostgresql&user=u&port=5433")
                .unwrap()
                .port,
            5433
        );
    }

    #[test]
    fn both_drivers_get_the_same_parts() {
        let options = parse("postgres://u:secret@h:1/d?sslmode=require").unwrap();
        let (tokio, sqlx) = (options.tokio_postgres(), options.sqlx());
        assert_eq!(
            (
                sqlx.get_host(),
                sqlx.get_port(),
                sqlx.get_username(),
                sqlx.get_database()
            ),
            ("h", 1, "u", Some("d"))
        );
        assert_eq!(
            (tokio.get_ports(), tokio.get_user(), tokio.get_dbname()),
            (&[1][..], Some("u"), Some("d"))
        );
        assert_eq!(tokio.get_password(), Some(&b"secret"[..]));
        assert_eq!(tokio.get_ssl_mode(), TokioSslMode::Require);
        assert!(matches!(sqlx.get_ssl_mode(), PgSslMode::Require));
    }

    #[test]
    fn a_mode_never_verifies_less_than_it_says() {
        let table = [
            (None, false, Ok(SslMode::Prefer)),
            (None, true, Ok(SslMode::VerifyFull)),
            (Some("disable"), false, Ok(SslMode::Disable)),
            (Some("require"), false, Ok(SslMode::Require)),
            (Some("require"), true, Ok(SslMode::VerifyFull)),
            (Some("verify-ca"), false, Ok(SslMode::VerifyFull)),
            (Some("verify-full"), true, Ok(SslMode::VerifyFull)),
        ];
        for (named, has_roots, expected) in table {
            assert_eq!(
                ssl_mode(named, has_roots),
                expected,
                "{named:?}, roots: {has_roots}"
            );
        }
        for (named, has_roots) in [
            ("prefer", true),
            ("disable", true),
            ("allow", false),
            ("", false),
            ("Require", false),
        ] {
            assert!(
                ssl_mode(Some(named), has_roots).is_err(),
                "{named:?}, roots: {has_roots}"
            );
        }
    }

    #[test]
    fn the_setting_wins_over_the_url() {
        let options = PostgresOptions::parse(
            "postgres://u@h/d?sslmode=disable",
            Some("verify-full"),
            None,
        )
        .unwrap();
        assert_eq!(options.ssl, SslMode::VerifyFull);
        assert!(options.verifies_server());
        assert!(
            !parse("postgres://u@h/d?sslmode=require")
                .unwrap()
                .verifies_server()
        );
    }

    #[test]
    fn a_socket_is_not_encrypted_and_needs_no_proof() {
        let socket = parse("postgres://u@/d?host=/run/postgresql&sslmode=verify-full").unwrap();
        assert_eq!(socket.ssl, SslMode::Disable);
        assert!(socket.verifies_server());
    }

    #[test]
    fn a_bad_url_is_refused_in_a_sentence_without_the_password() {
        let bad = [
            ("hunter2", "not a URL"),
            ("mysql://u:hunter2@h/d", "mysql://"),
            ("postgres://u:hunter2@/d", "names no host"),
            ("postgres://h/d?password=hunter2", "names no user"),
            ("postgres://u:hunter2@h/d?sslmode=maybe", "maybe"),
            ("postgres://u:hunter2@h/d?pool=3", "pool"),
            ("postgres://u:hunter2@h/d?port=99999", "port"),
            (
                "postgres://u:hunter2@h/d?sslrootcert=/nowhere/ca.pem",
                "/nowhere/ca.pem",
            ),
        ];
        for (url, part) in bad {
            let error = parse(url).unwrap_err();
            assert!(
                error.contains(part) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let shown = format!("{:?}", parse("postgres://u:hunter2@h/d").unwrap());
        assert!(
            shown.contains("[redacted]") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
