use clap::{Args, Command, FromArgMatches};

use super::*;

/// Settings as if given as flags, by the names of their environment variables.
fn settings(given: &[(&str, &str)]) -> Settings {
    let flags = given.iter().map(|(name, value)| {
        let flag = name.to_ascii_lowercase().replace('_', "-");
        format!("--{flag}={value}")
    });
    let command = Settings::augment_args(Command::new("nexus"));
    let matches = command.get_matches_from(std::iter::once("nexus".to_owned()).chain(flags));
    Settings::from_arg_matches(&matches)
        .unwrap()
        .with_sources(&matches)
}

fn config(given: &[(&str, &str)]) -> Config {
    settings(given).validate().unwrap()
}

fn complaint(given: &[(&str, &str)]) -> String {
    settings(given).validate().unwrap_err().to_string()
}

fn row(config: &Config, wanted: &str) -> (String, Source) {
    let row = config
        .effective()
        .into_iter()
        .find(|(name, ..)| *name == wanted);
    row.map(|(_, value, source)| (value, source)).unwrap()
}

#[test]
fn without_any_setting_the_defaults_hold() {
    let config = Settings::default().validate().unwrap();
    let DatabaseChoice::Sqlite { path } = &config.database else {
        panic!("{config:?}")
    };
    assert!(path.ends_with("nexus-data/nexus.db"));
    assert_eq!(config.bind_address.to_string(), "127.0.0.1");
    assert_eq!((config.gateway_port, config.broker_port), (8090, 8080));
    assert_eq!(config.redirect_path, "/auth/callback");
    assert_eq!(config.state_ttl, Duration::from_mins(15));
    assert_eq!(config.refresh_skew, Duration::from_mins(1));
    assert_eq!(config.upstream_timeout, Duration::from_secs(10));
    assert_eq!(config.health_check_interval, Duration::from_mins(5));
    assert_eq!(config.session_max_ttl, Duration::from_hours(1));
    assert_eq!(config.session_audience, None);
    assert_eq!((config.snapshot_every, config.queue_capacity), (100, 4096));
    assert!(config.require_api_key && !config.gateway_require_api_key);
    assert_eq!(config.upstreams, UpstreamRules::Loopback);
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.notes, Vec::<String>::new());
}

#[test]
fn every_complaint_begins_with_the_settings_name() {
    for (name, value) in [
        ("STATE_TTL", "soon"),
        ("STATE_TTL", "0s"),
        ("REFRESH_SKEW", "-1s"),
        ("UPSTREAM_TIMEOUT", "0"),
        ("HEALTH_CHECK_INTERVAL", "often"),
        ("SESSION_MAX_TTL", "59s"),
        ("SESSION_MAX_TTL", "24h 1s"),
        ("SESSION_AUDIENCE", "https://"),
        ("SESSION_AUDIENCE", "two\nlines"),
        ("PORT", "70000"),
        ("BROKER_PORT", "8090"),
        ("BIND_ADDRESS", "localhost"),
        ("BASE_URL", "vault.example"),
        ("BASE_URL", "https://vault.example/?x"),
        ("BASE_URL", "https://user@vault.example/"),
        ("REDIRECT_PATH", "callback"),
        ("REDIRECT_PATH", "/a/{b}"),
        ("REDIRECT_PATH", "/"),
        ("REDIRECT_PATH", "/health"),
        ("REDIRECT_PATH", "/v1/callback"),
        ("ALLOWED_RETURN_DOMAINS", "https://a.example"),
        ("DEFAULT_RETURN_URL", "https://a.example"),
        ("ENFORCE_RETURN_URL", "maybe"),
        ("ALLOW_PRIVATE_UPSTREAMS", "10.0.0.0/40"),
        ("SNAPSHOT_EVERY", "0"),
        ("QUEUE_CAPACITY", "many"),
        ("LOG_FORMAT", "xml"),
        ("ENCRYPTION_KEY", "c2hvcnQ="),
        ("STATE_KEY", "?"),
        ("AUDIT_KEY", "?"),
        ("API_KEY", "two words"),
        ("API_KEYS", "good,schlüssel"),
        ("DATABASE_URL", "mysql://host/db"),
        ("DATABASE_URL", "sqlite::memory:"),
        ("DATABASE_URL", "postgres://host"),
        ("ENFORCE_DB_SSL", "true"),
        ("BACKEND_AUTH_URL", "backend.example"),
        ("BACKEND_AUTH_URL", "https://user@backend.example/"),
        ("BACKEND_AUTH_URL", "https://backend.example/?x"),
        ("OBO_JWKS_URL", "https://issuer.example/keys"),
        ("OBO_AUDIENCE", "nexus"),
        ("OBO_ALGORITHMS", "HS256"),
        ("OBO_ALGORITHMS", "ES256,none"),
        ("OBO_ALGORITHMS", "ES512"),
        ("OBO_ALGORITHMS", ","),
    ] {
        let complaint = complaint(&[(name, value)]);
        assert!(
            complaint.starts_with(&format!("{name}: ")),
            "{name}={value}: {complaint}"
        );
    }
}

#[test]
fn no_complaint_quotes_a_secret() {
    for (name, value) in [
        ("ENCRYPTION_KEY", "s3cret"),
        ("API_KEY", "s3cret key"),
        ("DATABASE_URL", "postgres://user:s3cret@[bad/db"),
        ("DATABASE_URL", "s3cret"),
    ] {
        assert!(
            !format!("{:?}", settings(&[(name, value)])).contains("s3cret"),
            "{name}"
        );
        assert!(!complaint(&[(name, value)]).contains("s3cret"), "{name}");
    }
}

#[test]
fn help_shows_no_secret_of_the_environment() {
    let command = Settings::augment_args(Command::new("nexus"));
    let shown: Vec<_> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_env_values_set())
        .map(|argument| argument.get_id().as_str().to_owned())
        .collect();
    for secret in [
        "database_url",
        "encryption_key",
        "state_key",
        "audit_key",
        "api_key",
        "api_keys",
        "redis_url",
    ] {
        assert!(!shown.contains(&secret.to_owned()), "{secret}");
    }
    assert!(shown.contains(&"port".to_owned()));
}

#[test]
fn an_empty_value_counts_as_absent() {
    let config = config(&[("STATE_TTL", " "), ("API_KEY", ""), ("ENCRYPTION_KEY", "")]);
    assert_eq!(config.state_ttl, Duration::from_mins(15));
    assert!(config.keys.api_keys.is_empty() && config.keys.encryption_key.is_none());
}

#[test]
fn lengths_of_time_are_read_as_people_write_them() {
    for (written, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("1h 30m", 5400)] {
        let config = config(&[("STATE_TTL", written)]);
        assert_eq!(config.state_ttl, Duration::from_secs(seconds), "{written}");
    }
}

#[test]
fn keys_can_be_turned_off_on_loopback_only_unless_insecurity_is_allowed() {
    let off = ("REQUIRE_API_KEY", "false");
    let everywhere = ("BIND_ADDRESS", "0.0.0.0");
    assert!(!config(&[off]).require_api_key);
    assert!(complaint(&[off, everywhere]).starts_with("REQUIRE_API_KEY: "));
    let insecure = config(&[off, everywhere, ("ALLOW_INSECURE", "true")]);
    assert!(!insecure.require_api_key);
    assert!(
        insecure
            .notes
            .iter()
            .any(|note| note.starts_with("REQUIRE_API_KEY"))
    );
}

#[test]
fn an_address_others_can_reach_takes_loopback_liberties_away() {
    let config = config(&[("BIND_ADDRESS", "0.0.0.0")]);
    assert_eq!(config.upstreams, UpstreamRules::PublicOnly);
    assert!(config.return_urls.check("http://localhost:3000/").is_err());
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.starts_with("GATEWAY_REQUIRE_API_KEY"))
    );
}

#[test]
fn settings_of_the_former_services_are_accepted_and_noted() {
    let names = ["REDIS_URL", "BROKER_BASE_URL", "BROKER_API_KEY"];
    let notes = config(&names.map(|name| (name, "https://:s3cret@host")))
        .notes
        .join("\n");
    for name in names {
        assert!(notes.contains(name), "{name}");
    }
    assert!(!notes.contains("s3cret"));
}

#[test]
fn the_sqlite_path_is_what_follows_the_scheme() {
    for (url, expected) in [
        ("sqlite:nexus.db", "nexus.db"),
        ("sqlite://dir/nexus.db", "dir/nexus.db"),
        ("sqlite:///var/lib/nexus.db", "/var/lib/nexus.db"),
    ] {
        let DatabaseChoice::Sqlite { path } = config(&[("DATABASE_URL", url)]).database else {
            panic!("{url}")
        };
        assert_eq!(path, PathBuf::from(expected));
    }
}

const POSTGRES: (&str, &str) = ("DATABASE_URL", "postgres://u:p@host/db?sslmode=disable&a=b");

fn postgres_url(given: &[(&str, &str)]) -> String {
    match config(given).database {
        DatabaseChoice::Postgres { url } => url.expose().to_owned(),
        DatabaseChoice::Sqlite { path } => panic!("{}", path.display()),
    }
}

#[test]
fn the_tls_settings_become_parameters_of_the_url() {
    assert_eq!(postgres_url(&[POSTGRES]), POSTGRES.1);
    let verified = [
        POSTGRES,
        ("DB_SSLMODE", "verify-full"),
        ("DB_SSLROOTCERT", "/etc/ca.pem"),
    ];
    assert_eq!(
        postgres_url(&verified),
        "postgres://u:p@host/db?a=b&sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem"
    );
}

#[test]
fn enforced_tls_needs_a_mode_that_encrypts() {
    let enforced = ("ENFORCE_DB_SSL", "true");
    assert!(complaint(&[POSTGRES, enforced]).starts_with("ENFORCE_DB_SSL: "));
    assert!(
        complaint(&[POSTGRES, enforced, ("DB_SSLMODE", "prefer")]).starts_with("ENFORCE_DB_SSL: ")
    );
    assert!(complaint(&[POSTGRES, ("DB_SSLMODE", "maybe")]).starts_with("DB_SSLMODE: "));
    assert!(
        postgres_url(&[POSTGRES, enforced, ("DB_SSLMODE", "verify-full")]).contains("verify-full")
    );
}

#[test]
fn the_redirect_uri_follows_the_public_url() {
    let gateway: SocketAddr = "0.0.0.0:8090".parse().unwrap();
    assert_eq!(
        config(&[]).redirect_uri(gateway),
        "http://127.0.0.1:8090/auth/callback"
    );
    let set = config(&[("BASE_URL", "https://vault.example/nexus/")]);
    assert_eq!(
        set.redirect_uri(gateway),
        "https://vault.example/nexus/auth/callback"
    );
}

#[test]
fn a_flag_sets_its_setting_and_is_named_as_the_source() {
    let config = config(&[("STATE_TTL", "5m"), ("ENFORCE_RETURN_URL", "false")]);
    assert_eq!(row(&config, "STATE_TTL"), ("5m".to_owned(), Source::Flag));
    assert!(!config.return_urls.enforced());
    assert_eq!(
        row(&config, "REFRESH_SKEW"),
        ("1m".to_owned(), Source::Default)
    );
}

#[test]
fn a_switch_without_a_value_is_on() {
    let command =
        Settings::augment_args(Command::new("nexus")).subcommand(Command::new("check-config"));
    let matches = command.get_matches_from(["nexus", "--gateway-require-api-key", "check-config"]);
    let config = Settings::from_arg_matches(&matches)
        .unwrap()
        .validate()
        .unwrap();
    assert!(config.gateway_require_api_key);
    assert_eq!(matches.subcommand_name(), Some("check-config"));
}

#[test]
fn the_effective_configuration_masks_secrets() {
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let config = config(&[
        (
            "DATABASE_URL",
            "postgres://user:s3cret@host/db?password=s3cret",
        ),
        ("ENCRYPTION_KEY", key),
        ("API_KEYS", "s3cret,s3cret2"),
        ("REDIS_URL", "redis://:s3cret@host"),
    ]);
    let shown = format!("{:?}", config.effective());
    assert!(!shown.contains("s3cret") && !shown.contains(key), "{shown}");
    assert_eq!(row(&config, "ENCRYPTION_KEY").0, "********");
    assert_eq!(row(&config, "API_KEYS").0, "********,********");
    assert_eq!(
        row(&config, "DATABASE_URL").0,
        "postgres://user:********@host/db?password=********"
    );
    assert!(row(&config, "STATE_KEY").0.ends_with("state.key"));
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn every_setting_that_matters_is_shown_once() {
    let effective = config(&[]).effective();
    let mut names: Vec<_> = effective.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    let with_repeats = names.len();
    names.dedup();
    assert_eq!(names.len(), with_repeats);
    let folded_or_ignored = [
        "ALLOW_INSECURE",
        "AUDIT_KEY_FILE",
        "BROKER_API_KEY",
        "BROKER_BASE_URL",
        "DATABASE_URL_FILE",
        "DB_SSLMODE",
        "DB_SSLROOTCERT",
        "ENCRYPTION_KEY_FILE",
        "ENFORCE_DB_SSL",
        "REDIS_URL",
        "REQUIRE_ALLOWLIST",
        "STATE_KEY_FILE",
    ];
    for (_, name) in settings::NAMES {
        assert!(
            names.contains(name) != folded_or_ignored.contains(name),
            "{name}"
        );
    }
}

const ISSUER: (&str, &str) = ("OBO_ISSUER", "https://issuer.example/tenant");
const AUDIENCE: (&str, &str) = ("OBO_AUDIENCE", "nexus");

#[test]
fn an_issuer_of_users_tokens_needs_an_audience() {
    assert!(complaint(&[ISSUER]).starts_with("OBO_AUDIENCE: "));
    let issuer = config(&[ISSUER, AUDIENCE]).user_contexts.issuer;
    assert_eq!(
        issuer,
        Some(IssuerSettings {
            issuer: ISSUER.1.to_owned(),
            audience: "nexus".to_owned(),
            jwks_url: None
        })
    );
    for issuer in ["issuer.example", "https://issuer.example/#x"] {
        let complaint = complaint(&[("OBO_ISSUER", issuer), AUDIENCE]);
        assert!(complaint.starts_with("OBO_ISSUER: "), "{complaint}");
    }
    assert!(complaint(&[ISSUER, AUDIENCE, ("OBO_JWKS_URL", "keys")]).starts_with("OBO_JWKS_URL: "));
}

#[test]
fn who_vouches_for_users_is_shown() {
    let shown = |config: &Config| {
        let names = ["BACKEND_AUTH_URL", "OBO_ISSUER", "OBO_JWKS_URL"];
        let more = ["OBO_AUDIENCE", "OBO_ALGORITHMS"];
        names
            .iter()
            .chain(&more)
            .map(|name| row(config, name).0)
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&config(&[])), ["", "", "", "", "ES256,EdDSA,RS256"]);
    let given = config(&[ISSUER, AUDIENCE, ("OBO_ALGORITHMS", "PS256, EdDSA")]);
    assert_eq!(
        shown(&given),
        ["", ISSUER.1, "by discovery", "nexus", "EdDSA,PS256"]
    );
    let keys = ("OBO_JWKS_URL", "https://keys.example/jwks?x=1");
    let backend = ("BACKEND_AUTH_URL", "https://backend.example/api");
    assert_eq!(
        shown(&config(&[backend, ISSUER, AUDIENCE, keys])),
        [backend.1, ISSUER.1, keys.1, "nexus", "ES256,EdDSA,RS256"]
    );
}

#[test]
fn a_start_says_when_the_backend_goes_before_the_issuer_and_when_strangers_could_vouch() {
    let notes = |given: &[(&str, &str)]| config(given).notes;
    let backend = ("BACKEND_AUTH_URL", "https://backend.example");
    assert_eq!(notes(&[backend]), Vec::<String>::new());
    assert_eq!(notes(&[ISSUER, AUDIENCE]), Vec::<String>::new());
    assert!(notes(&[backend, ISSUER, AUDIENCE])[0].starts_with("OBO_ISSUER is not asked"));
    for local in [
        "http://127.0.0.1:9/x",
        "http://localhost:9",
        "http://[::1]:9",
    ] {
        assert_eq!(notes(&[("BACKEND_AUTH_URL", local)]), Vec::<String>::new());
    }
    let plain = [
        &[("BACKEND_AUTH_URL", "http://backend")][..],
        &[("OBO_ISSUER", "http://issuer"), AUDIENCE],
        &[ISSUER, AUDIENCE, ("OBO_JWKS_URL", "http://10.0.0.1/keys")],
    ];
    for given in plain {
        let setting = given[given.len() - 1]
            .0
            .replace("OBO_AUDIENCE", "OBO_ISSUER");
        assert!(
            notes(given)[0].starts_with(&format!("{setting} is http")),
            "{given:?}"
        );
    }
}

/// Every setting has its line in the documentation, and every line there is a setting.
#[test]
fn the_documentation_has_the_settings_that_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut documented: Vec<&str> = lines.filter_map(|line| line.split('`').next()).collect();
    let (_, ignored) = text.split_once("## Accepted and ignored").unwrap();
    let ignored = ignored.lines().find(|line| !line.is_empty()).unwrap();
    documented.extend(ignored.split('`').skip(1).step_by(2));
    documented.sort_unstable();
    let mut known: Vec<&str> = settings::NAMES.iter().map(|(_, name)| *name).collect();
    known.sort_unstable();
    assert_eq!(documented, known);
}
