//! The scopes of every registered provider together, kept while no provider has moved.

use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_ledger::Backend;
use tokio::sync::mpsc;

use crate::lookup::{Question, Reader, WAITING, ask, crowd};
use crate::projection::Projection as _;
use crate::providers::Providers;
use crate::store::{QueryError, Selections};
use crate::table::Columns;

type Scopes = Arc<BTreeSet<String>>;
type Answer = Result<Scopes, QueryError>;

/// Tells the scopes; clones share it.
#[derive(Clone)]
pub(crate) struct ProviderScopes(mpsc::Sender<Question<(), Scopes>>);

impl ProviderScopes {
    /// Starts the task that asks the database; it ends with the last clone.
    pub(crate) fn start(backend: &Backend, selections: Arc<Selections>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Question<(), Scopes>>(WAITING);
        let mut keeper = Keeper {
            reader: Reader::new(backend, Columns::All),
            selections,
            kept: None,
        };
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while crowd(&mut waiting, &mut batch).await {
                let scopes = keeper.catch_up().await;
                for ((), reply) in batch.drain(..) {
                    // A caller that went away does not want its answer.
                    drop(reply.send(scopes.clone()));
                }
            }
        });
        Self(queue)
    }

    /// The scopes, as the newest committed transaction left them or a later one.
    pub(crate) async fn get(&self) -> Answer {
        ask(&self.0, ()).await
    }
}

struct Keeper {
    reader: Reader,
    selections: Arc<Selections>,
    kept: Option<Kept>,
}

struct Kept {
    scopes: Scopes,
    /// The position of the log at which they are known to hold.
    holds_at: u64,
}

impl Keeper {
    async fn catch_up(&mut self) -> Answer {
        let holds_at = self.kept.as_ref().map_or(0, |kept| kept.holds_at);
        let moved = self.reader.moved(Providers::STREAM, holds_at, 0).await?;
        // A log that is shorter than it was is another log.
        let holds = moved.head >= holds_at && moved.streams.is_empty();
        let scopes = if let Some(kept) = self.kept.take().filter(|_| holds) {
            kept.scopes
        } else {
            let rows = self.selections.providers().await?;
            let scopes = rows.into_iter().flat_map(|row| row.state.profile.scopes);
            Arc::new(scopes.collect())
        };
        self.kept = Some(Kept {
            scopes: Arc::clone(&scopes),
            holds_at: moved.head,
        });
        Ok(scopes)
    }
}
