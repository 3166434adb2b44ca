//! AWS Signature Version 4, by the SDK's own signer.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams,
    SigningSettings, UriPathNormalizationMode, sign as sign_with,
};
use aws_sigv4::sign::v4;
use http::HeaderName;
use http::header::AUTHORIZATION;
use nexus_domain::secret::Secret;
use nexus_domain::time::Timestamp;
use tracing::subscriber::NoSubscriber;

use super::fields::Fields;
use super::header::{self, sensitive};
use super::{Applied, ApplyError};

/// What a signature adds.
const ADDED: [&str; 3] = ["x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];

/// Signs a request with all its headers and its body.
pub(super) fn sign(
    applied: &mut Applied,
    fields: Fields<'_>,
    service: &str,
    region: &str,
    now: Timestamp,
) -> Result<(), ApplyError> {
    for name in ADDED {
        applied.headers.remove(name);
    }
    applied.headers.remove(AUTHORIZATION);
    let identity = credentials(fields)?.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(time(now))
        .settings(settings(service))
        .build()
        .map_err(|_| ApplyError::Unsignable)?;
    let headers = signed(applied, &params.into())?;
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        applied.headers.insert(name, value);
    }
    Ok(())
}

/// The headers to add. The signer's trace shows the request and the key's id, so it is not heard.
fn signed(
    applied: &Applied,
    params: &SigningParams<'_>,
) -> Result<Vec<(&'static str, http::HeaderValue)>, ApplyError> {
    let texts = applied.headers.iter();
    let texts: Result<Vec<(&str, &str)>, ApplyError> = texts
        .map(|(name, value)| {
            let value = value.to_str().map_err(|_| ApplyError::Unsignable)?;
            Ok((name.as_str(), value))
        })
        .collect();
    let request = SignableRequest::new(
        applied.method.as_str(),
        applied.url.as_str(),
        texts?.into_iter(),
        SignableBody::Bytes(&applied.body),
    );
    let request = request.map_err(|_| ApplyError::Unsignable)?;
    let made =
        tracing::subscriber::with_default(NoSubscriber::new(), || sign_with(request, params));
    let (made, _) = made.map_err(|_| ApplyError::Unsignable)?.into_parts();
    let (headers, _) = made.into_parts();
    let headers = headers.iter().map(|header| {
        let value = sensitive(header.value()).ok_or(ApplyError::Unsignable)?;
        Ok((header.name(), value))
    });
    headers.collect()
}

/// The key's id and the session's token are sent in headers; the secret is not sent.
fn credentials(fields: Fields<'_>) -> Result<Credentials, ApplyError> {
    header::value(fields, "access_key", "")?;
    let session = fields.find("session_token");
    if session.is_some() {
        header::value(fields, "session_token", "")?;
    }
    Ok(Credentials::new(
        fields.text("access_key")?.expose(),
        fields.text("secret_key")?.expose(),
        session.as_ref().map(Secret::expose).map(str::to_owned),
        None,
        "nexus",
    ))
}

/// S3 alone takes a path as it is, and wants the body's hash in a header.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" || service.starts_with("s3-") {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    settings
}

fn time(now: Timestamp) -> SystemTime {
    let micros = u64::try_from(now.as_micros()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests;
