//! The configuration as `nexus check-config` prints it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::upstreams::UpstreamRules;
use super::{Config, IssuerSettings, LogFormat, REDACTED, SubjectBinding, database};
use crate::application::token::ExpiresAs;
use crate::keys::{API_KEY_FILE, AUDIT_KEY_FILE, ENCRYPTION_KEY_FILE, KeyMaterial, STATE_KEY_FILE};

type Row = (&'static str, String);

/// Every setting that matters, with its effective value; secrets masked.
pub(super) fn rows(config: &Config) -> Vec<Row> {
    [
        storage(config),
        keys(config),
        access(config),
        listening(config),
        consent(config),
        limits(config),
        users(config),
    ]
    .concat()
}

fn storage(config: &Config) -> Vec<Row> {
    vec![
        ("DATABASE_URL", database::shown(&config.database)),
        ("DATA_DIR", config.data_dir.display().to_string()),
        ("SNAPSHOT_EVERY", config.snapshot_every.to_string()),
        ("QUEUE_CAPACITY", config.queue_capacity.to_string()),
    ]
}

fn keys(config: &Config) -> Vec<Row> {
    let given = &config.keys;
    vec![
        (
            "ENCRYPTION_KEY",
            key(config, given.encryption_key.as_ref(), ENCRYPTION_KEY_FILE),
        ),
        (
            "STATE_KEY",
            key(config, given.state_key.as_ref(), STATE_KEY_FILE),
        ),
        (
            "AUDIT_KEY",
            key(config, given.audit_key.as_ref(), AUDIT_KEY_FILE),
        ),
        ("API_KEY", api_keys(config, "API_KEY")),
        ("API_KEYS", api_keys(config, "API_KEYS")),
        ("API_KEY_FILE", files(config, "API_KEY_FILE")),
        ("API_KEYS_FILE", files(config, "API_KEYS_FILE")),
        (
            "API_KEY_RELOAD_INTERVAL",
            duration(config.api_key_reload_interval),
        ),
        ("GATEWAY_API_KEYS", masked(given.caller_keys.len())),
        ("REQUIRE_API_KEY", config.require_api_key.to_string()),
        (
            "GATEWAY_REQUIRE_API_KEY",
            config.gateway_require_api_key.to_string(),
        ),
        (
            "METRICS_REQUIRE_API_KEY",
            config.metrics_require_api_key.to_string(),
        ),
        (
            "RESOLVE_REQUIRE_API_KEY",
            config.resolve_require_api_key.to_string(),
        ),
    ]
}

fn access(config: &Config) -> Vec<Row> {
    let (limits, pending) = (&config.rate_limits, &config.pending_limits);
    let per_minute = |limit: Option<NonZeroU32>| {
        limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string())
    };
    let allowed = config.allowed_cidrs.as_deref();
    let origins = config.cors_allowed_origins.iter();
    let origins = origins.filter_map(|origin| origin.to_str().ok());
    vec![
        (
            "ALLOWED_CIDRS",
            allowed.map_or_else(|| "everybody".to_owned(), joined),
        ),
        ("TRUSTED_PROXIES", joined(&config.trusted_proxies)),
        (
            "CORS_ALLOWED_ORIGINS",
            origins.collect::<Vec<_>>().join(","),
        ),
        ("RATE_LIMIT_ENABLED", limits.token.is_some().to_string()),
        (
            "RATE_LIMIT_REQUEST_CONNECTION_RPM",
            per_minute(limits.request_connection),
        ),
        ("RATE_LIMIT_CALLBACK_RPM", per_minute(limits.callback)),
        ("RATE_LIMIT_TOKEN_RPM", per_minute(limits.token)),
        ("MAX_PENDING_PER_SOURCE", at_most(pending.per_source)),
        ("MAX_PENDING_WITHOUT_KEY", at_most(pending.without_key)),
        ("MAX_PENDING_PER_WORKSPACE", at_most(pending.per_workspace)),
    ]
}

fn at_most(limit: Option<NonZeroUsize>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string())
}

fn joined(ranges: &[IpNet]) -> String {
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    ranges.join(",")
}

fn listening(config: &Config) -> Vec<Row> {
    let base_url = config.base_url.as_ref();
    vec![
        ("BIND_ADDRESS", config.bind_address.to_string()),
        ("PORT", config.gateway_port.to_string()),
        ("BROKER_PORT", config.broker_port.to_string()),
        (
            "BASE_URL",
            base_url.map_or_else(|| "the Gateway's own".to_owned(), ToString::to_string),
        ),
        ("REDIRECT_PATH", config.redirect_path.clone()),
        ("LOG_FORMAT", log_format(config.log_format).to_owned()),
    ]
}

fn consent(config: &Config) -> Vec<Row> {
    let default_url = config.default_return_url.as_ref();
    vec![
        ("ALLOWED_RETURN_DOMAINS", config.return_urls.domains()),
        (
            "ENFORCE_RETURN_URL",
            config.return_urls.enforced().to_string(),
        ),
        (
            "DEFAULT_RETURN_URL",
            default_url.map(ToString::to_string).unwrap_or_default(),
        ),
        ("ALLOW_PRIVATE_UPSTREAMS", upstreams(&config.upstreams)),
    ]
}

fn limits(config: &Config) -> Vec<Row> {
    vec![
        ("STATE_TTL", duration(config.state_ttl)),
        ("REFRESH_SKEW", duration(config.refresh_skew)),
        ("UPSTREAM_TIMEOUT", duration(config.upstream_timeout)),
        (
            "SESSION_AUDIENCE",
            config
                .session_audience
                .clone()
                .unwrap_or_else(|| "as BASE_URL".to_owned()),
        ),
        ("SESSION_MAX_TTL", duration(config.session_max_ttl)),
        (
            "HEALTH_CHECK_INTERVAL",
            duration(config.health_check_interval),
        ),
        (
            "SUBJECT_BINDING",
            subject_binding(config.subject_binding).to_owned(),
        ),
        (
            "TOKEN_EXPIRES_AT",
            expires_as(config.token_expires_at).to_owned(),
        ),
    ]
}

fn users(config: &Config) -> Vec<Row> {
    let contexts = &config.user_contexts;
    let issuer = contexts.issuer.as_ref();
    let url = |url: Option<&Url>| url.map(ToString::to_string).unwrap_or_default();
    let keys = match issuer {
        Some(IssuerSettings { jwks_url: None, .. }) => "by discovery".to_owned(),
        issuer => url(issuer.and_then(|issuer| issuer.jwks_url.as_ref())),
    };
    let text = |text: fn(&IssuerSettings) -> &String| issuer.map(text).cloned().unwrap_or_default();
    vec![
        ("BACKEND_AUTH_URL", url(contexts.backend.as_ref())),
        ("OBO_ISSUER", text(|issuer| &issuer.issuer)),
        ("OBO_JWKS_URL", keys),
        ("OBO_AUDIENCE", text(|issuer| &issuer.audience)),
        ("OBO_ALGORITHMS", contexts.algorithm_names()),
    ]
}

fn key(config: &Config, given: Option<&KeyMaterial>, file: &str) -> String {
    match given {
        Some(_) => REDACTED.to_owned(),
        None => format!("in {}", config.data_dir.join(file).display()),
    }
}

fn api_keys(config: &Config, setting: &str) -> String {
    let given = &config.keys;
    if setting == "API_KEY" && given.api_keys.is_empty() && given.api_key_files.is_empty() {
        return format!("in {}", config.data_dir.join(API_KEY_FILE).display());
    }
    let keys = given.api_keys.iter().filter(|key| key.setting == setting);
    masked(keys.count())
}

/// So many secrets.
fn masked(count: usize) -> String {
    vec![REDACTED; count].join(",")
}

fn files(config: &Config, setting: &str) -> String {
    let files = config
        .keys
        .api_key_files
        .iter()
        .filter(|(name, _)| *name == setting);
    files
        .map(|(_, path)| path.display().to_string())
        .collect::<Vec<_>>()
        .join(",")
}

fn upstreams(rules: &UpstreamRules) -> String {
    match rules {
        UpstreamRules::PublicOnly => "false".to_owned(),
        UpstreamRules::Loopback => "127.0.0.0/8,::1".to_owned(),
        UpstreamRules::Ranges(ranges) => joined(ranges),
        UpstreamRules::Anywhere => "true".to_owned(),
    }
}

fn subject_binding(binding: SubjectBinding) -> &'static str {
    match binding {
        SubjectBinding::Off => "off",
        SubjectBinding::Optional => "optional",
        SubjectBinding::Required => "required",
    }
}

fn expires_as(format: ExpiresAs) -> &'static str {
    match format {
        ExpiresAs::Epoch => "epoch",
        ExpiresAs::Rfc3339 => "rfc3339",
    }
}

fn log_format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
