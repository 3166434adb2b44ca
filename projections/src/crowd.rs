//! Callers that come in crowds: whoever is waiting shares one statement, and the next statement's callers gather while it
//! runs.

use tokio::sync::{mpsc, oneshot};

use crate::store::QueryError;

/// The most questions of one crowd.
const MANY: usize = 512;
/// How many callers may wait.
const WAITING: usize = 65_536;

/// Answers crowds.
pub(crate) trait Answers: Send + 'static {
    /// What one caller asks.
    type Question: Send + Sync + 'static;
    /// What one caller is told.
    type Answer: Send + 'static;
    /// What was found for a crowd.
    type Found: Send + Sync;

    /// Looks for what a crowd asks.
    fn find(
        &mut self,
        asked: &[Self::Question],
    ) -> impl Future<Output = Result<Self::Found, QueryError>> + Send;

    /// What one of them is told.
    fn answer(found: &Self::Found, asked: &Self::Question) -> Self::Answer;
}

type Asked<A> = (
    <A as Answers>::Question,
    oneshot::Sender<Result<<A as Answers>::Answer, QueryError>>,
);

/// The way to a task that answers crowds; clones share it.
pub(crate) struct Crowd<A: Answers>(mpsc::Sender<Asked<A>>);

impl<A: Answers> Clone for Crowd<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: Answers> Crowd<A> {
    /// Starts the task; it ends with the last clone.
    pub(crate) fn start(mut answers: A) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Asked<A>>(WAITING);
        tokio::spawn(async move {
            let mut crowd = Vec::new();
            while gather(&mut waiting, &mut crowd).await {
                let (asked, replies): (Vec<_>, Vec<_>) = crowd.drain(..).unzip();
                let found = answers.find(&asked).await;
                for (asked, reply) in asked.iter().zip(replies) {
                    let found = found.as_ref().map_err(Clone::clone);
                    // A caller that went away does not want its answer.
                    drop(reply.send(found.map(|found| A::answer(found, asked))));
                }
            }
        });
        Self(queue)
    }

    /// Joins the crowd and waits for the answer.
    pub(crate) async fn ask(&self, asked: A::Question) -> Result<A::Answer, QueryError> {
        let (reply, answer) = oneshot::channel();
        let gone = || QueryError::Unavailable("the reader has stopped".to_owned());
        self.0.send((asked, reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Receives whoever waits; false once nobody will come any more.
async fn gather<T>(waiting: &mut mpsc::Receiver<T>, crowd: &mut Vec<T>) -> bool {
    let any = waiting.recv_many(crowd, MANY).await > 0;
    // Whoever is about to ask comes along: a fuller statement costs hardly more.
    tokio::task::yield_now().await;
    while crowd.len() < MANY
        && let Ok(next) = waiting.try_recv()
    {
        crowd.push(next);
    }
    any
}
