//! Readers of single values. Each names its setting when it refuses.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::error::ConfigError;

/// The value, unless it is absent or blank.
pub(super) fn given(value: Option<&String>) -> Option<&str> {
    value
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

pub(super) fn switch(
    setting: &'static str,
    value: Option<&String>,
    default: bool,
) -> Result<bool, ConfigError> {
    let Some(text) = given(value) else {
        return Ok(default);
    };
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(ConfigError::new(
            setting,
            format!("`{text}` is neither true nor false"),
        )),
    }
}

/// A length of time like `90s`, `15m` or `1h 30m`; a bare number counts seconds.
pub(super) fn duration(
    setting: &'static str,
    value: Option<&String>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(text) = given(value) else {
        return Ok(default);
    };
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| {
        ConfigError::new(
            setting,
            format!("`{text}` is not a length of time such as 90s or 15m"),
        )
    })
}

/// A length of time that is more than nothing.
pub(super) fn positive_duration(
    setting: &'static str,
    value: Option<&String>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let duration = duration(setting, value, default)?;
    if duration.is_zero() {
        return Err(ConfigError::new(setting, "must be more than nothing"));
    }
    Ok(duration)
}

/// A number of at least `least`.
pub(super) fn number<T>(
    setting: &'static str,
    value: Option<&String>,
    default: T,
    least: T,
) -> Result<T, ConfigError>
where
    T: FromStr + Copy + PartialOrd + Display,
{
    let Some(text) = given(value) else {
        return Ok(default);
    };
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(ConfigError::new(
            setting,
            format!("`{text}` is not a number of at least {least} that fits"),
        )),
    }
}

/// An absolute http or https URL without user name and password.
pub(super) fn http_url(setting: &'static str, text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text)
        .map_err(|error| ConfigError::new(setting, format!("is not an absolute URL ({error})")))?;
    let plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(ConfigError::new(
            setting,
            "must be an http or https URL without user name and password",
        ));
    }
    Ok(url)
}
