//! What an aggregate is: decisions over a state that is a fold of events.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::sealing::SealedRef;

/// An aggregate that decides synchronously and purely; `cqrs_es::Aggregate` is a shim over it.
pub trait Decider: cqrs_es::Aggregate {
    /// The shape of the state. It rises whenever a stored state would fold differently from the
    /// events it stands for; a snapshot of another version does not deserialize.
    const STATE_VERSION: u32;

    /// What happens when `command` is carried out on this state. No events: nothing to do, which
    /// is how a harmless repetition ends.
    ///
    /// # Errors
    /// The rule that the command breaks.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    /// The state after `event`.
    fn evolve(&mut self, event: &Self::Event);

    /// The ciphertext that rides beside `event`.
    fn sealed(event: &Self::Event) -> Option<&SealedRef>;
}

/// Implements `cqrs_es::Aggregate` and `cqrs_es::DomainEvent` over a [`Decider`].
macro_rules! aggregate {
    ($state:ty, $stream_type:literal, $command:ty, $event:ty, $error:ty) => {
        impl cqrs_es::Aggregate for $state {
            const TYPE: &'static str = $stream_type;
            type Command = $command;
            type Event = $event;
            type Error = $error;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                _services: &(),
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for event in $crate::decider::Decider::decide(self, command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                $crate::decider::Decider::evolve(self, &event);
            }
        }

        $crate::decider::domain_event!($event);
    };
}
pub(crate) use aggregate;

/// Implements `cqrs_es::DomainEvent` over an event's `stored_name`.
macro_rules! domain_event {
    ($event:ty) => {
        impl cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                self.stored_name().to_owned()
            }

            fn event_version(&self) -> String {
                "1".to_owned()
            }
        }
    };
}
pub(crate) use domain_event;

/// The `state_version` field of a state: written as `V`, and only read back if it is `V`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateVersion<const V: u32>;

impl<const V: u32> Serialize for StateVersion<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(V)
    }
}

impl<'de, const V: u32> Deserialize<'de> for StateVersion<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            version if version == V => Ok(Self),
            version => Err(de::Error::custom(format_args!(
                "state version {version}, not {V}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_another_version_does_not_deserialize() {
        assert_eq!(serde_json::to_string(&StateVersion::<3>).unwrap(), "3");
        assert!(serde_json::from_str::<StateVersion<3>>("3").is_ok());
        assert!(serde_json::from_str::<StateVersion<3>>("2").is_err());
        assert!(serde_json::from_str::<StateVersion<3>>("4").is_err());
    }
}
