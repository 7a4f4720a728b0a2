//! The kernel's own word on the demo's containers, read independently of the agent.

use std::fs;
use std::path::{Path, PathBuf};

use binnacle_tests::usage;

/// The cgroup below which all nodes of the demo live.
pub const PARENT: &str = "/binnacle-demo";

/// Where the CPU controller's tree is mounted: the v2 tree, or v1's `cpuacct`.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return vec!["/sys/fs/cgroup".into()];
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup")))
        .filter_map(|fields| fields.get(1).map(PathBuf::from))
        .collect()
}

/// Processes of a container, by its node and the `id` label of its series.
pub fn container_pids(node: &str, id: &str) -> Vec<u32> {
    let relative = format!("{}/{node}{id}/cgroup.procs", &PARENT[1..]);
    let mut pids: Vec<u32> = cgroup_mounts()
        .iter()
        .filter_map(|mount| fs::read_to_string(mount.join(&relative)).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<u32>>())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// CPU seconds that these processes have used; `None` when one of them is gone.
pub fn cpu_seconds(pids: &[u32]) -> Option<f64> {
    pids.iter().map(|pid| usage::cpu_seconds(*pid).ok()).sum()
}

/// The real `/proc/PID/oom_score_adj`.
pub fn oom_score_adj(pid: u32) -> Option<i32> {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?.trim().parse().ok()
}
