//! A credential in a URL: where its template says, or in its query.
//!
//! A value is percent-encoded (RFC 3986, section 2.1), so that it adds no path segment, no parameter and no fragment. In
//! the place of a host it is one label.

use nexus_domain::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::ApplyError;
use super::fields::Fields;
use super::header::unusable;

/// All but the unreserved characters (RFC 3986, section 2.3) and the colon, which separates nothing in a path or a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// Whether a template has a place for a field.
pub(super) fn has_placeholder(template: &str) -> bool {
    template.split('{').skip(1).any(|opening| {
        opening
            .split_once('}')
            .is_some_and(|(name, _)| !name.is_empty())
    })
}

/// The URL that a template makes.
pub(super) fn fill(template: &str, fields: Fields<'_>) -> Result<Url, ApplyError> {
    let (template, _fragment) = template.split_once('#').unwrap_or((template, ""));
    let (origin, rest) = split_origin(template).ok_or(ApplyError::NotAUrl)?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let mut filled = replace(origin, |field| label(fields, field))?;
    let segments: Result<Vec<String>, ApplyError> =
        path.split('/').map(|part| segment(part, fields)).collect();
    filled.push_str(&segments?.join("/"));
    if let Some(query) = query {
        filled.push('?');
        filled.push_str(&replace(query, |field| encoded(fields, field))?);
    }
    let url = Url::parse(&filled).ok().filter(Url::has_host);
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or(ApplyError::NotAUrl)
}

/// Sets a parameter of the query, in place of any that it has by this name.
pub(super) fn set_query(url: &mut Url, name: &str, value: &Secret) {
    let is_other = |pair: &&str| {
        let (known, _) = pair.split_once('=').unwrap_or((pair, ""));
        let known = known.replace('+', " ");
        percent_decode_str(&known).decode_utf8_lossy() != name
    };
    let query = url.query().unwrap_or_default().to_owned();
    let others = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<String> = others.filter(is_other).map(str::to_owned).collect();
    pairs.push(format!(
        "{}={}",
        utf8_percent_encode(name, ENCODED),
        utf8_percent_encode(value.expose(), ENCODED)
    ));
    url.set_query(Some(&pairs.join("&")));
}

/// The scheme and the authority, and what follows. The parser forgives an authority that is empty, backslashes and
/// blanks, and then finds the host in what follows; so they are refused.
fn split_origin(template: &str) -> Option<(&str, &str)> {
    let forgiven = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    let (scheme, behind) = template.split_once("://")?;
    let length = behind.find(['/', '?']).unwrap_or(behind.len());
    let is_plain = length > 0 && !template.contains(forgiven);
    is_plain.then(|| template.split_at(scheme.len() + "://".len() + length))
}

/// A segment of a path. One that is filled is not `.` or `..`, which a URL has no other way to write.
fn segment(part: &str, fields: Fields<'_>) -> Result<String, ApplyError> {
    let filled = replace(part, |field| encoded(fields, field))?;
    match (part.split_once('{'), filled.as_str()) {
        (Some((_, opening)), "." | "..") => {
            let (field, _) = opening.split_once('}').unwrap_or((opening, ""));
            Err(unusable(field, "must not be dots"))
        }
        (Some(_) | None, _) => Ok(filled),
    }
}

fn encoded(fields: Fields<'_>, field: &str) -> Result<String, ApplyError> {
    let text = fields.text(field)?;
    Ok(utf8_percent_encode(text.expose(), ENCODED).to_string())
}

/// A label of a host's name (RFC 1123, section 2.1).
fn label(fields: Fields<'_>, field: &str) -> Result<String, ApplyError> {
    let text = fields.text(field)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.expose().bytes().all(plain) {
        Ok(text.expose().to_owned())
    } else {
        Err(unusable(field, "must be letters, digits and hyphens"))
    }
}

/// A text with each `{field}` replaced.
fn replace(
    text: &str,
    value: impl Fn(&str) -> Result<String, ApplyError>,
) -> Result<String, ApplyError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, opening)) = rest.split_once('{')
        && let Some((field, behind)) = opening.split_once('}')
    {
        filled.push_str(before);
        filled.push_str(&value(field)?);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::typed;
    use super::*;

    fn filled(template: &str, value: &str) -> Result<Url, ApplyError> {
        fill(template, Fields(&typed(json!({"k": value, "other": "o"}))))
    }

    fn with_query(url: &str, name: &str, value: &str) -> String {
        let mut url = Url::parse(url).unwrap();
        set_query(&mut url, name, &Secret::new(value));
        url.into()
    }

    /// The characters of RFC 3986, sections 2.1 to 2.3.
    #[test]
    fn a_value_in_a_path_is_one_segment_whatever_its_characters() {
        for (value, written) in [
            ("123:ABC-_.~9", "123:ABC-_.~9"),
            ("a/b\\c", "a%2Fb%5Cc"),
            ("a?b#c", "a%3Fb%23c"),
            ("100%", "100%25"),
            ("%2F..", "%252F.."),
            ("a b+c", "a%20b%2Bc"),
            ("!$&'()*,;=@[]", "%21%24%26%27%28%29%2A%2C%3B%3D%40%5B%5D"),
            ("é£", "%C3%A9%C2%A3"),
            ("a\r\nb\t\0", "a%0D%0Ab%09%00"),
            ("{other}", "%7Bother%7D"),
        ] {
            let url = filled("https://api.test/bot{k}/getMe?a=1", value).unwrap();
            let expected = format!("https://api.test/bot{written}/getMe?a=1");
            assert_eq!(url.as_str(), expected, "{value:?}");
        }
    }

    #[test]
    fn a_segment_of_dots_is_refused_since_it_would_go_up() {
        for dots in [".", ".."] {
            let refused = filled("https://api.test/users/{k}/me", dots).unwrap_err();
            assert_eq!(refused.to_string(), "the field `k` must not be dots");
        }
        assert!(filled("https://api.test/users/{k}.{k}/me", ".").is_ok());
        assert!(filled("https://api.test/users/.{k}/me", ".").is_err());
        assert!(filled("https://api.test/users/{k}/me", "...").is_ok());
        assert!(filled("https://api.test/users/../me?a={k}", "..").is_ok());
    }

    #[test]
    fn several_fields_are_filled_in_path_and_query() {
        let url = filled(
            "https://api.test/1/{other}/me?key={k}&t={k}#{gone}",
            "a&b=c#d",
        )
        .unwrap();
        assert_eq!(
            url.as_str(),
            "https://api.test/1/o/me?key=a%26b%3Dc%23d&t=a%26b%3Dc%23d"
        );
    }

    #[test]
    fn a_template_without_placeholders_stays_as_it_is() {
        let url = filled("https://api.test/me?x=%20&y#f", "v").unwrap();
        assert_eq!(url.as_str(), "https://api.test/me?x=%20&y");
    }

    #[test]
    fn a_host_takes_one_label() {
        let url = filled("https://{k}.example.test/admin", "shop-1").unwrap();
        assert_eq!(url.host_str(), Some("shop-1.example.test"));
        for value in [
            "evil.test/",
            "a.b",
            "a@b",
            "a:1",
            "a%2e",
            "a#",
            "a?",
            "a\\",
            "é",
        ] {
            let refused = filled("https://{k}.example.test/admin", value).unwrap_err();
            assert!(matches!(refused, ApplyError::Unusable { .. }), "{value}");
        }
    }

    #[test]
    fn a_field_that_the_credential_lacks_is_named() {
        let refused = filled("https://api.test/{version}/me", "v");
        assert_eq!(refused, Err(ApplyError::Missing("version".to_owned())));
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for template in [
            "",
            "/me",
            "{k}",
            "ftp://api.test/{k}",
            "https://",
            "https:///{k}",
            "https:/\\{k}/",
            "https:{k}",
            "https://\t/{k}",
            "https://?{k}",
            "https://\\{k}",
            "https://a b/{k}",
            "data:,{k}",
        ] {
            assert!(filled(template, "value").is_err(), "{template}");
        }
    }

    #[test]
    fn a_parameter_is_added_and_encoded() {
        for (url, expected) in [
            ("https://api.test", "https://api.test/?key=v%261%20%2B"),
            ("https://api.test/?", "https://api.test/?key=v%261%20%2B"),
            (
                "https://api.test/a?b=c&d",
                "https://api.test/a?b=c&d&key=v%261%20%2B",
            ),
            (
                "https://api.test/?key=old&b=%20&key&k%65y=x",
                "https://api.test/?b=%20&key=v%261%20%2B",
            ),
        ] {
            assert_eq!(with_query(url, "key", "v&1 +"), expected);
        }
        assert_eq!(
            with_query("https://api.test/?a+b=1", "a b", "é"),
            "https://api.test/?a%20b=%C3%A9"
        );
    }

    proptest! {
        #[test]
        fn a_value_changes_nothing_around_it(value in "\\PC{1,12}|[./\\\\%?#@:{}&=]{1,6}") {
            let Ok(url) = filled("https://api.test/a/{k}/z?p={k}", &value) else {
                prop_assert!(value == "." || value == "..");
                return Ok(());
            };
            prop_assert_eq!(url.origin().ascii_serialization(), "https://api.test");
            let segments: Vec<&str> = url.path_segments().unwrap().collect();
            let read = percent_decode_str(segments[1]).decode_utf8().unwrap();
            prop_assert_eq!((segments.len(), segments[0], read.as_ref(), segments[2]), (3, "a", value.as_str(), "z"));
            let pairs: Vec<_> = url.query_pairs().collect();
            prop_assert_eq!((pairs.len(), pairs[0].1.as_ref()), (1, value.as_str()));
        }
    }
}
