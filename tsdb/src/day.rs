//! Days (UTC), by which everything on disk is divided.

use std::fmt;
use std::ops::RangeInclusive;

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;
/// Samples must lie within ±10,000 years or so of the epoch, so that no arithmetic on times overflows.
pub(crate) const MAX_ABS_MS: i64 = 1 << 48;

/// Days since the epoch; negative before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Day(pub(crate) i32);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.start_ms()) {
            Ok(start) => write!(f, "{}", start.strftime("%F")),
            Err(_) => write!(f, "day {} of the epoch", self.0),
        }
    }
}

impl Day {
    /// The day of an instant; instants outside of [`MAX_ABS_MS`] go to its ends.
    pub(crate) fn of(t_ms: i64) -> Self {
        Self(t_ms.clamp(-MAX_ABS_MS, MAX_ABS_MS).div_euclid(DAY_MS) as i32)
    }

    /// Its first millisecond.
    pub(crate) fn start_ms(self) -> i64 {
        i64::from(self.0) * DAY_MS
    }

    /// Days that a span of time touches, both ends inclusive.
    pub(crate) fn span(start_ms: i64, end_ms: i64) -> RangeInclusive<Self> {
        Self::of(start_ms)..=Self::of(end_ms)
    }
}
