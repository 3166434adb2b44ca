//! What the database holds, read without believing it.

use tokio::task::JoinHandle;

use super::{Divergence, VerifyError, diverges};
use crate::append::{IndexColumns, RecordedEvent};
use crate::backend::{Backend, ReadError};

/// How many events are read at once. The next page is read while one is verified.
const PAGE: u64 = 2_000;

/// An event and the columns beside it.
#[derive(Clone, Debug)]
pub(crate) struct StoredEvent {
    pub(crate) event: RecordedEvent,
    pub(crate) columns: IndexColumns,
}

/// The newest tree head as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredHead {
    pub(crate) size: i64,
    pub(crate) frontier: Vec<u8>,
    pub(crate) recorded_at: i64,
}

/// Where the log begins and ends, read in one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The smallest position.
    pub(crate) first: Option<i64>,
    /// The largest position.
    pub(crate) last: Option<i64>,
    /// The newest tree head.
    pub(crate) head: Option<StoredHead>,
}

impl Ends {
    /// How many events there should be: as many as the newest head covers.
    pub(crate) fn size(&self) -> u64 {
        let size = self.head.as_ref().map_or(0, |head| head.size);
        u64::try_from(size).unwrap_or(0)
    }
}

/// The events of some positions; `None` when a row does not decode.
type Page = Option<Vec<StoredEvent>>;

/// The log, page by page.
pub(super) struct Pages {
    backend: Backend,
    next: u64,
    head: u64,
    ahead: Option<JoinHandle<Result<Page, ReadError>>>,
}

impl Pages {
    /// The events up to the position `head`.
    pub(super) fn new(backend: &Backend, head: u64) -> Self {
        Self {
            backend: backend.clone(),
            next: 1,
            head,
            ahead: None,
        }
    }

    /// The next page, `None` at the end. It is never empty.
    ///
    /// # Errors
    /// [`VerifyError`], also when the first event of the page is missing or no event at all.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<StoredEvent>>, VerifyError> {
        if self.next > self.head {
            return Ok(None);
        }
        let (from, until) = (self.next, self.until(self.next));
        let page = match self.ahead.take() {
            Some(ahead) => ahead.await.unwrap_or_else(|_| Err(ended()))?,
            None => self.backend.stored(from, until).await?,
        };
        let page = match page {
            Some(page) => {
                self.next = until;
                self.read_ahead();
                page
            }
            None => self.up_to_the_undecodable(from, until).await?,
        };
        if page.is_empty() {
            return Err(diverges(from, Divergence::Gap));
        }
        Ok(Some(page))
    }

    fn until(&self, from: u64) -> u64 {
        (from + PAGE).min(self.head + 1)
    }

    fn read_ahead(&mut self) {
        let (from, until) = (self.next, self.until(self.next));
        if from < until {
            let backend = self.backend.clone();
            let ahead = tokio::spawn(async move { backend.stored(from, until).await });
            self.ahead = Some(ahead);
        }
    }

    /// The events before the row that does not decode, if there are any.
    async fn up_to_the_undecodable(
        &mut self,
        from: u64,
        until: u64,
    ) -> Result<Vec<StoredEvent>, VerifyError> {
        let mut page = Vec::new();
        for position in from..until {
            match self.backend.stored(position, position + 1).await? {
                Some(event) => page.extend(event),
                None if position == from => {
                    return Err(diverges(position, Divergence::Undecodable));
                }
                None => {
                    self.next = position;
                    return Ok(page);
                }
            }
        }
        self.next = until;
        Ok(page)
    }
}

fn ended() -> ReadError {
    ReadError::Unavailable("the reading of it ended".to_owned())
}
