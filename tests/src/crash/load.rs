//! The load: token reads over kept connections, and beside them every flow that a crash can cut in two.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use url::Url;

use super::chance::Chance;
use super::journal::{Account, Journal};
use super::wire::Wire;
use crate::client::Client;
use crate::flow::{RETURN_URL, Requested};
use crate::scripted::{ScriptedProvider, random};

/// How many accounts at the provider are refreshed.
const ACCOUNTS: usize = 18;
/// How many clients refresh; each has its own accounts, so that each answer is a refresh of its own.
const REFRESHERS: usize = 6;
/// Between two tries while the server is away.
const PAUSE: Duration = Duration::from_millis(25);

/// What the clients share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) gateway: Client,
    pub(super) base: Url,
    pub(super) provider: ScriptedProvider,
    pub(super) journal: Journal,
    /// The accounts of each refresher.
    pub(super) shares: [Mutex<Vec<Arc<Account>>>; REFRESHERS],
    pub(super) over: AtomicBool,
    /// No server answers right now, so silence is not its fault.
    pub(super) away: AtomicBool,
}

impl World {
    pub(super) fn new(gateway: Client, provider: ScriptedProvider) -> World {
        World {
            base: gateway.base().clone(),
            gateway,
            provider,
            journal: Journal::default(),
            shares: Default::default(),
            over: AtomicBool::new(false),
            away: AtomicBool::new(false),
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// Starts every client; they end when the world is over.
pub(super) fn start(world: &Arc<World>, readers: usize, chance: &mut Chance) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for _ in 0..readers {
        clients.spawn(read(Arc::clone(world), chance.fork()));
    }
    for number in 0..REFRESHERS {
        clients.spawn(refresh(Arc::clone(world), number));
    }
    clients.spawn(capture(Arc::clone(world)));
    clients.spawn(consent(Arc::clone(world)));
    clients
}

/// Reads tokens of captured credentials, and compares each with what was captured.
async fn read(world: Arc<World>, mut chance: Chance) {
    let mut wire = None;
    while !world.is_over() {
        let account = world.journal.any_static(&mut chance);
        let Some(answer) = ask(
            &world,
            &mut wire,
            "GET",
            &format!("/v1/token/{}", account.id),
            &account,
        )
        .await
        else {
            continue;
        };
        let secret = account.secret.as_deref().unwrap_or_default();
        match answer.status {
            200 if contains(&answer.body, secret) => {
                account.given.fetch_add(1, Ordering::SeqCst);
            }
            200 => world
                .journal
                .wrong(format!("{} serves another credential", account.reference)),
            503 => tokio::time::sleep(PAUSE).await,
            status => world.journal.wrong(format!(
                "a read of {} was answered {status}",
                account.reference
            )),
        }
    }
}

/// Forces refreshes of this client's accounts in turn, so that a claim of a dead server does not wait to be asked for.
async fn refresh(world: Arc<World>, number: usize) {
    let (mut wire, mut turn) = (None, 0_usize);
    while !world.is_over() {
        let account = {
            let share = world.shares[number].lock().unwrap();
            turn += 1;
            (!share.is_empty()).then(|| Arc::clone(&share[turn % share.len()]))
        };
        let Some(account) = account else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let path = format!("/v1/refresh/{}", account.id);
        let Some(answer) = ask(&world, &mut wire, "POST", &path, &account).await else {
            continue;
        };
        match answer.status {
            200 => {
                account.refreshed.fetch_add(1, Ordering::SeqCst);
                account.given.fetch_add(1, Ordering::SeqCst);
            }
            // Its rotated token died with a server: only its user can mend it, so another one takes its place.
            409 => world.shares[number]
                .lock()
                .unwrap()
                .retain(|other| other.id != account.id),
            502..=504 => {}
            status => world.journal.wrong(format!(
                "a refresh of {} was answered {status}",
                account.reference
            )),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks over the client's kept connection; `None` when no answer came.
async fn ask(
    world: &World,
    wire: &mut Option<Wire>,
    method: &str,
    path: &str,
    account: &Account,
) -> Option<super::wire::Reply> {
    if wire.is_none() {
        *wire = Wire::connect(&world.base).await.ok();
    }
    let Some(open) = wire else {
        tokio::time::sleep(PAUSE).await;
        return None;
    };
    account.asked.fetch_add(1, Ordering::SeqCst);
    match open.ask(method, path, None, "").await {
        Ok(answer) => Some(answer),
        Err(error) => {
            *wire = None;
            if error.kind() == ErrorKind::TimedOut && !world.away.load(Ordering::SeqCst) {
                world.journal.unanswered.fetch_add(1, Ordering::SeqCst);
            }
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// Requests connections and captures a credential for each.
async fn capture(world: Arc<World>) {
    while !world.is_over() {
        drop(capture_one(&world).await);
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn capture_one(world: &World) -> Option<Arc<Account>> {
    let requested = request(world, "weather").await?;
    let secret = random();
    let body = json!({"state": requested.state, "credentials": {"api_key": secret}});
    let captured = world
        .gateway
        .request("POST", "/v1/capture-credential")
        .json(&body)
        .try_send()
        .await
        .ok()?;
    match captured.status {
        200 => {
            world
                .journal
                .acknowledge(&requested.reference(), "connection.credential_captured");
            Some(
                world
                    .journal
                    .add(&requested.id, &requested.reference(), Some(secret)),
            )
        }
        503 => None,
        status => {
            world.journal.wrong(format!(
                "a capture was answered {status}: {}",
                captured.text
            ));
            None
        }
    }
}

/// Keeps every refresher in accounts.
async fn consent(world: Arc<World>) {
    while !world.is_over() {
        let share = world
            .shares
            .iter()
            .min_by_key(|share| share.lock().unwrap().len())
            .expect("shares");
        // Also without need, now and then, so that there is always a consent under way.
        if let Some(account) = consent_one(&world).await {
            let mut share = share.lock().unwrap();
            if share.len() * REFRESHERS < ACCOUNTS {
                share.push(account);
            }
        }
        tokio::time::sleep(PAUSE * 2).await;
    }
}

pub(super) async fn consent_one(world: &World) -> Option<Arc<Account>> {
    let requested = request(world, "accounts").await?;
    let callback = world.provider.consent(&requested.auth_url).await;
    let answer = world
        .gateway
        .request("GET", callback.as_str())
        .try_send()
        .await
        .ok()?;
    if answer.status == 302 {
        if answer.location_param("status").as_deref() == Some("success") {
            world
                .journal
                .acknowledge(&requested.reference(), "connection.activated");
            return Some(
                world
                    .journal
                    .add(&requested.id, &requested.reference(), None),
            );
        }
        return None;
    }
    if answer.status != 503 {
        world.journal.wrong(format!(
            "a callback was answered {}: {}",
            answer.status, answer.text
        ));
    }
    None
}

async fn request(world: &World, provider: &str) -> Option<Requested> {
    let asked =
        json!({"workspace_id": "user-1", "provider_name": provider, "return_url": RETURN_URL});
    let answer = world
        .gateway
        .request("POST", "/v1/request-connection")
        .json(&asked)
        .try_send()
        .await
        .ok()?;
    if answer.status != 200 {
        if answer.status != 503 {
            world.journal.wrong(format!(
                "a request was answered {}: {}",
                answer.status, answer.text
            ));
        }
        tokio::time::sleep(PAUSE).await;
        return None;
    }
    let requested = crate::flow::requested(&answer);
    world
        .journal
        .acknowledge(&requested.reference(), "connection.requested");
    Some(requested)
}

fn contains(body: &[u8], secret: &str) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["credentials"]["api_key"] == secret
}
