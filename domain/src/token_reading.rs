//! Where a provider's token endpoint says what: `params.token_answer`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::provider::{InvalidProfile, is_secret};
use crate::secret::SecretMap;
use crate::strategy::{is_token, scalar};

/// Members of an OAuth credential, whose names no field may take.
const TAKEN: [&str; 7] = [
    "access_token",
    "expires_at",
    "expires_in",
    "id_token",
    "refresh_token",
    "scope",
    "token_type",
];

/// How a provider's answers are read that are not as RFC 6749, section 5, has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenReading {
    /// A JSON pointer (RFC 6901) to an object that holds the tokens instead of the answer itself.
    pub pointer: Option<String>,
    /// What agents are told of the token's type, whatever the answer says.
    pub token_type: Option<String>,
    /// What else agents are given of the answer: by name, a JSON pointer to it.
    pub fields: BTreeMap<String, String>,
    /// Error codes of the provider's own that mean what `invalid_grant` does.
    pub grant_gone: Vec<String>,
}

impl TokenReading {
    /// What a profile's `params` say. What makes no sense, as in older ones, counts as nothing.
    #[must_use]
    pub fn of(params: &Map<String, Value>) -> Self {
        let given = params.get("token_answer");
        given.and_then(|given| read(given).ok()).unwrap_or_default()
    }

    /// The object with the tokens, where it is not the answer itself. An answer that has none there is read as it is:
    /// a refresh may be answered otherwise than a code.
    #[must_use]
    pub fn tokens<'a>(&self, answer: &'a Value) -> Option<&'a Value> {
        let inner = answer.pointer(self.pointer.as_ref()?)?;
        inner.get("access_token").map(|_| inner)
    }

    /// What agents are given beside the tokens: scalars, as texts. The refresh token is never one.
    #[must_use]
    pub fn fields(&self, answer: &Value) -> SecretMap {
        let inner = self.tokens(answer).unwrap_or(answer);
        let kept: Vec<&Value> = [answer, inner]
            .into_iter()
            .filter_map(|tokens| tokens.get("refresh_token"))
            .collect();
        let found = self.fields.iter().filter_map(|(name, pointer)| {
            let value = answer.pointer(pointer)?;
            let text = scalar(value).filter(|_| !kept.contains(&value))?;
            Some((name.clone(), Value::String(text)))
        });
        SecretMap::new(found.collect())
    }
}

/// Whether `params.token_answer` makes sense.
pub(crate) fn check(given: &Value) -> Result<(), InvalidProfile> {
    read(given).map(drop)
}

fn read(given: &Value) -> Result<TokenReading, InvalidProfile> {
    let members = given
        .as_object()
        .ok_or_else(|| InvalidProfile::new("params.token_answer", "must be an object"))?;
    let said = |name: &str| members.get(name).filter(|value| !value.is_null());
    Ok(TokenReading {
        pointer: said("pointer").map(read_pointer).transpose()?,
        token_type: said("token_type").map(read_type).transpose()?,
        fields: said("fields")
            .map(read_fields)
            .transpose()?
            .unwrap_or_default(),
        grant_gone: said("grant_gone")
            .map(read_codes)
            .transpose()?
            .unwrap_or_default(),
    })
}

fn read_pointer(value: &Value) -> Result<String, InvalidProfile> {
    let pointer = value.as_str().filter(|pointer| pointer.starts_with('/'));
    let message = "must be a JSON pointer such as `/authed_user`";
    let pointer =
        pointer.ok_or_else(|| InvalidProfile::new("params.token_answer.pointer", message))?;
    Ok(pointer.to_owned())
}

fn read_type(value: &Value) -> Result<String, InvalidProfile> {
    let name = value
        .as_str()
        .filter(|name| !name.is_empty() && is_token(name));
    let message = "must be the name of a scheme such as `Bearer`";
    let name =
        name.ok_or_else(|| InvalidProfile::new("params.token_answer.token_type", message))?;
    Ok(name.to_owned())
}

fn read_fields(value: &Value) -> Result<BTreeMap<String, String>, InvalidProfile> {
    let place = "params.token_answer.fields";
    let message = "must have JSON pointers such as `/instance_url` by name";
    let fields = value
        .as_object()
        .ok_or_else(|| InvalidProfile::new(place, message))?;
    let mut read = BTreeMap::new();
    for (name, pointer) in fields {
        if TAKEN.contains(&name.as_str()) {
            return Err(InvalidProfile::new(
                place,
                "must not have the name of a token's member",
            ));
        }
        if is_secret(name) {
            let message = "must not have names under which `params` hold secrets";
            return Err(InvalidProfile::new(place, message));
        }
        let pointer = pointer
            .as_str()
            .filter(|pointer| pointer.starts_with('/') && !name.is_empty())
            .ok_or_else(|| InvalidProfile::new(place, message))?;
        if pointer.ends_with("/refresh_token") || pointer.ends_with("/id_token") {
            let message =
                "must not lead to a refresh token, nor to an id token, which nobody verified";
            return Err(InvalidProfile::new(place, message));
        }
        read.insert(name.clone(), pointer.to_owned());
    }
    Ok(read)
}

fn read_codes(value: &Value) -> Result<Vec<String>, InvalidProfile> {
    let is_code =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let codes = value.as_array().and_then(|codes| {
        let codes = codes
            .iter()
            .map(|code| code.as_str().filter(is_code).map(str::to_owned));
        codes.collect()
    });
    let message = "must be error codes such as `bad_refresh_token`";
    codes.ok_or_else(|| InvalidProfile::new("params.token_answer.grant_gone", message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(given: &Value) -> Option<String> {
        check(given).err().map(|error| error.field.into_owned())
    }

    #[test]
    fn what_makes_sense_is_read() {
        let given = json!({"pointer": "/authed_user", "token_type": "Bearer", "fields": {"team": "/team/id"}, "grant_gone": ["gone"]});
        assert_eq!(refused(&given), None);
        let reading = TokenReading::of(json!({"token_answer": given}).as_object().unwrap());
        assert_eq!(reading.pointer.as_deref(), Some("/authed_user"));
        assert_eq!(reading.token_type.as_deref(), Some("Bearer"));
        assert_eq!(reading.fields["team"], "/team/id");
        assert_eq!(reading.grant_gone, ["gone"]);
        for nothing in [json!({}), json!({"pointer": null, "fields": null})] {
            assert_eq!(read(&nothing), Ok(TokenReading::default()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (given, member) in [
            (json!("/authed_user"), ""),
            (json!({"pointer": "authed_user"}), ".pointer"),
            (json!({"pointer": ["/a"]}), ".pointer"),
            (json!({"token_type": ""}), ".token_type"),
            (json!({"token_type": "Bearer x"}), ".token_type"),
            (json!({"fields": ["/a"]}), ".fields"),
            (json!({"fields": {"a": "a"}}), ".fields"),
            (json!({"fields": {"": "/a"}}), ".fields"),
            (json!({"fields": {"access_token": "/a"}}), ".fields"),
            (json!({"fields": {"a": "/b/refresh_token"}}), ".fields"),
            (json!({"fields": {"a": "/id_token"}}), ".fields"),
            (json!({"fields": {"api_key": "********"}}), ".fields"),
            (json!({"grant_gone": "gone"}), ".grant_gone"),
            (json!({"grant_gone": ["it is gone"]}), ".grant_gone"),
            (json!({"grant_gone": [""]}), ".grant_gone"),
        ] {
            let field = format!("params.token_answer{member}");
            assert_eq!(refused(&given), Some(field), "{given}");
            // What was stored before it was checked does not count.
            let params = json!({"token_answer": given});
            let reading = TokenReading::of(params.as_object().unwrap());
            assert_eq!(reading, TokenReading::default());
        }
    }

    #[test]
    fn the_tokens_are_where_the_pointer_leads_if_they_are_there() {
        let reading = read(&json!({"pointer": "/authed_user"})).unwrap();
        let inner = json!({"access_token": "of the user"});
        let answer = json!({"access_token": "of the bot", "authed_user": inner});
        assert_eq!(reading.tokens(&answer), Some(&inner));
        for answer in [
            json!({"access_token": "refreshed"}),
            json!({"access_token": "a", "authed_user": {"id": "U1"}}),
            json!({"authed_user": "U1"}),
        ] {
            assert_eq!(reading.tokens(&answer), None, "{answer}");
        }
    }

    #[test]
    fn fields_are_scalars_as_texts_and_never_the_refresh_token() {
        let fields = json!({"url": "/u", "n": "/n", "nested": "/o", "absent": "/x", "team": "/o/id", "r": "/o/copy", "s": "/copy"});
        let reading = read(&json!({"pointer": "/o", "fields": fields})).unwrap();
        let answer = json!({
            "u": "https://a.test", "n": 7, "copy": "outer refresh", "refresh_token": "outer refresh",
            "o": {"id": "T1", "access_token": "a", "refresh_token": "inner refresh", "copy": "inner refresh"},
        });
        let found = reading.fields(&answer);
        let expected = json!({"url": "https://a.test", "n": "7", "team": "T1"});
        assert_eq!(Some(found.expose()), expected.as_object());
    }
}
