//! The log as it is stored, read beside the server, from one position to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rusqlite::OpenFlags;
use tokio_postgres::NoTls;

use super::journal::Counts;

const EVENTS: &str = "SELECT position, event_type, connection, recorded_at, \
    CASE WHEN event_type = 'connection.refresh_started' THEN CAST(payload AS text) END \
    FROM events WHERE position > ";

/// Where the log is stored.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

/// An event, as far as it matters here.
#[derive(Debug)]
struct Event {
    position: u64,
    kind: String,
    connection: Option<String>,
    recorded_at: i64,
    payload: Option<String>,
}

/// All that was read so far.
#[derive(Debug)]
pub(super) struct Trail {
    place: Place,
    pub(super) position: u64,
    pub(super) counts: BTreeMap<String, Counts>,
    pub(super) events: BTreeSet<(String, String)>,
    /// Claims without an outcome: reference and kind, and when they were recorded, microseconds.
    pub(super) claims: BTreeMap<(String, &'static str), i64>,
    /// When no server ran, or none had a database: microseconds since 1970, from and to.
    pub(super) pauses: Vec<(i64, i64)>,
    /// The longest time from a claim to its outcome, pauses left out, microseconds; and whose it was.
    pub(super) longest_claim: (i64, String),
    /// Refreshes that were marked as repeats.
    pub(super) repeats: u64,
}

impl Trail {
    pub(super) fn new(place: Place) -> Trail {
        Trail {
            place,
            position: 0,
            counts: BTreeMap::new(),
            events: BTreeSet::new(),
            claims: BTreeMap::new(),
            pauses: Vec::new(),
            longest_claim: (0, String::new()),
            repeats: 0,
        }
    }

    /// Reads on to the newest head; says what is not as a log must be.
    pub(super) async fn read_on(&mut self) -> Vec<String> {
        let (head, events) = match &self.place {
            Place::Sqlite(path) => read_sqlite(path.clone(), self.position).await,
            Place::Postgres(url) => read_postgres(url, self.position).await,
        };
        let mut wrong = Vec::new();
        for event in events.into_iter().filter(|event| event.position <= head) {
            if event.position != self.position + 1 {
                wrong.push(format!(
                    "position {} is followed by {}",
                    self.position, event.position
                ));
            }
            self.position = event.position;
            self.note(event);
        }
        if self.position != head {
            wrong.push(format!(
                "the head says {head} and the last event is {}",
                self.position
            ));
        }
        wrong
    }

    fn note(&mut self, event: Event) {
        let Some(connection) = event.connection else {
            return;
        };
        let at = event.recorded_at;
        match event.kind.as_str() {
            "credential.retrieved" => self.counts.entry(connection).or_default().retrieved += 1,
            "connection.refresh_started" => {
                if event
                    .payload
                    .is_some_and(|payload| payload.contains("\"repeat\":true"))
                {
                    self.repeats += 1;
                }
                self.settle(&connection, "refresh", at);
                self.claims.insert((connection, "refresh"), at);
            }
            "connection.consent_returned" => drop(self.claims.insert((connection, "consent"), at)),
            name => {
                match name {
                    "connection.refreshed" => {
                        self.counts.entry(connection.clone()).or_default().refreshed += 1;
                    }
                    "connection.activated" | "connection.failed" | "connection.expired" => {
                        self.settle(&connection, "consent", at);
                    }
                    _ => {}
                }
                if matches!(
                    name,
                    "connection.refreshed"
                        | "connection.refresh_failed"
                        | "connection.attention_required"
                ) {
                    self.settle(&connection, "refresh", at);
                }
                self.events.insert((connection, event.kind));
            }
        }
    }

    fn settle(&mut self, connection: &str, kind: &'static str, at: i64) {
        if let Some(since) = self.claims.remove(&(connection.to_owned(), kind)) {
            let paused: i64 = self
                .pauses
                .iter()
                .map(|(from, to)| (*to).min(at) - (*from).max(since))
                .filter(|overlap| *overlap > 0)
                .sum();
            let took = at - since - paused;
            if took > self.longest_claim.0 {
                self.longest_claim = (took, format!("{kind} of {connection}"));
            }
        }
    }
}

async fn read_sqlite(path: PathBuf, after: u64) -> (u64, Vec<Event>) {
    let read = move || -> rusqlite::Result<(u64, Vec<Event>)> {
        let connection =
            rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        let head =
            connection.query_row("SELECT coalesce(max(size), 0) FROM log_heads", [], |row| {
                row.get(0)
            })?;
        let mut statement = connection.prepare(&format!("{EVENTS} ?1 ORDER BY position"))?;
        let rows = statement.query_map([after], |row| {
            Ok(Event {
                position: row.get(0)?,
                kind: row.get(1)?,
                connection: row.get(2)?,
                recorded_at: row.get(3)?,
                payload: row.get(4)?,
            })
        })?;
        Ok((head, rows.collect::<Result<_, _>>()?))
    };
    let reading = tokio::task::spawn_blocking(read).await.expect("a reader");
    reading.expect("the log can be read beside the server")
}

async fn read_postgres(url: &str, after: u64) -> (u64, Vec<Event>) {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("PostgreSQL answers");
    tokio::spawn(connection);
    let head = client
        .query_one("SELECT coalesce(max(size), 0) FROM log_heads", &[])
        .await
        .expect("the head");
    let sql = format!("{EVENTS} $1 ORDER BY position");
    let rows = client
        .query(&sql, &[&after.cast_signed()])
        .await
        .expect("the events");
    let events = rows.iter().map(|row| Event {
        position: row.get::<_, i64>(0).cast_unsigned(),
        kind: row.get(1),
        connection: row.get(2),
        recorded_at: row.get(3),
        payload: row.get(4),
    });
    (head.get::<_, i64>(0).cast_unsigned(), events.collect())
}
