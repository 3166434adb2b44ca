//! Which answers are refusals that auditors hear of.

use std::fmt;

use axum::extract::MatchedPath;
use axum::response::Response;

use super::client_ip::ClientIp;
use super::error::Refused;
use crate::application::Application;
use crate::source::Source;

/// The codes of a caller who may not: no key, a wrong one, a place or a rate that is not permitted, a connection or a
/// consent that there is not, a credential that its provider refuses.
const DENIALS: [&str; 10] = [
    "missing_api_key",
    "invalid_api_key",
    "api_key_not_permitted",
    "ip_not_allowed",
    "missing_subject",
    "rate_limited",
    "connection_not_found",
    "invalid_state",
    "state_used",
    "credentials_rejected",
];

/// Counts refusals.
#[derive(Clone, Default)]
pub struct Denied(Option<Application>);

impl Denied {
    /// Counts the refusals of these use cases' doors. By default none are counted.
    #[must_use]
    pub fn of(application: Application) -> Self {
        Self(Some(application))
    }

    /// Counts an answer if it is a refusal at a door that there is.
    pub(super) fn note(
        &self,
        client: Option<ClientIp>,
        route: Option<&MatchedPath>,
        response: &Response,
    ) {
        let refusal = response.extensions().get::<Refused>();
        let code = refusal.map(|Refused(code)| *code);
        let reason = code.filter(|code| DENIALS.contains(code));
        if let (Some(application), Some(reason), Some(route)) = (&self.0, reason, route) {
            let source = client.map(|ClientIp(address)| Source::of(address));
            let now = application.ledger.now();
            application
                .denials
                .note(source, reason, route.as_str(), now);
        }
    }
}

impl fmt::Debug for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Denied")
    }
}
