//! The token payload: a credential and how to apply it, as every credential door serves it.

use std::collections::BTreeMap;

use nexus_domain::connection::Status;
use nexus_domain::credential::{Credential, OAuth2Credential, StaticCredential};
use nexus_domain::secret::{Secret, SecretMap};
use nexus_domain::strategy::{Strategy, scalar};
use nexus_domain::time::Timestamp;
use serde::{Serialize, Serializer};

/// How `expires_at` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiresAs {
    /// Seconds since the Unix epoch.
    #[default]
    Epoch,
    /// An RFC 3339 time, for clients that parse nothing else.
    Rfc3339,
}

impl ExpiresAs {
    fn write(self, at: Timestamp) -> ExpiresAt {
        match self {
            Self::Epoch => ExpiresAt::Epoch(at.as_seconds()),
            Self::Rfc3339 => ExpiresAt::Rfc3339(at.to_string()),
        }
    }
}

#[derive(Clone, Serialize)]
#[serde(untagged)]
enum ExpiresAt {
    Epoch(i64),
    Rfc3339(String),
}

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
    /// How `expires_at` is written.
    pub expires_as: ExpiresAs,
}

/// The wire form.
#[derive(Serialize)]
struct Body<'a> {
    strategy: StrategyBody<'a>,
    #[serde(flatten)]
    credential: CredentialBody<'a>,
    scope: String,
    connection_id: &'a str,
    provider: &'a str,
    health_status: &'static str,
}

#[derive(Serialize)]
struct StrategyBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a BTreeMap<String, String>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum CredentialBody<'a> {
    OAuth2 {
        access_token: &'a str,
        token_type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<ExpiresAt>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_in: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id_token: Option<&'a str>,
        credentials: OAuth2Body<'a>,
    },
    /// Scalars are served as strings; what nests is left out, because clients read a map of strings.
    Static {
        credentials: BTreeMap<&'a str, String>,
    },
}

#[derive(Serialize)]
struct OAuth2Body<'a> {
    access_token: &'a str,
    token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<ExpiresAt>,
    /// Their names are none of those above: profiles are checked.
    #[serde(flatten)]
    fields: BTreeMap<&'a str, String>,
}

impl Serialize for TokenPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let config = &self.strategy.config;
        let (credential, scope, config) = match &self.credential {
            Credential::OAuth2(credential) => (
                self.oauth2(credential),
                credential.scope.join(" "),
                Some(config).filter(|config| !config.is_empty()),
            ),
            Credential::Static(credential) => (fields(credential), String::new(), Some(config)),
        };
        let body = Body {
            strategy: StrategyBody {
                kind: &self.strategy.kind,
                config,
            },
            credential,
            scope,
            connection_id: &self.connection_id,
            provider: &self.provider,
            health_status: self.health_status,
        };
        body.serialize(serializer)
    }
}

impl TokenPayload {
    fn oauth2<'a>(&self, credential: &'a OAuth2Credential) -> CredentialBody<'a> {
        let (access_token, token_type) = (credential.access_token.expose(), &credential.token_type);
        let expires_at = credential.expires_at.map(|at| self.expires_as.write(at));
        let id_token = credential.id_token.as_ref().map(Secret::expose);
        CredentialBody::OAuth2 {
            access_token,
            token_type,
            expires_at: expires_at.clone(),
            expires_in: credential.expires_at.map(|at| at.since(self.now).as_secs()),
            id_token,
            credentials: OAuth2Body {
                access_token,
                token_type,
                id_token,
                expires_at,
                fields: texts(&credential.fields),
            },
        }
    }
}

fn fields(credential: &StaticCredential) -> CredentialBody<'_> {
    CredentialBody::Static {
        credentials: texts(&credential.fields),
    }
}

fn texts(fields: &SecretMap) -> BTreeMap<&str, String> {
    let fields = fields.expose().iter();
    fields
        .filter_map(|(name, value)| Some((name.as_str(), scalar(value)?)))
        .collect()
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
