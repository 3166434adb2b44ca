//! A credential in a header.

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::ApplyError;
use super::fields::Fields;

/// A header's name, which the strategy was checked to be one.
pub(super) fn name(text: &str) -> Result<HeaderName, ApplyError> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| ApplyError::Unset("header_name"))
}

/// A field after a prefix, as a header's value (RFC 9110, section 5.5): visible ASCII, and blanks between.
pub(super) fn value(
    fields: Fields<'_>,
    field: &str,
    prefix: &str,
) -> Result<HeaderValue, ApplyError> {
    let text = fields.text(field)?;
    let is_visible = text
        .expose()
        .bytes()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if !is_visible {
        return Err(unusable(
            field,
            "must be letters, digits and signs of ASCII, on one line",
        ));
    }
    if text.expose().trim() != text.expose() {
        return Err(unusable(field, "must not begin or end with a blank"));
    }
    let whole = Zeroizing::new(format!("{prefix}{}", text.expose()));
    sensitive(&whole).ok_or_else(|| unusable(field, "cannot be sent in a header"))
}

/// A header's value that no log shows.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(super) fn unusable(field: &str, message: &'static str) -> ApplyError {
    ApplyError::Unusable {
        field: field.to_owned(),
        message,
    }
}
