//! What a series came to, as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

/// The result of one series.
#[derive(Debug, Default)]
pub struct Report {
    /// Which database.
    pub database: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How often each kind of kill was done.
    pub kills: BTreeMap<String, u64>,
    /// How often a point was chosen that nothing came to in time, and the kill was one at random.
    pub missed: u64,
    /// Appends that an answer acknowledged.
    pub acknowledged: u64,
    /// Events in the log at the end.
    pub events: u64,
    /// Acknowledged appends that the log does not hold.
    pub lost: u64,
    /// Gaps, heads without their events, read-model rows that the log does not bear out.
    pub half_written: u64,
    /// How often the whole log was verified.
    pub verified: u64,
    /// Signed checkpoints that the last verification checked.
    pub checkpoints: u64,
    /// How often the read models were rebuilt and compared.
    pub rebuilt: u64,
    /// Refreshes that were marked as the repeat of one with an unknown outcome.
    pub repeats: u64,
    /// The longest time from a claim to its outcome, without the time in which no server ran or none had a database.
    pub longest_claim: Duration,
    /// How long each 503 took while the database was away.
    pub unavailable: Vec<Duration>,
    /// From the start of the killed server to its first good answer.
    pub restarts: Vec<Duration>,
    /// From the end of an outage of the database to the first good answer of the server, which kept running.
    pub recoveries: Vec<Duration>,
    /// From the death of one backend, after which PostgreSQL ends all and recovers, to the first good answer.
    pub backend_recoveries: Vec<Duration>,
    /// Requests that were not answered within ten seconds by a server that ran.
    pub unanswered: u64,
    /// Everything that must not be.
    pub violations: Vec<String>,
}

impl Report {
    /// Every kill, of whatever kind.
    pub fn killed(&self) -> u64 {
        self.kills.values().sum()
    }

    /// One column per series, in Markdown.
    pub fn table(reports: &[Report]) -> String {
        let mut text = String::from("| |");
        for report in reports {
            let _ = write!(text, " {} |", report.database);
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(reports.len()));
        text.push('\n');
        let mut row = |label: &str, cell: &dyn Fn(&Report) -> String| {
            let cells: Vec<String> = reports.iter().map(cell).collect();
            let _ = writeln!(text, "| {label} | {} |", cells.join(" | "));
        };
        row("duration", &|report| format!("{} s", report.took.as_secs()));
        row("**kills**", &|report| {
            format!("**{}**", thousands(report.killed()))
        });
        let kinds: BTreeSet<&String> = reports
            .iter()
            .flat_map(|report| report.kills.keys())
            .collect();
        for kind in kinds {
            row(&format!("– {kind}"), &|report| {
                report.kills.get(kind).copied().unwrap_or(0).to_string()
            });
        }
        row("points that nothing came to in time", &|report| {
            report.missed.to_string()
        });
        row("**acknowledged appends**", &|report| {
            format!("**{}**", thousands(report.acknowledged))
        });
        row("events in the log at the end", &|report| {
            thousands(report.events)
        });
        row("**acknowledged and lost**", &|report| {
            format!("**{}**", report.lost)
        });
        row("**half-written**", &|report| {
            format!("**{}**", report.half_written)
        });
        row(
            "verifications of the whole log (checkpoints checked by the last)",
            &|report| format!("{} ({})", report.verified, thousands(report.checkpoints)),
        );
        row("rebuilds compared with the live rows", &|report| {
            report.rebuilt.to_string()
        });
        row("refreshes marked as repeats", &|report| {
            report.repeats.to_string()
        });
        row(
            "longest from a claim to its outcome while a server ran (deadline 6 s)",
            &|report| seconds(report.longest_claim),
        );
        row("503 while the database was away: answers", &|report| {
            thousands(report.unavailable.len() as u64)
        });
        row("– median, p99, longest", &|report| {
            spread(&report.unavailable)
        });
        row(
            "killed server: start to first good answer, median, p99, longest",
            &|report| spread(&report.restarts),
        );
        row(
            "database back to first good answer, median, p99, longest",
            &|report| spread(&report.recoveries),
        );
        row(
            "one backend killed to first good answer, median, p99, longest",
            &|report| spread(&report.backend_recoveries),
        );
        row("requests without an answer within 10 s", &|report| {
            report.unanswered.to_string()
        });
        row("violations", &|report| report.violations.len().to_string());
        text
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn spread(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at =
        |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1)));
    match (at(50), at(99), sorted.last()) {
        (Some(median), Some(p99), Some(longest)) => {
            format!(
                "{} ms, {} ms, {} ms",
                median.as_millis(),
                p99.as_millis(),
                longest.as_millis()
            )
        }
        _ => "–".to_owned(),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_groups_of_three() {
        let written = [7, 1_000, 123_456, 1_000_000].map(thousands);
        assert_eq!(written, ["7", "1,000", "123,456", "1,000,000"]);
    }

    #[test]
    fn a_spread_of_nothing_is_a_dash() {
        assert_eq!(spread(&[]), "–");
        assert_eq!(spread(&[Duration::from_millis(3)]), "3 ms, 3 ms, 3 ms");
    }
}
