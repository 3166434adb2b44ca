//! Looks after providers: each once in an interval, spread out, a few at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use nexus_projections::ProviderRow;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::application::Application;

/// How many providers are asked at once.
const AT_ONCE: usize = 8;
/// Longer intervals are cut: later than any uptime comes to nothing.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// The first looks of a start are spread over at most this.
const SPREAD_OVER: Duration = Duration::from_mins(1);
/// New providers are noticed as often as this at least, and not oftener than the other.
const NOTICE_EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(15));

/// Checks every provider each `interval` until told to stop; never, when it is zero.
pub async fn check_providers(
    application: Application,
    interval: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    if interval.is_zero() {
        return;
    }
    // Whatever is under way ends with it: nothing is lost.
    tokio::select! {
        () = check(&application, interval) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn check(application: &Application, interval: Duration) {
    let (least, most) = NOTICE_EVERY;
    let mut notice = tokio::time::interval((interval / 10).clamp(least, most));
    notice.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut plan = Plan::new(interval);
    let mut checks: JoinSet<String> = JoinSet::new();
    loop {
        tokio::select! {
            _ = notice.tick() => match application.reads.providers().await {
                Ok(rows) => {
                    plan.follow(rows, Instant::now());
                    application.provider_health.keep(|id| plan.knows(id));
                }
                Err(error) => tracing::warn!(%error, "the providers to be checked are not known"),
            },
            Some(ended) = checks.join_next() => if let Ok(id) = ended { plan.ended(&id) },
        }
        for row in plan.take_due(AT_ONCE.saturating_sub(checks.len()), Instant::now()) {
            let application = application.clone();
            checks.spawn(async move {
                application.check_provider(&row).await;
                row.id
            });
        }
    }
}

/// Who is to be checked when.
struct Plan {
    interval: Duration,
    providers: HashMap<String, Planned>,
}

struct Planned {
    row: ProviderRow,
    due: Instant,
    under_way: bool,
}

impl Plan {
    fn new(interval: Duration) -> Self {
        Self {
            interval: interval.min(LONGEST),
            providers: HashMap::new(),
        }
    }

    fn knows(&self, id: &str) -> bool {
        self.providers.contains_key(id)
    }

    /// Plans for the providers that there are; one that was changed is looked at anew.
    fn follow(&mut self, rows: Vec<ProviderRow>, now: Instant) {
        let mut before = std::mem::take(&mut self.providers);
        for row in rows {
            let planned = match before.remove(&row.id) {
                Some(known) if known.row.sequence == row.sequence => known,
                Some(known) => Planned {
                    row,
                    due: now,
                    ..known
                },
                None => Planned {
                    due: now + self.phase(&row),
                    row,
                    under_way: false,
                },
            };
            self.providers.insert(planned.row.id.clone(), planned);
        }
    }

    /// Ids are random, so their remainders are spread out.
    fn phase(&self, row: &ProviderRow) -> Duration {
        let within = self.interval.min(SPREAD_OVER).as_millis().max(1);
        let millis = row.provider_id().as_uuid().as_u128() % within;
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// At most so many that are due, the longest due first.
    fn take_due(&mut self, at_most: usize, now: Instant) -> Vec<ProviderRow> {
        let mut due: Vec<&mut Planned> = self
            .providers
            .values_mut()
            .filter(|planned| !planned.under_way && planned.due <= now)
            .collect();
        due.sort_by_key(|planned| planned.due);
        let taken = due.into_iter().take(at_most).map(|planned| {
            planned.under_way = true;
            planned.due = now + self.interval;
            planned.row.clone()
        });
        taken.collect()
    }

    fn ended(&mut self, id: &str) {
        if let Entry::Occupied(mut planned) = self.providers.entry(id.to_owned()) {
            planned.get_mut().under_way = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use nexus_domain::provider::Provider;
    use nexus_domain::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    const INTERVAL: Duration = Duration::from_mins(5);

    fn row(id: u128, sequence: u64) -> ProviderRow {
        ProviderRow {
            id: Uuid::from_u128(id).to_string(),
            sequence,
            position: 1,
            state: Provider::default(),
            created_at: Timestamp::from_seconds(0),
            updated_at: Timestamp::from_seconds(0),
            secret: None,
        }
    }

    fn ids(rows: &[ProviderRow]) -> Vec<u128> {
        let ids = rows.iter().map(|row| Uuid::parse_str(&row.id).unwrap());
        ids.map(|id| id.as_u128()).collect()
    }

    #[test]
    fn each_is_taken_once_in_an_interval() {
        let (mut plan, start) = (Plan::new(INTERVAL), Instant::now());
        plan.follow(vec![row(1, 1), row(30_000, 1)], start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(ids(&plan.take_due(8, at(10))), [1]);
        assert_eq!(ids(&plan.take_due(8, at(30))), [30_000]);
        plan.ended(&row(1, 1).id);
        plan.ended(&row(30_000, 1).id);
        assert!(plan.take_due(8, at(309)).is_empty());
        assert_eq!(ids(&plan.take_due(8, at(331))), [1, 30_000]);
    }

    #[test]
    fn one_that_is_under_way_is_not_taken_again() {
        let (mut plan, start) = (Plan::new(INTERVAL), Instant::now());
        plan.follow(vec![row(1, 1)], start);
        let later = start + INTERVAL * 3;
        assert_eq!(plan.take_due(8, later).len(), 1);
        let much_later = later + INTERVAL * 3;
        assert!(plan.take_due(8, much_later).is_empty());
        plan.ended(&row(1, 1).id);
        assert_eq!(plan.take_due(8, much_later).len(), 1);
    }

    #[test]
    fn no_more_are_taken_than_may_be_and_the_longest_due_first() {
        let (mut plan, start) = (Plan::new(INTERVAL), Instant::now());
        plan.follow((1..=20).map(|id| row(id, 1)).collect(), start);
        let later = start + Duration::from_mins(1);
        assert_eq!(ids(&plan.take_due(3, later)), [1, 2, 3]);
        assert_eq!(ids(&plan.take_due(2, later)), [4, 5]);
        assert!(plan.take_due(0, later).is_empty());
    }

    #[test]
    fn one_that_was_changed_is_due_and_one_that_is_gone_is_forgotten() {
        let (mut plan, start) = (Plan::new(INTERVAL), Instant::now());
        plan.follow(vec![row(1, 1), row(2, 1)], start);
        let later = start + Duration::from_mins(1);
        assert_eq!(plan.take_due(8, later).len(), 2);
        plan.ended(&row(1, 1).id);
        plan.follow(vec![row(1, 2)], later);
        assert_eq!(ids(&plan.take_due(8, later)), [1]);
        assert!(!plan.knows(&row(2, 1).id));
    }
}
