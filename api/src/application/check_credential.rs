//! A credential that a user typed in, tried at its provider before it is recorded.

use http::header::ACCEPT;
use http::{HeaderName, HeaderValue};
use nexus_domain::credential::Credential;
use nexus_domain::credential_check::{CheckRules, Verdict};
use nexus_domain::provider::ProviderProfile;
use nexus_domain::strategy::{Scheme, strategy_of};

use super::Application;
use crate::apply::{Applied, ApplyError, Request, apply};

/// Why a credential is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The provider refused it.
    #[error("the provider did not accept the credentials")]
    Rejected,
    /// It cannot be sent as the provider wants it.
    #[error("the field `{field}` {message}")]
    Unusable {
        /// The field.
        field: String,
        /// What must be true of it: the end of a sentence that begins with its name.
        message: &'static str,
    },
}

/// Why a credential is not tried.
#[derive(Debug, PartialEq, Eq)]
enum Untried {
    /// The provider has nothing to ask, wants no asking, or has a way of its own.
    NotAsked,
    /// The provider's settings do not make a request.
    Unmade(String),
    /// The credential does not go into the request.
    Refused(CheckError),
}

impl From<ApplyError> for Untried {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Unusable { field, message } => {
                Self::Refused(CheckError::Unusable { field, message })
            }
            ApplyError::Missing(_)
            | ApplyError::NotAUrl
            | ApplyError::NoPlaceholder
            | ApplyError::Unset(_)
            | ApplyError::Unsignable => Self::Unmade(error.to_string()),
        }
    }
}

impl Application {
    /// Asks the provider for what is at its `user_info_endpoint`, with the credential, and judges the answer by
    /// `params.validation`. A credential that could not be tried is taken: the provider has nothing to ask, cannot be
    /// reached or is in trouble of its own.
    ///
    /// # Errors
    /// [`CheckError`]
    pub(super) async fn check_credential(
        &self,
        profile: &ProviderProfile,
        credential: &Credential,
    ) -> Result<(), CheckError> {
        let rules = CheckRules::of(profile);
        let request = match self.request(profile, &rules, credential) {
            Ok(request) => request,
            Err(Untried::NotAsked) => return Ok(()),
            Err(Untried::Refused(error)) => return Err(error),
            Err(Untried::Unmade(error)) => {
                tracing::warn!(provider = %profile.name, error, "a credential could not be tried");
                return Ok(());
            }
        };
        let verdict = match self.upstream.ask(request).await {
            Ok(answer) => rules.judge(answer.status, &answer.body),
            Err(error) => {
                tracing::warn!(provider = %profile.name, error = error.code(), "a credential was taken untried");
                Verdict::Undecided
            }
        };
        match verdict {
            Verdict::Accepted | Verdict::Undecided => Ok(()),
            Verdict::Rejected => Err(CheckError::Rejected),
        }
    }

    /// The request that tries a credential.
    fn request(
        &self,
        profile: &ProviderProfile,
        rules: &CheckRules,
        credential: &Credential,
    ) -> Result<Applied, Untried> {
        let (request, scheme) = asked(profile, rules)?;
        Ok(apply(&scheme, credential, request, self.ledger.now())?)
    }
}

/// Whether credentials are tried at this provider.
pub(super) fn is_tried(profile: &ProviderProfile) -> bool {
    asked(profile, &CheckRules::of(profile)).is_ok()
}

/// What a provider is asked, and how the credential goes into it.
fn asked(profile: &ProviderProfile, rules: &CheckRules) -> Result<(Request, Scheme), Untried> {
    let url = profile.user_info_url().filter(|_| !rules.skip);
    let url = url.ok_or(Untried::NotAsked)?;
    let scheme = Scheme::of(&strategy_of(profile));
    let scheme = scheme.map_err(|error| Untried::Unmade(error.to_string()))?;
    let mut request = Request::get(url);
    let json = HeaderValue::from_static("application/json");
    request.headers.insert(ACCEPT, json);
    for (name, value) in &rules.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            request.headers.insert(name, value);
        }
    }
    Ok((request, scheme.ok_or(Untried::NotAsked)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn url(profile: Value) -> Result<String, Untried> {
        let profile: ProviderProfile = serde_json::from_value(profile).unwrap();
        asked(&profile, &CheckRules::of(&profile)).map(|(request, _)| request.url)
    }

    #[test]
    fn a_provider_is_asked_who_the_user_is() {
        let me = "https://api.test/v1/me";
        for (base, endpoint, expected) in [
            (None, me, me),
            (Some("https://other.test"), me, me),
            (Some("https://api.test/v1"), "/me", me),
            (Some("https://api.test/v1/"), "/me", me),
            (
                Some("https://api.test"),
                "/{k}/me?a=1",
                "https://api.test/{k}/me?a=1",
            ),
            (
                Some("https://api.test"),
                "//elsewhere.test",
                "https://api.test//elsewhere.test",
            ),
        ] {
            let profile = json!({"auth_type": "api_key", "api_base_url": base, "user_info_endpoint": endpoint});
            assert_eq!(url(profile).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_provider_with_nothing_to_ask_is_not_asked() {
        let me = "https://api.test/me";
        for profile in [
            json!({"auth_type": "api_key"}),
            json!({"auth_type": "api_key", "user_info_endpoint": ""}),
            json!({"auth_type": "api_key", "user_info_endpoint": "/me"}),
            json!({"auth_type": "api_key", "user_info_endpoint": "/me", "api_base_url": ""}),
            json!({"auth_type": "api_key", "api_base_url": "https://api.test"}),
            json!({"auth_type": "api_key", "user_info_endpoint": me, "params": {"validation": {"skip": true}}}),
            json!({"auth_type": "api_key", "user_info_endpoint": me, "params": {"auth_strategy": {"type": "own"}}}),
        ] {
            assert_eq!(url(profile), Err(Untried::NotAsked));
        }
    }

    #[test]
    fn a_provider_is_sent_the_headers_it_wants() {
        let validation =
            json!({"headers": {"Notion-Version": "2022-06-28", "accept": "text/plain"}});
        let profile = json!({"auth_type": "api_key", "user_info_endpoint": "https://api.test/me", "params": {"validation": validation}});
        let profile: ProviderProfile = serde_json::from_value(profile).unwrap();
        let (request, _) = asked(&profile, &CheckRules::of(&profile)).unwrap();
        assert_eq!(request.headers["notion-version"], "2022-06-28");
        assert_eq!(request.headers[ACCEPT], "text/plain");
    }

    #[test]
    fn a_strategy_that_makes_no_sense_is_said() {
        let profile = json!({"auth_type": "hmac_payload", "user_info_endpoint": "https://api.test/me", "params": {"algo": "md5"}});
        let unmade = "`algo` must be `sha256` or `sha1`".to_owned();
        assert_eq!(url(profile), Err(Untried::Unmade(unmade)));
    }
}
