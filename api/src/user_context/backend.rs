//! The operator's backend, which knows its users' tokens.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use nexus_domain::secret::Secret;
use nexus_domain::session::Principal;
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::{Refusal, Unavailable, UserContextError};
use super::principal::Standing;
use crate::upstream::Http;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The backend's door.
pub(super) struct Backend {
    url: String,
}

#[derive(Serialize)]
struct Question<'a> {
    token: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    user_id: String,
    #[serde(flatten)]
    standing: Standing,
}

impl Backend {
    /// The door of the backend that is at `base`.
    pub(super) fn new(base: &Url) -> Backend {
        let base = base.as_str().trim_end_matches('/');
        Backend {
            url: format!("{base}/auth/verify-agent-token"),
        }
    }

    /// Whom the backend says the token stands for: 200 says whom, a 4xx but 429 that it stands for nobody, and
    /// everything else nothing.
    pub(super) async fn verify(
        &self,
        http: &Http,
        token: &Secret,
    ) -> Result<Principal, UserContextError> {
        let answer = http
            .send(self.question(token)?)
            .await
            .map_err(Unavailable::from)?;
        let status = answer.status();
        match status {
            StatusCode::OK => Ok(user(answer.body()).ok_or(Unavailable::Malformed)?),
            StatusCode::TOO_MANY_REQUESTS => Err(Unavailable::Status(status.as_u16()).into()),
            _ if status.is_client_error() => Err(Refusal::Backend(status.as_u16()).into()),
            _ => Err(Unavailable::Status(status.as_u16()).into()),
        }
    }

    fn question(&self, token: &Secret) -> Result<Request<Vec<u8>>, Unavailable> {
        let token = token.expose();
        let body = serde_json::to_vec(&Question { token }).map_err(|_| Unavailable::Url)?;
        let question = Request::post(&self.url)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON);
        question.body(body).map_err(|_| Unavailable::Url)
    }
}

fn user(body: &[u8]) -> Option<Principal> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    answer.standing.of(&answer.user_id)
}
