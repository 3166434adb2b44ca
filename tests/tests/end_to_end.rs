//! The real binary and a real OpenID provider, from the consent to the crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nexus_tests::{Connected, Database, Nexus, RealProvider, TestNexus, on_both_databases, until};
use serde_json::{Value, json};

on_both_databases! {
    an_account_is_connected_polled_fetched_and_refreshed,
    every_way_a_client_can_authenticate_works,
    a_client_that_signs_connects_refreshes_and_revokes_and_shows_its_key_to_nobody,
    a_refresh_token_that_came_back_costs_the_grant_and_the_user_is_asked,
    after_a_kill_under_load_every_acknowledged_thing_is_there,
}

async fn started(database: Database) -> (TestNexus, RealProvider) {
    let nexus = TestNexus::start(database).await;
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    nexus
        .register(provider.profile("openid", "nexus-demo", "client_secret_post"))
        .await;
    (nexus, provider)
}

async fn connect(nexus: &TestNexus, provider: &RealProvider, name: &str, login: &str) -> Connected {
    let requested = nexus.request(name).await;
    assert_eq!(nexus.status(&requested.id).await["status"], "pending");
    let callback = provider.consent(&requested.auth_url, login).await;
    let answer = nexus.gateway().visit(&callback).await;
    assert_eq!(
        answer.location_param("status").as_deref(),
        Some("success"),
        "{}",
        answer.location()
    );
    assert_eq!(nexus.status(&requested.id).await["status"], "active");
    Connected { id: requested.id }
}

fn access_token(body: &Value) -> String {
    body["access_token"]
        .as_str()
        .expect("an access token")
        .to_owned()
}

async fn an_account_is_connected_polled_fetched_and_refreshed(database: Database) {
    let (mut nexus, provider) = started(database).await;
    let connected = connect(&nexus, &provider, "openid", "alice").await;
    let fetched = nexus.token(&connected.id).await.expect(200);
    let scopes: BTreeSet<&str> = fetched["scope"]
        .as_str()
        .expect("text")
        .split(' ')
        .collect();
    assert_eq!(
        scopes,
        BTreeSet::from(["openid", "email", "offline_access"])
    );
    let mut current = access_token(&fetched);
    for rotation in 1..=3 {
        let refreshed = access_token(&nexus.refresh(&connected.id).await.expect(200));
        assert_ne!(refreshed, current);
        assert_eq!(provider.granted("refresh_token"), rotation);
        current = refreshed;
    }
    assert_eq!(nexus.terminate().await, Some(0));
    nexus.start_again().await;
    assert_eq!(
        access_token(&nexus.token(&connected.id).await.expect(200)),
        current
    );
    current = access_token(&nexus.refresh(&connected.id).await.expect(200));
    nexus.kill9().await;
    nexus.start_again().await;
    assert_eq!(
        access_token(&nexus.token(&connected.id).await.expect(200)),
        current
    );
    nexus.refresh(&connected.id).await.expect(200);
    assert_eq!(
        (
            provider.granted("refresh_token"),
            provider.refused("refresh_token")
        ),
        (5, 0)
    );
    verify(nexus).await;
}

async fn every_way_a_client_can_authenticate_works(database: Database) {
    let (nexus, provider) = started(database).await;
    for (name, client, auth_header) in [
        ("basic", "nexus-basic", "client_secret_basic"),
        ("public", "nexus-public", "none"),
    ] {
        nexus
            .register(provider.profile(name, client, auth_header))
            .await;
        let connected = connect(&nexus, &provider, name, "bob").await;
        let before = access_token(&nexus.token(&connected.id).await.expect(200));
        assert_ne!(
            access_token(&nexus.refresh(&connected.id).await.expect(200)),
            before
        );
    }
}

async fn a_client_that_signs_connects_refreshes_and_revokes_and_shows_its_key_to_nobody(
    database: Database,
) {
    let mut nexus = Nexus::new(database).set("RUST_LOG", "trace").start().await;
    nexus.record_answers();
    let provider = RealProvider::start(&nexus.callback(), 3600).await;
    let clients = [("nexus-ps256", "PS256"), ("nexus-es256", "ES256")];
    for (client, algorithm) in clients {
        let profile = provider.signing_profile(client, client, algorithm);
        let id = nexus.register(profile).await;
        let path = format!("/v1/providers/{id}");
        let shown = nexus.admin().get(&path).await.expect(200);
        assert_eq!(shown["params"]["private_key"], "********");
        assert_eq!(shown["has_client_secret"], false);
        let connected = connect(&nexus, &provider, client, "grace").await;
        let before = access_token(&nexus.token(&connected.id).await.expect(200));
        for _ in 0..2 {
            let refreshed = nexus.refresh(&connected.id).await.expect(200);
            assert_ne!(access_token(&refreshed), before);
        }
        let path = format!("/v1/connections/{}", connected.id);
        let ended = nexus.gateway().delete(&path).await.expect(200);
        assert_eq!(ended["provider_revoked"], true, "{ended}");
    }
    let trail = serde_json::to_string(&nexus.audit().await).expect("JSON");
    nexus.terminate().await;
    let answers = format!("{:?}", nexus.answers());
    for (client, _) in clients {
        let pem = provider.private_key(client);
        let inside = pem.lines().filter(|line| !line.starts_with("-----"));
        for line in inside.filter(|line| line.len() > 20) {
            for (place, text) in [
                ("the trail", &trail),
                ("an answer", &answers),
                ("the log", &nexus.log()),
            ] {
                assert!(!text.contains(line), "the private key is in {place}");
            }
        }
    }
}

async fn a_refresh_token_that_came_back_costs_the_grant_and_the_user_is_asked(database: Database) {
    let (nexus, provider) = started(database).await;
    let connected = connect(&nexus, &provider, "openid", "carol").await;
    // Whoever else uses the secret at the provider: here, its sign-out takes the grant away.
    provider.forget_grants().await;
    let refused = nexus
        .refresh(&connected.id)
        .await
        .refused(409, "attention_required");
    assert_eq!(refused["reason"], "refresh_token_invalid");
    assert_eq!(nexus.status(&connected.id).await["status"], "attention");
    nexus
        .token(&connected.id)
        .await
        .refused(409, "attention_required");
}

/// What the server has acknowledged.
#[derive(Default)]
struct Acknowledged {
    requested: Mutex<Vec<String>>,
    captured: Mutex<BTreeMap<String, String>>,
    reads: Mutex<BTreeSet<String>>,
    /// The newest answered refresh of each connection: its request's id, and the token.
    refreshed: Mutex<BTreeMap<String, (String, String)>>,
    count: AtomicUsize,
}

impl Acknowledged {
    fn one(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

async fn after_a_kill_under_load_every_acknowledged_thing_is_there(database: Database) {
    let (mut nexus, provider) = started(database).await;
    nexus
        .register(json!({"name": "weather", "auth_type": "api_key"}))
        .await;
    let mut connections = Vec::new();
    for login in ["dave", "erin", "frank"] {
        connections.push(connect(&nexus, &provider, "openid", login).await);
    }
    let acknowledged = Arc::new(Acknowledged::default());
    let mut load = Vec::new();
    for (number, connected) in connections.iter().enumerate() {
        load.push(tokio::spawn(read(
            nexus.gateway(),
            connected.id.clone(),
            number,
            Arc::clone(&acknowledged),
        )));
        load.push(tokio::spawn(refresh(
            nexus.gateway(),
            connected.id.clone(),
            Arc::clone(&acknowledged),
        )));
        load.push(tokio::spawn(capture(
            nexus.gateway(),
            number,
            Arc::clone(&acknowledged),
        )));
    }
    until("enough is acknowledged", || async {
        (acknowledged.count.load(Ordering::SeqCst) >= 120).then_some(())
    })
    .await;
    nexus.kill9().await;
    for task in load {
        task.await.expect("a client");
    }
    nexus.start_again().await;

    let trail = nexus.audit().await;
    let recorded: BTreeSet<String> = trail
        .iter()
        .filter(|entry| entry["event_type"] == "credential.retrieved")
        .map(|entry| entry["request_id"].as_str().expect("text").to_owned())
        .collect();
    let reads = acknowledged.reads.lock().expect("reads").clone();
    assert!(
        !reads.is_empty() && reads.is_subset(&recorded),
        "lost: {:?}",
        reads.difference(&recorded)
    );
    let requested = acknowledged.requested.lock().expect("requests").clone();
    assert!(!requested.is_empty());
    for id in requested {
        assert_ne!(nexus.status(&id).await["reason"], "connection_not_found");
    }
    let captured = acknowledged.captured.lock().expect("captures").clone();
    assert!(!captured.is_empty());
    for (id, key) in captured {
        assert_eq!(
            nexus.token(&id).await.expect(200)["credentials"]["api_key"],
            json!(key)
        );
    }
    let refreshed = acknowledged.refreshed.lock().expect("refreshes").clone();
    assert!(!refreshed.is_empty());
    for (id, (answered, token)) in refreshed {
        let served = access_token(&nexus.token(&id).await.expect(200));
        // The last refresh may have been recorded and not yet answered.
        let newest = newest_refresh(&Connected { id }, &trail);
        assert_eq!(
            served == token,
            newest == answered,
            "an acknowledged token is gone"
        );
    }
    verify(nexus).await;
}

/// The id of the request that the connection's newest refresh was recorded for.
fn newest_refresh(connected: &Connected, trail: &[Value]) -> String {
    let newest = trail.iter().rfind(|entry| {
        entry["connection_id"] == json!(connected.reference())
            && entry["event_type"] == "connection.refreshed"
    });
    newest.expect("a refresh")["request_id"]
        .as_str()
        .expect("text")
        .to_owned()
}

async fn read(
    gateway: nexus_tests::Client,
    id: String,
    number: usize,
    acknowledged: Arc<Acknowledged>,
) {
    for count in 0.. {
        let request_id = format!("read-{number}-{count}");
        let path = format!("/v1/token/{id}");
        match gateway
            .request("GET", &path)
            .header("x-request-id", &request_id)
            .try_send()
            .await
        {
            Ok(answer) => answer.expect(200),
            Err(_) => return,
        };
        acknowledged.reads.lock().expect("reads").insert(request_id);
        acknowledged.one();
    }
}

async fn refresh(gateway: nexus_tests::Client, id: String, acknowledged: Arc<Acknowledged>) {
    for count in 0.. {
        let request_id = format!("refresh-{id}-{count}");
        let body = match gateway
            .request("POST", &format!("/v1/refresh/{id}"))
            .header("x-request-id", &request_id)
            .try_send()
            .await
        {
            Ok(answer) => answer.expect(200),
            Err(_) => return,
        };
        acknowledged
            .refreshed
            .lock()
            .expect("refreshes")
            .insert(id.clone(), (request_id, access_token(&body)));
        acknowledged.one();
    }
}

async fn capture(gateway: nexus_tests::Client, number: usize, acknowledged: Arc<Acknowledged>) {
    for count in 0.. {
        let asked = json!({"workspace_id": "user-1", "provider_name": "weather", "return_url": "http://localhost/"});
        let request = gateway
            .request("POST", "/v1/request-connection")
            .json(&asked);
        let Ok(requested) = request.try_send().await else {
            return;
        };
        let requested = requested.expect(200);
        let id = requested["connection_id"]
            .as_str()
            .expect("text")
            .to_owned();
        acknowledged
            .requested
            .lock()
            .expect("requests")
            .push(id.clone());
        let key = format!("key-{number}-{count}");
        let body = json!({"state": requested["state"], "credentials": {"api_key": key}});
        let request = gateway
            .request("POST", "/v1/capture-credential")
            .json(&body);
        let Ok(captured) = request.try_send().await else {
            return;
        };
        captured.expect(200);
        acknowledged
            .captured
            .lock()
            .expect("captures")
            .insert(id, key);
        acknowledged.one();
    }
}

/// Stops the server and checks the whole log: every leaf, the tree, every signed checkpoint.
async fn verify(nexus: TestNexus) {
    let trail = nexus.audit().await.len() as u64;
    let stopped = nexus.into_stopped().await;
    let verified = stopped.verified().await;
    assert!(
        verified.size >= trail && verified.checkpoints > 0,
        "{verified:?}"
    );
}
