//! What goes on in the database beside the writers: locks, snapshots, open transactions, cut sessions.

use std::sync::mpsc;
use std::time::Duration;

use fastrand::Rng;
use nexus_ledger::Ledger;
use nexus_ledger::postgres::HEAD_LOCK;
use rusqlite::Connection;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_postgres::NoTls;

/// Statements of transactions that are held open for a while.
const HELD: [&str; 5] = [
    // Idle with a transaction id: old row versions cannot go.
    "BEGIN; SELECT txid_current()",
    // A long report in one snapshot.
    "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM events",
    // Writers of the read models wait.
    "BEGIN; LOCK TABLE connections_g1 IN SHARE MODE",
    "BEGIN; SELECT 1 FROM connections_g1 WHERE reference < 'connection-2' FOR UPDATE",
    "BEGIN; SELECT 1 FROM providers_g1 FOR UPDATE",
];

/// Cuts one session of this database, rather one that is at work.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY state = 'active' DESC, random() LIMIT 1";

/// Disturbs a PostgreSQL database for as long as the set lives.
pub(super) fn postgres(url: &str, rng: &mut Rng) -> JoinSet<()> {
    let mut disturbances = JoinSet::new();
    // All writers wait, as at the swap of a rebuild.
    let head_lock = format!("BEGIN; SELECT pg_advisory_xact_lock({HEAD_LOCK})");
    for statement in HELD.map(str::to_owned).into_iter().chain([head_lock]) {
        let (url, mut rng) = (url.to_owned(), rng.fork());
        disturbances.spawn(async move {
            loop {
                sleep(Duration::from_millis(rng.u64(200..2_000))).await;
                hold(&url, &statement, Duration::from_millis(rng.u64(5..100))).await;
            }
        });
    }
    let (url, mut rng) = (url.to_owned(), rng.fork());
    disturbances.spawn(async move {
        loop {
            sleep(Duration::from_millis(rng.u64(200..1_500))).await;
            hold(&url, CUT, Duration::ZERO).await;
        }
    });
    disturbances
}

/// Runs statements in a session of their own that ends after a while. It may be the one that is cut.
async fn hold(url: &str, statements: &str, time: Duration) {
    let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await else {
        return;
    };
    let connection = tokio::spawn(connection);
    if client.batch_execute(statements).await.is_ok() {
        sleep(time).await;
    }
    drop(client);
    drop(connection.await);
}

/// Disturbs an embedded database for as long as the set lives.
pub(super) fn sqlite(path: &std::path::Path, ledger: &Ledger, rng: &mut Rng) -> JoinSet<()> {
    let mut disturbances = JoinSet::new();
    let (path, mut own) = (path.to_owned(), rng.fork());
    disturbances.spawn(async move {
        loop {
            sleep(Duration::from_millis(own.u64(100..600))).await;
            let (path, time) = (path.clone(), Duration::from_millis(own.u64(5..100)));
            drop(tokio::task::spawn_blocking(move || foreign(&path, time)).await);
        }
    });
    let (ledger, mut rng) = (ledger.clone(), rng.fork());
    disturbances.spawn(async move {
        let nexus_ledger::Backend::Sqlite(database) = ledger.backend().clone() else {
            return;
        };
        loop {
            sleep(Duration::from_millis(rng.u64(100..600))).await;
            let time = Duration::from_millis(rng.u64(5..100));
            let done = if rng.bool() {
                database
                    .read(move |connection| count(connection, time))
                    .await
            } else {
                database
                    .write(move |connection| count(connection, time))
                    .await
            };
            drop(done);
        }
    });
    disturbances
}

/// Holds the write lock through a connection that the ledger knows nothing of.
fn foreign(path: &std::path::Path, time: Duration) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    pause(time);
    connection.execute_batch("ROLLBACK")
}

/// Keeps a snapshot of the log open.
fn count(connection: &Connection, time: Duration) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM events", [], |_| Ok(()))?;
    pause(time);
    Ok(())
}

/// Stays where it is; nobody ever sends.
fn pause(time: Duration) {
    let (_nobody, never) = mpsc::channel::<()>();
    let _timed_out = never.recv_timeout(time);
}
