//! A client's id and secret in HTTP Basic (RFC 6749 §2.3.1).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use nexus_domain::secret::Secret;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

use super::profile::{ClientAuthMethod, ResolvedProvider};
use super::quirks::BasicEncoding;

/// The `Authorization` of a client that proves itself so. Id and secret are form-encoded first, unless the provider takes
/// them as they are.
pub(super) fn basic(provider: &ResolvedProvider) -> Option<HeaderValue> {
    if provider.auth_method != ClientAuthMethod::SecretBasic {
        return None;
    }
    let encoded = |text: &str| {
        Zeroizing::new(match provider.quirks.basic_encoding {
            BasicEncoding::Form => byte_serialize(text.as_bytes()).collect(),
            BasicEncoding::None => text.to_owned(),
        })
    };
    let (id, secret) = (&provider.client_id, provider.client_secret.as_ref());
    let (id, secret) = (encoded(id), encoded(secret.map_or("", Secret::expose)));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    let text = format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes()));
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
