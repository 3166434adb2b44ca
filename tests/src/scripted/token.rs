//! The token endpoint: codes and refresh tokens, each good once.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::reply::{Content, RefreshToken, Tokens};
use super::server::{HttpReply, HttpRequest};
use super::signing::Claims;
use super::{Reply, Shared, State, Wire, random};

/// A call of the token endpoint, as it arrived.
#[derive(Debug, Clone)]
pub struct TokenCall {
    form: Vec<(String, String)>,
    /// The client's id and secret from the `Authorization` header (RFC 6749 §2.3.1), if there was one.
    pub basic: Option<(String, String)>,
    /// The status it was answered with.
    pub status: u16,
}

impl TokenCall {
    /// A parameter of the form.
    pub fn form(&self, name: &str) -> Option<&str> {
        self.form
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn read(request: &HttpRequest) -> TokenCall {
        let form = url::form_urlencoded::parse(request.body.as_bytes())
            .into_owned()
            .collect();
        TokenCall {
            form,
            basic: request.header("authorization").and_then(basic),
            status: 0,
        }
    }
}

/// What has been granted and not yet used up.
#[derive(Debug, Default)]
pub(super) struct Grants {
    codes: HashMap<String, Grant>,
    refresh_tokens: HashMap<String, Grant>,
}

#[derive(Debug, Clone)]
struct Grant {
    client: String,
    scope: String,
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
}

impl Grants {
    /// Grants an authorization request; returns its code.
    pub(super) fn authorize(&mut self, request: &HttpRequest) -> String {
        assert_eq!(request.query("response_type").as_deref(), Some("code"));
        assert_eq!(
            request.query("code_challenge_method").as_deref(),
            Some("S256"),
            "PKCE is always used"
        );
        let code = format!("canary-code-{}", random());
        let grant = Grant {
            client: request.query("client_id").expect("a client_id"),
            scope: request.query("scope").unwrap_or_default(),
            nonce: request.query("nonce"),
            challenge: request.query("code_challenge").expect("a code_challenge"),
            redirect_uri: request.query("redirect_uri").expect("a redirect_uri"),
        };
        self.codes.insert(code.clone(), grant);
        code
    }

    /// What a call is entitled to. A code is used up by it, and so is a refresh token where it is replaced.
    fn redeem(&mut self, call: &TokenCall, refresh_token: RefreshToken) -> Option<Grant> {
        if call.form("grant_type") == Some("authorization_code") {
            let grant = self.codes.remove(call.form("code")?)?;
            let challenge =
                URL_SAFE_NO_PAD.encode(digest(&SHA256, call.form("code_verifier")?.as_bytes()));
            return (challenge == grant.challenge
                && call.form("redirect_uri") == Some(&grant.redirect_uri))
            .then_some(grant);
        }
        let presented = call.form("refresh_token")?;
        let grant = self.refresh_tokens.get(presented).cloned();
        if refresh_token == RefreshToken::New {
            self.refresh_tokens.remove(presented);
        }
        grant
    }
}

/// Answers a call as the script says.
pub(super) async fn answer(shared: &Shared, request: &HttpRequest) -> (HttpReply, Wire) {
    let mut call = TokenCall::read(request);
    let reply = {
        let mut state = shared.state.lock().unwrap();
        state
            .script
            .pop_front()
            .unwrap_or_else(|| state.otherwise.clone())
    };
    let Reply {
        content,
        wire,
        gate,
    } = reply;
    // What was asked is done before the answer is held: a client that dies meanwhile has used up its token.
    let (status, answer) = perform(shared, &mut call, content);
    call.status = status;
    shared.state.lock().unwrap().calls.push(call);
    if let Some(gate) = gate {
        gate.pass().await;
    }
    (answer, wire)
}

fn perform(shared: &Shared, call: &mut TokenCall, content: Content) -> (u16, HttpReply) {
    match content {
        Content::Fixed {
            status,
            content_type,
            body,
            retry_after,
        } => {
            let reply = HttpReply::new(status, &content_type, body);
            let reply = match retry_after {
                Some(value) => reply.header("retry-after", value),
                None => reply,
            };
            (status, reply)
        }
        Content::Tokens(tokens) => {
            let mut state = shared.state.lock().unwrap();
            let kept = if state.takes_tokens_again {
                RefreshToken::Same
            } else {
                tokens.refresh_token
            };
            match state.grants.redeem(call, kept) {
                Some(grant) => (
                    200,
                    HttpReply::json(200, &issue(shared, &mut state, call, &grant, &tokens)),
                ),
                None => (
                    400,
                    HttpReply::json(400, &json!({"error": "invalid_grant"})),
                ),
            }
        }
    }
}

fn issue(
    shared: &Shared,
    state: &mut State,
    call: &TokenCall,
    grant: &Grant,
    tokens: &Tokens,
) -> Value {
    let access_token = format!("canary-access-{}", random());
    let mut answer = json!({"access_token": access_token, "token_type": "Bearer"});
    state.secrets.push(access_token);
    if let Some(refresh_token) = refresh_token(state, call, grant, tokens.refresh_token) {
        answer["refresh_token"] = json!(refresh_token);
    }
    if let Some(expires_in) = &tokens.expires_in {
        answer["expires_in"] = expires_in.clone();
    }
    answer["scope"] = json!(tokens.scope.as_ref().unwrap_or(&grant.scope));
    let openid = grant.scope.split(' ').any(|scope| scope == "openid");
    if let Some(fault) = tokens.id_token.filter(|_| openid) {
        // A refreshed id_token repeats no nonce (OpenID Connect Core §12.2).
        let nonce = grant
            .nonce
            .as_deref()
            .filter(|_| call.form("code").is_some());
        let claims = Claims {
            issuer: &shared.issuer,
            audience: &grant.client,
            subject: &tokens.subject,
            nonce,
        };
        let id_token = shared.key.id_token(&claims, fault);
        state.secrets.push(id_token.clone());
        answer["id_token"] = json!(id_token);
    }
    answer
}

fn refresh_token(
    state: &mut State,
    call: &TokenCall,
    grant: &Grant,
    kind: RefreshToken,
) -> Option<String> {
    let token = match kind {
        RefreshToken::None => return None,
        RefreshToken::Same if call.form("refresh_token").is_some() => {
            call.form("refresh_token")?.to_owned()
        }
        RefreshToken::Same | RefreshToken::New => format!("canary-refresh-{}", random()),
    };
    state
        .grants
        .refresh_tokens
        .insert(token.clone(), grant.clone());
    state.secrets.push(token.clone());
    Some(token)
}

fn basic(header: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    let plain = |text: &str| {
        url::form_urlencoded::parse(format!("v={text}").as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
    };
    Some((plain(id)?, plain(secret)?))
}
