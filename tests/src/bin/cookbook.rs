//! Connects a user's accounts, calls APIs with them, and opens sessions for an agent.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Parser, Subcommand};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Map, Value, json};

const USER: &str = "alice";
const RETURN_URL: &str = "http://localhost:3000/done";

#[derive(Parser)]
struct App {
    #[arg(long, env)]
    gateway: String,
    #[arg(long, env = "NEXUS_KEY", hide_env_values = true)]
    key: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Asks the user for a connection
    Connect { provider: String },
    /// Submits what the user types into the provider's form
    Key { provider: String },
    /// Calls an API
    Call { provider: String, url: String },
    /// Opens sessions for an agent, uses and closes them
    Session { provider: String, url: String },
}

/// Nexus said no: the envelope, with a stable `code` to decide by.
#[derive(Debug)]
struct Refused(Value);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} ({})",
            self.0["code"], self.0["message"], self.0["request_id"]
        )
    }
}

impl std::error::Error for Refused {}

/// The refusal, if the error is one with this code.
fn refused<'a>(error: &'a anyhow::Error, code: &str) -> Option<&'a Refused> {
    error
        .downcast_ref::<Refused>()
        .filter(|no| no.0["code"] == code)
}

/// A text in what was answered.
fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("no {name}"))
}

/// The answer. When it asks to come back later, that is done.
async fn send(request: RequestBuilder) -> Result<Response> {
    for _ in 0..2 {
        let attempt = request.try_clone().context("it can be sent once only")?;
        let answer = attempt.send().await?;
        let later = answer.headers().get(RETRY_AFTER);
        let later = later.and_then(|later| later.to_str().ok()?.parse().ok());
        match (answer.status(), later) {
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(seconds)) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            _ => return Ok(answer),
        }
    }
    Ok(request.send().await?)
}

struct Nexus {
    http: Client,
    gateway: String,
    key: String,
}

impl Nexus {
    /// What Nexus answers.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = self.http.request(method, format!("{}{path}", self.gateway));
        let request = request
            .header("X-API-Key", &self.key)
            .header("X-Nexus-Subject", USER);
        let answer = send(match body {
            Some(body) => request.json(body),
            None => request,
        });
        let answer = answer.await?;
        let is_good = answer.status().is_success();
        let said: Value = answer.json().await?;
        if is_good {
            Ok(said)
        } else {
            Err(Refused(said).into())
        }
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, None).await
    }

    /// Asks for a connection, or for a new consent to this one.
    async fn connect(&self, provider: &str, connection: Option<&str>) -> Result<Value> {
        let wanted = json!({"user_id": USER, "provider_name": provider, "return_url": RETURN_URL, "connection_id": connection});
        let asked = self
            .ask(Method::POST, "/v1/request-connection", Some(&wanted))
            .await?;
        std::fs::write(
            format!("{provider}.connection"),
            text(&asked, "connection_id")?,
        )?;
        Ok(asked)
    }

    /// The status, once the user has decided.
    async fn settled(&self, connection: &str) -> Result<String> {
        loop {
            let answer = self
                .get(&format!("/v1/check-connection/{connection}?wait=30"))
                .await?;
            let status = text(&answer, "status")?;
            if status != "pending" {
                return Ok(status.to_owned());
            }
        }
    }

    /// A request that carries the credential where its provider wants it.
    fn authorized(&self, url: &str, token: &Value) -> Result<RequestBuilder> {
        let (config, has) = (&token["strategy"]["config"], &token["credentials"]);
        let setting =
            |name: &str, usual: &'static str| config[name].as_str().unwrap_or(usual).to_owned();
        let field =
            |name: &str, usual: &'static str| text(has, &setting(name, usual)).map(str::to_owned);
        let request = self.http.get(url);
        Ok(match text(&token["strategy"], "type")? {
            "oauth2" => request.bearer_auth(text(has, "access_token")?),
            "header" => {
                let value = setting("value_prefix", "") + &field("credential_field", "api_key")?;
                request.header(setting("header_name", "Authorization"), value)
            }
            "query_param" => {
                let value = field("credential_field", "api_key")?;
                request.query(&[(setting("param_name", "api_key"), value)])
            }
            "basic_auth" => {
                let password = field("password_field", "password")?;
                request.basic_auth(field("username_field", "username")?, Some(password))
            }
            other => bail!("this program does not know {other}"),
        })
    }

    /// What the API answers; one that refuses the token is asked once more with a new one.
    async fn call(&self, connection: &str, url: &str) -> Result<String> {
        ensure!(
            self.settled(connection).await? != "failed",
            "the account was not connected"
        );
        let token = self.get(&format!("/v1/token/{connection}")).await?;
        let status = send(self.authorized(url, &token)?).await?.status();
        if status != StatusCode::UNAUTHORIZED || token["strategy"]["type"] != "oauth2" {
            return Ok(status.as_str().to_owned());
        }
        let token = self
            .ask(Method::POST, &format!("/v1/refresh/{connection}"), None)
            .await?;
        let status = send(self.authorized(url, &token)?).await?.status();
        Ok(format!("{} after a refresh", status.as_str()))
    }

    /// Submits what the user types into the form; says what is wrong with it, if anything is.
    async fn key(&self, provider: &str) -> Result<String> {
        let asked = self.connect(provider, None).await?;
        let state = text(&asked, "state")?;
        let form = self.http.get(format!("{}/v1/capture-schema", self.gateway));
        let form: Value = send(form.query(&[("state", state)]))
            .await?
            .error_for_status()?
            .json()
            .await?;
        let mut typed = std::io::stdin().lines();
        let mut credentials = Map::new();
        for field in form["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            let line = typed.next().transpose()?.unwrap_or_default();
            credentials.insert(field.to_owned(), line.into());
        }
        let body = json!({"state": state, "credentials": credentials});
        match self
            .ask(Method::POST, "/v1/capture-credential", Some(&body))
            .await
        {
            Ok(captured) => Ok(text(&captured, "status")?.to_owned()),
            Err(error) => {
                let Some(no) = refused(&error, "invalid_credentials") else {
                    return Err(error);
                };
                let fields = no.0["fields"].as_array().into_iter().flatten();
                let wrong = fields.map(|field| {
                    Ok(format!(
                        "{} {}",
                        text(field, "path")?,
                        text(field, "message")?
                    ))
                });
                Ok(wrong.collect::<Result<Vec<String>>>()?.join("\n"))
            }
        }
    }

    /// Opens a session, does something with it, and closes it whatever happens.
    async fn with_session<T>(
        &self,
        asked: Value,
        work: impl AsyncFnOnce(&Value) -> Result<T>,
    ) -> Result<T> {
        let session = self
            .ask(Method::POST, "/v1/agent-sessions", Some(&asked))
            .await?;
        let done = work(&session).await;
        let path = format!("/v1/agent-sessions/{}", text(&session, "session_id")?);
        self.ask(Method::DELETE, &path, None).await?;
        done
    }

    /// The resource server's part: what a session token says, if it is good here and for this.
    async fn verified(&self, token: &str, scope: &str) -> Result<Value> {
        let (signed, signature) = token.rsplit_once('.').context("no JWT")?;
        let (header, claims) = signed.split_once('.').context("no JWT")?;
        let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).context("no base64url");
        let header: Value = serde_json::from_slice(&decoded(header)?)?;
        ensure!(
            header["typ"] == "at+jwt" && header["alg"] == "EdDSA",
            "no session token"
        );
        // To be kept for five minutes where tokens come often, and asked for anew when one names a key that is not in it.
        let keys = self.get("/.well-known/jwks.json").await?;
        let mut keys = keys["keys"].as_array().into_iter().flatten();
        let key = keys
            .find(|key| key["kid"] == header["kid"])
            .context("an unknown key")?;
        let key = UnparsedPublicKey::new(&ED25519, decoded(text(key, "x")?)?);
        let verdict = key.verify(signed.as_bytes(), &decoded(signature)?);
        ensure!(verdict.is_ok(), "the signature is wrong");
        let claims: Value = serde_json::from_slice(&decoded(claims)?)?;
        ensure!(
            claims["iss"] == self.gateway && claims["aud"] == self.gateway,
            "not for here"
        );
        let end = claims["exp"].as_u64().context("no exp")?;
        ensure!(UNIX_EPOCH.elapsed()?.as_secs() < end, "the token is over");
        ensure!(
            text(&claims, "scope")?.split(' ').any(|one| one == scope),
            "not for {scope}"
        );
        Ok(claims)
    }

    /// A session for the provider's scopes, with which the API is called, and one for our own.
    async fn sessions(&self, connection: &str, url: &str) -> Result<String> {
        let asked =
            json!({"agent_id": "report-bot", "scopes": ["email"], "connection_id": connection});
        let called = self.with_session(asked, async |mail| {
            let request = self.http.get(url).bearer_auth(text(mail, "access_token")?);
            Ok(send(request).await?.status())
        });
        let called = called.await?;
        let asked =
            json!({"agent_id": "report-bot", "scopes": ["report.write"], "ttl_seconds": 300});
        let claims = self.with_session(asked, async |own| {
            self.verified(text(own, "session_token")?, "report.write")
                .await
        });
        let claims = claims.await?;
        let (agent, scope) = (text(&claims, "client_id")?, text(&claims, "scope")?);
        Ok(format!("{}\n{agent} may {scope}", called.as_str()))
    }
}

/// The connection that was asked for last.
fn saved(provider: &str) -> Result<String> {
    Ok(std::fs::read_to_string(format!("{provider}.connection"))?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let App {
        gateway,
        key,
        command,
    } = App::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = Client::builder().timeout(Duration::from_mins(1)).build()?;
    let nexus = Nexus { http, gateway, key };
    let said = match command {
        Command::Connect { provider } => {
            let asked = nexus.connect(&provider, None).await?;
            format!("Open in a browser: {}", text(&asked, "auth_url")?)
        }
        Command::Key { provider } => nexus.key(&provider).await?,
        Command::Session { provider, url } => nexus.sessions(&saved(&provider)?, &url).await?,
        Command::Call { provider, url } => {
            let connection = saved(&provider)?;
            match nexus.call(&connection, &url).await {
                Err(error) if refused(&error, "attention_required").is_some() => {
                    let asked = nexus.connect(&provider, Some(&connection)).await?;
                    format!("Open in a browser: {}", text(&asked, "auth_url")?)
                }
                said => said?,
            }
        }
    };
    println!("{said}");
    Ok(())
}
