//! Counters since the process started.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What [`super::Stats`] counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) series_created: Counter,
    pub(crate) series_evicted: Counter,
    pub(crate) series_refused: Counter,
    pub(crate) series_refused_global: Counter,
    pub(crate) series_refused_namespace: Counter,
    pub(crate) series_refused_job: Counter,
    pub(crate) samples_appended: Counter,
    pub(crate) samples_out_of_order: Counter,
    pub(crate) samples_repeated: Counter,
    pub(crate) samples_conflicting: Counter,
    pub(crate) samples_too_old: Counter,
    pub(crate) samples_too_new: Counter,
    pub(crate) samples_unknown_series: Counter,
    pub(crate) wal_syncs: Counter,
    pub(crate) wal_failures: Counter,
    pub(crate) wal_corrupt: Counter,
    pub(crate) chunks_written: Counter,
    pub(crate) chunk_samples_written: Counter,
    pub(crate) chunk_bytes_written: Counter,
    pub(crate) chunks_corrupt: Counter,
    pub(crate) flushes: Counter,
    pub(crate) flush_failures: Counter,
    pub(crate) days_dropped: Counter,
    pub(crate) chunks_merged: Counter,
    pub(crate) chunks_merged_into: Counter,
    pub(crate) merge_bytes_before: Counter,
    pub(crate) merge_bytes_after: Counter,
    pub(crate) merge_passes: Counter,
    pub(crate) days_sealed: Counter,
    pub(crate) days_unsealed: Counter,
    pub(crate) rollup_rows: Counter,
    pub(crate) rollup_bytes: Counter,
}
