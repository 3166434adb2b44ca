//! The real server, led through the same steps as the model, and asked what it makes of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join, join_all};
use nexus_tests::{
    Answer, Database, Nexus, Reply, ScriptedBackend, ScriptedProvider, TestNexus, until,
};
use serde_json::{Value, json};

use super::model::{AGENTS, Asked, CUSTOM, Model, OF_PROVIDER, SLOTS, Scopes};
use super::steps::{Change, Step};

const PROVIDER: &str = "mail";
const USER: &str = "user-1";

/// A server with a provider and somebody who vouches for users.
pub(crate) struct World {
    nexus: TestNexus,
    provider: ScriptedProvider,
    backend: ScriptedBackend,
    names: AtomicUsize,
}

impl World {
    pub(crate) async fn start(database: Database) -> World {
        let (provider, backend) = (
            ScriptedProvider::start().await,
            ScriptedBackend::start().await,
        );
        let nexus = Nexus::new(database).set("BACKEND_AUTH_URL", backend.url());
        let nexus = nexus.set("RUST_LOG", "warn").start().await;
        let mut profile = provider.plain_profile(PROVIDER);
        profile["scopes"] = json!(OF_PROVIDER);
        nexus.register(profile).await;
        World {
            nexus,
            provider,
            backend,
            names: AtomicUsize::new(0),
        }
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.names.fetch_add(1, Ordering::Relaxed))
    }
}

/// A session that the server has opened.
struct Opened {
    id: String,
    /// Its token, where it is the vault's.
    token: Option<String>,
    /// Whether it lasts a second.
    short: bool,
}

/// What the server says of a session.
#[derive(Debug)]
struct Said {
    active: bool,
    reason: Value,
}

/// Agents and connections of their own, and their model.
pub(crate) struct Case<'a> {
    world: &'a World,
    model: Model,
    agents: [String; AGENTS],
    connections: [Option<String>; SLOTS],
    sessions: Vec<Opened>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(world: &'a World) -> Case<'a> {
        Case {
            world,
            model: Model::default(),
            agents: std::array::from_fn(|_| world.name("agent")),
            connections: std::array::from_fn(|_| None),
            sessions: Vec::new(),
        }
    }

    /// Takes a step, on either side.
    pub(crate) async fn take(&mut self, step: Step) {
        match step {
            Step::Change(change) => self.change(change).await,
            Step::Open(asked) => self.open(asked).await,
            Step::Close(which) if !self.sessions.is_empty() => {
                let which = which.index(self.sessions.len());
                let id = &self.sessions[which].id;
                self.world.nexus.close_session(id).await;
                self.model.close(which);
            }
            Step::RevokeToken(which) if !self.sessions.is_empty() => {
                let which = which.index(self.sessions.len());
                if let Some(token) = &self.sessions[which].token {
                    let form = [("token", token.as_str())];
                    let asked = self.world.nexus.form("/v1/oauth/revoke", &form);
                    asked.send().await.expect(200);
                    self.model.close(which);
                }
            }
            Step::Close(_) | Step::RevokeToken(_) => {}
            Step::Wait => self.wait().await,
        }
    }

    /// Every session is what the model says it is.
    pub(crate) async fn check(&self) {
        let said = join_all(self.sessions.iter().map(|session| self.ask(session))).await;
        for (said, session) in said.iter().zip(&self.model.sessions) {
            let may_be_over = session.asked.short && said.reason == "expired";
            let alive = session.alive && !may_be_over;
            assert_eq!(said.active, alive, "{session:?}: {said:?}");
        }
    }

    /// Both doors say the same.
    async fn ask(&self, session: &Opened) -> Said {
        let nexus = &self.world.nexus;
        let shown = nexus.session(&session.id).await;
        if let Some(token) = &session.token {
            let said = nexus.introspect(token).await;
            // A token counts in whole seconds, so it may be over a little earlier.
            let over = session.short && said["active"] == false;
            let same = said["active"] == shown["active"];
            assert!(same || over, "{said} of {shown}");
        }
        Said {
            active: shown["active"] == true,
            reason: shown["closed_reason"].clone(),
        }
    }

    async fn wait(&mut self) {
        for (opened, session) in self.sessions.iter().zip(&self.model.sessions) {
            if session.alive && session.asked.short {
                until("its second is over", || async {
                    (!self.ask(opened).await.active).then_some(())
                })
                .await;
            }
        }
        self.model.expire();
    }

    async fn open(&mut self, asked: Asked) {
        let answer = self.try_open(&asked).await;
        match self.model.permits(&asked) {
            Some(by_provider) => {
                self.sessions.push(opened(&answer, &asked, by_provider));
                self.model.opened(asked, by_provider);
            }
            None => refused(&answer),
        }
    }

    async fn try_open(&self, asked: &Asked) -> Answer {
        let mut request = json!({"agent_id": self.agents[asked.agent], "scopes": asked.scopes});
        if let Some(slot) = asked.slot {
            // A connection that there is not is none of anybody's.
            let unknown = "0b6cf3f2-6f0f-4c3b-9a55-2f5d8d4a8b90";
            request["connection_id"] = json!(self.connections[slot].as_deref().unwrap_or(unknown));
        }
        if let Some(permissions) = &asked.user {
            let token = self.world.name("token");
            let user = json!({"user_id": USER, "permissions": permissions});
            self.world.backend.user(&token, user);
            request["user_context_token"] = json!(token);
        }
        if asked.short {
            request["ttl_seconds"] = json!(1);
        }
        self.world.nexus.open_session(request).await
    }

    async fn change(&mut self, change: Change) {
        let done = self.lead(&change).await;
        assert_eq!(self.model.apply(change.clone()), done, "{change:?}");
    }

    /// Has the server change; whether that was possible.
    async fn lead(&mut self, change: &Change) -> bool {
        let nexus = &self.world.nexus;
        match change {
            Change::Register(agent, allowed) => {
                let body = json!({"agent_id": self.agents[*agent], "allowed_scopes": allowed});
                is_done(&nexus.broker().post("/admin/v1/agents", body).await)
            }
            Change::Allow(agent, allowed) => {
                let change = json!({"allowed_scopes": allowed});
                is_done(&nexus.change_agent(&self.agents[*agent], change).await)
            }
            Change::Activate(agent, active) => {
                let change = json!({"active": active});
                is_done(&nexus.change_agent(&self.agents[*agent], change).await)
            }
            Change::Deregister(agent) => {
                is_done(&nexus.deregister_agent(&self.agents[*agent]).await)
            }
            Change::Connect(slot, granted) => {
                let connection = self.connect(self.connections[*slot].as_deref(), granted);
                self.connections[*slot] = Some(connection.await);
                true
            }
            Change::Refresh(slot, granted) => {
                let Some(id) = &self.connections[*slot] else {
                    return false;
                };
                self.world.provider.next(reply(granted));
                is_done(&nexus.refresh(id).await)
            }
            Change::Revoke(slot) => {
                let Some(id) = self.connections[*slot].take() else {
                    return false;
                };
                is_done(
                    &nexus
                        .gateway()
                        .delete(&format!("/v1/connections/{id}"))
                        .await,
                )
            }
        }
    }

    async fn connect(&self, again: Option<&str>, granted: &Scopes) -> String {
        let (nexus, provider) = (&self.world.nexus, &self.world.provider);
        let mut asked = json!({"workspace_id": USER, "provider_name": PROVIDER, "return_url": "http://127.0.0.1:9/"});
        if let Some(id) = again {
            asked["connection_id"] = json!(id);
        }
        let answer = nexus.gateway().post("/v1/request-connection", asked).await;
        let requested = answer.expect(200);
        let auth_url = text(&requested, "auth_url").parse().expect("a URL");
        provider.next(reply(granted));
        let callback = provider.consent(&auth_url).await;
        let status = nexus.gateway().visit(&callback).await;
        let status = status.location_param("status");
        assert_eq!(status.as_deref(), Some("success"));
        text(&requested, "connection_id")
    }

    /// Agents that may do everything, and connections that were granted all the provider has.
    pub(crate) async fn prepare(&mut self) {
        let all: Scopes = OF_PROVIDER.into_iter().chain(CUSTOM).collect();
        for agent in 0..AGENTS {
            self.change(Change::Register(agent, all.clone())).await;
        }
        for slot in 0..SLOTS {
            let granted = OF_PROVIDER.into_iter().collect();
            self.change(Change::Connect(slot, granted)).await;
        }
    }

    /// Opens sessions while things change. Once all have answered, what is active is within what is allowed, and what
    /// was allowed all along is active.
    pub(crate) async fn race(&mut self, openings: Vec<Asked>, changes: Vec<Change>) {
        let mut models = vec![self.model.clone()];
        for change in &changes {
            let mut next = models.last().expect("a model").clone();
            next.apply(change.clone());
            models.push(next);
        }
        let opener = Case {
            connections: self.connections.clone(),
            agents: self.agents.clone(),
            ..Case::new(self.world)
        };
        let opening = join_all(openings.iter().map(|asked| opener.try_open(asked)));
        let changing = async {
            for change in &changes {
                self.lead(change).await;
            }
        };
        let (answers, ()) = join(opening, changing).await;
        for (asked, answer) in openings.iter().zip(&answers) {
            opener.judge(asked, answer, &models).await;
        }
    }

    /// Whether an opening that raced with changes came out as it may.
    async fn judge(&self, asked: &Asked, answer: &Answer, models: &[Model]) {
        let permits = models.iter().map(|model| model.permits(asked));
        let permits: Vec<Option<bool>> = permits.collect();
        if answer.status != 201 {
            refused(answer);
            assert!(permits.contains(&None), "{asked:?}: {}", answer.text);
            return;
        }
        let body = answer.expect(201);
        let by_provider = body.get("access_token").is_some();
        assert!(permits.contains(&Some(by_provider)), "{asked:?}: {body}");
        let said = self.ask(&opened(answer, asked, by_provider)).await;
        let allowed = |model: &Model| model.allows(asked, by_provider);
        let now = models.last().is_some_and(allowed);
        assert!(now || !said.active, "{asked:?} is active");
        let always = models.iter().all(allowed);
        assert!(said.active || !always, "{asked:?}: {said:?}");
    }
}

fn reply(granted: &Scopes) -> Reply {
    let granted: Vec<&str> = granted.iter().copied().collect();
    Reply::tokens().scope(&granted.join(" "))
}

fn is_done(answer: &Answer) -> bool {
    answer.status < 300
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().expect("text").to_owned()
}

/// The session of an answer, which grants what was asked and nothing else.
fn opened(answer: &Answer, asked: &Asked, by_provider: bool) -> Opened {
    let body = answer.expect(201);
    assert_eq!(body["scopes_granted"], json!(asked.scopes), "{asked:?}");
    assert_eq!(body.get("access_token").is_some(), by_provider, "{body}");
    Opened {
        id: text(&body, "session_id"),
        token: body["session_token"].as_str().map(str::to_owned),
        short: asked.short,
    }
}

fn refused(answer: &Answer) {
    assert!(
        matches!(answer.status, 400 | 403 | 404),
        "{} answered {}",
        answer.request,
        answer.text
    );
}
