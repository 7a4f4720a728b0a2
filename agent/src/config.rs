//! What the agent is told: a TOML file with defaults for everything, and flags for paths and addresses.

mod flags;
mod logs;
mod parse;
mod pods;
mod scrape;
mod tls;
mod web;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::Error;
pub use flags::Flags;
#[cfg(test)]
pub use logs::ContainerFiles;
pub use logs::Logs;
use parse::{duration, optional_bytes, optional_cpu};
pub use pods::Pods;
pub use scrape::Scrape;
pub use tls::Tls;
pub use web::Web;

/// Settings of the agent. Every field has a default; unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server's gRPC port is.
    pub server: String,
    /// Name of the node; the host name when empty.
    pub node: String,
    /// Time between two rounds of sampling.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// Where the cgroup hierarchies are mounted.
    pub cgroup_root: PathBuf,
    /// Where procfs is mounted.
    pub proc_root: PathBuf,
    /// Where sysfs is mounted.
    pub sys_root: PathBuf,
    /// Where the node's root file system is seen: file systems of the node are looked up below it.
    pub host_root: PathBuf,
    /// Cgroup that is this node: only it and what is below it is read, and pods are made below it.
    /// The whole machine when empty.
    pub cgroup_parent: String,
    /// What the node offers to pods; what is not given is the machine's.
    pub capacity: Capacity,
    /// Where pods' log files are: `<namespace>_<pod>_<uid>/<container>/<restarts>.log`.
    pub pod_log_dir: PathBuf,
    /// Where the agent keeps what must survive its restart: spool, log positions, pods.
    pub state_dir: PathBuf,
    /// Labels of the node, for the scheduler.
    pub labels: BTreeMap<String, String>,
    /// Where to serve the agent's own `/metrics`; not at all when absent.
    pub http: Option<SocketAddr>,
    /// TLS of that port.
    pub web: Web,
    /// What becomes of the pods when the agent is told to stop.
    pub on_exit: OnExit,
    /// Labels of every container series beside those of the container itself. Dashboards made for
    /// kube-prometheus expect the defaults.
    pub container_labels: BTreeMap<String, String>,
    /// Value of the label `job` of the node's series.
    pub node_job: String,
    /// Containers' runtime interface (CRI) socket, asked for names when it exists.
    pub cri_socket: PathBuf,
    /// How server and agent know each other.
    pub tls: Tls,
    /// Bounds of the connection to the server.
    pub uplink: Uplink,
    /// How pods are run.
    pub pods: Pods,
    /// How container logs are read.
    pub logs: Logs,
    /// Files with `scrape_configs` as Prometheus has them: targets that this agent scrapes.
    pub scrape_config_files: Vec<PathBuf>,
    /// Bounds of scraping.
    pub scrape: Scrape,
}

/// What a node offers to pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Thousandths of a core.
    #[serde(rename = "cpu", deserialize_with = "optional_cpu")]
    pub cpu_millis: Option<u64>,
    /// Bytes.
    #[serde(rename = "memory", deserialize_with = "optional_bytes")]
    pub memory_bytes: Option<u64>,
}

/// What becomes of the pods when the agent is told to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnExit {
    /// They go on; the next agent finds them again.
    #[default]
    KeepPods,
    /// They are stopped and their cgroups removed.
    StopPods,
}

/// Bounds of the connection to the server. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uplink {
    /// Rounds of samples that are kept in memory in any case; more of them while they are smaller than
    /// `unacked_bytes` together. The others go to the spool.
    pub queue_rounds: usize,
    /// Most that is sent and not acknowledged, measured before compression.
    pub unacked_bytes: usize,
    /// A batch of log lines is closed when it is this large,
    pub batch_bytes: usize,
    /// or when its first line has waited so long.
    #[serde(deserialize_with = "duration")]
    pub linger: Duration,
    /// Size of the spool on disk.
    pub spool_bytes: u64,
    /// First pause after a connection was lost; doubles up to `backoff_max`, with jitter.
    #[serde(deserialize_with = "duration")]
    pub backoff_min: Duration,
    /// Longest pause between two attempts to connect.
    #[serde(deserialize_with = "duration")]
    pub backoff_max: Duration,
    /// How long to go on sending after the agent was told to stop.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let labels = [("job", "kubelet"), ("metrics_path", "/metrics/cadvisor")];
        Self {
            server: "http://127.0.0.1:9091".into(),
            node: String::new(),
            interval: Duration::from_secs(10),
            cgroup_root: "/sys/fs/cgroup".into(),
            proc_root: "/proc".into(),
            sys_root: "/sys".into(),
            host_root: "/".into(),
            cgroup_parent: String::new(),
            capacity: Capacity::default(),
            pod_log_dir: "/var/log/pods".into(),
            state_dir: "/var/lib/binnacle-agent".into(),
            labels: BTreeMap::new(),
            http: None,
            web: Web::default(),
            on_exit: OnExit::default(),
            container_labels: labels.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            node_job: "node-exporter".into(),
            cri_socket: "/run/containerd/containerd.sock".into(),
            tls: Tls::default(),
            uplink: Uplink::default(),
            pods: Pods::default(),
            logs: Logs::default(),
            scrape_config_files: Vec::new(),
            scrape: Scrape::default(),
        }
    }
}

impl Default for Uplink {
    fn default() -> Self {
        Self {
            queue_rounds: 16,
            unacked_bytes: 4 << 20,
            batch_bytes: 512 << 10,
            linger: Duration::from_millis(250),
            spool_bytes: 256 << 20,
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            drain: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Reads a configuration from TOML text.
    ///
    /// # Errors
    /// Unknown fields and wrong values, with line and column.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        toml::from_str(text)
            .map_err(|e| Error::ConfigFile { path: PathBuf::from("(text)"), problem: e.to_string() })
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read, and as [`Config::from_toml`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        toml::from_str(&text).map_err(|e| Error::ConfigFile { path: path.to_owned(), problem: e.to_string() })
    }

    /// Fills in the host name and checks what the types cannot.
    ///
    /// # Errors
    /// Names the field that does not hold.
    pub fn checked(mut self) -> Result<Self, Error> {
        if self.node.is_empty() {
            let name = hostname::get().map_err(|e| Error::config("node", e.to_string()))?;
            self.node = name.to_string_lossy().into_owned();
        }
        if self.interval < Duration::from_millis(100) {
            return Err(Error::config("interval", "at least 100ms"));
        }
        let server = self.server.parse::<tonic::transport::Uri>();
        if !server.is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some()) {
            return Err(Error::config(
                "server",
                format!("{:?} is not a URL like https://host:9091", self.server),
            ));
        }
        self.tls.check(&self.server)?;
        self.web.check(self.http)?;
        // Pods run elsewhere, and links and positions name these folders: they must not depend on where
        // the agent was started.
        for (field, dir) in [("state_dir", &mut self.state_dir), ("pod_log_dir", &mut self.pod_log_dir)] {
            *dir = std::path::absolute(&*dir).map_err(|e| Error::config(field, e.to_string()))?;
        }
        let trimmed = self.cgroup_parent.trim_matches('/');
        if trimmed.split('/').any(|part| part == "..") {
            return Err(Error::config("cgroup_parent", "must not contain `..`"));
        }
        self.cgroup_parent = if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") };
        let uplink = &self.uplink;
        if uplink.queue_rounds == 0 || uplink.unacked_bytes == 0 || uplink.batch_bytes == 0 {
            return Err(Error::config("uplink", "queue_rounds, unacked_bytes and batch_bytes must not be 0"));
        }
        if uplink.backoff_min.is_zero() || uplink.backoff_max < uplink.backoff_min {
            return Err(Error::config("uplink.backoff_max", "must not be less than backoff_min, nor 0"));
        }
        let pods = &self.pods;
        if pods.backoff_min.is_zero() || pods.backoff_max < pods.backoff_min {
            return Err(Error::config("pods.backoff_max", "must not be less than backoff_min, nor 0"));
        }
        if pods.log_max_bytes < 4096 || pods.log_max_files < 2 {
            return Err(Error::config(
                "pods",
                "log_max_bytes must be at least 4096, log_max_files at least 2",
            ));
        }
        let scrape = &self.scrape;
        if scrape.max_targets == 0 || scrape.max_series == 0 || scrape.max_body_bytes == 0 {
            return Err(Error::config("scrape", "max_targets, max_series and max_body_bytes must not be 0"));
        }
        if scrape.max_bodies_bytes < scrape.max_body_bytes {
            return Err(Error::config("scrape.max_bodies_bytes", "must not be less than max_body_bytes"));
        }
        if scrape.pod_job.is_empty() {
            return Err(Error::config("scrape.pod_job", "must not be empty"));
        }
        let paths = self.logs.container_files.iter().flat_map(|rule| &rule.paths);
        if let Some(path) = paths.into_iter().find(|path| !crate::logs::is_path(path)) {
            return Err(Error::config(
                "logs.container_files.paths",
                format!("{path:?} is not the absolute path of files, without '..'"),
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
