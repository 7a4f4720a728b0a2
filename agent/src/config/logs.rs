//! Settings of log collection.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::parse::duration;

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
    /// Log files inside containers' own file systems, beside those that pods name with the annotation
    /// `binnacle.io/logs`.
    pub container_files: Vec<ContainerFiles>,
    /// Most such files of one container; those beyond are left out and counted.
    pub max_container_files: usize,
    /// How long what an ended container left unread is kept open; then it is lost, and counted.
    #[serde(deserialize_with = "duration")]
    pub container_hold: Duration,
}

/// Which files are logs inside which containers. In names and paths `*` stands for anything but `/`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerFiles {
    /// Namespace of the pod.
    #[serde(default = "any")]
    pub namespace: String,
    /// Name of the pod.
    #[serde(default = "any")]
    pub pod: String,
    /// Name of the container.
    #[serde(default = "any")]
    pub container: String,
    /// Files as the container sees them, e.g. `/var/log/app/*.log`.
    pub paths: Vec<String>,
}

fn any() -> String {
    "*".to_owned()
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            max_bytes_per_second: 16 << 20,
            join_traces: true,
            docker_dir: "/var/lib/docker/containers".into(),
            container_files: Vec::new(),
            max_container_files: 100,
            container_hold: Duration::from_secs(600),
        }
    }
}
