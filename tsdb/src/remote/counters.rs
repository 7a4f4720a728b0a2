//! What remote write has done, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests_ok: AtomicU64,
    pub(crate) requests_refused: AtomicU64,
    pub(crate) requests_busy: AtomicU64,
    pub(crate) requests_failed: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Samples of remote write.
    pub(crate) write: SampleCounters,
    /// Samples of OpenTelemetry metrics.
    pub(crate) otlp: SampleCounters,
    pub(crate) histograms_dropped: AtomicU64,
    pub(crate) metadata_dropped: AtomicU64,
}

/// Samples by what became of them.
#[derive(Debug, Default)]
pub(crate) struct SampleCounters {
    pub(crate) stored: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) conflicting: AtomicU64,
    pub(crate) out_of_bounds: AtomicU64,
    pub(crate) bad_series: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
