//! The writer: one thread per process that owns the append queue.
//!
//! It takes whatever is waiting and commits it as one batch; the next batch forms while that one
//! commits, so there is no timer. A batch fails in one of two ways: *the database said no* (halve
//! it until the bad member stands alone, so nobody pays for a neighbour) or *the answer was lost*
//! (find out whether the batch is in the log before anything else is appended).

use std::future::Future;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::admission::{Decided, Head};
use crate::append::{Append, AppendError, Appended};

/// The most members of one batch.
const MAX_MEMBERS: usize = 1_024;
/// The most payload and blob bytes of one batch; a batch has at least one member whatever its size.
const MAX_BYTES: usize = 8 << 20;
/// How long a lost answer is looked for before its callers are told that it is unknown.
const RESOLVE_FOR: Duration = Duration::from_millis(800);
/// Between two looks.
const RESOLVE_EVERY: Duration = Duration::from_millis(50);

/// The database side of the writer.
pub(crate) trait Batcher: Send + 'static {
    /// Decides and commits a batch in one transaction.
    fn commit(
        &mut self,
        batch: &[&Append],
    ) -> impl Future<Output = Result<Decided, BatchError>> + Send;

    /// Whether a batch whose answer was lost is in the log; asked under the head lock.
    ///
    /// # Errors
    /// The database cannot be reached.
    fn landed(&mut self, lost: &Decided) -> impl Future<Output = Result<bool, String>> + Send;

    /// Runs between batches, after their callers were answered.
    fn after_batch(&mut self) -> impl Future<Output = ()> + Send;

    /// Does a piece of work on the writer's own connection, between batches.
    fn work(&mut self, work: Work) -> impl Future<Output = ()> + Send;

    /// Runs last, when nothing will be appended any more.
    fn finish(self) -> impl Future<Output = ()> + Send;
}

/// Work of others on `SQLite`'s one writing connection; it answers whoever sent it by itself.
pub(crate) type Work = Box<dyn FnOnce(&rusqlite::Connection) + Send>;

/// How a batch failed.
#[derive(Debug)]
pub(crate) enum BatchError {
    /// The database refused a statement and rolled back.
    Refused(String),
    /// The database cannot be reached and nothing was committed.
    Unavailable(String),
    /// The connection broke from the sending of COMMIT on.
    Lost {
        /// What would be in the log.
        decided: Decided,
        /// What broke.
        cause: String,
    },
}

/// Where an append's answer goes.
type Reply = oneshot::Sender<Result<Appended, AppendError>>;

/// What the queue carries.
pub(crate) enum Message {
    /// An append and where its answer goes.
    Append(Box<Append>, Reply),
    /// Work between batches.
    Work(Work),
    /// Commit what was accepted before this, then say so; answer later appends with `Stopped`.
    Stop(oneshot::Sender<()>),
    /// End.
    End,
}

struct Member {
    append: Box<Append>,
    reply: Reply,
}

impl Member {
    fn bytes(&self) -> usize {
        let events = self.append.events.iter();
        events
            .map(|event| event.payload.len() + event.blob.as_ref().map_or(0, |blob| blob.len()))
            .sum()
    }
}

/// The append queue, and the message that was taken from it too early.
struct Queue {
    waiting: mpsc::Receiver<Message>,
    carried: Option<Message>,
}

impl Queue {
    async fn next(&mut self) -> Option<Message> {
        match self.carried.take() {
            Some(message) => Some(message),
            None => self.waiting.recv().await,
        }
    }

    /// The batch that `first` starts: whatever is waiting behind it, up to the limits.
    fn batch(&mut self, first: Member) -> Vec<Member> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < MAX_MEMBERS {
            match self.waiting.try_recv() {
                Ok(Message::Append(append, reply)) => {
                    let member = Member { append, reply };
                    bytes += member.bytes();
                    if bytes > MAX_BYTES {
                        self.carried = Some(Message::Append(member.append, member.reply));
                        break;
                    }
                    batch.push(member);
                }
                Ok(other) => {
                    self.carried = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        batch
    }
}

/// Starts the writer on a thread of its own, where nothing that is ready to run keeps it waiting and where committing may
/// block. The handle ends with it.
///
/// # Errors
/// The operating system gives no thread.
pub(crate) fn start<B: Batcher>(
    waiting: mpsc::Receiver<Message>,
    batcher: B,
    head: watch::Sender<Head>,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (running, ended) = oneshot::channel::<()>();
    let write = move || {
        runtime.block_on(run(waiting, batcher, head));
        drop(running);
    };
    thread::Builder::new()
        .name("ledger-writer".to_owned())
        .spawn(write)?;
    Ok(tokio::spawn(async move { drop(ended.await) }))
}

/// Runs until told to end, or until every handle on the queue is gone.
async fn run<B: Batcher>(
    waiting: mpsc::Receiver<Message>,
    mut batcher: B,
    head: watch::Sender<Head>,
) {
    let mut queue = Queue {
        waiting,
        carried: None,
    };
    let mut stopped = false;
    while let Some(message) = queue.next().await {
        match message {
            Message::Append(_, reply) if stopped => answer(reply, Err(AppendError::Stopped)),
            Message::Append(append, reply) => {
                // Whoever is about to append comes along: a fuller batch costs hardly more.
                tokio::task::yield_now().await;
                let batch = queue.batch(Member { append, reply });
                commit_all(batch, &mut batcher, &head).await;
                batcher.after_batch().await;
            }
            Message::Work(work) => {
                batcher.work(work).await;
                batcher.after_batch().await;
            }
            Message::Stop(done) => {
                stopped = true;
                // A stop that was given up on is a stop all the same.
                let _gone = done.send(());
            }
            Message::End => break,
        }
    }
    queue.waiting.close();
    while let Some(message) = queue.waiting.recv().await {
        if let Message::Append(_, reply) = message {
            answer(reply, Err(AppendError::Stopped));
        }
    }
    batcher.finish().await;
}

/// Tells subscribers about a newer head; an older one, overtaken by another node's, is no news.
pub(crate) fn advance(head: &watch::Sender<Head>, newer: Head) {
    head.send_if_modified(|current| {
        let moved = newer.position() > current.position();
        if moved {
            *current = newer;
        }
        moved
    });
}

/// Commits a batch, halving it when the database refuses it.
async fn commit_all<B: Batcher>(batch: Vec<Member>, batcher: &mut B, head: &watch::Sender<Head>) {
    let mut groups = vec![batch];
    while let Some(mut group) = groups.pop() {
        match commit_group(&group, batcher).await {
            Ok(decided) => {
                crate::fault::point("writer.after_commit");
                advance(head, decided.head);
                for (member, outcome) in group.into_iter().zip(decided.outcomes) {
                    answer(member.reply, outcome);
                }
            }
            Err(AppendError::Refused(cause)) if group.len() > 1 => {
                tracing::warn!(members = group.len(), %cause, "batch refused, halving it");
                let second = group.split_off(group.len() / 2);
                groups.push(second);
                groups.push(group);
            }
            Err(error) => {
                tracing::warn!(members = group.len(), %error, "appends failed");
                for member in group {
                    answer(member.reply, Err(error.clone()));
                }
            }
        }
    }
}

/// Commits a group once, looking for the outcome when the answer was lost.
async fn commit_group<B: Batcher>(
    group: &[Member],
    batcher: &mut B,
) -> Result<Decided, AppendError> {
    let appends: Vec<&Append> = group.iter().map(|member| &*member.append).collect();
    let give_up = Instant::now() + RESOLVE_FOR;
    loop {
        let (decided, mut cause) = match batcher.commit(&appends).await {
            Ok(decided) => return Ok(decided),
            Err(BatchError::Refused(cause)) => return Err(AppendError::Refused(cause)),
            Err(BatchError::Unavailable(cause)) => return Err(AppendError::Unavailable(cause)),
            Err(BatchError::Lost { decided, cause }) => (decided, cause),
        };
        tracing::warn!(%cause, "the answer to a commit was lost, looking for its outcome");
        loop {
            match batcher.landed(&decided).await {
                Ok(true) => return Ok(decided),
                Ok(false) if Instant::now() < give_up => break,
                Ok(false) => return Err(AppendError::Unavailable(cause)),
                Err(error) => cause = error,
            }
            if Instant::now() >= give_up {
                return Err(AppendError::OutcomeUnknown(cause));
            }
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }
}

/// A caller that went away does not want its answer.
fn answer(
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    outcome: Result<Appended, AppendError>,
) {
    drop(reply.send(outcome));
}
