//! Instants, as events and commands carry them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant in UTC with a resolution of one microsecond, within the years 0000 to 9999 that
/// RFC 3339 can write; constructors saturate at both ends.
///
/// Printed and serialized as RFC 3339 with `Z` and six digits: `2026-11-24T15:04:05.123456Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 0000-01-01T00:00:00Z.
const MIN_MICROS: i64 = -62_167_219_200_000_000;
/// 9999-12-31T23:59:59.999999Z.
const MAX_MICROS: i64 = 253_402_300_799_999_999;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A text is not an RFC 3339 date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 date and time")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// The instant `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < MIN_MICROS {
            Self(MIN_MICROS)
        } else if micros > MAX_MICROS {
            Self(MAX_MICROS)
        } else {
            Self(micros)
        }
    }

    /// The instant `seconds` seconds after the Unix epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The instant `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// The instant `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The UTC date, as `2026-11-24`.
    #[must_use]
    pub fn date(self) -> String {
        self.to_chrono().format("%Y-%m-%d").to_string()
    }

    /// The instant its minute began.
    #[must_use]
    pub fn minute(self) -> Self {
        const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
        Self(self.0 - self.0.rem_euclid(MICROS_PER_MINUTE))
    }

    /// Reads an RFC 3339 date and time with any offset; finer digits than microseconds are cut off.
    ///
    /// # Errors
    /// [`InvalidTimestamp`].
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed = DateTime::parse_from_rfc3339(text).map_err(|_| InvalidTimestamp)?;
        Ok(Self::from_micros(parsed.timestamp_micros()))
    }

    fn to_chrono(self) -> DateTime<chrono::Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &self
                .to_chrono()
                .to_rfc3339_opts(SecondsFormat::Micros, true),
        )
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_rfc_3339_with_microseconds() {
        let instant = Timestamp::from_micros(1_795_532_645_123_456);
        assert_eq!(instant.to_string(), "2026-11-24T15:04:05.123456Z");
        assert_eq!(instant.date(), "2026-11-24");
        assert_eq!(instant.minute().to_string(), "2026-11-24T15:04:00.000000Z");
    }

    #[test]
    fn reads_any_offset_and_cuts_finer_digits() {
        let instant = Timestamp::parse_rfc3339("2026-11-24T17:04:05.123456789+02:00").unwrap();
        assert_eq!(instant.to_string(), "2026-11-24T15:04:05.123456Z");
    }

    #[test]
    fn refuses_what_is_not_rfc_3339() {
        for text in [
            "",
            "yesterday",
            "2026-11-24",
            "2026-11-24T15:04:05",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(
                Timestamp::parse_rfc3339(text),
                Err(InvalidTimestamp),
                "{text}"
            );
        }
    }

    #[test]
    fn saturates_at_the_years_that_can_be_written() {
        assert_eq!(
            Timestamp::from_micros(i64::MIN).to_string(),
            "0000-01-01T00:00:00.000000Z"
        );
        assert_eq!(
            Timestamp::from_seconds(i64::MAX).to_string(),
            "9999-12-31T23:59:59.999999Z"
        );
        assert_eq!(
            Timestamp::from_micros(0).plus(Duration::MAX),
            Timestamp::from_micros(i64::MAX)
        );
        assert_eq!(
            Timestamp::from_micros(0).minus(Duration::MAX),
            Timestamp::from_micros(i64::MIN)
        );
    }

    #[test]
    fn an_earlier_instant_is_no_time_after_a_later_one() {
        let (earlier, later) = (Timestamp::from_seconds(5), Timestamp::from_seconds(7));
        assert_eq!(later.since(earlier), Duration::from_secs(2));
        assert_eq!(earlier.since(later), Duration::ZERO);
    }

    #[test]
    fn seconds_before_the_epoch_are_rounded_down() {
        assert_eq!(Timestamp::from_micros(-1).as_seconds(), -1);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(micros in MIN_MICROS..=MAX_MICROS) {
            let instant = Timestamp::from_micros(micros);
            prop_assert_eq!(Timestamp::parse_rfc3339(&instant.to_string()), Ok(instant));
        }
    }
}
