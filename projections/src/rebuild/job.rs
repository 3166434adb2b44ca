//! A rebuild from its beginning, or from where it stopped, to the swap.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::{Duration, Instant};

use futures::future::{OptionFuture, join};
use nexus_ledger::{Backend, ReadError, fault};

use super::folded::Folded;
use super::{Piece, Progress, RebuildError, Rebuilt, Underway, compare, on_postgres, on_sqlite};
use crate::log::{self, Chunk, unavailable};
use crate::projection::Projection;

/// Changes of state that are read at once. SQLite's readers hold up the recycling of its log.
const STRETCH_POSTGRES: u64 = 8_192;
const STRETCH_SQLITE: u64 = 2_048;
/// So few events may be left for the swap.
const CLOSE: usize = 64;
/// How often the last events are caught up with; appends are never faster than this for long.
const ROUNDS: u32 = 50;

pub(super) async fn run<P: Projection>(
    backend: &Backend,
    progress: impl Fn(Progress),
) -> Result<Rebuilt, RebuildError> {
    let mut job = Job::<P>::begin(backend).await?;
    job.catch_up(&progress).await?;
    job.complete_table().await?;
    let differences = compare::differences::<P>(backend, job.at.generation).await?;
    for _ in 0..ROUNDS {
        if job.catch_up(&progress).await? <= CLOSE {
            break;
        }
    }
    let generation = job.at.generation;
    fault::point("rebuild.before_swap");
    let (events, head, longest_pause) = job.swap().await?;
    fault::point("rebuild.after_swap");
    let rows = compare::count::<P>(backend, generation).await?;
    clean_up::<P>(backend, generation).await;
    progress(Progress {
        position: head,
        head,
        events,
        ..Progress::default()
    });
    Ok(Rebuilt {
        name: P::NAME.to_owned(),
        version: P::VERSION,
        generation,
        events,
        rows,
        differences,
        longest_pause,
    })
}

struct Job<'a, P: Projection> {
    backend: &'a Backend,
    folded: Folded<P>,
    /// As far as the log is folded.
    at: Underway,
    /// As far as the database remembers.
    remembered: Underway,
    longest_pause: Duration,
    begun: Instant,
    begun_at: u64,
}

impl<'a, P: Projection> Job<'a, P> {
    /// Goes on with a rebuild of this version, or starts one in a new generation.
    async fn begin(backend: &'a Backend) -> Result<Self, RebuildError> {
        let at = match backend {
            Backend::Sqlite(database) => on_sqlite::begin::<P>(database).await?,
            Backend::Postgres(database) => {
                let mut client = database.client().await?;
                on_postgres::begin::<P>(&mut client)
                    .await
                    .map_err(unavailable)?
            }
        };
        let (generation, position) = (at.generation, at.position);
        if position == 0 {
            tracing::info!(name = P::NAME, generation, "a rebuild begins");
        } else {
            tracing::info!(name = P::NAME, generation, position, "a rebuild goes on");
        }
        Ok(Self {
            backend,
            folded: Folded::default(),
            at,
            remembered: at,
            longest_pause: Duration::ZERO,
            begun: Instant::now(),
            begun_at: at.position,
        })
    }

    /// Folds and writes up to the end of the log, which goes on growing. Returns how many events
    /// the last stretch had.
    async fn catch_up(&mut self, progress: &impl Fn(Progress)) -> Result<usize, RebuildError> {
        let backend = self.backend;
        let mut chunk = stretch::<P>(backend, self.at.position).await?;
        loop {
            progress(self.progress(chunk.head));
            let (end, head, events) = (chunk.end, chunk.head, chunk.events.len());
            let next = OptionFuture::from((!chunk.last).then(|| stretch::<P>(backend, end)));
            let (folded, next) = join(self.fold(chunk), next).await;
            folded?;
            let Some(next) = next else {
                self.write().await?;
                progress(self.progress(head));
                return Ok(events);
            };
            chunk = next?;
        }
    }

    fn progress(&self, head: u64) -> Progress {
        let seconds = self.begun.elapsed().as_secs_f64();
        let passed = self.at.position.saturating_sub(self.begun_at);
        let per_second = |passed: u64| {
            let rate = Duration::from_secs_f64(seconds).as_micros().max(1);
            u64::try_from(u128::from(passed) * 1_000_000 / rate).unwrap_or(u64::MAX)
        };
        let rate = per_second(passed);
        let left = head.saturating_sub(self.at.position).checked_div(rate);
        Progress {
            position: self.at.position,
            head,
            events: self.at.events,
            rate,
            left: left.map(Duration::from_secs),
        }
    }

    /// Folds a stretch; writes when enough has changed.
    async fn fold(&mut self, chunk: Chunk) -> Result<(), RebuildError> {
        let known = self.look_up(self.folded.unknown(&chunk.events)).await?;
        let events = chunk.events.len() as u64;
        let mut folded = mem::take(&mut self.folded);
        // Folding a stretch takes longer than a task should keep its thread.
        self.folded = unblocked(move || {
            folded.know(known);
            folded.apply(&chunk.events).map(|()| folded)
        })
        .await??;
        self.at.position = chunk.end;
        self.at.events += events;
        if self.folded.is_full() {
            self.write().await?;
        }
        Ok(())
    }

    async fn look_up(
        &self,
        keys: BTreeSet<String>,
    ) -> Result<BTreeMap<String, P::Row>, RebuildError> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let generation = self.at.generation;
        match self.backend {
            Backend::Sqlite(database) => Ok(database
                .read(move |connection| on_sqlite::look_up::<P>(connection, generation, &keys))
                .await?),
            Backend::Postgres(database) => {
                on_postgres::look_up::<P>(&*database.client().await?, generation, &keys).await
            }
        }
    }

    /// Writes the rows that changed, and how far the log is folded into them.
    async fn write(&mut self) -> Result<(), RebuildError> {
        if self.at == self.remembered {
            return Ok(());
        }
        let mut folded = mem::take(&mut self.folded);
        let (folded, (rows, gone)) = unblocked(move || {
            let changed = folded.take_changed();
            (folded, changed)
        })
        .await?;
        self.folded = folded;
        let piece = Piece {
            rows,
            gone,
            from: self.remembered,
            to: self.at,
        };
        match self.backend {
            Backend::Sqlite(database) => {
                let pause = on_sqlite::write::<P>(database, piece).await?;
                self.longest_pause = self.longest_pause.max(pause);
            }
            Backend::Postgres(database) => {
                let mut client = database.client().await?;
                on_postgres::write::<P>(&mut client, piece).await?;
            }
        }
        self.remembered = self.at;
        fault::point("rebuild.after_chunk");
        Ok(())
    }

    /// What is cheaper done once than row by row, before anybody reads the table.
    async fn complete_table(&self) -> Result<(), ReadError> {
        let Backend::Postgres(database) = self.backend else {
            return Ok(());
        };
        let mut client = database.client().await?;
        on_postgres::complete_table::<P>(&mut client, self.at.generation)
            .await
            .map_err(unavailable)
    }

    /// Applies the last events under the head lock and points at the new generation. Returns the
    /// events folded in all, the newest position, and the longest pause.
    async fn swap(self) -> Result<(u64, u64, Duration), RebuildError> {
        let (at, folded) = (self.remembered, self.folded);
        let (events, head, pause) = match self.backend {
            Backend::Sqlite(database) => on_sqlite::swap::<P>(database, at, folded).await?,
            Backend::Postgres(database) => {
                let mut client = database.client().await?;
                on_postgres::swap::<P>(&mut client, at, folded).await?
            }
        };
        Ok((at.events + events, head, self.longest_pause.max(pause)))
    }
}

async fn stretch<P: Projection>(backend: &Backend, after: u64) -> Result<Chunk, ReadError> {
    let size = match backend {
        Backend::Sqlite(_) => STRETCH_SQLITE,
        Backend::Postgres(_) => STRETCH_POSTGRES,
    };
    log::chunk(backend, P::STREAM, after + 1, size).await
}

/// Runs work that takes a while on a thread where nothing waits for it.
pub(crate) async fn unblocked<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ReadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ReadError::Unavailable(format!("the fold ended: {error}")))
}

/// Drops what generations before left behind. What somebody still reads is dropped by the next rebuild.
async fn clean_up<P: Projection>(backend: &Backend, serving: i64) {
    let outcome = match backend {
        Backend::Sqlite(database) => on_sqlite::drop_others::<P>(database, serving).await,
        Backend::Postgres(database) => match database.client().await {
            Ok(mut client) => on_postgres::drop_others::<P>(&mut client, serving)
                .await
                .map_err(unavailable),
            Err(error) => Err(error),
        },
    };
    if let Err(error) = outcome {
        tracing::info!(%error, projection = P::NAME, "the generation before is dropped later");
    }
}
