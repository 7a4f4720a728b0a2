//! Settings of the pod runtime.

use std::time::Duration;

use serde::Deserialize;

use super::parse::duration;

/// How pods are run. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pods {
    /// First pause before a container that ended is started again; doubles each time. The very first
    /// restart waits for nothing.
    #[serde(deserialize_with = "duration")]
    pub backoff_min: Duration,
    /// Longest pause before a restart.
    #[serde(deserialize_with = "duration")]
    pub backoff_max: Duration,
    /// A container that ran so long starts anew without a pause.
    #[serde(deserialize_with = "duration")]
    pub backoff_reset: Duration,
    /// Size at which a container's log file is renamed and a new one begun.
    pub log_max_bytes: u64,
    /// How many log files of one run of a container are kept, the current one included.
    pub log_max_files: usize,
    /// Whether renamed log files but the newest are compressed.
    pub log_gzip: bool,
    /// How long log files stay after their pod is gone, so that they can be read to their end.
    #[serde(deserialize_with = "duration")]
    pub log_keep: Duration,
    /// Longest time pods are given to end when the agent ends with `on_exit = "stop-pods"`.
    #[serde(deserialize_with = "duration")]
    pub stop_timeout: Duration,
    /// Whether all pods together are limited to the node's capacity, where `capacity` says it.
    pub enforce_capacity: bool,
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_secs(10),
            backoff_max: Duration::from_secs(300),
            backoff_reset: Duration::from_secs(600),
            log_max_bytes: 10 << 20,
            log_max_files: 5,
            log_gzip: false,
            log_keep: Duration::from_secs(600),
            stop_timeout: Duration::from_secs(8),
            enforce_capacity: true,
        }
    }
}
