//! The variable part of a path.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

/// The one parameter of a route. A text that is no UTF-8 names nothing, as any other that nobody gave out: doors answer it
/// as they answer those.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let nothing = || char::REPLACEMENT_CHARACTER.to_string();
        Ok(Self(text.map_or_else(|_| nothing(), |Path(text)| text)))
    }
}
