//! Any request with a user's credential in it.

use super::Upstream;
use super::http::SendError;
use crate::apply::{Applied, ApplyError};

/// A complete answer to it.
pub struct Asked {
    /// The status.
    pub status: u16,
    /// The body, which may repeat the credential.
    pub body: Vec<u8>,
}

/// Why there is no complete answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The URL is of a form that requests cannot have.
    #[error("the request could not be made")]
    Unmade(#[source] ApplyError),
    /// The request was not sent, or its answer did not come.
    #[error("the provider gave no answer")]
    Unanswered(#[from] SendError),
}

impl AskError {
    /// A stable word for the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unmade(_) => "invalid_request_url",
            Self::Unanswered(error) => error.code(),
        }
    }
}

impl Upstream {
    /// Sends a request, within the same limits as every other: no redirect is followed, and addresses are judged.
    ///
    /// # Errors
    /// [`AskError`]
    pub async fn ask(&self, request: Applied) -> Result<Asked, AskError> {
        let request = request.into_http().map_err(AskError::Unmade)?;
        let answer = self.http.send(request).await?;
        Ok(Asked {
            status: answer.status().as_u16(),
            body: answer.into_body(),
        })
    }
}
