//! `/v1/oauth` on the Gateway: what a session token is worth at this moment (RFC 7662), and ending it (RFC 7009).

use std::borrow::Cow;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::Doors;
use super::caller::Caller;
use crate::application::Fault;
use crate::http::error::ApiError;
use crate::http::json::{Json, RawForm};
use crate::session_tokens::Claims;

pub(super) fn routes() -> Router<Doors> {
    Router::new()
        .route("/v1/oauth/introspect", post(introspect))
        .route("/v1/oauth/revoke", post(revoke))
}

/// What is said of a token whose session is open (RFC 7662 §2.2).
#[derive(Serialize)]
struct Introspection<'a> {
    active: bool,
    token_type: &'static str,
    iss: &'a str,
    aud: &'a str,
    #[serde(flatten)]
    claims: &'a Claims,
}

async fn introspect(
    State(doors): State<Doors>,
    caller: Caller,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let token = token(&form)?;
    let introspected = doors.application.introspect(&token, caller.subject());
    let Some(claims) = introspected.await? else {
        // Nothing else is said, so that it tells nothing.
        return Ok(Json(json!({"active": false})).into_response());
    };
    let tokens = &doors.application.session_tokens;
    let introspection = Introspection {
        active: true,
        token_type: "Bearer",
        iss: tokens.issuer(),
        aud: tokens.audience(),
        claims: &claims,
    };
    Ok(Json(introspection).into_response())
}

/// Ends the token's session. A token that names none needs no ending, so that is no mistake (RFC 7009 §2.2).
async fn revoke(
    State(doors): State<Doors>,
    caller: Caller,
    RawForm(form): RawForm,
) -> Result<Response, ApiError> {
    let token = token(&form)?;
    let metadata = caller.metadata("revoke_session_token");
    let revoked = doors.application.revoke_session_token(&token, metadata);
    revoked.await.map_err(unrevoked)?;
    Ok(Json(json!({})).into_response())
}

/// Who is told 503 knows that the token may still be good, and tries again (RFC 7009 §2.2.1).
fn unrevoked(fault: Fault) -> ApiError {
    match fault {
        Fault::Conflict => ApiError::from(fault)
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
            .retry_after(1),
        Fault::Overloaded | Fault::Database(_) | Fault::Unreadable(_) | Fault::Internal(_) => {
            fault.into()
        }
    }
}

/// The token of a request. A parameter without a value counts as left out, and none may come twice (RFC 6749 §3.2).
fn token(form: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    let (mut token, mut hints) = (None, 0);
    for (name, value) in url::form_urlencoded::parse(form) {
        match &*name {
            "token" if token.is_some() => return Err(twice("token")),
            "token" => token = Some(value),
            // There is one kind of token, whatever the hint.
            "token_type_hint" => hints += 1,
            _ => {}
        }
    }
    if hints > 1 {
        return Err(twice("token_type_hint"));
    }
    let token = token.filter(|token| !token.is_empty());
    token.ok_or_else(|| {
        ApiError::missing_fields("The form must have a token.").with("fields", vec!["token"])
    })
}

fn twice(name: &'static str) -> ApiError {
    ApiError::invalid_field(format!("The form has {name} more than once.")).with("field", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(form: &str) -> Result<String, &'static str> {
        let token = token(form.as_bytes());
        token.map(Cow::into_owned).map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_form_has_one_token_and_whatever_else() {
        for form in [
            "token=a.b-c_d",
            "other=1&other=2&token=a%2Eb-c_d",
            "token=a.b-c_d&token_type_hint=refresh_token",
        ] {
            assert_eq!(code(form), Ok("a.b-c_d".to_owned()), "{form}");
        }
    }

    #[test]
    fn a_form_without_a_token_or_with_two_is_refused() {
        for form in ["", "token", "token=", "Token=a", "{\"token\":\"a\"}"] {
            assert_eq!(code(form), Err("missing_fields"), "{form}");
        }
        for form in [
            "token=a&token=a",
            "token=&token=a",
            "token=a&token_type_hint=&token_type_hint=x",
        ] {
            assert_eq!(code(form), Err("invalid_field"), "{form}");
        }
    }
}
