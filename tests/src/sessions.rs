//! Agents, their sessions, and what the vault says of their tokens.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::client::Request;
use crate::nexus::TestNexus;

impl TestNexus {
    /// Registers an agent.
    pub async fn register_agent(&self, id: &str, scopes: &[&str]) {
        let agent = json!({"agent_id": id, "allowed_scopes": scopes});
        self.broker()
            .post("/admin/v1/agents", agent)
            .await
            .expect(201);
    }

    /// Changes an agent.
    pub async fn change_agent(&self, id: &str, change: Value) -> Answer {
        let path = format!("/admin/v1/agents/{id}");
        self.broker().patch(&path, change).await
    }

    /// Ends an agent.
    pub async fn deregister_agent(&self, id: &str) -> Answer {
        self.broker()
            .delete(&format!("/admin/v1/agents/{id}"))
            .await
    }

    /// Opens a session, on behalf of a user where a token of one is among what is asked.
    pub async fn open_session(&self, asked: Value) -> Answer {
        let door = match asked.get("user_context_token") {
            Some(_) => "/v1/agent-sessions/obo",
            None => "/v1/agent-sessions",
        };
        self.admin().post(door, asked).await
    }

    /// A session, as its own door tells of it.
    pub async fn session(&self, id: &str) -> Value {
        let answer = self.admin().get(&format!("/v1/agent-sessions/{id}")).await;
        answer.expect(200)
    }

    /// Ends a session.
    pub async fn close_session(&self, id: &str) -> Value {
        let path = format!("/v1/agent-sessions/{id}");
        self.admin().delete(&path).await.expect(200)
    }

    /// A form for one of OAuth's doors, with the admin key.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> Request {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self.admin().request("POST", path);
        request.body("application/x-www-form-urlencoded", form)
    }

    /// What a token is worth at this moment.
    pub async fn introspect(&self, token: &str) -> Value {
        let asked = self.form("/v1/oauth/introspect", &[("token", token)]);
        asked.send().await.expect(200)
    }
}
