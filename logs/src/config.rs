//! Settings of the log store and of its queries.

use std::path::PathBuf;

use serde::Deserialize;

use crate::db::Retention;

/// Settings of the log store; the section `[logs]` of the server's config file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the store. The server sets it to `DATA_DIR/logs`.
    #[serde(skip)]
    pub dir: PathBuf,
    /// How long records are kept, in hours.
    pub retention_hours: u32,
    /// Another time for some streams; the first whose selector matches counts.
    pub stream_retention: Vec<StreamRetention>,
    /// Most streams at a time; records of further streams are refused and counted.
    pub max_streams: usize,
    /// Longest line in bytes; a longer one is cut and counted.
    pub max_line_bytes: usize,
    /// Most labels of a stream.
    pub max_labels: usize,
    /// Longest label name in bytes.
    pub max_label_name_bytes: usize,
    /// Longest label value in bytes.
    pub max_label_value_bytes: usize,
    /// Most structured metadata of a record, in bytes; a record with more loses all of it, counted.
    pub max_metadata_bytes: usize,
    /// Line bytes a second that one stream takes in, without those that agents read from files (they have a
    /// limit of their own); what is beyond is refused, to be sent again, and counted. 0 is no limit.
    pub stream_bytes_per_second: u64,
    /// Line bytes that a stream which was quiet may take in at once.
    pub stream_burst_bytes: u64,
    /// How far in the future a record may be, in seconds; one beyond is refused and counted.
    pub max_future_seconds: u32,
    /// A stream's open block is sealed at this size, in bytes before compression.
    pub block_bytes: usize,
    /// Memory for open blocks of all streams, in bytes; beyond it the largest are sealed early.
    pub open_bytes: usize,
    /// An open block is sealed at this age, in seconds, however small it is.
    pub max_open_seconds: u32,
    /// Most bytes of the write-ahead family, compressed: beyond it, the streams that hold its oldest records are
    /// sealed early. A start reads all of it.
    pub wal_bytes: u64,
    /// Most bytes that wait to become durable; further appends wait for room.
    pub pending_bytes: usize,
    /// Disk space left alone, in bytes: with less free, appends fail until there is more.
    pub reserve_bytes: u64,
    /// zstd level of sealed blocks.
    pub zstd_level: i32,
    /// Whether pushed streams without `service_name` get one from their other labels.
    pub derive_service_name: bool,
    /// Limits of queries.
    pub query: Limits,
}

/// The write-ahead records of one busy moment: a smaller limit would seal tiny blocks all the time.
const MIN_WAL_BYTES: u64 = 16 << 20;

impl Config {
    /// Looks at what types cannot express, without opening anything.
    ///
    /// # Errors
    /// The key of the section `[logs]`, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.wal_bytes < MIN_WAL_BYTES {
            return Err(("wal_bytes", format!("{} is less than {MIN_WAL_BYTES}", self.wal_bytes)));
        }
        Retention::new(self).map(drop).map_err(|problem| ("stream_retention", problem))
    }
}

/// How long the records of some streams are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRetention {
    /// Which streams, as in LogQL: `{namespace="dev"}`.
    pub selector: String,
    /// How long, in hours.
    pub retention_hours: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            retention_hours: 7 * 24,
            stream_retention: Vec::new(),
            max_streams: 100_000,
            max_line_bytes: 256 << 10,
            max_labels: 64,
            max_label_name_bytes: 1024,
            max_label_value_bytes: 2048,
            max_metadata_bytes: 64 << 10,
            stream_bytes_per_second: 16 << 20,
            stream_burst_bytes: 64 << 20,
            max_future_seconds: 3600,
            block_bytes: 2 << 20,
            open_bytes: 256 << 20,
            max_open_seconds: 2 * 3600,
            wal_bytes: 512 << 20,
            pending_bytes: 64 << 20,
            reserve_bytes: 64 << 20,
            zstd_level: 3,
            derive_service_name: true,
            query: Limits::default(),
        }
    }
}

/// Limits of one query; the section `[logs.query]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest run time in milliseconds.
    pub timeout_ms: u64,
    /// Most line bytes looked at.
    pub max_scan_bytes: u64,
    /// Most memory for intermediate results, in bytes.
    pub max_memory_bytes: u64,
    /// Most entries that a log query may ask for.
    pub max_entries: usize,
    /// Most series of a metric query's result.
    pub max_series: usize,
    /// Most steps of a range query.
    pub max_steps: usize,
    /// Longest query text in bytes.
    pub max_query_bytes: usize,
    /// Whether entries get the label `detected_level`, found in their fields or text. Clients that ask for
    /// labels by category, as Grafana does, are told it whatever this says.
    pub detect_level: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout_ms: 60_000,
            max_scan_bytes: 256 << 30,
            max_memory_bytes: 512 << 20,
            max_entries: 5000,
            max_series: 20_000,
            max_steps: 11_000,
            max_query_bytes: 128 << 10,
            detect_level: false,
        }
    }
}
