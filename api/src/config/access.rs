//! From where, and how often, the surfaces may be called.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};

use http::HeaderValue;
use ipnet::IpNet;
use url::Url;

use super::RateLimits;
use super::error::ConfigError;
use super::parse::{given, number, switch};
use super::settings::Settings;
use crate::application::pending::PendingLimits;

/// Ranges in CIDR notation separated by commas; a lone address is a range of one.
pub(super) fn ranges(setting: &'static str, text: &str) -> Result<Vec<IpNet>, ConfigError> {
    let texts = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let range = |text: &str| {
        let range = text.parse();
        let range = range.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        range.map_err(|_| {
            let problem = format!("`{text}` is not a range like 10.0.0.0/8");
            ConfigError::new(setting, problem)
        })
    };
    texts.map(range).collect()
}

pub(super) fn allowed_cidrs(settings: &Settings) -> Result<Option<Vec<IpNet>>, ConfigError> {
    let setting = "ALLOWED_CIDRS";
    let allowed = given(settings.allowed_cidrs.as_ref());
    let allowed = allowed.map(|text| ranges(setting, text)).transpose()?;
    let needed = switch(
        "REQUIRE_ALLOWLIST",
        settings.require_allowlist.as_ref(),
        false,
    )?;
    if needed && allowed.as_ref().is_none_or(Vec::is_empty) {
        let problem = "is true, but ALLOWED_CIDRS names nobody";
        return Err(ConfigError::new("REQUIRE_ALLOWLIST", problem));
    }
    Ok(allowed)
}

pub(super) fn trusted_proxies(settings: &Settings) -> Result<Vec<IpNet>, ConfigError> {
    let text = given(settings.trusted_proxies.as_ref()).unwrap_or_default();
    ranges("TRUSTED_PROXIES", text)
}

pub(super) fn pending_limits(settings: &Settings) -> Result<PendingLimits, ConfigError> {
    let limit = |setting, value: &Option<String>, default| {
        let limit = number(setting, value.as_ref(), default, 0)?;
        Ok(NonZeroUsize::new(limit))
    };
    Ok(PendingLimits {
        per_source: limit(
            "MAX_PENDING_PER_SOURCE",
            &settings.max_pending_per_source,
            1_000,
        )?,
        without_key: limit(
            "MAX_PENDING_WITHOUT_KEY",
            &settings.max_pending_without_key,
            20_000,
        )?,
        per_workspace: limit(
            "MAX_PENDING_PER_WORKSPACE",
            &settings.max_pending_per_workspace,
            1_000,
        )?,
    })
}

pub(super) fn rate_limits(settings: &Settings) -> Result<RateLimits, ConfigError> {
    let limit = |setting, value: &Option<String>, default| {
        Ok(NonZeroU32::new(number(
            setting,
            value.as_ref(),
            default,
            1,
        )?))
    };
    let limits = RateLimits {
        request_connection: limit(
            "RATE_LIMIT_REQUEST_CONNECTION_RPM",
            &settings.rate_limit_request_connection_rpm,
            10,
        )?,
        callback: limit(
            "RATE_LIMIT_CALLBACK_RPM",
            &settings.rate_limit_callback_rpm,
            20,
        )?,
        token: limit("RATE_LIMIT_TOKEN_RPM", &settings.rate_limit_token_rpm, 60)?,
    };
    let enabled = switch(
        "RATE_LIMIT_ENABLED",
        settings.rate_limit_enabled.as_ref(),
        false,
    )?;
    Ok(if enabled {
        limits
    } else {
        RateLimits::default()
    })
}

/// Origins as browsers send them (RFC 6454): scheme, host and port.
pub(super) fn cors_allowed_origins(settings: &Settings) -> Result<Vec<HeaderValue>, ConfigError> {
    let text = given(settings.cors_allowed_origins.as_ref()).unwrap_or_default();
    let texts = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let origin = |text: &str| {
        let url = Url::parse(text).ok();
        let origin = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let origin = origin.map(|url| url.origin().ascii_serialization());
        let same = origin.filter(|origin| origin.eq_ignore_ascii_case(text.trim_end_matches('/')));
        let value = same.and_then(|origin| HeaderValue::try_from(origin).ok());
        value.ok_or_else(|| {
            let problem = format!("`{text}` is not an origin like https://app.example");
            ConfigError::new("CORS_ALLOWED_ORIGINS", problem)
        })
    };
    texts.map(origin).collect()
}
