//! HTTP Basic (RFC 7617).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use nexus_domain::secret::Secret;
use zeroize::Zeroizing;

use super::ApplyError;
use super::fields::Fields;
use super::header::{sensitive, unusable};

/// `Basic` and the pair in UTF-8. Either half may be absent, as with providers that take a key for a name, but not both.
pub(super) fn value(
    fields: Fields<'_>,
    username_field: &str,
    password_field: &str,
) -> Result<HeaderValue, ApplyError> {
    let halves = [username_field, password_field].map(|field| fields.find(field));
    if halves.iter().all(Option::is_none) {
        return Err(ApplyError::Missing(username_field.to_owned()));
    }
    let [username, password] = halves.map(|half| half.unwrap_or_else(|| Secret::new("")));
    for (field, text) in [(username_field, &username), (password_field, &password)] {
        if text.expose().contains(char::is_control) {
            return Err(unusable(field, "must not hold control characters"));
        }
    }
    if username.expose().contains(':') {
        return Err(unusable(username_field, "must not hold a colon"));
    }
    let pair = Zeroizing::new(format!("{}:{}", username.expose(), password.expose()));
    let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    sensitive(&text).ok_or_else(|| unusable(username_field, "cannot be sent in a header"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::typed;
    use super::*;

    fn sent(fields: Value) -> Result<String, ApplyError> {
        let value = value(Fields(&typed(fields)), "user", "word")?;
        assert!(value.is_sensitive());
        Ok(value.to_str().unwrap().to_owned())
    }

    /// The examples of RFC 7617, sections 2 and 2.1.
    #[test]
    fn the_published_examples_come_out() {
        let aladdin = json!({"user": "Aladdin", "word": "open sesame"});
        assert_eq!(sent(aladdin).unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let pound = json!({"user": "test", "word": "123£"});
        assert_eq!(sent(pound).unwrap(), "Basic dGVzdDoxMjPCow==");
    }

    #[test]
    fn a_password_may_hold_colons_and_a_name_may_not() {
        let fine = json!({"user": "u", "word": "a:b:"});
        assert_eq!(sent(fine).unwrap(), "Basic dTphOmI6");
        let refused = sent(json!({"user": "u:v", "word": "a"})).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the field `user` must not hold a colon"
        );
    }

    #[test]
    fn control_characters_are_refused() {
        for (user, word, field) in [
            ("a\n", "b", "user"),
            ("a", "b\0", "word"),
            ("a", "\u{85}", "word"),
        ] {
            let refused = sent(json!({"user": user, "word": word})).unwrap_err();
            let unusable =
                matches!(&refused, ApplyError::Unusable { field: named, .. } if named == field);
            assert!(unusable, "{refused}");
        }
    }

    #[test]
    fn one_half_is_enough() {
        assert_eq!(sent(json!({"user": "sk_1"})).unwrap(), "Basic c2tfMTo=");
        assert_eq!(
            sent(json!({"word": "k", "user": ""})).unwrap(),
            "Basic Oms="
        );
        assert_eq!(sent(json!({})), Err(ApplyError::Missing("user".to_owned())));
    }
}
