//! Learning of other nodes' appends: NOTIFY is a hint, and each second the head is read unasked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::{Client, Statement};

use super::CONNECT_WITHIN;
use super::failure::describe;
use super::link::Link;
use super::options::PostgresOptions;
use super::read::{NEWEST_HEAD, newest};
use crate::admission::Head;
use crate::clock::Clock;
use crate::writer::advance;

/// What writers notify, with the newest position.
pub(super) const CHANNEL: &str = "nexus_ledger";

/// How often the head is read unasked.
const POLL: Duration = Duration::from_secs(1);
/// How long the server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(500);
/// How often old heads are deleted.
const TIDY: Duration = Duration::from_mins(1);
/// All but the newest heads are needed no more.
const DELETE_OLD_HEADS: &str = "DELETE FROM log_heads WHERE size < (SELECT size FROM log_heads ORDER BY size DESC OFFSET 10000 LIMIT 1)";

/// Moves `head` forward for ever; ends only with its task.
pub(super) async fn follow(options: PostgresOptions, head: watch::Sender<Head>, clock: Arc<Clock>) {
    let mut is_down = false;
    loop {
        let Err(cause) = listen(&options, &head, &clock, &mut is_down).await;
        if !is_down {
            tracing::warn!(%cause, "no longer listening for other nodes, connecting again");
            is_down = true;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen(
    options: &PostgresOptions,
    head: &watch::Sender<Head>,
    clock: &Clock,
    is_down: &mut bool,
) -> Result<std::convert::Infallible, String> {
    let (sender, mut told) = mpsc::unbounded_channel();
    // A notification without a position is a reason to look.
    let notified = move |payload: &str| {
        let _gone = sender.send(payload.parse().unwrap_or(u64::MAX));
    };
    let link = Link::open(options, CONNECT_WITHIN, notified).await?;
    let client = &link.client;
    answered(client.batch_execute(&format!("LISTEN {CHANNEL}"))).await?;
    let statement = answered(client.prepare(NEWEST_HEAD)).await?;
    *is_down = false;
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tidied = Instant::now();
    loop {
        tokio::select! {
            _ = poll.tick() => look(client, &statement, head, clock).await?,
            position = told.recv() => match position {
                Some(position) if position <= head.borrow().position() => {}
                Some(_) => look(client, &statement, head, clock).await?,
                None => return Err("the connection ended".to_owned()),
            },
        }
        if tidied.elapsed() > TIDY {
            tidied = Instant::now();
            answered(client.execute(DELETE_OLD_HEADS, &[])).await?;
        }
    }
}

async fn look(
    client: &Client,
    statement: &Statement,
    head: &watch::Sender<Head>,
    clock: &Clock,
) -> Result<(), String> {
    let row = answered(client.query_one(statement, &[])).await?;
    let found = newest(&row).ok_or("the newest tree head is damaged")?;
    clock.observe(found.now);
    advance(head, found.head);
    Ok(())
}

async fn answered<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, String> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map_err(|error| describe(&error)),
        Err(_) => Err("the server does not answer".to_owned()),
    }
}
