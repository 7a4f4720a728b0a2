//! What the database says about itself: counters for `/metrics`, cardinality for `status/tsdb`.

use super::Core;

/// State and counters since the process started. `/metrics` is written from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series with samples or a reference in memory.
    pub head_series: u64,
    /// The limit of `head_series` (`max_series`); 0 is none.
    pub head_series_limit: u64,
    /// Series that came into being.
    pub series_created: u64,
    /// Series that left memory because nothing was appended to them for long.
    pub series_evicted: u64,
    /// Series refused because a budget of series was used up.
    pub series_refused: u64,
    /// Of these by `max_series`.
    pub series_refused_global: u64,
    /// By `max_series_per_namespace`.
    pub series_refused_namespace: u64,
    /// By `max_series_per_job`.
    pub series_refused_job: u64,
    /// Bytes of open chunks.
    pub head_chunk_bytes: u64,
    /// Samples in memory that are not in chunks yet.
    pub head_samples: u64,
    /// Oldest sample in memory, in milliseconds since the epoch.
    pub head_min_ms: Option<i64>,
    /// Newest sample appended, in milliseconds since the epoch.
    pub head_max_ms: Option<i64>,
    /// Samples made durable.
    pub samples_appended: u64,
    /// Of these, samples that came out of order.
    pub samples_out_of_order: u64,
    /// Samples that were there already with the same value.
    pub samples_repeated: u64,
    /// Samples refused: same time, another value.
    pub samples_conflicting: u64,
    /// Samples refused: older than the out-of-order window or the retention.
    pub samples_too_old: u64,
    /// Samples refused: too far in the future.
    pub samples_too_new: u64,
    /// Samples refused: their series is not known any more.
    pub samples_unknown_series: u64,
    /// Syncs of the write-ahead log.
    pub wal_syncs: u64,
    /// Records in the write-ahead log that are not in chunks yet.
    pub wal_records: u64,
    /// Their bytes.
    pub wal_bytes: u64,
    /// Append groups refused because they could not be made durable.
    pub wal_failures: u64,
    /// Whether appends are refused at the moment because the disk is full or failed.
    pub unavailable: bool,
    /// Chunks written.
    pub chunks_written: u64,
    /// Samples in these.
    pub chunk_samples_written: u64,
    /// Bytes of these.
    pub chunk_bytes_written: u64,
    /// Records of the log that were corrupt and skipped when it was replayed.
    pub wal_corrupt: u64,
    /// Chunks found corrupt and skipped.
    pub chunks_corrupt: u64,
    /// Flushes of head shards.
    pub flushes: u64,
    /// Flushes that failed and will be tried again.
    pub flush_failures: u64,
    /// Days dropped by retention.
    pub days_dropped: u64,
    /// Chunks that were replaced by larger ones.
    pub chunks_merged: u64,
    /// The larger ones.
    pub chunks_merged_into: u64,
    /// Bytes of the chunks that were replaced.
    pub merge_bytes_before: u64,
    /// Bytes of the chunks that replaced them.
    pub merge_bytes_after: u64,
    /// Looks over a day for chunks to merge that were finished.
    pub merge_passes: u64,
    /// Days brought into their final shape, with rollups.
    pub days_sealed: u64,
    /// Sealed days that were opened again by late samples or a deletion.
    pub days_unsealed: u64,
    /// Rows of rollups written, of all widths.
    pub rollup_rows: u64,
    /// Their bytes.
    pub rollup_bytes: u64,
    /// Bytes of table files on disk.
    pub disk_bytes: u64,
    /// Bytes free on the disk of the data folder.
    pub disk_free_bytes: u64,
    /// Bytes of RocksDB's block cache in use.
    pub block_cache_bytes: u64,
    /// Bytes of RocksDB's memtables.
    pub memtable_bytes: u64,
}

/// Cardinality of the series in memory; the body of `status/tsdb`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TsdbStatus {
    /// Series in memory.
    pub num_series: u64,
    /// Pairs of label name and value.
    pub num_label_pairs: u64,
    /// Samples in memory that are not in chunks yet.
    pub head_samples: u64,
    /// Oldest sample in memory, in milliseconds since the epoch.
    pub min_ms: Option<i64>,
    /// Newest sample in memory, in milliseconds since the epoch.
    pub max_ms: Option<i64>,
    /// Metric names with the most series.
    pub series_by_metric: Vec<(String, u64)>,
    /// Label names with the most values.
    pub values_by_label: Vec<(String, u64)>,
    /// Label names with the most bytes of values.
    pub bytes_by_label: Vec<(String, u64)>,
    /// `name=value` pairs with the most series.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Core {
    pub(super) fn stats(&self) -> Stats {
        let counters = &self.counters;
        let (wal_records, wal_bytes) = self.wal.total();
        Stats {
            head_series: self.head.series_count(),
            head_series_limit: self.config.max_series,
            series_created: counters.series_created.get(),
            series_evicted: counters.series_evicted.get(),
            series_refused: counters.series_refused.get(),
            series_refused_global: counters.series_refused_global.get(),
            series_refused_namespace: counters.series_refused_namespace.get(),
            series_refused_job: counters.series_refused_job.get(),
            head_chunk_bytes: self.head.bytes(),
            head_samples: self.head.samples(),
            head_min_ms: self.head.min_ms(),
            head_max_ms: self.head.max_ms(),
            samples_appended: counters.samples_appended.get(),
            samples_out_of_order: counters.samples_out_of_order.get(),
            samples_repeated: counters.samples_repeated.get(),
            samples_conflicting: counters.samples_conflicting.get(),
            samples_too_old: counters.samples_too_old.get(),
            samples_too_new: counters.samples_too_new.get(),
            samples_unknown_series: counters.samples_unknown_series.get(),
            wal_syncs: counters.wal_syncs.get(),
            wal_records,
            wal_bytes,
            wal_failures: counters.wal_failures.get(),
            wal_corrupt: counters.wal_corrupt.get(),
            unavailable: self.is_unavailable(),
            chunks_written: counters.chunks_written.get(),
            chunk_samples_written: counters.chunk_samples_written.get(),
            chunk_bytes_written: counters.chunk_bytes_written.get(),
            chunks_corrupt: counters.chunks_corrupt.get(),
            flushes: counters.flushes.get(),
            flush_failures: counters.flush_failures.get(),
            days_dropped: counters.days_dropped.get(),
            chunks_merged: counters.chunks_merged.get(),
            chunks_merged_into: counters.chunks_merged_into.get(),
            merge_bytes_before: counters.merge_bytes_before.get(),
            merge_bytes_after: counters.merge_bytes_after.get(),
            merge_passes: counters.merge_passes.get(),
            days_sealed: counters.days_sealed.get(),
            days_unsealed: counters.days_unsealed.get(),
            rollup_rows: counters.rollup_rows.get(),
            rollup_bytes: counters.rollup_bytes.get(),
            disk_bytes: self.store.property("rocksdb.total-sst-files-size"),
            disk_free_bytes: self.free_bytes(),
            block_cache_bytes: self.store.block_cache_bytes(),
            memtable_bytes: self.store.property("rocksdb.size-all-mem-tables"),
        }
    }

    pub(super) fn tsdb_status(&self, limit: usize) -> TsdbStatus {
        let mut status = TsdbStatus {
            num_series: self.head.series_count(),
            head_samples: self.head.samples(),
            min_ms: self.head.min_ms(),
            max_ms: self.head.max_ms(),
            ..TsdbStatus::default()
        };
        let index = self.head.index().read();
        let mut pairs: Vec<(&str, &str, u64)> = Vec::new();
        for (name, values) in index.cardinality() {
            let (mut number, mut bytes) = (0, 0);
            for (value, series) in values {
                number += 1;
                bytes += value.len() as u64;
                if name == "__name__" {
                    status.series_by_metric.push((value.to_owned(), series));
                }
                pairs.push((name, value, series));
            }
            status.num_label_pairs += number;
            status.values_by_label.push((name.to_owned(), number));
            status.bytes_by_label.push((name.to_owned(), bytes));
        }
        pairs.sort_unstable_by(|a, b| b.2.cmp(&a.2).then_with(|| (a.0, a.1).cmp(&(b.0, b.1))));
        let named =
            pairs.iter().take(limit).map(|(name, value, series)| (format!("{name}={value}"), *series));
        status.series_by_pair = named.collect();
        for list in [&mut status.series_by_metric, &mut status.values_by_label, &mut status.bytes_by_label] {
            list.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            list.truncate(limit);
        }
        status
    }

    /// The label name with the most values in memory.
    pub(super) fn widest_label(&self) -> Option<String> {
        let index = self.head.index().read();
        let widest = index.cardinality().map(|(name, values)| (values.count(), name)).max();
        widest.map(|(_, name)| name.to_owned())
    }
}
