//! One series: kill, start, compare; until enough was killed and appended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nexus_ledger::fault;
use serde_json::json;
use tokio::task::JoinSet;

use super::chance::Chance;
use super::journal::{Account, Counts};
use super::load::{self, World};
use super::outage::{Probe, doors};
use super::report::Report;
use super::trail::{Place, Trail};
use super::wire::Wire;
use crate::cluster::Cluster;
use crate::database::{Database, TestDatabase};
use crate::nexus::{Nexus, TestNexus};
use crate::scripted::{Reply, ScriptedProvider};

/// How long a chosen point is waited for.
const POINT_WITHIN: Duration = Duration::from_secs(4);
/// How long anything may take to be as it should be again.
const PATIENCE: Duration = Duration::from_mins(1);
/// A claim holds for the call's time limit and five seconds; then the next caller takes over, or the sweep does.
const STUCK: Duration = Duration::from_secs(6 + 20);
/// The longest that a 503 may take while the database is away. Measured, it is far less.
const UNAVAILABLE_WITHIN: Duration = Duration::from_secs(5);

/// What a series is to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// On which database.
    pub database: Database,
    /// Determines every choice, though not the timing.
    pub seed: u64,
    /// It ends when this time is over, whatever was reached.
    pub within: Duration,
    /// At least this many kills.
    pub kills: u64,
    /// At least this many acknowledged appends.
    pub appends: u64,
    /// How many connections are read.
    pub connections: usize,
    /// How many clients read tokens.
    pub readers: usize,
    /// The whole log is verified once in so many kills, and at the end.
    pub verify_every: u64,
}

/// How a server is going to end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kill {
    Random,
    Point(&'static str, u64),
    DatabaseStopped,
    DatabaseKilled,
    BackendKilled,
}

impl Kill {
    fn choose(chance: &mut Chance, database: Database) -> Kill {
        match chance.between(1, 100) {
            1..=30 => Kill::Random,
            31..=36 if database == Database::Postgres => Kill::DatabaseStopped,
            37..=43 if database == Database::Postgres => Kill::DatabaseKilled,
            44..=48 if database == Database::Postgres => Kill::BackendKilled,
            _ => {
                let point = *chance.pick(fault::POINTS);
                let last = match point.split('.').next() {
                    Some("writer") => 60,
                    Some("token") => 1_000,
                    Some("refresh") => 4,
                    _ => 2,
                };
                let number = if point.starts_with("rebuild") {
                    1
                } else {
                    chance.between(1, last)
                };
                Kill::Point(point, number)
            }
        }
    }

    fn kind(&self) -> String {
        match self {
            Kill::Random => "server, at random".to_owned(),
            Kill::Point(name, _) => format!("server, at `{name}`"),
            Kill::DatabaseStopped => "PostgreSQL, stopped at once".to_owned(),
            Kill::DatabaseKilled => "PostgreSQL, SIGKILL to all of it".to_owned(),
            Kill::BackendKilled => "PostgreSQL, SIGKILL to one backend".to_owned(),
        }
    }
}

/// Runs a series to its end, or to its first violation.
pub async fn run(plan: Plan) -> Report {
    let began = Instant::now();
    let mut series = Series::start(plan).await;
    let mut kill = Kill::Random;
    while !series.is_done(began) && series.report.violations.is_empty() {
        series.end_by(&kill).await;
        kill = Kill::choose(&mut series.chance, plan.database);
        series.start_towards(&kill).await;
        series.compare().await;
        if series.report.killed().is_multiple_of(plan.verify_every) {
            series.rebuild("connections").await;
        }
    }
    series.finish(began).await
}

struct Series {
    plan: Plan,
    chance: Chance,
    cluster: Option<Cluster>,
    nexus: TestNexus,
    running: bool,
    /// Since when no server runs, or none has a database.
    paused: Option<i64>,
    world: Arc<World>,
    clients: JoinSet<()>,
    trail: Trail,
    report: Report,
}

impl Series {
    async fn start(plan: Plan) -> Series {
        let mut chance = Chance::new(plan.seed);
        let (cluster, nexus) = match plan.database {
            Database::Sqlite => (None, Nexus::new(Database::Sqlite)),
            Database::Postgres => {
                let cluster = Cluster::start().await;
                let nexus = Nexus::over(TestDatabase::at(cluster.url()));
                (Some(cluster), nexus)
            }
        };
        let nexus = nexus
            .set("UPSTREAM_TIMEOUT", "1s")
            .set("RUST_LOG", "error")
            .start()
            .await;
        let place = match &cluster {
            Some(cluster) => Place::Postgres(cluster.url().to_owned()),
            None => Place::Sqlite(nexus.data_dir().join("nexus.db")),
        };
        let provider = ScriptedProvider::start().await;
        provider.always(Reply::tokens());
        nexus
            .register(json!({"name": "weather", "auth_type": "api_key"}))
            .await;
        let mut profile = provider.profile("accounts");
        // Its refresh tokens are good once, which it would otherwise have to show first.
        profile["params"] = json!({"refresh_rotation": "always"});
        nexus.register(profile).await;
        let world = Arc::new(World::new(nexus.gateway(), provider));
        for _ in 0..plan.connections {
            load::capture_one(&world)
                .await
                .expect("a credential is captured");
        }
        let clients = load::start(&world, plan.readers, &mut chance);
        let report = Report {
            database: match plan.database {
                Database::Sqlite => "SQLite",
                Database::Postgres => "PostgreSQL",
            },
            ..Report::default()
        };
        let trail = Trail::new(place);
        Series {
            plan,
            chance,
            cluster,
            nexus,
            running: true,
            paused: None,
            world,
            clients,
            trail,
            report,
        }
    }

    fn is_done(&self, began: Instant) -> bool {
        let enough = self.report.killed() >= self.plan.kills
            && self.world.journal.acknowledged() >= self.plan.appends;
        enough || began.elapsed() >= self.plan.within
    }

    /// Lets the load run, then ends the server, or the database under it, in this way.
    async fn end_by(&mut self, kill: &Kill) {
        match kill {
            Kill::Random => {
                if self.chance.between(1, 5) == 1 {
                    self.ask_for_rebuild("connections").await;
                }
                tokio::time::sleep(Duration::from_millis(self.chance.between(50, 1_800))).await;
                self.kill_server(&kill.kind()).await;
            }
            Kill::Point(name, _) => {
                if name.starts_with("rebuild") {
                    self.ask_for_rebuild("connections").await;
                }
                let reached = self.waits_at(name).await;
                self.report.missed += u64::from(!reached);
                let kind = if reached {
                    kill.kind()
                } else {
                    Kill::Random.kind()
                };
                self.kill_server(&kind).await;
            }
            Kill::DatabaseStopped | Kill::DatabaseKilled | Kill::BackendKilled => {
                tokio::time::sleep(Duration::from_millis(self.chance.between(50, 1_000))).await;
                self.kill_database(kill).await;
            }
        }
    }

    async fn waits_at(&self, point: &str) -> bool {
        let line = format!("fault point {point} reached");
        let give_up = Instant::now() + POINT_WITHIN;
        while Instant::now() < give_up {
            if self.nexus.says(&line) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    async fn kill_server(&mut self, kind: &str) {
        self.pause();
        self.nexus.kill9().await;
        self.running = false;
        *self.report.kills.entry(kind.to_owned()).or_default() += 1;
        if self.report.killed().is_multiple_of(self.plan.verify_every) {
            self.verify().await;
        }
    }

    /// The server keeps running; nobody helps it.
    async fn kill_database(&mut self, kill: &Kill) {
        let away_for = Duration::from_millis(self.chance.between(200, 1_500));
        let doors = self.doors();
        self.pause();
        let cluster = self.cluster.as_mut().expect("a cluster");
        match kill {
            Kill::BackendKilled => cluster.kill_backend().await,
            Kill::DatabaseStopped => cluster.stop_immediately().await,
            _ => cluster.kill().await,
        }
        if *kill != Kill::BackendKilled {
            let probe = Probe::start(&doors);
            tokio::time::sleep(away_for).await;
            let answers = probe.stop().await;
            let slow = answers
                .unavailable
                .iter()
                .filter(|time| **time > UNAVAILABLE_WITHIN);
            let slow: Vec<String> = slow.map(|time| format!("a 503 took {time:?}")).collect();
            self.report.violations.extend(slow);
            self.report.violations.extend(answers.other);
            self.report.unavailable.extend(answers.unavailable);
            cluster.start_again().await;
        }
        *self.report.kills.entry(kill.kind()).or_default() += 1;
        let recovered = self.first_good_answer().await;
        match kill {
            Kill::BackendKilled => self.report.backend_recoveries.push(recovered),
            _ => self.report.recoveries.push(recovered),
        }
        self.resume();
    }

    fn pause(&mut self) {
        self.world.away.store(true, Ordering::SeqCst);
        self.paused = Some(now());
    }

    fn resume(&mut self) {
        self.world.away.store(false, Ordering::SeqCst);
        if let Some(since) = self.paused.take() {
            self.trail.pauses.push((since, now()));
        }
    }

    fn doors(&self) -> Vec<super::outage::Door> {
        let accounts = self.world.journal.accounts();
        let id = |secret: bool| {
            let account = accounts
                .iter()
                .rfind(|account| account.secret.is_some() == secret);
            account.map_or_else(|| accounts[0].id.clone(), |account| account.id.clone())
        };
        let broker = self.nexus.broker_without_key();
        doors(
            &self.world.base,
            broker.base(),
            &self.nexus.api_key(),
            &id(true),
            &id(false),
        )
    }

    /// Starts the server, if it does not run, so that it is going to be held where it is to be killed.
    async fn start_towards(&mut self, kill: &Kill) {
        let point = match kill {
            Kill::Point(name, number) => Some(format!("{name}@{number}")),
            _ => None,
        };
        if self.running {
            let Some(_) = &point else { return };
            // It runs without the point: after an outage it is ended here, which is a kill at random, too.
            self.kill_server(&Kill::Random.kind()).await;
        }
        self.nexus.change(fault::VARIABLE, point.as_deref());
        let began = Instant::now();
        self.nexus.start_again().await;
        self.running = true;
        self.resume();
        // A server that is soon held may give none; how long others take is enough.
        if point.is_none() {
            self.first_good_answer().await;
            self.report.restarts.push(began.elapsed());
        }
    }

    async fn first_good_answer(&mut self) -> Duration {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let account = self.world.journal.any_static(&mut self.chance);
            account.asked.fetch_add(1, Ordering::SeqCst);
            if let Ok(mut wire) = Wire::connect(&self.world.base).await
                && let Ok(answer) = wire
                    .ask("GET", &format!("/v1/token/{}", account.id), None, "")
                    .await
                && answer.status == 200
            {
                account.given.fetch_add(1, Ordering::SeqCst);
                return began.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.report
            .violations
            .push(format!("no good answer for {PATIENCE:?}"));
        began.elapsed()
    }

    /// Everything that was acknowledged up to now is in the log, and nothing is in it that nobody asked for.
    async fn compare(&mut self) {
        let accounts = self.world.journal.accounts();
        let told: Vec<(Arc<Account>, Counts)> = accounts
            .into_iter()
            .map(|account| (Arc::clone(&account), account.told()))
            .collect();
        let acknowledged = self.world.journal.events();
        let wrong = self.trail.read_on().await;
        self.report.half_written += wrong.len() as u64;
        self.report.violations.extend(wrong);
        for (account, told) in told {
            let logged = self
                .trail
                .counts
                .get(&account.reference)
                .copied()
                .unwrap_or_default();
            let asked = account.asked.load(Ordering::SeqCst);
            let lost = told.retrieved.saturating_sub(logged.retrieved)
                + told.refreshed.saturating_sub(logged.refreshed);
            if lost > 0 || logged.retrieved > asked {
                self.report.lost += lost;
                self.report.violations.push(format!(
                    "{}: told {told:?}, asked {asked}, logged {logged:?}",
                    account.reference
                ));
            }
        }
        for (reference, name) in acknowledged {
            if !self
                .trail
                .events
                .contains(&(reference.clone(), name.to_owned()))
            {
                self.report.lost += 1;
                self.report.violations.push(format!(
                    "{reference}: {name} was acknowledged and is not in the log"
                ));
            }
        }
        self.report
            .violations
            .extend(self.world.journal.take_wrong());
        self.note_longest_claim();
    }

    fn note_longest_claim(&mut self) {
        let (micros, whose) = &self.trail.longest_claim;
        let longest = Duration::from_micros(micros.unsigned_abs());
        if longest > self.report.longest_claim && longest > STUCK {
            let violation = format!("the {whose} had no outcome for {longest:?}");
            self.report.violations.push(violation);
        }
        self.report.longest_claim = longest;
    }

    /// Re-derives the log of the server that was ended.
    async fn verify(&mut self) {
        let verified = self.nexus.remains().verified().await;
        self.report.verified += 1;
        self.report.checkpoints = verified.checkpoints;
        self.report.events = verified.size;
    }

    /// A rebuild that ends whenever it does; one may be under way already, and its start may not be answered.
    async fn ask_for_rebuild(&self, name: &str) {
        let path = format!("/admin/v1/projections/{name}/rebuild");
        drop(self.nexus.broker().request("POST", &path).try_send().await);
    }

    /// Rebuilds a read model and compares it with the live rows, if the server lives long enough.
    async fn rebuild(&mut self, name: &str) {
        let began = Instant::now();
        self.ask_for_rebuild(name).await;
        while began.elapsed() < PATIENCE {
            let Ok(answer) = self
                .nexus
                .broker()
                .request("GET", "/admin/v1/projections")
                .try_send()
                .await
            else {
                return;
            };
            if answer.status != 200 {
                return;
            }
            let body = answer.json();
            let own = body["projections"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|projection| projection["name"] == name);
            let rebuild = own.map(|own| own["rebuild"].clone()).unwrap_or_default();
            match rebuild["state"].as_str() {
                Some("done") => {
                    let differences = rebuild["differences"].as_u64().unwrap_or(u64::MAX);
                    self.report.rebuilt += 1;
                    if differences > 0 {
                        self.report.half_written += differences;
                        self.report.violations.push(format!(
                            "{differences} rows of {name} are not what the log says"
                        ));
                    }
                    return;
                }
                Some("failed") => {
                    self.report
                        .violations
                        .push(format!("the rebuild of {name} failed: {rebuild}"));
                    return;
                }
                // Held at a point, it never ends, and is killed there.
                _ if self.nexus.says("fault point") => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        self.report
            .violations
            .push(format!("the rebuild of {name} does not end"));
    }

    /// Ends the load, resolves every claim, and looks at everything once more.
    async fn finish(mut self, began: Instant) -> Report {
        if self.running {
            self.kill_server(&Kill::Random.kind()).await;
        }
        self.start_towards(&Kill::Random).await;
        self.world.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            if let Err(error) = ended {
                self.report
                    .violations
                    .push(format!("a client failed: {error}"));
            }
        }
        self.resolve_claims().await;
        self.rebuild("connections").await;
        self.rebuild("providers").await;
        self.compare().await;
        self.check_provider();
        let code = self.nexus.terminate().await;
        if code != Some(0) {
            self.report
                .violations
                .push(format!("asked to stop, the server ended with {code:?}"));
        }
        self.verify().await;
        self.report.acknowledged = self.world.journal.acknowledged();
        self.report.unanswered = self.world.journal.unanswered.load(Ordering::SeqCst);
        self.report.repeats = self.trail.repeats;
        self.report.took = began.elapsed();
        if self.report.unanswered > 0 {
            self.report.violations.push(format!(
                "{} requests were not answered within 10 s",
                self.report.unanswered
            ));
        }
        self.report
    }

    async fn resolve_claims(&mut self) {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            self.compare().await;
            let claims: Vec<(String, &'static str)> = self.trail.claims.keys().cloned().collect();
            if claims.is_empty() {
                return;
            }
            for account in self.world.journal.accounts() {
                if !claims.contains(&(account.reference.clone(), "refresh")) {
                    continue;
                }
                account.asked.fetch_add(1, Ordering::SeqCst);
                if let Ok(mut wire) = Wire::connect(&self.world.base).await {
                    drop(
                        wire.ask("POST", &format!("/v1/refresh/{}", account.id), None, "")
                            .await,
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let claims = &self.trail.claims;
        self.report
            .violations
            .push(format!("claims without an outcome: {claims:?}"));
    }

    /// No code came twice, and no refresh token but in a refresh that was marked as a repeat.
    fn check_provider(&mut self) {
        let mut presented: HashMap<String, u64> = HashMap::new();
        for call in self.world.provider.calls() {
            for parameter in ["code", "refresh_token"] {
                if let Some(value) = call.form(parameter) {
                    *presented.entry(format!("{parameter} {value}")).or_default() += 1;
                }
            }
        }
        let codes = presented
            .iter()
            .filter(|(what, times)| what.starts_with("code") && **times > 1)
            .count();
        let repeats: u64 = presented
            .iter()
            .filter(|(what, _)| what.starts_with("refresh"))
            .map(|(_, times)| times - 1)
            .sum();
        let most = presented.values().max().copied().unwrap_or(0);
        if codes > 0 || most > 2 || repeats > self.trail.repeats {
            let marked = self.trail.repeats;
            self.report.violations.push(format!(
                "{codes} codes came twice; tokens came up to {most} times, {repeats} times again, {marked} marked as repeats"
            ));
        }
    }
}

/// Microseconds since 1970, as the databases on this machine tell the time.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the times in the log, which this machine's clock made"
)]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_micros()).expect("before 294,000")
}
