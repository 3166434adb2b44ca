//! A credential put into a request, in every way that the wire contract names.
//!
//! The request's URL may be a template: `{field}` stands for a field of the credential, whatever the [`Scheme`] is.

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use nexus_domain::credential::Credential;
use nexus_domain::strategy::Scheme;
use nexus_domain::time::Timestamp;
use url::Url;

mod aws;
mod basic;
mod fields;
mod header;
mod hmac;
mod place;

#[cfg(test)]
mod tests;

use fields::Fields;

/// A request without its credential.
pub struct Request {
    /// The method.
    pub method: Method,
    /// An absolute URL, or a template of one.
    pub url: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// A request with its credential: it is a secret as a whole, and its `Debug` says so.
pub struct Applied {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Why a credential does not go into a request. No sentence holds a value of the credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The credential has no such field, or it is empty or nests.
    #[error("the credential has no text `{0}`")]
    Missing(String),
    /// A field cannot be sent in this way.
    #[error("the field `{field}` {message}")]
    Unusable {
        /// The field.
        field: String,
        /// What must be true of it: the end of a sentence that begins with its name.
        message: &'static str,
    },
    /// The URL is none, or its template does not make one.
    #[error("the URL is not an absolute http or https URL")]
    NotAUrl,
    /// The credential would not be in the request.
    #[error("the URL has no placeholder for the credential")]
    NoPlaceholder,
    /// The strategy has no such setting and needs it.
    #[error("the strategy has no `{0}`")]
    Unset(&'static str),
    /// The request cannot be signed: it is not of the form that a signature is made of.
    #[error("the request cannot be signed")]
    Unsignable,
}

impl Request {
    /// A request for what is at a URL.
    #[must_use]
    pub fn get(url: String) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Vec::new(),
        }
    }
}

/// Puts a credential into a request. What the request itself has in the credential's place goes.
///
/// `now` is the time that a signature is made at.
///
/// # Errors
/// [`ApplyError`]
pub fn apply(
    scheme: &Scheme,
    credential: &Credential,
    request: Request,
    now: Timestamp,
) -> Result<Applied, ApplyError> {
    let fields = Fields(credential);
    if *scheme == Scheme::Path && !place::has_placeholder(&request.url) {
        return Err(ApplyError::NoPlaceholder);
    }
    let mut applied = Applied {
        url: place::fill(&request.url, fields)?,
        method: request.method,
        headers: request.headers,
        body: request.body,
    };
    applied.put(scheme, fields, now)?;
    Ok(applied)
}

impl Applied {
    fn put(
        &mut self,
        scheme: &Scheme,
        fields: Fields<'_>,
        now: Timestamp,
    ) -> Result<(), ApplyError> {
        match scheme {
            Scheme::Bearer => {
                let value = header::value(fields, "access_token", "Bearer ")?;
                self.headers.insert(AUTHORIZATION, value);
            }
            Scheme::Header {
                name,
                field,
                prefix,
            } => {
                let value = header::value(fields, field, prefix)?;
                self.headers.insert(header::name(name)?, value);
            }
            Scheme::QueryParam { name, field } => {
                place::set_query(&mut self.url, name, &fields.text(field)?);
            }
            Scheme::BasicAuth {
                username_field,
                password_field,
            } => {
                let value = basic::value(fields, username_field, password_field)?;
                self.headers.insert(AUTHORIZATION, value);
            }
            Scheme::HmacPayload {
                header_name,
                secret_field,
                algo,
                encoding,
            } => {
                let key = fields.text(secret_field)?;
                let value = hmac::signature(*algo, *encoding, key.expose(), &self.body)?;
                self.headers.insert(header::name(header_name)?, value);
            }
            Scheme::AwsSigv4 { service, region } => {
                let service = service.as_deref().ok_or(ApplyError::Unset("service"))?;
                aws::sign(self, fields, service, region, now)?;
            }
            Scheme::Path => {}
        }
        Ok(())
    }

    /// The request, to be sent. Its `Debug` shows the URL.
    ///
    /// # Errors
    /// [`ApplyError::NotAUrl`]: the URL is of a form that requests cannot have.
    pub(crate) fn into_http(self) -> Result<http::Request<Vec<u8>>, ApplyError> {
        let mut request = http::Request::new(self.body);
        let uri = self.url.as_str().parse();
        *request.uri_mut() = uri.map_err(|_| ApplyError::NotAUrl)?;
        *request.method_mut() = self.method;
        *request.headers_mut() = self.headers;
        Ok(request)
    }
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}
