//! Command line: overrides of paths, addresses and the node's size.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::parse::{parse_capacity, parse_duration, parse_pairs};
use super::{Capacity, Config, OnExit};
use crate::Error;

/// Labels as one flag.
type Pairs = BTreeMap<String, String>;

/// What can be said on the command line; each flag overrides the configuration file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Server's gRPC address, `https://HOST:9091`; `http://…` on this machine only
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Name of this node (default: the host name)
    #[arg(long, env = "BINNACLE_NODE")]
    pub node: Option<String>,
    /// Where the cgroup hierarchies are mounted
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Where procfs is mounted
    #[arg(long, value_name = "DIR")]
    pub proc_root: Option<PathBuf>,
    /// Where sysfs is mounted
    #[arg(long, value_name = "DIR")]
    pub sys_root: Option<PathBuf>,
    /// Where the node's root file system is seen
    #[arg(long, value_name = "DIR")]
    pub host_root: Option<PathBuf>,
    /// Cgroup that is this node, e.g. /binnacle/alpha (default: the whole machine)
    #[arg(long, value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,
    /// What the node offers to pods, e.g. cpu=1,memory=2Gi (default: the machine)
    #[arg(long, value_parser = parse_capacity)]
    pub capacity: Option<Capacity>,
    /// Where pods' log files are
    #[arg(long, value_name = "DIR")]
    pub pod_log_dir: Option<PathBuf>,
    /// Where the agent keeps what must survive its restart
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Time between two rounds of sampling, e.g. 10s
    #[arg(long, value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Labels of the node, e.g. zone=a,disk=ssd
    #[arg(long, value_parser = parse_pairs)]
    pub labels: Option<Pairs>,
    /// Where to serve the agent's own /metrics, e.g. 127.0.0.1:9095
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// File with scrape_configs as Prometheus has them; may be given more than once
    #[arg(long = "scrape-config", value_name = "FILE")]
    pub scrape_config_files: Vec<PathBuf>,
    /// File with a token from `binnacle token create`: needed until the agent has joined
    #[arg(long, value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
    /// Speak to a server on another machine without TLS
    #[arg(long)]
    pub insecure: bool,
    /// What becomes of the pods when the agent is told to stop
    #[arg(long, value_enum)]
    pub on_exit: Option<OnExit>,
}

impl Flags {
    /// The configuration file, or the defaults, with these flags on top.
    ///
    /// # Errors
    /// As [`Config::from_file`] and [`Config::checked`].
    pub fn into_config(self) -> Result<Config, Error> {
        let mut config = match &self.config {
            Some(path) => Config::from_file(path)?,
            None => Config::default(),
        };
        set(&mut config.server, self.server);
        set(&mut config.node, self.node);
        set(&mut config.cgroup_root, self.cgroup_root);
        set(&mut config.proc_root, self.proc_root);
        set(&mut config.sys_root, self.sys_root);
        set(&mut config.host_root, self.host_root);
        set(&mut config.cgroup_parent, self.cgroup_parent);
        set(&mut config.capacity, self.capacity);
        set(&mut config.pod_log_dir, self.pod_log_dir);
        set(&mut config.state_dir, self.state_dir);
        set(&mut config.interval, self.interval);
        set(&mut config.labels, self.labels);
        set(&mut config.on_exit, self.on_exit);
        config.scrape_config_files.extend(self.scrape_config_files);
        config.http = self.http.or(config.http);
        config.tls.join_token_file = self.join_token_file.or(config.tls.join_token_file);
        config.tls.insecure |= self.insecure;
        config.checked()
    }
}

fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}
