//! The database side of the writer: three round trips per batch, and what their failures mean.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{OptionFuture, maybe_done};
use tokio::time::{Instant, timeout};
use tokio_postgres::Row;

use super::failure::{Failure, describe};
use super::listener::CHANNEL;
use super::options::PostgresOptions;
use super::rows::Rows;
use super::session::{Begun, PATIENCE, Session};
use crate::admission::{Decided, Needs, decide};
use crate::append::{Append, RecordedEvent};
use crate::clock::Clock;
use crate::ledger::{ProjectError, Projector};
use crate::writer::{BatchError, Batcher, Work};

/// The least time between two attempts to connect.
const RETRY_AT_LEAST: Duration = Duration::from_millis(50);

/// Commits batches over one session, which it makes anew when it breaks.
pub(super) struct PostgresBatcher {
    options: PostgresOptions,
    projector: Option<Box<dyn Projector>>,
    clock: Arc<Clock>,
    session: Option<Session>,
    down: Option<Down>,
    /// The head that other nodes have not been told of.
    untold: Option<u64>,
}

/// The last attempt to connect failed.
struct Down {
    cause: String,
    until: Instant,
}

/// Why a transaction was not committed, or not known to be.
enum Stopped {
    Database(tokio_postgres::Error),
    Fold(String),
    TooLong,
}

impl PostgresBatcher {
    pub(super) fn new(
        options: PostgresOptions,
        projector: Option<Box<dyn Projector>>,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            options,
            projector,
            clock,
            session: None,
            down: None,
            untold: None,
        }
    }

    /// The session, made anew when it is gone. While the server is down, most batches do not wait
    /// for an attempt of their own: one that took long is not repeated for as long again.
    async fn session(&mut self) -> Result<&Session, Failure> {
        if self
            .session
            .as_ref()
            .is_none_or(|session| session.link.client.is_closed())
        {
            if let Some(down) = self
                .down
                .as_ref()
                .filter(|down| Instant::now() < down.until)
            {
                return Err(Failure::Broken(down.cause.clone()));
            }
            let started = Instant::now();
            self.session = match Session::open(&self.options).await {
                Ok(session) => Some(session),
                Err(cause) => {
                    let until = Instant::now() + started.elapsed().max(RETRY_AT_LEAST);
                    self.down = Some(Down {
                        cause: cause.clone(),
                        until,
                    });
                    return Err(Failure::Broken(cause));
                }
            };
            self.down = None;
        }
        self.session
            .as_ref()
            .ok_or_else(|| Failure::Broken("no session".to_owned()))
    }

    /// Begins a transaction. A session that broke while it was idle is replaced once: nothing
    /// was written.
    async fn begin(&mut self, batch: &[&Append]) -> Result<Begun, BatchError> {
        let needs = &Needs::of(batch);
        let mut streams = batch.iter().map(|append| &append.stream);
        let projector = self.projector.as_deref();
        let asked = projector.and_then(|projector| projector.opening(&mut streams));
        let was_idle = self.session.is_some();
        let begun = match self.try_begin(needs, asked).await {
            Err(Failure::Broken(_)) if was_idle => self.try_begin(needs, asked).await,
            begun => begun,
        };
        begun.map_err(|failure| self.refuse(failure))
    }

    async fn try_begin(
        &mut self,
        needs: &Needs,
        asked: Option<&'static str>,
    ) -> Result<Begun, Failure> {
        let session = self.session().await?;
        let Ok(begun) = timeout(PATIENCE, session.begin(needs, asked)).await else {
            self.session = None;
            return Err(Failure::Unable("the server does not answer".to_owned()));
        };
        if matches!(begun, Err(Failure::Broken(_))) {
            self.session = None;
        }
        begun
    }

    /// Ends the transaction without waiting for the answer: the next batch comes after it.
    fn roll_back(&self) {
        if let Some(session) = &self.session {
            drop(session.link.client.batch_execute("ROLLBACK").now_or_never());
        }
    }

    /// After a failure that is known to have committed nothing.
    fn refuse(&mut self, failure: Failure) -> BatchError {
        match failure {
            Failure::Refused(cause) => {
                self.roll_back();
                BatchError::Refused(cause)
            }
            // A new session also gets rid of whatever made this one unable, such as a stale plan.
            Failure::Unable(cause) | Failure::Broken(cause) => {
                self.session = None;
                BatchError::Unavailable(cause)
            }
        }
    }

    async fn write(
        &mut self,
        batch: &[&Append],
        opened: &[Row],
        decided: Decided,
    ) -> Result<Decided, BatchError> {
        let commit_sent = AtomicBool::new(false);
        match self.try_write(batch, opened, &decided, &commit_sent).await {
            Ok(()) => Ok(decided),
            Err(stopped) => Err(self.judge(stopped, commit_sent.into_inner(), decided)),
        }
    }

    async fn try_write(
        &mut self,
        batch: &[&Append],
        opened: &[Row],
        decided: &Decided,
        commit_sent: &AtomicBool,
    ) -> Result<(), Stopped> {
        let Some(session) = &self.session else {
            return Err(Stopped::TooLong);
        };
        let rows = Rows::of(batch, decided);
        let events: Vec<&RecordedEvent> = decided.events().collect();
        let projector = self.projector.as_deref_mut();
        let finished = async {
            let applied = match projector {
                Some(projector) => {
                    let applied = projector.apply_postgres(&session.link.client, opened, &events);
                    Some(applied.await?)
                }
                None => None,
            };
            crate::fault::point("writer.before_commit");
            let mut applied = pin!(maybe_done(OptionFuture::from(applied)));
            // What could not even be sent ends it here, without a COMMIT.
            let _ = futures::poll!(applied.as_mut());
            if let Some(Some(Err(_))) = applied.as_mut().output_mut() {
                return done(applied.take_output().flatten());
            }
            commit_sent.store(true, Ordering::Relaxed);
            let ((), committed) = futures::join!(applied.as_mut(), session.commit(&decided.head));
            done(applied.take_output().flatten())?;
            committed.map_err(Stopped::Database)
        };
        // Polled in this order, and so sent in this order: the rows, the read models, COMMIT.
        let both = async { futures::join!(session.write(&rows), finished) };
        let (written, finished) = timeout(PATIENCE, both)
            .await
            .map_err(|_| Stopped::TooLong)?;
        written.map_err(Stopped::Database)?;
        finished
    }

    /// An error that the server answers to a statement aborts the transaction, and the COMMIT
    /// behind it changes nothing; everything else from COMMIT on leaves the outcome open.
    fn judge(&mut self, stopped: Stopped, commit_sent: bool, decided: Decided) -> BatchError {
        let failure = match stopped {
            Stopped::Fold(cause) => Failure::Refused(cause),
            Stopped::Database(error) => Failure::of(&error),
            Stopped::TooLong => Failure::Broken("the server does not answer".to_owned()),
        };
        match failure {
            Failure::Broken(cause) if commit_sent => {
                self.session = None;
                BatchError::Lost { decided, cause }
            }
            failure => self.refuse(failure),
        }
    }
}

/// What became of the read models' writes.
fn done(applied: Option<Result<(), tokio_postgres::Error>>) -> Result<(), Stopped> {
    applied.transpose().map(drop).map_err(Stopped::Database)
}

impl From<ProjectError<tokio_postgres::Error>> for Stopped {
    fn from(error: ProjectError<tokio_postgres::Error>) -> Self {
        match error {
            ProjectError::Database(error) => Self::Database(error),
            fold @ (ProjectError::Fold { .. } | ProjectError::Newer(_)) => {
                Self::Fold(fold.to_string())
            }
        }
    }
}

impl Batcher for PostgresBatcher {
    async fn commit(&mut self, batch: &[&Append]) -> Result<Decided, BatchError> {
        let Begun { facts, opened } = self.begin(batch).await?;
        self.clock.observe(facts.now);
        let decided = decide(batch, facts);
        if decided.events().next().is_none() {
            self.roll_back();
            return Ok(decided);
        }
        let committed = self.write(batch, &opened, decided).await?;
        self.untold = Some(committed.head.position());
        Ok(committed)
    }

    async fn landed(&mut self, lost: &Decided) -> Result<bool, String> {
        let Some(first) = lost.events().next() else {
            return Ok(false);
        };
        self.down = None;
        let session = match self.session().await {
            Ok(session) => session,
            Err(Failure::Refused(cause) | Failure::Unable(cause) | Failure::Broken(cause)) => {
                return Err(cause);
            }
        };
        let found = match timeout(PATIENCE, session.leaf_at(first.position)).await {
            Ok(found) => found.map_err(|error| describe(&error)),
            Err(_) => Err("the server does not answer".to_owned()),
        };
        match found {
            Ok(leaf) => {
                let landed = leaf.is_some_and(|leaf| leaf == first.leaf);
                if landed {
                    self.untold = Some(lost.head.position());
                }
                Ok(landed)
            }
            Err(cause) => {
                self.session = None;
                Err(cause)
            }
        }
    }

    /// Wakes the other nodes: a hint, so its answer is not waited for.
    async fn after_batch(&mut self) {
        if let (Some(position), Some(session)) = (self.untold.take(), &self.session) {
            drop(
                session
                    .link
                    .client
                    .batch_execute(&format!("NOTIFY {CHANNEL}, '{position}'"))
                    .now_or_never(),
            );
        }
    }
    /// Work is for the one writing connection of `SQLite`; here everybody writes over the pool.
    async fn work(&mut self, work: Work) {
        drop(work);
    }

    async fn finish(self) {
        if let Some(session) = self.session {
            session.link.close().await;
        }
    }
}
