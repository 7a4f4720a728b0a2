//! What the store counts, and how `/metrics` shows it.

use std::fmt::Write;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::Db;
use crate::store::Family;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $kind:literal $metric:literal,)*) => {
        /// Counters of a store since it was opened.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub $field: AtomicU64,)*
        }

        /// State of a store and what it has counted since it was opened.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $field: u64,)*
            /// Streams known.
            pub streams: u64,
            /// Bytes of sealed blocks with their filters on disk.
            pub disk_bytes: u64,
            /// Bytes in the write-ahead family that some open block needs, to a mebibyte.
            pub wal_kept_bytes: u64,
        }

        impl Counters {
            fn stats(&self) -> Stats {
                Stats { $($field: self.$field.load(Relaxed),)* ..Stats::default() }
            }
        }

        impl Stats {
            fn rows(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$(($metric, $kind, self.$field),)*
                    ("binnacle_logs_streams", "gauge", self.streams),
                    ("binnacle_logs_disk_bytes", "gauge", self.disk_bytes),
                    ("binnacle_logs_wal_kept_bytes", "gauge", self.wal_kept_bytes)]
            }
        }
    };
}

counters! {
    /// Records made durable.
    stored: "counter" "binnacle_logs_records_total",
    /// Line bytes made durable.
    stored_line_bytes: "counter" "binnacle_logs_line_bytes_total",
    /// Records that were there already.
    repeated: "counter" "binnacle_logs_repeated_records_total",
    /// Records refused because they were past the retention.
    refused_old: "counter" "binnacle_logs_refused_too_old_records_total",
    /// Records refused because they were too far in the future.
    refused_future: "counter" "binnacle_logs_refused_future_records_total",
    /// Blocks refused because there were too many streams.
    refused_streams: "counter" "binnacle_logs_refused_stream_budget_total",
    /// Blocks refused because of their labels.
    refused_labels: "counter" "binnacle_logs_refused_labels_total",
    /// Records refused because their stream came too fast.
    refused_rate: "counter" "binnacle_logs_refused_rate_limit_records_total",
    /// Lines stored that are not UTF-8.
    invalid_utf8: "counter" "binnacle_logs_invalid_utf8_lines_total",
    /// Lines cut to the longest length allowed.
    cut_lines: "counter" "binnacle_logs_cut_lines_total",
    /// Records whose metadata was too large and was dropped.
    dropped_metadata: "counter" "binnacle_logs_dropped_metadata_total",
    /// Commits made durable.
    commits: "counter" "binnacle_logs_commits_total",
    /// Commits that failed.
    failed_commits: "counter" "binnacle_logs_failed_commits_total",
    /// Bytes written to the write-ahead family.
    wal_bytes: "counter" "binnacle_logs_wal_bytes_total",
    /// Blocks sealed.
    sealed_blocks: "counter" "binnacle_logs_sealed_blocks_total",
    /// Blocks removed by retention.
    expired_blocks: "counter" "binnacle_logs_expired_blocks_total",
    /// Records removed by delete requests.
    deleted: "counter" "binnacle_logs_deleted_records_total",
    /// Damaged blocks that reads have met.
    damaged_blocks: "counter" "binnacle_logs_damaged_blocks_total",
    /// Memory of open blocks and of those being sealed.
    open_bytes: "gauge" "binnacle_logs_open_bytes",
    /// Queries answered.
    queries: "counter" "binnacle_logs_queries_total",
    /// Queries that failed.
    failed_queries: "counter" "binnacle_logs_failed_queries_total",
    /// Queries that ended early because their client had gone.
    canceled_queries: "counter" "binnacle_logs_canceled_queries_total",
    /// Queries that could not be parsed, regexes that are too large included.
    refused_queries: "counter" "binnacle_logs_refused_queries_total",
    /// Line bytes that queries have looked at.
    scanned_bytes: "counter" "binnacle_logs_scanned_bytes_total",
    /// Sealed blocks that queries have opened.
    opened_blocks: "counter" "binnacle_logs_opened_blocks_total",
    /// Sealed blocks that a filter has ruled out.
    ruled_out_blocks: "counter" "binnacle_logs_ruled_out_blocks_total",
    /// Records that slow tails have missed.
    tail_missed: "counter" "binnacle_logs_tail_missed_commits_total",
}

impl Db {
    /// State and counters.
    pub fn stats(&self) -> Stats {
        let store = &self.shared.store;
        Stats {
            streams: self.shared.streams.read().len() as u64,
            disk_bytes: store.disk_bytes(Family::Data) + store.disk_bytes(Family::Filters),
            wal_kept_bytes: self.shared.wal_size.lock().kept(),
            ..self.shared.counters.stats()
        }
    }

    /// [`Db::stats`] in the text format of `/metrics`.
    pub fn metrics_text(&self) -> String {
        let mut out = String::new();
        for (name, kind, value) in self.stats().rows() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
        }
        out
    }
}
