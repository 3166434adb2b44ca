//! The endpoint that says whose a credential is.

use serde_json::json;

use super::reply::Content;
use super::server::{HttpReply, HttpRequest};
use super::{Reply, Shared, Wire};

/// A request with somebody's credential, as it arrived.
#[derive(Debug, Clone)]
pub struct AccountCall {
    /// The path and query.
    pub url: String,
    headers: Vec<(String, String)>,
}

impl AccountCall {
    /// A header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(key, _)| key == name);
        header.map(|(_, value)| value.as_str())
    }
}

/// Answers as the script says, and otherwise that the credential is good.
pub(super) async fn answer(shared: &Shared, request: &HttpRequest) -> (HttpReply, Wire) {
    let call = AccountCall {
        url: request.url.clone(),
        headers: request.headers.clone(),
    };
    let reply = {
        let mut state = shared.state.lock().unwrap();
        state.accounts.push(call);
        state.account_script.pop_front().unwrap_or_default()
    };
    let Reply {
        content,
        wire,
        gate,
    } = reply;
    if let Some(gate) = gate {
        gate.pass().await;
    }
    let reply = match content {
        Content::Fixed {
            status,
            content_type,
            body,
            retry_after,
        } => {
            let reply = HttpReply::new(status, &content_type, body);
            match retry_after {
                Some(value) => reply.header("retry-after", value),
                None => reply,
            }
        }
        Content::Tokens(tokens) => HttpReply::json(200, &json!({"sub": tokens.subject})),
    };
    (reply, wire)
}
