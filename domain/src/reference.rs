//! The names of connections and providers.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// A text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct InvalidId;

/// A connection's id: a `UUIDv4` and a bearer secret, since whoever knows it may fetch the
/// credential. It is never logged; a [`ConnectionReference`] stands for it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionId(Uuid);

impl ConnectionId {
    /// The id made of 122 random bits, as `Uuid::new_v4` makes them.
    #[must_use]
    pub const fn from_random(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Reads an id in any notation of RFC 9562.
    ///
    /// # Errors
    /// [`InvalidId`].
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Uuid::parse_str(text).map(Self).map_err(|_| InvalidId)
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }

    /// The id in clear: for the caller it belongs to, and to be sealed.
    #[must_use]
    pub fn expose(&self) -> String {
        self.0.to_string()
    }

    /// What stands for this id in the log: the first 16 bytes of SHA-256 over
    /// `nexus connection v1` and the id's 16 bytes, as a `UUIDv8` (RFC 9562, section 5.8).
    #[must_use]
    pub fn reference(&self) -> ConnectionReference {
        let hash = Sha256::new()
            .chain_update(b"nexus connection v1")
            .chain_update(self.0.as_bytes())
            .finalize();
        let mut bytes = [0; 16];
        for (byte, hashed) in bytes.iter_mut().zip(hash) {
            *byte = hashed;
        }
        ConnectionReference(Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionId([redacted])")
    }
}

macro_rules! public_id {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Reads it in any notation of RFC 9562.
            ///
            /// # Errors
            /// [`InvalidId`].
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId)
            }

            /// It, of a UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// It as a UUID.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use public_id;

public_id! {
    /// What stands for a connection in the log and in audits: derived from its [`ConnectionId`],
    /// which it does not reveal. The nil UUID stands for none.
    ConnectionReference
}

public_id! {
    /// A provider's id. The nil UUID stands for none.
    ProviderId
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reference_is_a_frozen_function_of_the_id() {
        let id = ConnectionId::parse("6f2d3c1e-8a4b-4c5d-9e6f-0a1b2c3d4e5f").unwrap();
        assert_eq!(
            id.reference().to_string(),
            "b7b04fe4-9eec-8706-b7b9-51fb99a831c0"
        );
    }

    #[test]
    fn debug_shows_no_id() {
        let id = ConnectionId::parse("6f2d3c1e-8a4b-4c5d-9e6f-0a1b2c3d4e5f").unwrap();
        assert_eq!(format!("{id:?}"), "ConnectionId([redacted])");
        assert_eq!(id.expose(), "6f2d3c1e-8a4b-4c5d-9e6f-0a1b2c3d4e5f");
    }

    #[test]
    fn what_is_not_a_uuid_is_refused() {
        for text in [
            "",
            "1",
            "6f2d3c1e-8a4b-4c5d-9e6f-0a1b2c3d4e5",
            "6f2d3c1e-8a4b-4c5d-9e6f-0a1b2c3d4e5g",
        ] {
            assert!(ConnectionId::parse(text).is_err(), "{text}");
            assert_eq!(ProviderId::parse(text), Err(InvalidId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_reference_is_a_uuid_of_version_8_that_reads_back(bits: u128) {
            let reference = ConnectionId::from_random(Uuid::from_u128(bits)).reference();
            prop_assert_eq!(reference.as_uuid().get_version_num(), 8);
            prop_assert_eq!(reference.as_uuid().get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!(ConnectionReference::parse(&reference.to_string()), Ok(reference));
        }

        #[test]
        fn different_ids_have_different_references(one: u128, other: u128) {
            let reference = |bits| ConnectionId::from_random(Uuid::from_u128(bits)).reference();
            prop_assert_eq!(reference(one) == reference(other), one == other);
        }
    }
}
