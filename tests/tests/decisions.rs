//! What an agent was let do is decided again from the log alone, whatever became of everybody since:
//! `POST /v1/agent-sessions` and `POST /v1/agent-sessions/obo`.

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use futures::stream::{self, StreamExt};
use nexus_domain::agent::Agent;
use nexus_domain::connection::Connection;
use nexus_domain::decider::Decider;
use nexus_domain::provider::Provider;
use nexus_domain::session::{
    CloseReason, ConnectionInputs, Gates, Inputs, Opening, Selected, Selection, Session,
    SessionEvent,
};
use nexus_ledger::{Ledger, RecordedEvent};
use nexus_tests::{
    Connected, Database, Nexus, Reply, ScriptedBackend, ScriptedProvider, TestNexus,
    on_both_databases,
};
use serde_json::{Value, json};

on_both_databases! {
    every_opening_is_decided_again_from_the_log,
    an_agent_with_thousands_of_sessions_is_narrowed_at_once,
}

/// The log as it was before some position.
struct Past<'a>(&'a [RecordedEvent]);

impl Past<'_> {
    fn state<A: Decider>(&self, id: &str) -> (A, u64) {
        let of_stream =
            |event: &&RecordedEvent| event.stream.stream_type == A::TYPE && event.stream.id == id;
        let mut folded = (A::default(), 0);
        for recorded in self.0.iter().filter(of_stream) {
            let event: A::Event = serde_json::from_str(&recorded.payload).expect("an event");
            folded.0.evolve(&event);
            folded.1 = recorded.sequence;
        }
        folded
    }

    /// The scopes of every provider.
    fn provider_scopes(&self) -> BTreeSet<String> {
        let of_providers = |event: &&RecordedEvent| event.stream.stream_type == Provider::TYPE;
        let ids = self.0.iter().filter(of_providers);
        let ids: BTreeSet<&str> = ids.map(|event| event.stream.id.as_str()).collect();
        ids.into_iter()
            .flat_map(|id| self.state::<Provider>(id).0.profile.scopes)
            .collect()
    }

    /// Decides again what was decided then; panics where the answer is another one.
    fn decides_as(&self, opening: &Opening) {
        let (agent, agent_sequence) = self.state::<Agent>(&opening.agent_id.to_string());
        assert_eq!(agent_sequence, opening.agent_sequence);
        let bound = opening.bound.as_ref().map(|bound| {
            let (connection, sequence) = self.state::<Connection>(&bound.connection.to_string());
            assert_eq!(sequence, bound.sequence);
            let (provider, _) = self.state::<Provider>(&bound.provider_id.to_string());
            (bound, connection, provider)
        });
        let selection = match &bound {
            None => Selection::Nothing { provider: None },
            Some((_, connection, provider)) => Selection::One(Selected {
                connection,
                provider: &provider.profile,
            }),
        };
        let gates = Gates {
            scopes: &opening.scopes,
            on_behalf: opening.principal.is_some(),
        };
        gates.agent(Some(&agent)).expect("the agent's gate");
        if let Some(user) = &opening.principal {
            gates.user(user).expect("the user's gate");
        }
        let everywhere = self.provider_scopes();
        let granted = gates.connection(&selection, |scope| everywhere.contains(scope));
        let granted = granted.expect("the connection's gate");
        assert_eq!(granted.provider_scopes, opening.provider_scopes);
        let inputs = Inputs {
            agent_id: &opening.agent_id,
            agent_sequence,
            agent: &agent.profile,
            scopes: &opening.scopes,
            connection: bound
                .as_ref()
                .map(|(bound, connection, provider)| ConnectionInputs {
                    reference: bound.connection,
                    sequence: bound.sequence,
                    scopes: &connection.scopes,
                    provider_scopes: &provider.profile.scopes,
                }),
            principal: opening.principal.as_ref(),
        };
        assert_eq!(inputs.digest(), opening.inputs);
    }
}

async fn mail(nexus: &TestNexus, provider: &ScriptedProvider) -> Connected {
    let mut profile = provider.profile("mail");
    profile["scopes"] = json!(["openid", "read", "write"]);
    nexus.register(profile).await;
    provider.next(Reply::tokens().scope("openid read write"));
    nexus.connect(provider, "mail").await
}

async fn every_opening_is_decided_again_from_the_log(database: Database) {
    let (provider, backend) = (
        ScriptedProvider::start().await,
        ScriptedBackend::start().await,
    );
    let nexus = Nexus::new(database)
        .set("BACKEND_AUTH_URL", backend.url().as_ref())
        .start()
        .await;
    let connected = mail(&nexus, &provider).await;
    nexus
        .register_agent("bot", &["read", "write", "report"])
        .await;
    let ann = json!({"user_id": "user-1", "tenant_id": "acme", "permissions": ["report", "read", "write", "more"]});
    backend.user("canary-ann", ann);
    let asked = [
        json!({"scopes": ["report"]}),
        json!({"scopes": ["report"], "connection_id": connected.id}),
        json!({"scopes": ["read", "write"], "connection_id": connected.id}),
        json!({"scopes": ["write"], "provider_name": "mail", "user_context_token": "canary-ann"}),
        json!({"scopes": ["report"], "user_context_token": "canary-ann"}),
    ];
    for mut asked in asked {
        asked["agent_id"] = json!("bot");
        nexus.open_session(asked.clone()).await.expect(201);
        // Nobody is any more what was decided on.
        nexus
            .change_agent("bot", json!({"description": asked.to_string()}))
            .await
            .expect(200);
        provider.next(Reply::tokens().scope("openid read write"));
        nexus.refresh(&connected.id).await.expect(200);
    }
    provider.next(Reply::tokens().scope("openid"));
    nexus.refresh(&connected.id).await.expect(200);
    nexus
        .change_agent("bot", json!({"allowed_scopes": [], "active": false}))
        .await
        .expect(200);

    let stopped = nexus.into_stopped().await;
    let log = log_of(&stopped).await;
    let mut decided = 0;
    for (earlier, recorded) in log.iter().enumerate() {
        if recorded.event_type == "session.opened" {
            let event = serde_json::from_str(&recorded.payload).expect("an event");
            let SessionEvent::Opened(opening) = event else {
                panic!("{event:?}");
            };
            Past(&log[..earlier]).decides_as(&opening);
            decided += 1;
        }
    }
    assert_eq!(decided, 5);
}

async fn an_agent_with_thousands_of_sessions_is_narrowed_at_once(database: Database) {
    const SESSIONS: usize = 2_100;
    let nexus = TestNexus::start(database).await;
    nexus.register_agent("bot", &["report", "read"]).await;
    let opened = stream::iter(0..SESSIONS).map(|number| {
        let scope = if number % 7 == 0 { "read" } else { "report" };
        nexus.open_session(json!({"agent_id": "bot", "scopes": [scope]}))
    });
    let opened: Vec<Value> = opened
        .buffered(64)
        .map(|answer| answer.expect(201))
        .collect()
        .await;
    nexus
        .change_agent("bot", json!({"allowed_scopes": ["read"]}))
        .await
        .expect(200);
    for (number, session) in opened.iter().enumerate().step_by(101) {
        let id = session["session_id"].as_str().expect("an id");
        let alive = nexus.session(id).await["active"].clone();
        assert_eq!(alive, json!(number % 7 == 0), "{number}");
    }
    // Stopping waits for what is being recorded.
    let stopped = nexus.into_stopped().await;
    let mut of_session: BTreeMap<String, Vec<SessionEvent>> = BTreeMap::new();
    for recorded in log_of(&stopped).await {
        if recorded.stream.stream_type == Session::TYPE {
            let event = serde_json::from_str(&recorded.payload).expect("an event");
            of_session
                .entry(recorded.stream.id)
                .or_default()
                .push(event);
        }
    }
    for (number, session) in opened.iter().enumerate() {
        let id = session["session_id"].as_str().expect("an id");
        let end = &of_session[id][1..];
        let narrowed = SessionEvent::Closed {
            reason: CloseReason::AgentNarrowed,
        };
        let expected = if number % 7 == 0 {
            vec![]
        } else {
            vec![narrowed]
        };
        assert_eq!(end, expected, "{number}");
    }
}

async fn log_of(stopped: &Nexus) -> Vec<RecordedEvent> {
    let ledger = Ledger::open(stopped.options()).await.expect("the log");
    let log = ledger.read(1, 10_000).await.expect("the events");
    ledger.stop().await;
    log
}
