//! The settings as they are given: flags and environment variables, not yet judged.

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{ArgMatches, Args};
use nexus_domain::secret::Secret;

use super::source::Sources;

/// Declares every setting once: its field, its environment variable (the flag is the same in kebab case) and its help.
macro_rules! settings {
    (
        plain { $($(#[doc = $doc:literal])* $field:ident $name:literal,)* }
        switches { $($(#[doc = $switch_doc:literal])* $switch:ident $switch_name:literal,)* }
        secrets { $($(#[doc = $secret_doc:literal])* $secret:ident $secret_name:literal,)* }
    ) => {
        /// The server's settings, each a flag and an environment variable of the same name.
        ///
        /// Values are kept as given; [`Settings::validate`](Settings::validate) judges them, so that every complaint
        /// names its setting. An empty value counts as absent.
        #[derive(Debug, Clone, Default, Args)]
        pub struct Settings {
            $($(#[doc = $doc])* #[arg(long, env = $name, global = true, help_heading = "Settings")] pub $field: Option<String>,)*
            $($(#[doc = $switch_doc])* #[arg(
                long, env = $switch_name, global = true, help_heading = "Settings", value_name = "BOOL",
                num_args = 0..=1, require_equals = true, default_missing_value = "true",
            )] pub $switch: Option<String>,)*
            $($(#[doc = $secret_doc])* #[arg(
                long, env = $secret_name, global = true, help_heading = "Settings", hide_env_values = true,
                value_parser = secret_parser(),
            )] pub $secret: Option<Secret>,)*
            #[arg(skip)]
            pub(crate) sources: Sources,
        }

        /// Each setting's argument id and environment variable.
        pub(super) const NAMES: &[(&str, &str)] = &[
            $((stringify!($field), $name),)*
            $((stringify!($switch), $switch_name),)*
            $((stringify!($secret), $secret_name),)*
        ];
    };
}

settings! {
    plain {
        /// Directory of the SQLite database and of the keys made on first start [default: ./nexus-data]
        data_dir "DATA_DIR",
        /// File that holds `DATABASE_URL`
        database_url_file "DATABASE_URL_FILE",
        /// File that holds `ENCRYPTION_KEY`
        encryption_key_file "ENCRYPTION_KEY_FILE",
        /// File that holds `STATE_KEY`
        state_key_file "STATE_KEY_FILE",
        /// File that holds `AUDIT_KEY`
        audit_key_file "AUDIT_KEY_FILE",
        /// File of admin keys, one a line
        api_key_file "API_KEY_FILE",
        /// Files of admin keys, separated by commas; their keys by commas or lines
        api_keys_file "API_KEYS_FILE",
        /// How often the files of admin keys are read again [default: 30s]
        api_key_reload_interval "API_KEY_RELOAD_INTERVAL",
        /// Public URL of the browser doors [default: the Gateway's own]
        base_url "BASE_URL",
        /// Path of the OAuth callback [default: /auth/callback]
        redirect_path "REDIRECT_PATH",
        /// Hosts that return URLs may name, themselves and what is below them, separated by commas
        allowed_return_domains "ALLOWED_RETURN_DOMAINS",
        /// Return URL of requests that name none
        default_return_url "DEFAULT_RETURN_URL",
        /// Ranges, or `true`, that provider URLs may point into although private
        /// [default: loopback while bound to loopback]
        allow_private_upstreams "ALLOW_PRIVATE_UPSTREAMS",
        /// Ranges that may call everything but the doors for people's browsers, separated by commas [default: everybody]
        allowed_cidrs "ALLOWED_CIDRS",
        /// Ranges of proxies whose `X-Forwarded-For` is believed, separated by commas
        trusted_proxies "TRUSTED_PROXIES",
        /// Origins of web pages that may call the Gateway, separated by commas
        cors_allowed_origins "CORS_ALLOWED_ORIGINS",
        /// How often a client may request connections, a minute [default: 10]
        rate_limit_request_connection_rpm "RATE_LIMIT_REQUEST_CONNECTION_RPM",
        /// How often a client may come to the callback, a minute [default: 20]
        rate_limit_callback_rpm "RATE_LIMIT_CALLBACK_RPM",
        /// How often a client may read and refresh credentials, a minute [default: 60]
        rate_limit_token_rpm "RATE_LIMIT_TOKEN_RPM",
        /// How many consents asked for without a key from one address may be pending; 0 is no limit [default: 1000]
        max_pending_per_source "MAX_PENDING_PER_SOURCE",
        /// How many asked for without a key may be pending in all; 0 is no limit [default: 20000]
        max_pending_without_key "MAX_PENDING_WITHOUT_KEY",
        /// How many asked for with a key for one workspace may be pending; 0 is no limit [default: 1000]
        max_pending_per_workspace "MAX_PENDING_PER_WORKSPACE",
        /// Backend that verifies the tokens of users that agents act for
        backend_auth_url "BACKEND_AUTH_URL",
        /// Issuer of the tokens of users that agents act for, when there is no such backend
        obo_issuer "OBO_ISSUER",
        /// Where that issuer's keys are [default: where its discovery document says]
        obo_jwks_url "OBO_JWKS_URL",
        /// Audience that those tokens must be for; needed with `OBO_ISSUER`
        obo_audience "OBO_AUDIENCE",
        /// What those tokens may be signed with, separated by commas [default: ES256,EdDSA,RS256]
        obo_algorithms "OBO_ALGORITHMS",
        /// How long a consent may take [default: 15m]
        state_ttl "STATE_TTL",
        /// How long before its expiry a credential is refreshed [default: 60s]
        refresh_skew "REFRESH_SKEW",
        /// How long a call to a provider, a backend or an issuer may take in all [default: 10s]
        upstream_timeout "UPSTREAM_TIMEOUT",
        /// How often each provider is checked; 0 for never [default: 5m]
        health_check_interval "HEALTH_CHECK_INTERVAL",
        /// For whom session tokens are [default: the public URL, as their issuer]
        session_audience "SESSION_AUDIENCE",
        /// How long a session token lives at most, from 60s to 24h [default: 1h]
        session_max_ttl "SESSION_MAX_TTL",
        /// Port of the Gateway; 0 takes a free one [default: 8090]
        port "PORT",
        /// Port of the Broker; 0 takes a free one [default: 8080]
        broker_port "BROKER_PORT",
        /// Address that both surfaces listen on [default: 127.0.0.1]
        bind_address "BIND_ADDRESS",
        /// TLS towards PostgreSQL: disable, prefer, require, verify-ca or verify-full
        db_sslmode "DB_SSLMODE",
        /// File of the certificates that PostgreSQL's must lead to
        db_sslrootcert "DB_SSLROOTCERT",
        /// Whether callers say for whom they call, in `X-Nexus-Subject`: `off`, `optional` or `required`
        /// [default: optional]
        subject_binding "SUBJECT_BINDING",
        /// How a token's `expires_at` is written: `epoch` (seconds) or `rfc3339` [default: epoch]
        token_expires_at "TOKEN_EXPIRES_AT",
        /// How many events of one stream between two snapshots [default: 100]
        snapshot_every "SNAPSHOT_EVERY",
        /// How many appends may wait before callers are told to come back [default: 4096]
        queue_capacity "QUEUE_CAPACITY",
        /// `text` or `json` [default: text]
        log_format "LOG_FORMAT",
        /// Accepted and ignored
        broker_base_url "BROKER_BASE_URL",
    }
    switches {
        /// Whether the hosts of return URLs are checked [default: true]
        enforce_return_url "ENFORCE_RETURN_URL",
        /// Whether doors that need a key ask for it; off for development only [default: true]
        require_api_key "REQUIRE_API_KEY",
        /// Whether the Gateway's open doors ask for a key, too [default: false]
        gateway_require_api_key "GATEWAY_REQUIRE_API_KEY",
        /// Whether `/v1/resolve` asks for a key: a workspace's id can be guessed [default: true]
        resolve_require_api_key "RESOLVE_REQUIRE_API_KEY",
        /// Whether the Broker's `/metrics` asks for a key [default: false]
        metrics_require_api_key "METRICS_REQUIRE_API_KEY",
        /// Permits `REQUIRE_API_KEY=false` on an address that others can reach [default: false]
        allow_insecure "ALLOW_INSECURE",
        /// Refuses to start unless `ALLOWED_CIDRS` names somebody [default: false]
        require_allowlist "REQUIRE_ALLOWLIST",
        /// Whether the rate limits hold [default: false]
        rate_limit_enabled "RATE_LIMIT_ENABLED",
        /// Refuses to start when the connection to PostgreSQL is not encrypted [default: false]
        enforce_db_ssl "ENFORCE_DB_SSL",
    }
    secrets {
        /// `sqlite://PATH` or `postgres://…` [default: SQLite in the data directory]
        database_url "DATABASE_URL",
        /// Key-encryption key, 32 bytes in base64 [default: made on first start]
        encryption_key "ENCRYPTION_KEY",
        /// Key of the OAuth states, 32 bytes in base64 [default: made on first start]
        state_key "STATE_KEY",
        /// Ed25519 seed of the signed checkpoints, 32 bytes in base64 [default: made on first start]
        audit_key "AUDIT_KEY",
        /// One admin key
        api_key "API_KEY",
        /// Admin keys, separated by commas [default: one made on first start]
        api_keys "API_KEYS",
        /// Keys of agents and applications, separated by commas: they open the Gateway's connection doors and read providers
        gateway_api_keys "GATEWAY_API_KEYS",
        /// Accepted and ignored
        redis_url "REDIS_URL",
        /// Accepted and ignored
        broker_api_key "BROKER_API_KEY",
    }
}

impl Settings {
    /// Remembers where each value came from, for `nexus check-config`. `matches` are those the settings were parsed from.
    #[must_use]
    pub fn with_sources(mut self, matches: &ArgMatches) -> Settings {
        self.sources = Sources::of(matches, NAMES);
        self
    }
}

fn secret_parser() -> impl TypedValueParser<Value = Secret> {
    StringValueParser::new().map(Secret::new)
}
