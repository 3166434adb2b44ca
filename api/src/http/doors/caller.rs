//! Who calls a connection's door, and for whom: `X-Nexus-Subject`, `X-Nexus-Agent` and
//! `X-Nexus-Operation`, as far as `SUBJECT_BINDING` asks for them.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use nexus_domain::metadata::Metadata;

use super::Doors;
use crate::config::SubjectBinding;
use crate::http::context::RequestContext;
use crate::http::error::ApiError;

/// The longest subject, which is a workspace's id; characters.
const MAX_SUBJECT: usize = 255;
/// The longest agent and operation, characters.
const MAX_LENGTH: usize = 128;

/// The caller of a door that concerns one connection. Refuses with 400 `invalid_header` and 401 `missing_subject`.
#[derive(Debug)]
pub(super) struct Caller(RequestContext);

impl Caller {
    /// The metadata of events that the request brings about through `door`.
    pub(super) fn metadata(&self, door: &str) -> Metadata {
        self.0.metadata(door)
    }

    /// For whom it calls, if it says so.
    pub(super) fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    fn of(parts: &Parts, binding: SubjectBinding) -> Result<Self, ApiError> {
        let caller = Self::read(parts, binding)?;
        caller.bound(binding)?;
        Ok(caller)
    }

    fn read(parts: &Parts, binding: SubjectBinding) -> Result<Self, ApiError> {
        let mut context = RequestContext::of(parts);
        if binding != SubjectBinding::Off {
            let headers = &parts.headers;
            context.subject = said(headers, "x-nexus-subject", MAX_SUBJECT)?;
            context.agent = said(headers, "x-nexus-agent", MAX_LENGTH)?;
            context.operation = said(headers, "x-nexus-operation", MAX_LENGTH)?;
        }
        Ok(Self(context))
    }

    /// Refuses with 401 `missing_subject` where a subject is required and none was sent.
    pub(super) fn bound(&self, binding: SubjectBinding) -> Result<(), ApiError> {
        if binding == SubjectBinding::Required && self.subject().is_none() {
            return Err(ApiError::missing_subject(
                "This door needs the user in the X-Nexus-Subject header.",
            ));
        }
        Ok(())
    }
}

/// What a header says; an empty one says nothing.
pub(super) fn said(
    headers: &HeaderMap,
    name: &'static str,
    longest: usize,
) -> Result<Option<String>, ApiError> {
    let invalid = || {
        ApiError::invalid_header(format!(
            "{name} must be one line of at most {longest} printable characters."
        ))
        .with("header", name)
    };
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid())?;
    let text = text.trim();
    let fits = text.chars().count() <= longest && !text.chars().any(char::is_control);
    if !fits || values.next().is_some() {
        return Err(invalid());
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

impl FromRequestParts<Doors> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, ApiError> {
        Self::of(parts, doors.subject_binding)
    }
}

/// The caller of a door that gives no credential away. A subject that is sent counts there, too, but none is required: the public
/// clients name the user in the body, or not at all. Refuses with 400 `invalid_header`.
#[derive(Debug)]
pub(super) struct UnboundCaller(pub(super) Caller);

impl FromRequestParts<Doors> for UnboundCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, ApiError> {
        Caller::read(parts, doors.subject_binding).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn caller(headers: &[(&str, &str)], binding: SubjectBinding) -> Result<Metadata, ApiError> {
        Caller::of(&parts(headers), binding).map(|caller| caller.metadata("token"))
    }

    #[test]
    fn what_the_headers_say_is_recorded_unless_it_is_switched_off() {
        let sent = [
            ("X-Nexus-Subject", "ann"),
            ("X-Nexus-Agent", " bot "),
            ("X-Nexus-Operation", ""),
        ];
        let metadata = caller(&sent, SubjectBinding::Optional).unwrap();
        assert_eq!(metadata.subject.as_deref(), Some("ann"));
        assert_eq!(metadata.agent.as_deref(), Some("bot"));
        assert_eq!(metadata.operation, None);
        let off = caller(&sent, SubjectBinding::Off).unwrap();
        assert_eq!((off.subject, off.agent), (None, None));
    }

    #[test]
    fn a_subject_that_is_required_and_missing_is_refused() {
        for headers in [&[][..], &[("X-Nexus-Subject", " ")]] {
            let refused = caller(headers, SubjectBinding::Required).unwrap_err();
            assert_eq!(refused.code(), "missing_subject");
        }
    }

    #[test]
    fn where_no_credential_is_given_a_subject_counts_but_is_not_required() {
        let ann = [("X-Nexus-Subject", "ann")];
        for (headers, binding, subject) in [
            (&[][..], SubjectBinding::Required, None),
            (&ann, SubjectBinding::Required, Some("ann")),
            (&ann, SubjectBinding::Optional, Some("ann")),
            (&ann, SubjectBinding::Off, None),
        ] {
            let caller = Caller::read(&parts(headers), binding).unwrap();
            assert_eq!(caller.subject(), subject, "{binding:?}");
        }
    }

    #[test]
    fn a_header_that_is_too_long_or_comes_twice_is_refused() {
        let (fits, long) = ("é".repeat(128), "é".repeat(129));
        assert!(caller(&[("X-Nexus-Agent", &fits)], SubjectBinding::Optional).is_ok());
        for headers in [
            &[("X-Nexus-Agent", long.as_str())][..],
            &[("X-Nexus-Subject", "ann"), ("X-Nexus-Subject", "bob")],
        ] {
            let refused = caller(headers, SubjectBinding::Optional).unwrap_err();
            assert_eq!(refused.code(), "invalid_header");
        }
    }
}
