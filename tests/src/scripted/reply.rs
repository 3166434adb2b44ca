//! What the token endpoint answers, and how much of it arrives.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::signing::IdTokenFault;

/// One answer of the token endpoint. The default grants the request, with a new refresh token.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub(super) content: Content,
    pub(super) wire: Wire,
    pub(super) gate: Option<Gate>,
}

/// How much of an answer arrives. The provider has always done what was asked of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wire {
    /// All of it.
    #[default]
    Whole,
    /// The connection closes before the first byte.
    ClosedBefore,
    /// The connection closes in the middle of the body.
    ClosedMidway,
    /// The connection is reset before the first byte.
    Reset,
    /// Nothing, and the connection stays open.
    Silence,
}

/// Holds an answer back until the test lets it go.
#[derive(Debug, Clone)]
pub struct Gate(Arc<(Semaphore, Semaphore)>);

#[derive(Debug, Clone)]
pub(super) enum Content {
    Tokens(Tokens),
    Fixed {
        status: u16,
        content_type: String,
        body: String,
        retry_after: Option<String>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Tokens {
    pub(super) refresh_token: RefreshToken,
    pub(super) expires_in: Option<Value>,
    pub(super) scope: Option<String>,
    pub(super) id_token: Option<IdTokenFault>,
    pub(super) subject: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefreshToken {
    New,
    Same,
    None,
}

impl Default for Content {
    fn default() -> Content {
        Content::Tokens(Tokens {
            refresh_token: RefreshToken::New,
            expires_in: Some(json!(3600)),
            scope: None,
            id_token: Some(IdTokenFault::None),
            subject: "subject-1".to_owned(),
        })
    }
}

impl Reply {
    /// Grants the request, with a new refresh token; one that was used before is refused.
    pub fn tokens() -> Reply {
        Reply::default()
    }

    /// An OAuth error (RFC 6749 §5.2).
    pub fn error(status: u16, code: &str) -> Reply {
        Reply::raw(
            status,
            "application/json",
            &json!({"error": code, "error_description": "As scripted."}).to_string(),
        )
    }

    /// Any answer at all.
    pub fn raw(status: u16, content_type: &str, body: &str) -> Reply {
        let (content_type, body) = (content_type.to_owned(), body.to_owned());
        Reply {
            content: Content::Fixed {
                status,
                content_type,
                body,
                retry_after: None,
            },
            ..Reply::default()
        }
    }

    /// With a `Retry-After` header.
    #[must_use]
    pub fn retry_after(mut self, value: &str) -> Reply {
        if let Content::Fixed { retry_after, .. } = &mut self.content {
            *retry_after = Some(value.to_owned());
        }
        self
    }

    /// Without a refresh token.
    #[must_use]
    pub fn without_refresh_token(self) -> Reply {
        self.edit(|tokens| tokens.refresh_token = RefreshToken::None)
    }

    /// With the refresh token it was asked with, which stays good.
    #[must_use]
    pub fn with_the_same_refresh_token(self) -> Reply {
        self.edit(|tokens| tokens.refresh_token = RefreshToken::Same)
    }

    /// With this `expires_in`, a number or whatever a provider makes of it; `null` leaves it out.
    #[must_use]
    pub fn expires_in(self, value: Value) -> Reply {
        self.edit(|tokens| tokens.expires_in = Some(value).filter(|value| !value.is_null()))
    }

    /// Having granted these scopes, separated by spaces, instead of those asked for.
    #[must_use]
    pub fn scope(self, scope: &str) -> Reply {
        self.edit(|tokens| tokens.scope = Some(scope.to_owned()))
    }

    /// For this account.
    #[must_use]
    pub fn subject(self, subject: &str) -> Reply {
        self.edit(|tokens| subject.clone_into(&mut tokens.subject))
    }

    /// With an `id_token` of this fault, or without one.
    #[must_use]
    pub fn id_token(self, fault: Option<IdTokenFault>) -> Reply {
        self.edit(|tokens| tokens.id_token = fault)
    }

    /// Cut off on its way.
    #[must_use]
    pub fn on_wire(mut self, wire: Wire) -> Reply {
        self.wire = wire;
        self
    }

    /// Held back until the gate is opened.
    #[must_use]
    pub fn held(mut self) -> (Reply, Gate) {
        let gate = Gate(Arc::new((Semaphore::new(0), Semaphore::new(0))));
        self.gate = Some(gate.clone());
        (self, gate)
    }

    fn edit(mut self, change: impl FnOnce(&mut Tokens)) -> Reply {
        if let Content::Tokens(tokens) = &mut self.content {
            change(tokens);
        }
        self
    }
}

impl Gate {
    /// Waits until a call has arrived at the gate.
    pub async fn arrived(&self) {
        let patience = tokio::time::timeout(crate::wait::PATIENCE, self.0.0.acquire()).await;
        patience
            .expect("a call arrives at the token endpoint")
            .expect("open")
            .forget();
    }

    /// Lets the answer go.
    pub fn open(&self) {
        self.0.1.add_permits(1);
    }

    pub(super) async fn pass(&self) {
        self.0.0.add_permits(1);
        self.0.1.acquire().await.expect("open").forget();
    }
}
