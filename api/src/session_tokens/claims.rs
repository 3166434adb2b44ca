//! What a session token says.

use serde::{Deserialize, Serialize};

/// Who acts for the token's subject (RFC 8693 §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The agent.
    pub sub: String,
}

/// What a session token says of its session (RFC 9068 §2.2). Issuer and audience are the vault's to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose rights it carries: the user's for whom the agent acts, else the agent's own.
    pub sub: String,
    /// The agent it was given to.
    pub client_id: String,
    /// When it was signed, in seconds.
    pub iat: i64,
    /// When it is over, in seconds.
    pub exp: i64,
    /// Its own id: the session's.
    pub jti: String,
    /// The granted scopes, with spaces between them.
    pub scope: String,
    /// The agent, when it acts for a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// The user's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// How far the user is trusted, in the words of whoever vouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clearance_level: Option<String>,
}
