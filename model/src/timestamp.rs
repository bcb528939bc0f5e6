//! Points in time.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ParseTimestampError;
use crate::error::excerpt;

/// A point in time: microseconds since 1970-01-01T00:00:00 UTC, negative before.
///
/// Written and read as RFC 3339 (`2025-06-30T12:00:00.123456Z`); serde uses the number. Arithmetic stops at the ends of
/// the range, which lie 292,000 years away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// 1970-01-01T00:00:00 UTC.
    pub const EPOCH: Self = Self(0);
    /// Later than every other.
    pub const MAX: Self = Self(i64::MAX);

    /// What the system's clock says now.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From microseconds since 1970 UTC.
    #[inline]
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since 1970 UTC.
    #[inline]
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since 1970 UTC.
    #[inline]
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since 1970 UTC, rounded down.
    #[inline]
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The time `later` after this one, or [`Timestamp::MAX`] if that is out of range.
    #[must_use]
    pub fn saturating_add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(micros(later)))
    }

    /// The time `earlier` before this one, or the first point in time if that is out of range.
    #[must_use]
    pub fn saturating_sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(micros(earlier)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        if self <= earlier { Duration::ZERO } else { Duration::from_micros(self.0.abs_diff(earlier.0)) }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    /// Rounds down to the microsecond.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(micros(after)),
            Err(before) => {
                let nanos = before.duration().as_nanos();
                Self(i64::try_from(nanos.div_ceil(1_000)).map_or(i64::MIN, |before| -before))
            }
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six digits of fraction; the bare number with `us` outside the years -9999 to 9999.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads RFC 3339 with any offset, and the `us` form of `Display`. Finer digits than microseconds are cut off.
    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        if let Some(micros) = text.strip_suffix("us").and_then(|number| number.parse().ok()) {
            return Ok(Self(micros));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Self(i64::try_from(time.as_nanosecond().div_euclid(1_000)).unwrap_or(i64::MAX))),
            Err(error) => Err(ParseTimestampError { text: excerpt(text), reason: error.to_string() }),
        }
    }
}
