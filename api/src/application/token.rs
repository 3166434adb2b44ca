//! The token payload: a credential and how to apply it, as every credential door serves it.

use std::collections::BTreeMap;

use nexus_domain::connection::Status;
use nexus_domain::credential::{Credential, OAuth2Credential, StaticCredential};
use nexus_domain::strategy::{Strategy, scalar};
use nexus_domain::time::Timestamp;
use serde_json::{Map, Value, json};

/// A credential that was recorded as handed out. The refresh token is not in it.
pub struct TokenPayload {
    /// The connection's id, as the caller sent it.
    pub connection_id: String,
    /// The provider's name.
    pub provider: String,
    /// How to apply it.
    pub strategy: Strategy,
    /// The credential.
    pub credential: Credential,
    /// How it fares.
    pub health_status: &'static str,
    /// The time it is served at.
    pub now: Timestamp,
}

impl TokenPayload {
    /// The wire form.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert(
            "strategy".into(),
            json!({"type": self.strategy.kind, "config": self.strategy.config}),
        );
        match &self.credential {
            Credential::OAuth2(credential) => self.oauth2(credential, &mut body),
            Credential::Static(credential) => Self::fields(credential, &mut body),
        }
        body.insert("connection_id".into(), self.connection_id.clone().into());
        body.insert("provider".into(), self.provider.clone().into());
        body.insert("health_status".into(), self.health_status.into());
        Value::Object(body)
    }

    fn oauth2(&self, credential: &OAuth2Credential, body: &mut Map<String, Value>) {
        if let Some(strategy) = body.get_mut("strategy").and_then(Value::as_object_mut)
            && self.strategy.config.is_empty()
        {
            strategy.remove("config");
        }
        let access_token = credential.access_token.expose();
        let mut credentials = Map::new();
        credentials.insert("access_token".into(), access_token.into());
        credentials.insert("token_type".into(), credential.token_type.clone().into());
        if let Some(id_token) = &credential.id_token {
            credentials.insert("id_token".into(), id_token.expose().into());
        }
        if let Some(expires_at) = credential.expires_at {
            credentials.insert("expires_at".into(), expires_at.as_seconds().into());
            body.insert("expires_at".into(), expires_at.as_seconds().into());
            body.insert(
                "expires_in".into(),
                expires_at.since(self.now).as_secs().into(),
            );
        }
        body.insert("credentials".into(), credentials.into());
        body.insert("scope".into(), credential.scope.join(" ").into());
        body.insert("access_token".into(), access_token.into());
        body.insert("token_type".into(), credential.token_type.clone().into());
    }

    /// Scalars are served as strings; what nests is left out, because clients read a map of strings.
    fn fields(credential: &StaticCredential, body: &mut Map<String, Value>) {
        let fields = credential.fields.expose().iter();
        let credentials: BTreeMap<&String, String> = fields
            .filter_map(|(name, value)| Some((name, scalar(value)?)))
            .collect();
        body.insert("credentials".into(), json!(credentials));
        body.insert("scope".into(), "".into());
    }
}

/// How a connection fares, by its status and the refreshes that failed in a row.
#[must_use]
pub fn health_status(status: Status, failures: u32) -> &'static str {
    match status {
        Status::Active if failures == 0 => "healthy",
        Status::Active => "degraded",
        Status::Attention => "unhealthy",
        Status::Absent | Status::Pending | Status::Failed | Status::Revoked | Status::Deleted => {
            "unknown"
        }
    }
}
