//! Who vouches for the users that agents act for.

use openidconnect::core::CoreJwsSigningAlgorithm;
use openidconnect::core::CoreJwsSigningAlgorithm::{
    EcdsaP256Sha256, EcdsaP384Sha384, EdDsa, RsaSsaPkcs1V15Sha256, RsaSsaPkcs1V15Sha384,
    RsaSsaPkcs1V15Sha512, RsaSsaPssSha256, RsaSsaPssSha384, RsaSsaPssSha512,
};
use url::{Host, Url};

use super::error::ConfigError;
use super::parse::{given, http_url};
use super::settings::Settings;

/// Every algorithm that a key of an issuer's may sign with (RFC 7518 §3.1, RFC 8037 §3.1): none of them lets whoever
/// verifies sign, too.
const ALGORITHMS: [(&str, CoreJwsSigningAlgorithm); 9] = [
    ("ES256", EcdsaP256Sha256),
    ("EdDSA", EdDsa),
    ("RS256", RsaSsaPkcs1V15Sha256),
    ("ES384", EcdsaP384Sha384),
    ("RS384", RsaSsaPkcs1V15Sha384),
    ("RS512", RsaSsaPkcs1V15Sha512),
    ("PS256", RsaSsaPssSha256),
    ("PS384", RsaSsaPssSha384),
    ("PS512", RsaSsaPssSha512),
];
/// What `OBO_ALGORITHMS` is when nobody sets it.
const USUAL: &str = "ES256,EdDSA,RS256";

/// Who vouches for users. The backend goes before the issuer; with neither, no agent acts for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserContextSettings {
    /// Where the backend is that verifies tokens; its door is below it.
    pub backend: Option<Url>,
    /// Whose tokens are verified here.
    pub issuer: Option<IssuerSettings>,
    /// What those may be signed with.
    pub algorithms: Vec<CoreJwsSigningAlgorithm>,
}

/// An issuer of tokens that say what a user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// `iss`, to the letter.
    pub issuer: String,
    /// What `aud` has to name.
    pub audience: String,
    /// Where its keys are; its discovery document says so when absent.
    pub jwks_url: Option<Url>,
}

impl UserContextSettings {
    /// The names of the algorithms, separated by commas.
    pub(super) fn algorithm_names(&self) -> String {
        let known = ALGORITHMS.iter();
        let listed = known.filter(|(_, algorithm)| self.algorithms.contains(algorithm));
        let names: Vec<&str> = listed.map(|(name, _)| *name).collect();
        names.join(",")
    }
}

pub(super) fn user_contexts(settings: &Settings) -> Result<UserContextSettings, ConfigError> {
    Ok(UserContextSettings {
        backend: base("BACKEND_AUTH_URL", settings.backend_auth_url.as_ref())?,
        issuer: issuer(settings)?,
        algorithms: algorithms(given(settings.obo_algorithms.as_ref()).unwrap_or(USUAL))?,
    })
}

/// What whoever starts the vault so should know.
pub(super) fn notes(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    let contexts = user_contexts(settings)?;
    let mut notes = Vec::new();
    if contexts.backend.is_some() && contexts.issuer.is_some() {
        notes.push("OBO_ISSUER is not asked: BACKEND_AUTH_URL goes before it".to_owned());
    }
    let issuer = contexts.issuer.as_ref();
    let called = [
        ("BACKEND_AUTH_URL", contexts.backend.clone()),
        (
            "OBO_ISSUER",
            issuer
                .filter(|issuer| issuer.jwks_url.is_none())
                .and_then(|issuer| Url::parse(&issuer.issuer).ok()),
        ),
        (
            "OBO_JWKS_URL",
            issuer.and_then(|issuer| issuer.jwks_url.clone()),
        ),
    ];
    let open = called
        .into_iter()
        .filter(|(_, url)| url.as_ref().is_some_and(crosses_the_network_in_clear));
    notes.extend(open.map(|(setting, _)| {
        format!("{setting} is http: whoever is on the way can vouch for any user")
    }));
    Ok(notes)
}

fn crosses_the_network_in_clear(url: &Url) -> bool {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !local
}

/// A URL that paths are appended to.
fn base(setting: &'static str, value: Option<&String>) -> Result<Option<Url>, ConfigError> {
    let Some(text) = given(value) else {
        return Ok(None);
    };
    let url = http_url(setting, text)?;
    if url.query().is_some() || url.fragment().is_some() {
        let problem = "must have neither query nor fragment";
        return Err(ConfigError::new(setting, problem));
    }
    Ok(Some(url))
}

fn issuer(settings: &Settings) -> Result<Option<IssuerSettings>, ConfigError> {
    let audience = given(settings.obo_audience.as_ref());
    let jwks_url = given(settings.obo_jwks_url.as_ref());
    let Some(issuer) = given(settings.obo_issuer.as_ref()) else {
        let orphan = [("OBO_AUDIENCE", audience), ("OBO_JWKS_URL", jwks_url)];
        return match orphan.into_iter().find(|(_, value)| value.is_some()) {
            Some((setting, _)) => Err(ConfigError::new(setting, "needs OBO_ISSUER")),
            None => Ok(None),
        };
    };
    base("OBO_ISSUER", settings.obo_issuer.as_ref())?;
    let problem = "is needed with OBO_ISSUER, or a token for anybody would do";
    let audience = audience.ok_or_else(|| ConfigError::new("OBO_AUDIENCE", problem))?;
    let jwks_url = jwks_url.map(|text| http_url("OBO_JWKS_URL", text));
    Ok(Some(IssuerSettings {
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        jwks_url: jwks_url.transpose()?,
    }))
}

fn algorithms(text: &str) -> Result<Vec<CoreJwsSigningAlgorithm>, ConfigError> {
    let names = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let algorithm = |name: &str| {
        let known = ALGORITHMS.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, algorithm)| algorithm.clone())
            .ok_or_else(|| {
                let known: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                let problem = format!("`{name}` is none of {}", known.join(", "));
                ConfigError::new("OBO_ALGORITHMS", problem)
            })
    };
    let algorithms: Vec<_> = names.map(algorithm).collect::<Result<_, _>>()?;
    if algorithms.is_empty() {
        return Err(ConfigError::new("OBO_ALGORITHMS", "names no algorithm"));
    }
    Ok(algorithms)
}
