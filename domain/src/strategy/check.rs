//! Whether a profile's strategy can be followed.

use std::borrow::Cow;

use serde_json::Value;

use super::scheme::kind_of;
use super::{InvalidSetting, Scheme, Strategy, placeholders, settings_of, strategy_of};
use crate::provider::{InvalidProfile, ProviderProfile};

/// Whether a profile's strategy makes sense. One of the provider's own always does.
pub(crate) fn check(profile: &ProviderProfile) -> Result<(), InvalidProfile> {
    let strategy = strategy_of(profile);
    let place = |broken: InvalidSetting| InvalidProfile {
        field: field_of(profile, broken.setting),
        message: Cow::Borrowed(broken.message),
    };
    check_types(profile, &strategy).map_err(place)?;
    let scheme = Scheme::of(&strategy).map_err(place)?;
    if scheme == Some(Scheme::Path)
        && placeholders(profile).is_empty()
        && !fills_agents_urls(profile)
    {
        return Err(InvalidProfile {
            field: Cow::Borrowed("api_base_url"),
            message: Cow::Borrowed(
                "must have a `{field}` for `path`, unless `user_info_endpoint` has one or there is but a `credential_schema`",
            ),
        });
    }
    Ok(())
}

/// Whether the places for the credential are in URLs that agents have: its fields are known, and nothing is to be asked with it here.
fn fills_agents_urls(profile: &ProviderProfile) -> bool {
    let schema = profile.params.get("credential_schema");
    schema.is_some_and(Value::is_object) && profile.user_info_url().is_none()
}

/// Whether the settings that mean something are texts.
fn check_types(profile: &ProviderProfile, strategy: &Strategy) -> Result<(), InvalidSetting> {
    let own = profile.params.get("auth_strategy");
    let given = match own.and_then(|own| own.get("config")) {
        Some(config) => config.as_object(),
        None if own.is_some_and(|own| !own.is_null()) => None,
        None => Some(&profile.params),
    };
    let settings = kind_of(strategy).map_or(&[][..], settings_of);
    let is_text =
        |value: Option<&Value>| matches!(value, None | Some(Value::Null | Value::String(_)));
    for (setting, _) in settings {
        if !is_text(given.and_then(|given| given.get(*setting))) {
            return Err(InvalidSetting {
                setting,
                message: "must be a text",
            });
        }
    }
    Ok(())
}

/// Where a setting was given.
fn field_of(profile: &ProviderProfile, setting: &str) -> Cow<'static, str> {
    let given = |name| {
        let value = profile.params.get(name);
        value.is_some_and(|value| !value.is_null() && value != "")
    };
    if given("auth_strategy") {
        format!("params.auth_strategy.config.{setting}").into()
    } else if setting == "header_name" && !given("header_name") {
        let field = if given("param_name") {
            "params.param_name"
        } else {
            "auth_header"
        };
        field.into()
    } else {
        format!("params.{setting}").into()
    }
}
