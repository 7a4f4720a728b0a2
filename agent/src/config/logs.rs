//! Settings of log collection.

use std::path::PathBuf;

use serde::Deserialize;

/// How container logs are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Most bytes a second that are read of one container; 0 is no bound. What is beyond waits in its file, and is lost
    /// (and counted) only when the file is rotated away meanwhile.
    pub max_bytes_per_second: u64,
    /// Whether the lines of a stack trace become one record.
    pub join_traces: bool,
    /// Where Docker keeps its containers, each with a `<id>-json.log`; read when it exists. Containers of Kubernetes
    /// are left out: their logs are in `pod_log_dir`.
    pub docker_dir: PathBuf,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            max_bytes_per_second: 16 << 20,
            join_traces: true,
            docker_dir: "/var/lib/docker/containers".into(),
        }
    }
}
