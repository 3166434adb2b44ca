//! What most tests begin with: a registered provider, a requested connection, a connected account.

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::answer::{Answer, param};
use crate::database::Database;
use crate::nexus::TestNexus;
use crate::scripted::ScriptedProvider;

/// Where the tests' applications take people back to; has a query and a fragment of its own.
pub(crate) const RETURN_URL: &str = "http://127.0.0.1:9/done?keep=1#end";

/// A pending connection.
#[derive(Debug, Clone)]
pub struct Requested {
    /// Its id, a bearer secret.
    pub id: String,
    /// The one-time state.
    pub state: String,
    /// Where the person is sent.
    pub auth_url: Url,
}

/// An active connection.
#[derive(Debug, Clone)]
pub struct Connected {
    /// Its id, a bearer secret.
    pub id: String,
}

impl Connected {
    /// What the log calls it.
    pub fn reference(&self) -> String {
        reference(&self.id)
    }
}

impl Requested {
    /// What the log calls it.
    pub fn reference(&self) -> String {
        reference(&self.id)
    }
}

/// Worked out here from the contract, not by the program under test: a UUIDv8 of SHA-256 over a label and the id.
fn reference(id: &str) -> String {
    let id: Uuid = id.parse().expect("a connection id");
    let hash = digest(
        &SHA256,
        &[b"nexus connection v1", id.as_bytes().as_slice()].concat(),
    );
    let bytes = hash.as_ref()[..16].try_into().expect("16 bytes");
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .to_string()
}

impl TestNexus {
    /// A server with default settings on an empty database, where a scripted provider is registered as `google`.
    pub async fn with_google(database: Database) -> (TestNexus, ScriptedProvider) {
        let (nexus, provider) = (
            TestNexus::start(database).await,
            ScriptedProvider::start().await,
        );
        nexus.register(provider.profile("google")).await;
        (nexus, provider)
    }

    /// Registers a provider; returns its id.
    pub async fn register(&self, profile: Value) -> String {
        let body = self
            .admin()
            .post("/v1/providers", profile)
            .await
            .expect(201);
        body["id"].as_str().expect("an id").to_owned()
    }

    /// Asks for a connection with a provider.
    pub async fn request(&self, provider: &str) -> Requested {
        self.request_for(provider, RETURN_URL).await
    }

    /// Asks for a connection after which the person is taken to `return_url`.
    pub async fn request_for(&self, provider: &str, return_url: &str) -> Requested {
        let asked =
            json!({"workspace_id": "user-1", "provider_name": provider, "return_url": return_url});
        requested(&self.gateway().post("/v1/request-connection", asked).await)
    }

    /// Connects an account at a scripted provider that is registered under this name.
    pub async fn connect(&self, provider: &ScriptedProvider, name: &str) -> Connected {
        let requested = self.request(name).await;
        let callback = provider.consent(&requested.auth_url).await;
        let answer = self.gateway().visit(&callback).await;
        assert_eq!(
            param(&answer.location(), "status").as_deref(),
            Some("success"),
            "{}",
            answer.location()
        );
        Connected { id: requested.id }
    }

    /// Registers a scripted provider under a name and connects an account there.
    pub async fn connected(&self, provider: &ScriptedProvider, name: &str) -> Connected {
        self.register(provider.profile(name)).await;
        self.connect(provider, name).await
    }

    /// Asks for a connection and captures a static credential for it.
    pub async fn capture(&self, provider: &str, credentials: Value) -> Connected {
        let requested = self.request(provider).await;
        let body = json!({"state": requested.state, "credentials": credentials});
        self.gateway()
            .post("/v1/capture-credential", body)
            .await
            .expect(200);
        Connected { id: requested.id }
    }

    /// A connection's credential, as an agent fetches it.
    pub async fn token(&self, id: &str) -> Answer {
        self.gateway().get(&format!("/v1/token/{id}")).await
    }

    /// Forces a refresh.
    pub async fn refresh(&self, id: &str) -> Answer {
        self.gateway()
            .request("POST", &format!("/v1/refresh/{id}"))
            .send()
            .await
    }

    /// A connection's status.
    pub async fn status(&self, id: &str) -> Value {
        self.gateway()
            .get(&format!("/v1/check-connection/{id}"))
            .await
            .expect(200)
    }

    /// How a read model stands, as the Broker lists it.
    pub async fn projection(&self, name: &str) -> Value {
        let body = self.broker().get("/admin/v1/projections").await.expect(200);
        let all = body["projections"].as_array().expect("an array");
        let found = all.iter().find(|one| one["name"] == name);
        found.expect("it is listed").clone()
    }

    /// The newest thousand audit entries, oldest first.
    pub async fn audit(&self) -> Vec<Value> {
        let body = self.broker().get("/audit?limit=1000").await.expect(200);
        let mut entries = body.as_array().expect("an array").clone();
        entries.reverse();
        entries
    }

    /// The types of all providers' events, oldest first.
    pub async fn provider_history(&self) -> Vec<String> {
        let types = self
            .audit()
            .await
            .into_iter()
            .map(|entry| entry["event_type"].as_str().expect("a type").to_owned());
        types
            .filter(|event_type| event_type.starts_with("provider."))
            .collect()
    }

    /// The types of a connection's events, oldest first.
    pub async fn history(&self, reference: &str) -> Vec<String> {
        let entries = self.audit().await;
        let own = entries
            .iter()
            .filter(|entry| entry["connection_id"] == reference);
        own.map(|entry| entry["event_type"].as_str().expect("a type").to_owned())
            .collect()
    }
}

/// The pending connection that an answer describes.
pub(crate) fn requested(answer: &Answer) -> Requested {
    let body = answer.expect(200);
    let text = |name: &str| body[name].as_str().expect("text").to_owned();
    Requested {
        id: text("connection_id"),
        state: text("state"),
        auth_url: text("auth_url").parse().expect("a URL"),
    }
}
