//! The keys that sign session tokens: which there are, and what each is for at a time.
//!
//! A new key is published for a while before it signs, so that whoever keeps the published keys has it by then. The one
//! before it stays published until everything it signed is over. With no key to follow, a new one signs at once.

use std::time::Duration;

use super::{RetireReason, STREAM_TYPE, VaultEvent};
use crate::sealing::KeyId;
use crate::stream::StreamKey;
use crate::time::Timestamp;

/// How long a key is published before it signs. The published keys may be kept for 5 minutes (`Cache-Control`), and
/// common libraries keep them for up to 10.
pub const PUBLISHED_FOR: Duration = Duration::from_mins(10);
/// How long after the last token's end a key is kept: a node may sign with the older key a moment too long, and a
/// verifier's clock may be slow.
const MARGIN: Duration = Duration::from_mins(1);

/// The one stream of the keys, of all nodes.
#[must_use]
pub fn session_key_stream() -> StreamKey {
    StreamKey::new(STREAM_TYPE, "session-keys")
}

/// A key that signs session tokens, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKey {
    /// Its id, and that of the data key that holds it.
    pub kid: KeyId,
    /// When it was made; it is published since.
    pub created_at: Timestamp,
    /// From when on it signs.
    pub signs_from: Timestamp,
    /// When it was destroyed, and why.
    pub retired: Option<(Timestamp, RetireReason)>,
}

impl SessionKey {
    const fn is_live(&self) -> bool {
        self.retired.is_none()
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKeyState {
    /// It is published, and does not sign yet.
    Published,
    /// It signs.
    Signing,
    /// Another one signs; what this one signed is still good.
    Verifying,
    /// It is destroyed.
    Retired,
}

/// The keys that sign session tokens: the fold of their stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionKeys {
    keys: Vec<SessionKey>,
    /// The newest sequence of the stream.
    pub sequence: u64,
}

impl SessionKeys {
    /// The keys after one more event of the stream, recorded at a time.
    pub fn evolve(&mut self, event: &VaultEvent, recorded_at: Timestamp) {
        self.sequence += 1;
        match event {
            VaultEvent::SessionKeyCreated { kid } => self.create(*kid, recorded_at),
            VaultEvent::SessionKeyRetired { kid, reason } => {
                let retired = self.keys.iter_mut().find(|key| key.kid == *kid);
                if let Some(key) = retired {
                    key.retired = Some((recorded_at, *reason));
                }
            }
            VaultEvent::ProjectionRebuilt { .. } | VaultEvent::ApiKeysChanged { .. } => {}
        }
    }

    fn create(&mut self, kid: KeyId, created_at: Timestamp) {
        let is_first = self.live().next().is_none();
        let wait = if is_first {
            Duration::ZERO
        } else {
            PUBLISHED_FOR
        };
        self.keys.push(SessionKey {
            kid,
            created_at,
            signs_from: created_at.plus(wait),
            retired: None,
        });
    }

    /// Every key there ever was, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[SessionKey] {
        &self.keys
    }

    /// The keys that are published, the oldest first.
    pub fn live(&self) -> impl Iterator<Item = &SessionKey> {
        self.keys.iter().filter(|key| key.is_live())
    }

    /// The key that signs: the newest of those that may. A clock that is a little slow does not leave none.
    #[must_use]
    pub fn signing(&self, now: Timestamp) -> Option<&SessionKey> {
        let may_sign = self.live().filter(|key| key.signs_from <= now).last();
        may_sign.or_else(|| self.live().next())
    }

    /// What a key of these is for.
    #[must_use]
    pub fn state(&self, key: &SessionKey, now: Timestamp) -> SessionKeyState {
        let signing = self.signing(now);
        if !key.is_live() {
            SessionKeyState::Retired
        } else if signing.is_some_and(|signing| signing.kid == key.kid) {
            SessionKeyState::Signing
        } else if key.signs_from > now {
            SessionKeyState::Published
        } else {
            SessionKeyState::Verifying
        }
    }

    /// When a key goes whose tokens live for at most `max_ttl`; `None` while no newer one is there to follow it.
    #[must_use]
    pub fn retires_at(&self, key: &SessionKey, max_ttl: Duration) -> Option<Timestamp> {
        let newer = self.live().skip_while(|live| live.kid != key.kid).skip(1);
        let followed = newer.map(|newer| newer.signs_from).min();
        followed.map(|at| at.plus(max_ttl).plus(MARGIN))
    }

    /// The keys whose time is over.
    pub fn due(&self, now: Timestamp, max_ttl: Duration) -> impl Iterator<Item = KeyId> {
        let is_due = move |key: &&SessionKey| {
            let retires_at = self.retires_at(key, max_ttl);
            retires_at.is_some_and(|at| at <= now)
        };
        self.live().filter(is_due).map(|key| key.kid)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn kid(number: u128) -> KeyId {
        KeyId::from_uuid(Uuid::from_u128(number))
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_seconds(minutes * 60)
    }

    fn keys(events: &[(VaultEvent, i64)]) -> SessionKeys {
        let mut keys = SessionKeys::default();
        for (event, minute) in events {
            keys.evolve(event, at(*minute));
        }
        keys
    }

    fn created(number: u128, minute: i64) -> (VaultEvent, i64) {
        (VaultEvent::SessionKeyCreated { kid: kid(number) }, minute)
    }

    fn retired(number: u128, minute: i64) -> (VaultEvent, i64) {
        let event = VaultEvent::SessionKeyRetired {
            kid: kid(number),
            reason: RetireReason::Compromised,
        };
        (event, minute)
    }

    fn states(keys: &SessionKeys, minute: i64) -> Vec<SessionKeyState> {
        let state = |key| keys.state(key, at(minute));
        keys.all().iter().map(state).collect()
    }

    #[test]
    fn without_keys_none_signs() {
        assert_eq!(SessionKeys::default().signing(at(0)), None);
    }

    #[test]
    fn the_first_key_signs_at_once() {
        let keys = keys(&[created(1, 0)]);
        assert_eq!(states(&keys, 0), [SessionKeyState::Signing]);
        assert_eq!(keys.retires_at(&keys.all()[0], HOUR), None);
    }

    #[test]
    fn a_clock_before_the_first_key_finds_it_all_the_same() {
        assert_eq!(
            states(&keys(&[created(1, 5)]), 4),
            [SessionKeyState::Signing]
        );
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_verifies_after_it_did() {
        let keys = keys(&[created(1, 0), created(2, 100)]);
        let (published, signing) = (SessionKeyState::Published, SessionKeyState::Signing);
        assert_eq!(states(&keys, 109), [signing, published]);
        assert_eq!(states(&keys, 110), [SessionKeyState::Verifying, signing]);
    }

    #[test]
    fn a_key_is_due_when_all_it_signed_is_over() {
        let keys = keys(&[created(1, 0), created(2, 100), created(3, 500)]);
        let due = |minute| keys.due(at(minute), HOUR).collect::<Vec<_>>();
        assert_eq!(due(170), []);
        assert_eq!(due(171), [kid(1)]);
        assert_eq!(due(571), [kid(1), kid(2)]);
        assert_eq!(due(100_000), [kid(1), kid(2)]);
    }

    #[test]
    fn a_key_in_place_of_compromised_ones_signs_at_once() {
        let keys = keys(&[
            created(1, 0),
            created(2, 99),
            retired(1, 100),
            retired(2, 100),
            created(3, 100),
        ]);
        let (gone, signing) = (SessionKeyState::Retired, SessionKeyState::Signing);
        assert_eq!(states(&keys, 100), [gone, gone, signing]);
        assert_eq!(keys.due(at(100_000), HOUR).count(), 0);
    }

    #[test]
    fn the_sequence_counts_every_event() {
        let rebuilt = crate::fixtures::read("vault.projection_rebuilt");
        assert_eq!(
            keys(&[created(1, 0), (rebuilt, 1), retired(9, 2)]).sequence,
            3
        );
    }
}
