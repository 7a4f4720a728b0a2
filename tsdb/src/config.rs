//! Settings of the database.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Settings of the database; the section `[tsdb]` of the server's config file.
///
/// Durations are written as Prometheus writes them (`15d`, `1h30m`); `0s` turns a bound off.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the database. The server sets it to `DATA_DIR/tsdb`.
    #[serde(skip)]
    pub dir: PathBuf,
    /// How long samples are kept; older ones are refused. Whole days (UTC) are dropped. 0: for ever.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// Series that are kept for a shorter time than `retention`; of several rules the strictest counts.
    pub series_retention: Vec<SeriesRetention>,
    /// How much older than the newest sample of its series a sample may be.
    #[serde(with = "duration")]
    pub out_of_order_window: Duration,
    /// How far in the future a sample may be. 0: no bound.
    #[serde(with = "duration")]
    pub future_window: Duration,
    /// Most series in memory; new ones beyond are refused. 0: no limit.
    pub max_series: u64,
    /// Most series in memory of one value of the label `namespace`. 0: no limit of its own.
    pub max_series_per_namespace: u64,
    /// Most series in memory of one value of the label `job`. 0: no limit of its own.
    pub max_series_per_job: u64,
    /// Most labels of a series.
    pub max_labels: usize,
    /// Most bytes of a series' labels, names and values together.
    pub max_labels_bytes: usize,
    /// Memory for samples that are not in chunks yet; more makes larger chunks, fewer writes and a
    /// longer recovery.
    pub head_bytes: u64,
    /// Samples go to chunks after this time at the latest.
    #[serde(with = "duration")]
    pub flush_after: Duration,
    /// A series without samples for so long leaves memory.
    #[serde(with = "duration")]
    pub series_idle: Duration,
    /// Samples that may wait to be made durable; more appends wait.
    pub append_queue_samples: u32,
    /// Appends are refused while less than this is free on the disk, so that flushes and reads go on.
    pub min_free_bytes: u64,
    /// Memory for blocks read from disk.
    pub block_cache_bytes: u64,
    /// Memory for what RocksDB has not written to table files yet.
    pub write_buffer_bytes: u64,
    /// Label blocks that [`crate::Db::resolve_cached`] remembers.
    pub label_cache_entries: usize,
}

/// One entry of `[[tsdb.series_retention]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesRetention {
    /// Which series, as a PromQL selector: `{namespace="dev"}`.
    pub selector: String,
    /// How long their samples are kept. What is older is hidden at once and deleted day by day.
    #[serde(with = "duration")]
    pub retention: Duration,
}

const MIB: u64 = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            retention: 15 * 24 * HOUR,
            series_retention: Vec::new(),
            out_of_order_window: HOUR,
            future_window: Duration::from_secs(600),
            max_series: 2_000_000,
            max_series_per_namespace: 500_000,
            max_series_per_job: 0,
            max_labels: 64,
            max_labels_bytes: 16 << 10,
            head_bytes: 64 * MIB,
            flush_after: 2 * HOUR,
            series_idle: 2 * HOUR,
            append_queue_samples: 1_000_000,
            min_free_bytes: 64 * MIB,
            block_cache_bytes: 32 * MIB,
            write_buffer_bytes: 32 * MIB,
            label_cache_entries: 1_000_000,
        }
    }
}

mod duration {
    //! Durations as Prometheus writes them.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        crate::parse_duration(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_prometheus_and_unknown_keys_are_refused() {
        let config: Config = serde_json::from_str(r#"{"retention": "30d", "future_window": "0s"}"#).unwrap();
        assert_eq!(config.retention, 30 * 24 * HOUR);
        assert_eq!(config.future_window, Duration::ZERO);
        assert_eq!(config.out_of_order_window, HOUR);
        assert!(serde_json::from_str::<Config>(r#"{"retentoin": "30d"}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"retention": "soon"}"#).is_err());
    }
}
