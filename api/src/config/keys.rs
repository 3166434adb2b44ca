//! Keys that were given as settings.

use std::path::PathBuf;

use nexus_domain::secret::Secret;

use super::error::ConfigError;
use super::parse::given;
use super::settings::Settings;
use crate::keys::{KeyMaterial, decode_key};

/// An admin key and the setting it came from.
#[derive(Debug, Clone)]
pub struct GivenApiKey {
    /// The setting's name.
    pub setting: &'static str,
    /// The key as callers send it.
    pub key: Secret,
}

/// Keys that were given as settings; what is absent is made on first start.
#[derive(Debug, Clone, Default)]
pub struct KeySettings {
    /// `ENCRYPTION_KEY`.
    pub encryption_key: Option<KeyMaterial>,
    /// `STATE_KEY`.
    pub state_key: Option<KeyMaterial>,
    /// `AUDIT_KEY`.
    pub audit_key: Option<KeyMaterial>,
    /// Keys of `API_KEY` and `API_KEYS`.
    pub api_keys: Vec<GivenApiKey>,
    /// Keys of `GATEWAY_API_KEYS`.
    pub caller_keys: Vec<Secret>,
    /// Files of `API_KEY_FILE` and `API_KEYS_FILE`, read when the server starts, with the setting that named each.
    pub api_key_files: Vec<(&'static str, PathBuf)>,
}

pub(super) fn given_keys(settings: &Settings) -> Result<KeySettings, ConfigError> {
    Ok(KeySettings {
        encryption_key: key("ENCRYPTION_KEY", settings.encryption_key.as_ref())?,
        state_key: key("STATE_KEY", settings.state_key.as_ref())?,
        audit_key: key("AUDIT_KEY", settings.audit_key.as_ref())?,
        api_keys: api_keys(settings)?,
        caller_keys: caller_keys(settings)?,
        api_key_files: api_key_files(settings),
    })
}

fn key(setting: &'static str, value: Option<&Secret>) -> Result<Option<KeyMaterial>, ConfigError> {
    let Some(text) = value
        .map(|secret| secret.expose().trim())
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    let key =
        decode_key(text).ok_or_else(|| ConfigError::new(setting, "is not 32 bytes in base64"))?;
    Ok(Some(key))
}

fn api_keys(settings: &Settings) -> Result<Vec<GivenApiKey>, ConfigError> {
    let one = settings
        .api_key
        .iter()
        .map(|secret| ("API_KEY", secret.expose()));
    let many = separated(settings.api_keys.as_ref());
    one.chain(many.map(|text| ("API_KEYS", text)))
        .map(|(setting, text)| (setting, text.trim()))
        .filter(|(_, text)| !text.is_empty())
        .map(|(setting, text)| api_key(setting, text))
        .collect()
}

fn caller_keys(settings: &Settings) -> Result<Vec<Secret>, ConfigError> {
    separated(settings.gateway_api_keys.as_ref())
        .map(|text| Ok(api_key("GATEWAY_API_KEYS", text)?.key))
        .collect()
}

/// The texts between commas.
fn separated(keys: Option<&Secret>) -> impl Iterator<Item = &str> {
    let texts = keys
        .into_iter()
        .flat_map(|secret| secret.expose().split(','));
    texts.map(str::trim).filter(|text| !text.is_empty())
}

/// A key travels in a header, so it is made of visible ASCII.
fn api_key(setting: &'static str, text: &str) -> Result<GivenApiKey, ConfigError> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::new(
            setting,
            "a key holds visible ASCII characters only",
        ));
    }
    Ok(GivenApiKey {
        setting,
        key: Secret::new(text.to_owned()),
    })
}

fn api_key_files(settings: &Settings) -> Vec<(&'static str, PathBuf)> {
    let one =
        given(settings.api_key_file.as_ref()).map(|path| ("API_KEY_FILE", PathBuf::from(path)));
    let many = given(settings.api_keys_file.as_ref())
        .unwrap_or_default()
        .split(',');
    let many = many.map(str::trim).filter(|path| !path.is_empty());
    one.into_iter()
        .chain(many.map(|path| ("API_KEYS_FILE", PathBuf::from(path))))
        .collect()
}
