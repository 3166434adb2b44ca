//! The Broker's operator doors, as its `openapi.yaml` describes them.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};

use crate::key::ApiKey;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why the Broker did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error("the API key cannot be sent: it holds characters that no key has")]
    UnsendableKey,
    #[error("no HTTP client: {0}")]
    NoClient(String),
    #[error("the Broker at {url} cannot be reached: {cause}")]
    Unreachable { url: Url, cause: String },
    #[error("the Broker at {0} does not accept this API key")]
    KeyRefused(Url),
    #[error("there is no read model named {0}")]
    NotFound(String),
    #[error("the Broker answered {status}: {message}")]
    Refused { status: StatusCode, message: String },
    #[error("what answers at {url} is not a Broker: {cause}")]
    NotABroker { url: Url, cause: String },
}

/// Every read model, and where the log stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Listing {
    pub(crate) projections: Vec<Projection>,
    /// The newest position of the log.
    pub(crate) head: u64,
}

/// A read model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Projection {
    pub(crate) name: String,
    /// The version of the fold that made its rows.
    pub(crate) version: i64,
    /// The generation that serves.
    pub(crate) generation: i64,
    /// Its newest rebuild since the server started.
    pub(crate) rebuild: Option<Rebuild>,
    /// Its newest comparison with the log since the server started.
    #[serde(default)]
    #[serde(rename = "verification")]
    pub(crate) comparison: Option<Comparison>,
}

/// How a rebuild goes or went.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Rebuild {
    Running {
        position: u64,
        head: u64,
        #[serde(default)]
        rate: u64,
        #[serde(default)]
        seconds_left: Option<u64>,
    },
    Done {
        generation: i64,
        events: u64,
        rows: u64,
        differences: u64,
        /// Microseconds.
        #[serde(default)]
        longest_pause_us: u64,
    },
    Failed {
        message: String,
    },
}

/// How a verification of the log goes or went.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Verification {
    Running {
        position: u64,
        head: u64,
    },
    Done {
        size: u64,
        root: String,
        checkpoints: u64,
        outside: u64,
        signed: u64,
    },
    Diverged {
        message: String,
    },
    Failed {
        message: String,
    },
}

#[derive(Deserialize)]
struct VerificationAnswer {
    verification: Option<Verification>,
}

/// A key that signs session tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct SessionKey {
    pub(crate) kid: String,
    /// `published`, `signing`, `verifying` or `retired`.
    pub(crate) state: String,
    pub(crate) created_at: String,
    pub(crate) signs_from: String,
    pub(crate) retired_at: Option<String>,
}

#[derive(Deserialize)]
struct SessionKeysAnswer {
    keys: Vec<SessionKey>,
}

#[derive(Serialize)]
struct Rotation {
    compromised: bool,
}

/// What the verification must agree with beside the database.
#[derive(Serialize)]
struct KeptOutside<'a> {
    checkpoints: &'a [String],
}

/// How a comparison of a read model with the log goes or went.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Comparison {
    Running { rows: u64 },
    Done(Verified),
    Failed { message: String },
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Verified {
    pub(crate) rows: u64,
    pub(crate) events: u64,
    pub(crate) altered: u64,
    pub(crate) missing: u64,
    pub(crate) invented: u64,
    pub(crate) first: Vec<Found>,
}

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Found {
    pub(crate) key: String,
    /// `altered`, `missing` or `invented`.
    pub(crate) fault: String,
}

/// What came of asking for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It has begun.
    Started,
    /// One was under way already.
    UnderWay,
}

/// The body of a refusal.
#[derive(Deserialize)]
struct Envelope {
    message: String,
}

/// A Broker, asked with one key.
#[derive(Debug)]
pub(crate) struct Broker {
    client: Client,
    base: Url,
}

/// Reads the Broker's address.
pub(crate) fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it begins with http:// or https://".to_owned());
    }
    Ok(url)
}

impl Broker {
    /// The Broker at `base`.
    pub(crate) fn new(base: Url, key: &ApiKey) -> Result<Self, BrokerError> {
        let mut value =
            HeaderValue::from_str(key.reveal()).map_err(|_| BrokerError::UnsendableKey)?;
        value.set_sensitive(true);
        let client = Client::builder()
            .default_headers(HeaderMap::from_iter([(X_API_KEY, value)]))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(|error| BrokerError::NoClient(root_cause(&error)))?;
        Ok(Self { client, base })
    }

    /// Every read model.
    pub(crate) async fn projections(&self) -> Result<Listing, BrokerError> {
        let answer = self
            .send(self.client.get(self.door(&["projections"])))
            .await?;
        self.json(answer).await
    }

    /// Every key that ever signed session tokens, the newest first.
    pub(crate) async fn session_keys(&self) -> Result<Vec<SessionKey>, BrokerError> {
        let door = self.door(&["session-keys"]);
        let answer = self.send(self.client.get(door)).await?;
        let answer: SessionKeysAnswer = self.json(answer).await?;
        Ok(answer.keys)
    }

    /// Makes a new key.
    pub(crate) async fn rotate_session_keys(
        &self,
        compromised: bool,
    ) -> Result<SessionKey, BrokerError> {
        let door = self.door(&["session-keys"]);
        let asked = Rotation { compromised };
        let answer = self.send(self.client.post(door).json(&asked)).await?;
        self.json(answer).await
    }

    /// The public key under which checkpoints are signed, a line.
    pub(crate) async fn audit_key(&self) -> Result<String, BrokerError> {
        self.text(&["key"]).await
    }

    /// The newest signed checkpoint, a note.
    pub(crate) async fn checkpoint(&self) -> Result<String, BrokerError> {
        self.text(&["checkpoint"]).await
    }

    /// Starts a verification of the log.
    pub(crate) async fn start_verification(&self, notes: &[String]) -> Result<Begun, BrokerError> {
        let kept = KeptOutside { checkpoints: notes };
        let door = self.door(&["verification"]);
        let answer = self.send(self.client.post(door).json(&kept)).await?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(Begun::Started),
            // Another one knows nothing of our checkpoints.
            StatusCode::CONFLICT if notes.is_empty() => Ok(Begun::UnderWay),
            _ => Err(self.refusal(answer).await),
        }
    }

    /// How the newest verification since the server's start goes or went.
    pub(crate) async fn verification(&self) -> Result<Option<Verification>, BrokerError> {
        let door = self.door(&["verification"]);
        let answer = self.send(self.client.get(door)).await?;
        let answer: VerificationAnswer = self.json(answer).await?;
        Ok(answer.verification)
    }

    async fn text(&self, segments: &[&str]) -> Result<String, BrokerError> {
        let mut door = self.base.clone();
        if let Ok(mut path) = door.path_segments_mut() {
            path.pop_if_empty().push("audit").extend(segments);
        }
        let answer = self.send(self.client.get(door)).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(answer).await);
        }
        answer
            .text()
            .await
            .map_err(|error| self.unreachable(&error))
    }

    async fn json<T: for<'a> Deserialize<'a>>(&self, answer: Response) -> Result<T, BrokerError> {
        if !matches!(answer.status(), StatusCode::OK | StatusCode::CREATED) {
            return Err(self.refusal(answer).await);
        }
        answer.json().await.map_err(|error| {
            if error.is_decode() {
                self.not_a_broker(root_cause(&error))
            } else {
                self.unreachable(&error)
            }
        })
    }

    /// Starts the rebuild of a read model.
    pub(crate) async fn start_rebuild(&self, name: &str) -> Result<Begun, BrokerError> {
        self.start(name, "rebuild").await
    }

    /// Starts the comparison of a read model with the log.
    pub(crate) async fn start_comparison(&self, name: &str) -> Result<Begun, BrokerError> {
        self.start(name, "verify").await
    }

    async fn start(&self, name: &str, work: &str) -> Result<Begun, BrokerError> {
        let door = self.door(&["projections", name, work]);
        let answer = self.send(self.client.post(door)).await?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(Begun::Started),
            StatusCode::CONFLICT => Ok(Begun::UnderWay),
            StatusCode::NOT_FOUND => Err(BrokerError::NotFound(name.to_owned())),
            _ => Err(self.refusal(answer).await),
        }
    }

    fn door(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["admin", "v1"]).extend(segments);
        }
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, BrokerError> {
        request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))
    }

    async fn refusal(&self, answer: Response) -> BrokerError {
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            return BrokerError::KeyRefused(self.base.clone());
        }
        match answer.json::<Envelope>().await {
            Ok(Envelope { message }) => BrokerError::Refused { status, message },
            Err(_) => self.not_a_broker(format!("it answered {status}")),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> BrokerError {
        let cause = if error.is_timeout() {
            "it did not answer in time".to_owned()
        } else {
            root_cause(error)
        };
        BrokerError::Unreachable {
            url: self.base.clone(),
            cause,
        }
    }

    fn not_a_broker(&self, cause: String) -> BrokerError {
        BrokerError::NotABroker {
            url: self.base.clone(),
            cause,
        }
    }
}

/// The innermost cause: the outer ones repeat the address.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
pub(crate) mod scripted;

#[cfg(test)]
mod tests {
    use super::scripted::{Scripted, broker_at};
    use super::*;

    async fn listing_from(status: u16, body: &str) -> Result<Listing, BrokerError> {
        let scripted = Scripted::serve(vec![(status, body.to_owned())]);
        broker_at(&scripted.url, "key").projections().await
    }

    async fn said(status: u16, body: &str) -> String {
        let text = listing_from(status, body).await.unwrap_err().to_string();
        text.replace(|digit: char| digit.is_ascii_digit(), "#")
    }

    #[tokio::test]
    async fn a_listing_is_read_as_the_broker_writes_it() {
        let body = r#"{"head": 40, "projections": [
            {"name": "connections", "version": 1001, "generation": 1, "rebuild": null},
            {"name": "providers", "version": 1001, "generation": 2, "rebuild": {"state": "done", "generation": 2, "events": 7, "rows": 3, "differences": 0}}]}"#;
        let listing = listing_from(200, body).await.unwrap();
        let done = Rebuild::Done {
            generation: 2,
            events: 7,
            rows: 3,
            differences: 0,
            longest_pause_us: 0,
        };
        assert_eq!(listing.head, 40);
        assert_eq!(listing.projections[0].rebuild, None);
        assert_eq!(listing.projections[1].rebuild, Some(done));
    }

    #[tokio::test]
    async fn requests_carry_the_key_and_the_door() {
        let scripted = Scripted::serve(vec![(202, "{}".to_owned())]);
        let begun = broker_at(&scripted.url, "canary")
            .start_rebuild("a/b")
            .await;
        assert_eq!(begun.unwrap(), Begun::Started);
        let requests = scripted.requests();
        assert!(
            requests[0].starts_with("POST /admin/v1/projections/a%2Fb/rebuild HTTP/1.1\r\n"),
            "{requests:?}"
        );
        assert!(
            requests[0].contains("\r\nx-api-key: canary\r\n"),
            "{requests:?}"
        );
    }

    #[tokio::test]
    async fn every_refusal_is_one_clear_sentence() {
        let envelope =
            r#"{"error": "x", "code": "x", "message": "The database is away.", "request_id": "r"}"#;
        assert_eq!(
            said(401, envelope).await,
            "the Broker at http://###.#.#.#:#####/ does not accept this API key"
        );
        assert_eq!(
            said(503, envelope).await,
            "the Broker answered ### Service Unavailable: The database is away."
        );
        assert_eq!(
            said(404, "<html>").await,
            "what answers at http://###.#.#.#:#####/ is not a Broker: it answered ### Not Found"
        );
        let foreign = said(200, "{}").await;
        assert!(
            foreign.starts_with(
                "what answers at http://###.#.#.#:#####/ is not a Broker: missing field"
            ),
            "{foreign}"
        );
    }

    #[tokio::test]
    async fn starting_a_rebuild_tells_what_came_of_it() {
        let scripted = Scripted::serve(vec![(409, "{}".to_owned()), (404, "{}".to_owned())]);
        let broker = broker_at(&scripted.url, "key");
        assert_eq!(
            broker.start_rebuild("connections").await.unwrap(),
            Begun::UnderWay
        );
        let unknown = broker.start_rebuild("everything").await.unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "there is no read model named everything"
        );
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_named_with_the_cause() {
        let url = Scripted::nobody();
        let error = broker_at(&url, "key").projections().await.unwrap_err();
        let expected = format!("the Broker at {url} cannot be reached: Connection refused");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }

    #[test]
    fn a_key_that_cannot_be_a_header_is_refused_without_being_shown() {
        let error = scripted::try_broker_at("http://vault.test", "canary\n\u{1}x").unwrap_err();
        assert!(matches!(error, BrokerError::UnsendableKey));
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn doors_lie_below_whatever_path_the_broker_has() {
        for base in ["http://vault.test/nexus", "http://vault.test/nexus/"] {
            let door = broker_at(base, "key").door(&["projections"]);
            assert_eq!(
                door.as_str(),
                "http://vault.test/nexus/admin/v1/projections"
            );
        }
    }
}
