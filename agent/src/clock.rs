//! The one place that asks the machine for the time; everything else takes it as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the edge: the wall clock enters here")]
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    now_ns() / 1_000_000
}

/// The monotonic clock, for measuring how long something takes.
#[expect(clippy::disallowed_methods, reason = "the edge: the monotonic clock enters here")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
