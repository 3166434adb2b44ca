//! The read models: how they stand, and rebuilding them with a progress bar.

mod verify;

use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::broker::{Broker, BrokerError, Listing, Projection, Rebuild};

pub(crate) use verify::verify;

/// Between two looks at a rebuild.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why work on a read model did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("there is no read model named {name}; there are {known}")]
    UnknownName { name: String, known: String },
    #[error("the rebuild of {name} failed: {message}")]
    Failed { name: String, message: String },
    #[error(
        "the server does not know of the rebuild of {0} any more; started again, it goes on where it was"
    )]
    Forgotten(String),
    #[error("the verification of {name} failed: {message}")]
    VerificationFailed { name: String, message: String },
    #[error("the server does not know of the verification of {0} any more")]
    VerificationForgotten(String),
}

/// What a rebuild did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rebuilt {
    generation: i64,
    events: u64,
    rows: u64,
    differences: u64,
    longest_pause_us: u64,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            generation,
            events,
            rows,
            differences,
            longest_pause_us,
        } = self;
        let (rows, events) = (counted(*rows, "row"), counted(*events, "event"));
        write!(f, "generation {generation} serves, {rows} from {events}; ")?;
        match differences {
            0 => f.write_str("the old rows were what the log says"),
            1 => f.write_str("1 old row was not what the log says and is repaired"),
            many => write!(
                f,
                "{many} old rows were not what the log says and are repaired"
            ),
        }?;
        write!(
            f,
            "; writers waited {} at most",
            milliseconds(*longest_pause_us)
        )
    }
}

/// The read models as a table.
pub(crate) fn table(listing: &Listing) -> String {
    let header = ["NAME", "VERSION", "GENERATION", "REBUILD"].map(str::to_owned);
    let rows: Vec<[String; 4]> =
        listing
            .projections
            .iter()
            .map(row)
            .fold(vec![header], |mut rows, row| {
                rows.push(row);
                rows
            });
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    rows.iter().map(|row| line(row, widths)).collect()
}

fn line(row: &[String; 4], widths: [usize; 4]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    format!("{}\n", cells.join("  ").trim_end())
}

fn row(projection: &Projection) -> [String; 4] {
    let rebuild = projection
        .rebuild
        .as_ref()
        .map_or_else(|| "-".to_owned(), told);
    [
        projection.name.clone(),
        projection.version.to_string(),
        projection.generation.to_string(),
        rebuild,
    ]
}

fn told(rebuild: &Rebuild) -> String {
    match rebuild {
        Rebuild::Running {
            position,
            head,
            rate,
            seconds_left,
        } => format!("running, {position}/{head}, {}", pace(*rate, *seconds_left)),
        Rebuild::Done {
            rows,
            events,
            differences,
            ..
        } => {
            let (rows, events) = (counted(*rows, "row"), counted(*events, "event"));
            format!(
                "done, {rows} from {events}, {}",
                counted(*differences, "difference")
            )
        }
        Rebuild::Failed { message } => format!("failed: {message}"),
    }
}

/// As in `3.1 ms`.
fn milliseconds(micros: u64) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

/// As in `312000/s, 4 s left`.
fn pace(rate: u64, seconds_left: Option<u64>) -> String {
    match seconds_left {
        Some(seconds) => format!("{rate}/s, {seconds} s left"),
        None => format!("{rate}/s"),
    }
}

/// As in `1 row` and `2 rows`.
fn counted(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        many => format!("{many} {thing}s"),
    }
}

/// The names that are meant: all when none is given.
pub(crate) fn named(listing: &Listing, names: Vec<String>) -> Result<Vec<String>, RebuildError> {
    let known: Vec<String> = listing
        .projections
        .iter()
        .map(|one| one.name.clone())
        .collect();
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(RebuildError::UnknownName {
            name: name.clone(),
            known: known.join(", "),
        }),
        None if names.is_empty() => Ok(known),
        None => Ok(names),
    }
}

/// Rebuilds a read model, or joins the rebuild that is under way, and waits for its end.
pub(crate) async fn rebuild(broker: &Broker, name: &str) -> Result<Rebuilt, RebuildError> {
    broker.start_rebuild(name).await?;
    let bar = Bar::new(name);
    loop {
        match look(broker, name).await? {
            Rebuild::Running {
                position,
                head,
                rate,
                seconds_left,
            } => bar.show(position, head, pace(rate, seconds_left)),
            Rebuild::Done {
                generation,
                events,
                rows,
                differences,
                longest_pause_us,
            } => {
                return Ok(Rebuilt {
                    generation,
                    events,
                    rows,
                    differences,
                    longest_pause_us,
                });
            }
            Rebuild::Failed { message } => {
                return Err(RebuildError::Failed {
                    name: name.to_owned(),
                    message,
                });
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(broker: &Broker, name: &str) -> Result<Rebuild, RebuildError> {
    let listing = broker.projections().await?;
    let found = listing.projections.into_iter().find(|one| one.name == name);
    found
        .and_then(|one| one.rebuild)
        .ok_or_else(|| RebuildError::Forgotten(name.to_owned()))
}

/// A progress bar on standard error, when that is a terminal; cleared at the end.
struct Bar(ProgressBar);

impl Bar {
    fn new(name: &str) -> Self {
        let bar = ProgressBar::new(0).with_prefix(name.to_owned());
        let template = "{prefix} [{bar:32}] {pos}/{len}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(bar)
    }

    fn show(&self, position: u64, head: u64, pace: String) {
        self.0.set_length(head);
        self.0.set_position(position);
        self.0.set_message(pace);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::broker::scripted::{Scripted, broker_at};

    fn listing(rebuilds: [Option<Rebuild>; 2]) -> Listing {
        let [connections, providers] = rebuilds;
        let of = |name: &str, generation, rebuild| Projection {
            name: name.to_owned(),
            version: 1_001,
            generation,
            rebuild,
            comparison: None,
        };
        Listing {
            projections: vec![
                of("connections", 1, connections),
                of("providers", 12, providers),
            ],
            head: 40,
        }
    }

    /// What the listing door answers.
    fn answer(rebuild: &Value) -> (u16, String) {
        let body = json!({"head": 40, "projections": [{"name": "connections", "version": 1001, "generation": 1, "rebuild": rebuild}]});
        (200, body.to_string())
    }

    async fn rebuilt(answers: Vec<(u16, String)>) -> (Result<Rebuilt, RebuildError>, Scripted) {
        let scripted = Scripted::serve(answers);
        let outcome = rebuild(&broker_at(&scripted.url, "key"), "connections").await;
        (outcome, scripted)
    }

    #[test]
    fn the_table_has_aligned_columns_and_no_trailing_space() {
        let done = Rebuild::Done {
            generation: 12,
            events: 7,
            rows: 3,
            differences: 0,
            longest_pause_us: 900,
        };
        let expected = "\
NAME         VERSION  GENERATION  REBUILD
connections  1001     1           -
providers    1001     12          done, 3 rows from 7 events, 0 differences
";
        assert_eq!(table(&listing([None, Some(done)])), expected);
    }

    #[test]
    fn the_table_tells_how_far_a_rebuild_is_and_why_it_failed() {
        let running = Rebuild::Running {
            position: 20,
            head: 40,
            rate: 300,
            seconds_left: Some(4),
        };
        let failed = Rebuild::Failed {
            message: "the event at position 9 cannot be applied".to_owned(),
        };
        let table = table(&listing([Some(running), Some(failed)]));
        assert!(
            table.contains("running, 20/40, 300/s, 4 s left\n"),
            "{table}"
        );
        assert!(
            table.contains("failed: the event at position 9 cannot be applied\n"),
            "{table}"
        );
    }

    #[test]
    fn all_are_meant_when_none_is_named() {
        let all = listing([None, None]);
        assert_eq!(named(&all, vec![]).unwrap(), ["connections", "providers"]);
        assert_eq!(
            named(&all, vec!["providers".into()]).unwrap(),
            ["providers"]
        );
    }

    #[test]
    fn an_unknown_name_is_refused_before_anything_starts() {
        let names = vec!["providers".to_owned(), "everything".to_owned()];
        let error = named(&listing([None, None]), names).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no read model named everything; there are connections, providers"
        );
    }

    #[tokio::test]
    async fn a_rebuild_is_watched_until_it_is_done() {
        let running = json!({"state": "running", "position": 20, "head": 40, "events": 9});
        let done = json!({"state": "done", "generation": 2, "events": 18, "rows": 3, "differences": 1, "longest_pause_us": 3_149});
        let answers = vec![(202, "{}".to_owned()), answer(&running), answer(&done)];
        let (outcome, scripted) = rebuilt(answers).await;
        assert_eq!(
            outcome.unwrap().to_string(),
            "generation 2 serves, 3 rows from 18 events; 1 old row was not what the log says and is repaired; writers waited 3.1 ms at most"
        );
        assert_eq!(scripted.requests().len(), 3);
    }

    #[tokio::test]
    async fn a_rebuild_that_is_under_way_is_joined() {
        let done =
            json!({"state": "done", "generation": 2, "events": 18, "rows": 3, "differences": 0});
        let (outcome, _) = rebuilt(vec![(409, "{}".to_owned()), answer(&done)]).await;
        assert_eq!(
            outcome.unwrap().to_string(),
            "generation 2 serves, 3 rows from 18 events; the old rows were what the log says; writers waited 0.0 ms at most"
        );
    }

    #[tokio::test]
    async fn a_rebuild_that_failed_or_was_forgotten_is_a_failure() {
        let failed = json!({"state": "failed", "message": "the database is unavailable"});
        let (outcome, _) = rebuilt(vec![(202, "{}".to_owned()), answer(&failed)]).await;
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "the rebuild of connections failed: the database is unavailable"
        );
        let (outcome, _) = rebuilt(vec![(202, "{}".to_owned()), answer(&Value::Null)]).await;
        assert!(matches!(outcome, Err(RebuildError::Forgotten(name)) if name == "connections"));
    }

    #[test]
    fn the_bar_stands_where_the_rebuild_stands() {
        let bar = Bar::new("connections");
        bar.show(20, 40, pace(10, Some(2)));
        bar.show(41, 44, pace(10, None));
        assert_eq!((bar.0.position(), bar.0.length()), (41, Some(44)));
        assert_eq!(bar.0.message(), "10/s");
    }
}
