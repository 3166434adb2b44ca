//! An aggregate of the suite's own: a tally, in two versions of its state.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use nexus_domain::decider::{Decider, StateVersion};
use nexus_domain::sealing::SealedRef;
use serde::{Deserialize, Serialize};

/// The same streams, states of version `V`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally<const V: u32> {
    pub(crate) state_version: StateVersion<V>,
    pub(crate) total: u64,
    pub(crate) events: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Count {
    /// Adds once for each number; none is nothing to do.
    Add(Vec<u64>),
    /// Adds what makes the total even, and refuses when it is.
    MakeEven,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Counted {
    #[serde(rename = "tally.added")]
    Added { by: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the total is even")]
pub(crate) struct AlreadyEven;

impl DomainEvent for Counted {
    fn event_type(&self) -> String {
        "tally.added".into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl<const V: u32> Aggregate for Tally<V> {
    const TYPE: &'static str = "tally";
    type Command = Count;
    type Event = Counted;
    type Error = AlreadyEven;
    type Services = ();

    async fn handle(
        &mut self,
        command: Count,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AlreadyEven> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Counted) {
        self.evolve(&event);
    }
}

impl<const V: u32> Decider for Tally<V> {
    const STATE_VERSION: u32 = V;

    fn decide(&self, command: Count) -> Result<Vec<Counted>, AlreadyEven> {
        match command {
            Count::Add(numbers) => Ok(numbers
                .into_iter()
                .map(|by| Counted::Added { by })
                .collect()),
            Count::MakeEven if self.total.is_multiple_of(2) => Err(AlreadyEven),
            Count::MakeEven => Ok(vec![Counted::Added { by: 1 }]),
        }
    }

    fn evolve(&mut self, event: &Counted) {
        let Counted::Added { by } = event;
        self.total += by;
        self.events += 1;
    }

    fn sealed(_: &Counted) -> Option<&SealedRef> {
        None
    }
}
