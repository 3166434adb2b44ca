//! The settings' judgement.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::error::ConfigError;
use super::parse::{duration, given, http_url, number, positive_duration, switch};
use super::settings::Settings;
use super::upstreams::UpstreamRules;
use super::{Config, LogFormat, SubjectBinding, access, database, keys, user_context};
use crate::application::token::ExpiresAs;
use crate::return_url::ReturnUrlPolicy;

impl Settings {
    /// The configuration these settings make, or the first setting that cannot be used. Reads and writes no file.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let data_dir = PathBuf::from(given(self.data_dir.as_ref()).unwrap_or("./nexus-data"));
        let bind_address = bind_address(&self)?;
        let loopback = bind_address.is_loopback();
        let return_urls = return_urls(&self, loopback)?;
        Ok(Config {
            database: database::choose(&self, &data_dir)?,
            keys: keys::given_keys(&self)?,
            gateway_port: number("PORT", self.port.as_ref(), 8090, 0)?,
            broker_port: broker_port(&self)?,
            base_url: base_url(&self)?,
            redirect_path: redirect_path(&self)?,
            default_return_url: default_return_url(&self, &return_urls)?,
            return_urls,
            require_api_key: require_api_key(&self, loopback)?,
            gateway_require_api_key: gateway_require_api_key(&self)?,
            resolve_require_api_key: resolve_require_api_key(&self)?,
            api_key_reload_interval: positive_duration(
                "API_KEY_RELOAD_INTERVAL",
                self.api_key_reload_interval.as_ref(),
                Duration::from_secs(30),
            )?,
            subject_binding: subject_binding(&self)?,
            metrics_require_api_key: switch(
                "METRICS_REQUIRE_API_KEY",
                self.metrics_require_api_key.as_ref(),
                false,
            )?,
            token_expires_at: token_expires_at(&self)?,
            allowed_cidrs: access::allowed_cidrs(&self)?,
            trusted_proxies: access::trusted_proxies(&self)?,
            rate_limits: access::rate_limits(&self)?,
            pending_limits: access::pending_limits(&self)?,
            cors_allowed_origins: access::cors_allowed_origins(&self)?,
            upstreams: UpstreamRules::parse(
                given(self.allow_private_upstreams.as_ref()),
                loopback,
            )?,
            user_contexts: user_context::user_contexts(&self)?,
            state_ttl: positive_duration(
                "STATE_TTL",
                self.state_ttl.as_ref(),
                Duration::from_mins(15),
            )?,
            refresh_skew: duration(
                "REFRESH_SKEW",
                self.refresh_skew.as_ref(),
                Duration::from_mins(1),
            )?,
            session_audience: session_audience(&self)?,
            session_max_ttl: session_max_ttl(&self)?,
            upstream_timeout: upstream_timeout(&self)?,
            health_check_interval: duration(
                "HEALTH_CHECK_INTERVAL",
                self.health_check_interval.as_ref(),
                Duration::from_mins(5),
            )?,
            snapshot_every: number("SNAPSHOT_EVERY", self.snapshot_every.as_ref(), 100, 1)?,
            queue_capacity: number("QUEUE_CAPACITY", self.queue_capacity.as_ref(), 4096, 1)?,
            log_format: log_format(&self)?,
            notes: notes(&self, loopback)?,
            bind_address,
            data_dir,
            sources: self.sources,
        })
    }
}

fn bind_address(settings: &Settings) -> Result<IpAddr, ConfigError> {
    let Some(text) = given(settings.bind_address.as_ref()) else {
        return Ok(Ipv4Addr::LOCALHOST.into());
    };
    text.parse()
        .map_err(|_| ConfigError::new("BIND_ADDRESS", format!("`{text}` is not an IP address")))
}

fn broker_port(settings: &Settings) -> Result<u16, ConfigError> {
    let broker = number("BROKER_PORT", settings.broker_port.as_ref(), 8080, 0)?;
    if broker != 0 && broker == number("PORT", settings.port.as_ref(), 8090, 0)? {
        return Err(ConfigError::new(
            "BROKER_PORT",
            format!("{broker} is the Gateway's port already"),
        ));
    }
    Ok(broker)
}

fn base_url(settings: &Settings) -> Result<Option<Url>, ConfigError> {
    let Some(text) = given(settings.base_url.as_ref()) else {
        return Ok(None);
    };
    let url = http_url("BASE_URL", text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ConfigError::new(
            "BASE_URL",
            "must have neither query nor fragment",
        ));
    }
    Ok(Some(url))
}

/// The path becomes a route, so it holds no characters that mean something to a router or a URL.
fn redirect_path(settings: &Settings) -> Result<String, ConfigError> {
    let path = given(settings.redirect_path.as_ref()).unwrap_or("/auth/callback");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let rooted = path.len() > 1 && path.starts_with('/') && !path.contains("//");
    if !rooted || !path.bytes().all(plain) || Path::new(path).components().count() < 2 {
        let problem = format!("`{path}` is not a path such as /auth/callback");
        return Err(ConfigError::new("REDIRECT_PATH", problem));
    }
    let below = |door: &str| path.strip_prefix(door).map(|rest| rest.split('/').next());
    if let Some(door) = DOORS.into_iter().find(|door| below(door) == Some(Some(""))) {
        let problem = format!("`{path}` is at or below {door}, where other doors are");
        return Err(ConfigError::new("REDIRECT_PATH", problem));
    }
    Ok(path.to_owned())
}

/// Where the surfaces have doors of their own.
const DOORS: [&str; 13] = [
    "/.well-known",
    "/admin",
    "/audit",
    "/auth/capture-credential",
    "/auth/capture-schema",
    "/auth/consent-spec",
    "/connections",
    "/docs",
    "/health",
    "/livez",
    "/metrics",
    "/providers",
    "/v1",
];

fn return_urls(settings: &Settings, loopback: bool) -> Result<ReturnUrlPolicy, ConfigError> {
    let domains = given(settings.allowed_return_domains.as_ref()).unwrap_or_default();
    let enforce = switch(
        "ENFORCE_RETURN_URL",
        settings.enforce_return_url.as_ref(),
        true,
    )?;
    ReturnUrlPolicy::parse(domains, enforce, loopback)
        .map_err(|error| ConfigError::new("ALLOWED_RETURN_DOMAINS", error.to_string()))
}

/// Checked by the rule that other return URLs are checked by.
fn default_return_url(
    settings: &Settings,
    policy: &ReturnUrlPolicy,
) -> Result<Option<Url>, ConfigError> {
    let Some(text) = given(settings.default_return_url.as_ref()) else {
        return Ok(None);
    };
    let url = policy
        .check(text)
        .map_err(|error| ConfigError::new("DEFAULT_RETURN_URL", error.to_string()))?;
    Ok(Some(url))
}

fn require_api_key(settings: &Settings, loopback: bool) -> Result<bool, ConfigError> {
    let required = switch("REQUIRE_API_KEY", settings.require_api_key.as_ref(), true)?;
    let insecure = switch("ALLOW_INSECURE", settings.allow_insecure.as_ref(), false)?;
    if !required && !loopback && !insecure {
        let problem = "false would open every door to the network; bind to a loopback address, \
                       or say ALLOW_INSECURE=true";
        return Err(ConfigError::new("REQUIRE_API_KEY", problem));
    }
    Ok(required)
}

fn gateway_require_api_key(settings: &Settings) -> Result<bool, ConfigError> {
    switch(
        "GATEWAY_REQUIRE_API_KEY",
        settings.gateway_require_api_key.as_ref(),
        false,
    )
}

fn resolve_require_api_key(settings: &Settings) -> Result<bool, ConfigError> {
    switch(
        "RESOLVE_REQUIRE_API_KEY",
        settings.resolve_require_api_key.as_ref(),
        true,
    )
}

fn subject_binding(settings: &Settings) -> Result<SubjectBinding, ConfigError> {
    match given(settings.subject_binding.as_ref()) {
        None | Some("optional") => Ok(SubjectBinding::Optional),
        Some("off") => Ok(SubjectBinding::Off),
        Some("required") => Ok(SubjectBinding::Required),
        Some(other) => Err(ConfigError::new(
            "SUBJECT_BINDING",
            format!("`{other}` is none of off, optional and required"),
        )),
    }
}

fn token_expires_at(settings: &Settings) -> Result<ExpiresAs, ConfigError> {
    match given(settings.token_expires_at.as_ref()) {
        None | Some("epoch") => Ok(ExpiresAs::Epoch),
        Some("rfc3339") => Ok(ExpiresAs::Rfc3339),
        Some(other) => Err(ConfigError::new(
            "TOKEN_EXPIRES_AT",
            format!("`{other}` is neither epoch nor rfc3339"),
        )),
    }
}

/// A `StringOrURI` (RFC 7519 §2): what has a colon is a URI.
fn session_audience(settings: &Settings) -> Result<Option<String>, ConfigError> {
    let Some(text) = given(settings.session_audience.as_ref()) else {
        return Ok(None);
    };
    if text.chars().any(char::is_control) || (text.contains(':') && Url::parse(text).is_err()) {
        let problem = format!("`{}` is neither a URI nor a name", text.escape_debug());
        return Err(ConfigError::new("SESSION_AUDIENCE", problem));
    }
    Ok(Some(text.to_owned()))
}

fn session_max_ttl(settings: &Settings) -> Result<Duration, ConfigError> {
    let (setting, hour) = ("SESSION_MAX_TTL", Duration::from_hours(1));
    let ttl = duration(setting, settings.session_max_ttl.as_ref(), hour)?;
    if ttl < Duration::from_mins(1) || ttl > Duration::from_hours(24) {
        return Err(ConfigError::new(setting, "must be from 60s to 24h"));
    }
    Ok(ttl)
}

fn upstream_timeout(settings: &Settings) -> Result<Duration, ConfigError> {
    positive_duration(
        "UPSTREAM_TIMEOUT",
        settings.upstream_timeout.as_ref(),
        Duration::from_secs(10),
    )
}

fn log_format(settings: &Settings) -> Result<LogFormat, ConfigError> {
    match given(settings.log_format.as_ref()) {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => Err(ConfigError::new(
            "LOG_FORMAT",
            format!("`{other}` is neither text nor json"),
        )),
    }
}

fn notes(settings: &Settings, loopback: bool) -> Result<Vec<String>, ConfigError> {
    let ignored = [
        ("REDIS_URL", settings.redis_url.is_some()),
        (
            "BROKER_BASE_URL",
            given(settings.broker_base_url.as_ref()).is_some(),
        ),
        ("BROKER_API_KEY", settings.broker_api_key.is_some()),
    ];
    let ignored = ignored.into_iter().filter(|(_, is_given)| *is_given);
    let mut notes: Vec<String> = ignored
        .map(|(name, _)| format!("{name} is ignored: one binary needs it no more"))
        .collect();
    if !loopback && !gateway_require_api_key(settings)? {
        notes.push(
            "GATEWAY_REQUIRE_API_KEY is false on an address that others can reach: strangers can request connections"
                .to_owned(),
        );
    }
    if !loopback && !resolve_require_api_key(settings)? {
        notes.push(
            "RESOLVE_REQUIRE_API_KEY is false on an address that others can reach: whoever guesses a workspace's id gets its credentials"
                .to_owned(),
        );
    }
    if !require_api_key(settings, loopback)? {
        notes.push("REQUIRE_API_KEY is false: every door is open".to_owned());
    }
    notes.extend(user_context::notes(settings)?);
    Ok(notes)
}
