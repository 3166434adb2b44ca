//! The wire contract's table of codes, as constructors.

use std::borrow::Cow;

use http::StatusCode;

use super::ApiError;

/// Refusals of a request: each takes the sentence for its caller.
macro_rules! refusals {
    ($($(#[$doc:meta])* $status:ident $code:ident;)*) => {
        impl ApiError {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $code(message: impl Into<Cow<'static, str>>) -> ApiError {
                    ApiError::new(StatusCode::$status, stringify!($code), message)
                }
            )*
        }
    };
}

/// Answers whose sentence never varies, so that it can leak nothing.
macro_rules! constants {
    ($($(#[$doc:meta])* $status:ident $code:ident $message:literal;)*) => {
        impl ApiError {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $code() -> ApiError {
                    ApiError::new(StatusCode::$status, stringify!($code), $message)
                }
            )*
        }
    };
}

refusals! {
    /// 400: the body is not JSON; details `line` and `column`.
    BAD_REQUEST invalid_json;
    /// 400: something required is absent.
    BAD_REQUEST missing_fields;
    /// 400: a field has the wrong type or an impossible value; detail `field`.
    BAD_REQUEST invalid_field;
    /// 400: the return URL is not an absolute http(s) URL, or its host is not allowed.
    BAD_REQUEST invalid_return_url;
    /// 400: the state was not made here, is not known, or has expired.
    BAD_REQUEST invalid_state;
    /// 400: a scope is blank or holds characters a scope cannot hold (RFC 6749 §3.3).
    BAD_REQUEST invalid_scope;
    /// 400: a provider's profile breaks a rule; detail `field`.
    BAD_REQUEST invalid_provider;
    /// 400: the provider's id is not a UUID.
    BAD_REQUEST invalid_provider_id;
    /// 400: the provider's name breaks the rules for names.
    BAD_REQUEST invalid_provider_name;
    /// 400: a provider was to be registered without a profile.
    BAD_REQUEST missing_profile;
    /// 400: captured credentials do not satisfy the provider's schema; detail `fields`.
    BAD_REQUEST invalid_credentials;
    /// 400: the provider did not accept captured credentials.
    BAD_REQUEST credentials_rejected;
    /// 400: a static credential cannot be refreshed.
    BAD_REQUEST static_token;
    /// 400: `since` is not an RFC 3339 time.
    BAD_REQUEST invalid_since;
    /// 400: `limit` is not a number in its range.
    BAD_REQUEST invalid_limit;
    /// 400: `cursor` is none that an earlier page gave.
    BAD_REQUEST invalid_cursor;
    /// 400: a listing of connections does not name its workspace.
    BAD_REQUEST missing_workspace_id;
    /// 400: the callback came without `state`, or with neither `code` nor `error`.
    BAD_REQUEST missing_params;
    /// 400: the provider refused the consent, or its answer could not be trusted.
    BAD_REQUEST oauth_error;
    /// 400: the connection is at another provider than was asked for.
    BAD_REQUEST provider_mismatch;
    /// 409: the `Idempotency-Key` was used for another request.
    CONFLICT idempotency_conflict;
    /// 400: a header is too long or no text; detail `header`.
    BAD_REQUEST invalid_header;
    /// 403: the caller's address is not among those that may call.
    FORBIDDEN ip_not_allowed;
    /// 429: the caller's address calls too often.
    TOO_MANY_REQUESTS rate_limited;
    /// 403: a caller key does not open this door.
    FORBIDDEN api_key_not_permitted;
    /// 401: `X-Nexus-Subject` is required and missing.
    UNAUTHORIZED missing_subject;
    /// 409: the name is taken by another provider.
    CONFLICT provider_exists;
    /// 409: the connection has no credential to give; detail `status`.
    CONFLICT connection_not_active;
    /// 409: the user has to connect again; detail `reason`.
    CONFLICT attention_required;
    /// 409: the one-time state was used before.
    CONFLICT state_used;
    /// 409: what the request was about kept changing underneath it.
    CONFLICT conflict;
    /// 400: a text that no agent can be called.
    BAD_REQUEST invalid_agent_id;
    /// 409: an agent of this id is registered.
    CONFLICT agent_exists;
    /// 400: a session names no agent.
    BAD_REQUEST missing_agent_id;
    /// 400: a session asks for no scope.
    BAD_REQUEST missing_scopes;
    /// 400: a session would last too long, or not at all; detail `max_ttl_seconds`.
    BAD_REQUEST invalid_ttl;
    /// 400: a session on behalf of a user has nobody who vouches for the user.
    BAD_REQUEST missing_user_context_token;
    /// 400: scopes of a provider, and no connection to use there.
    BAD_REQUEST missing_connection_selector;
    /// 400: a connection's id is none.
    BAD_REQUEST invalid_connection_id;
    /// 400: some scopes are a provider's and some are not; detail `scope`.
    BAD_REQUEST mixed_scopes;
    /// 400: the connection's provider gives no access tokens.
    BAD_REQUEST unsupported_agent_session_provider;
    /// 403: the agent is not active.
    FORBIDDEN agent_inactive;
    /// 403: the agent is not registered for a scope; detail `scope`.
    FORBIDDEN scope_not_allowed;
    /// 403: the connection was not granted a scope; detail `scope`.
    FORBIDDEN scope_not_granted;
    /// 403: on behalf of a user, the agent is not registered for a scope; detail `scope`.
    FORBIDDEN scope_not_permitted_for_agent;
    /// 403: the user may not do what a scope permits; detail `scope`.
    FORBIDDEN user_not_authorized_for_scope;
    /// 404: no such session.
    NOT_FOUND session_not_found;
    /// 409: several connections fit; detail `choices`.
    CONFLICT connection_ambiguous;
    /// 404: no such agent; detail `agent_id`.
    NOT_FOUND agent_not_found;
    /// 404: no such provider; detail `provider_id` or `provider_name`.
    NOT_FOUND provider_not_found;
}

constants! {
    /// 401: the door needs a key and none was sent.
    UNAUTHORIZED missing_api_key "This door needs an API key in the X-API-Key header.";
    /// 401: the key is not one of ours.
    UNAUTHORIZED invalid_api_key "The API key in the X-API-Key header is not valid.";
    /// 401: whoever vouches for users does not know the user's token, or not any more.
    UNAUTHORIZED invalid_user_context_token "The user's token is not accepted.";
    /// 404: no such path.
    NOT_FOUND not_found "There is nothing at this path.";
    /// 404: no such connection; the same for an unknown, a foreign and a malformed id.
    NOT_FOUND connection_not_found "There is no such connection.";
    /// 405: the path exists, its `Allow` names the methods it knows.
    METHOD_NOT_ALLOWED method_not_allowed "This path does not know that method; see the Allow header.";
    /// 413: the body exceeds [`MAX_BODY_BYTES`](crate::http::json::MAX_BODY_BYTES).
    PAYLOAD_TOO_LARGE body_too_large "The request body is too large.";
    /// 415: a JSON door was given something else.
    UNSUPPORTED_MEDIA_TYPE unsupported_media_type "This door takes a body of type application/json.";
    /// 500: a defect of ours; the log has the cause under the same request id.
    INTERNAL_SERVER_ERROR internal "Something went wrong in the vault.";
    /// 500: a sealed secret of the connection or its provider does not open.
    INTERNAL_SERVER_ERROR secret_unreadable "A sealed secret does not open: its key is missing or another one, or it was altered.";
    /// 502: the provider's token endpoint failed or could not be reached.
    BAD_GATEWAY provider_error "The provider could not be reached or gave no usable answer.";
    /// 502: the provider's discovery document could not be read.
    BAD_GATEWAY upstream_error "The provider's configuration could not be read.";
    /// 503: the append queue is full.
    SERVICE_UNAVAILABLE overloaded "The vault is overloaded.";
    /// 503: the read could not be recorded, so the credential is not given.
    SERVICE_UNAVAILABLE audit_unavailable "The read could not be recorded, so no credential is given.";
    /// 503: another caller's refresh has not come to an end in time.
    SERVICE_UNAVAILABLE refresh_unavailable "The credential could not be refreshed in time.";
    /// 503: the database cannot be reached.
    SERVICE_UNAVAILABLE database_unavailable "The vault's database is not available.";
    /// 503: whoever vouches for users cannot be asked.
    SERVICE_UNAVAILABLE backend_auth_unavailable "The user's token cannot be verified now.";
    /// 503: nobody is set who vouches for users.
    SERVICE_UNAVAILABLE obo_not_configured "The vault is not set up to act for users.";
    /// 503: the server has not finished starting.
    SERVICE_UNAVAILABLE starting "The vault is starting.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constructor_bears_the_code_of_its_name_and_the_contracts_status() {
        let error = ApiError::state_used("used before");
        assert_eq!(
            (error.code(), error.status()),
            ("state_used", StatusCode::CONFLICT)
        );
        let error = ApiError::audit_unavailable();
        assert_eq!(
            (error.code(), error.status()),
            ("audit_unavailable", StatusCode::SERVICE_UNAVAILABLE)
        );
    }

    /// Every code has its line in the documentation.
    #[test]
    fn the_documentation_has_the_codes_that_there_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        let documented = std::fs::read_to_string(path).unwrap();
        let is_status = |word: &str| {
            word.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        let entries = include_str!("codes.rs").lines().filter_map(|line| {
            let mut words = line.trim().split([' ', ';']);
            words
                .next()
                .filter(|word| !word.is_empty() && is_status(word))?;
            words.next()
        });
        let codes: Vec<&str> = entries.collect();
        assert!(codes.len() > 40, "{codes:?}");
        for code in codes {
            assert!(documented.contains(&format!("`{code}`")), "{code}");
        }
    }
}
