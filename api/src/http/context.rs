//! Who asks, and how: what a request contributes to the metadata of its events.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::USER_AGENT;
use http::request::Parts;
use nexus_domain::metadata::Metadata;

use super::auth::Actor;
use super::client_ip::ClientIp;
use super::request_id::RequestId;

const MAX_USER_AGENT: usize = 256;

/// A request's circumstances. Extracting it never fails: what is unknown is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// Name of the API key, when a valid one was sent.
    pub actor: Option<String>,
    /// Address of the client: the peer's, or whom trusted proxies name.
    pub ip_address: Option<String>,
    /// `User-Agent`, its first 256 characters.
    pub user_agent: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
    /// The person it is made for.
    pub subject: Option<String>,
    /// The agent that makes it.
    pub agent: Option<String>,
    /// What the agent says it is doing.
    pub operation: Option<String>,
}

impl RequestContext {
    /// The metadata of events that this request brings about through `door`.
    #[must_use]
    pub fn metadata(&self, door: &str) -> Metadata {
        Metadata {
            actor: self.actor.clone(),
            door: Some(door.to_owned()),
            ip_address: self.ip_address.clone(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
            subject: self.subject.clone(),
            agent: self.agent.clone(),
            operation: self.operation.clone(),
            ..Metadata::default()
        }
    }

    pub(super) fn of(parts: &Parts) -> RequestContext {
        let extensions = &parts.extensions;
        let actor = extensions
            .get::<Actor>()
            .map(|Actor(name)| name.to_string());
        let client = extensions.get::<ClientIp>();
        RequestContext {
            actor,
            ip_address: client.map(|ClientIp(address)| address.to_string()),
            user_agent: user_agent(parts),
            request_id: extensions
                .get::<RequestId>()
                .map(|id| id.as_str().to_owned()),
            ..RequestContext::default()
        }
    }
}

/// Bytes that are no UTF-8 and control characters do not belong into a log.
fn user_agent(parts: &Parts) -> Option<String> {
    let text = String::from_utf8_lossy(parts.headers.get(USER_AGENT)?.as_bytes());
    let text: String = text
        .chars()
        .filter(|char| !char.is_control())
        .take(MAX_USER_AGENT)
        .collect();
    (!text.is_empty()).then_some(text)
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<RequestContext, Infallible> {
        Ok(RequestContext::of(parts))
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;

    use super::*;

    fn context(agent: &[u8]) -> RequestContext {
        let address = "192.0.2.7".parse().unwrap();
        let request = Request::get("/")
            .header(USER_AGENT, agent)
            .extension(ClientIp(address))
            .extension(RequestId::parse("r-1").unwrap());
        RequestContext::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_metadata_says_who_asked_and_through_which_door() {
        let metadata = context(b"curl/8").metadata("token");
        assert_eq!(metadata.door.as_deref(), Some("token"));
        assert_eq!(metadata.ip_address.as_deref(), Some("192.0.2.7"));
        assert_eq!(metadata.user_agent.as_deref(), Some("curl/8"));
        assert_eq!(metadata.request_id.as_deref(), Some("r-1"));
        assert_eq!(metadata.actor, None);
    }

    #[test]
    fn a_long_or_strange_user_agent_is_cut_down() {
        let long = context("é".repeat(300).as_bytes()).user_agent.unwrap();
        assert_eq!(long.chars().count(), 256);
        assert_eq!(
            context(b"a\tb\xffc").user_agent.as_deref(),
            Some("ab\u{fffd}c")
        );
        assert_eq!(context(b"").user_agent, None);
    }

    #[test]
    fn what_is_unknown_is_absent() {
        let parts = Request::new(()).into_parts().0;
        assert_eq!(RequestContext::of(&parts), RequestContext::default());
    }
}
