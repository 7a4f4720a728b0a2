//! What the database says about itself: counters for `/metrics`, cardinality for `status/tsdb`.

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
    /// Series refused because `max_series` was reached.
    pub series_refused: u64,
    /// Bytes of open chunks.
    pub head_chunk_bytes: u64,
    /// Samples in memory that are not in chunks yet.
    pub head_samples: u64,
    /// Oldest sample in memory, in milliseconds since the epoch.
    pub head_min_ms: Option<i64>,
    /// Newest sample in memory, in milliseconds since the epoch.
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
    /// Chunks found corrupt and skipped.
    pub chunks_corrupt: u64,
    /// Flushes of head shards.
    pub flushes: u64,
    /// Flushes that failed and will be tried again.
    pub flush_failures: u64,
    /// Days dropped by retention.
    pub days_dropped: u64,
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
