//! Sections `[rules]`, `[cluster]`, `[hpa]`, `[oom]` and `[schedule]`: what the server decides by.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, Violation, within};

/// Section `[rules]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Rule files; the last part of a path may hold `*`.
    pub files: Vec<PathBuf>,
    /// How often groups are evaluated that do not say it themselves, in milliseconds.
    pub evaluation_interval_ms: u64,
    /// Base URLs of Alertmanagers.
    pub alertmanagers: Vec<String>,
    /// URLs that get each notification as JSON.
    pub webhooks: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            evaluation_interval_ms: 60_000,
            alertmanagers: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

/// Section `[cluster]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Folder of manifests (`*.yaml`, `*.yml`, `*.json`); without it no workloads are run.
    pub manifests: Option<PathBuf>,
    /// How often the folder is looked at for changes, in milliseconds.
    pub manifests_interval_ms: u64,
    /// How often controllers compare what is with what should be, in milliseconds.
    pub sync_interval_ms: u64,
    /// A node that has been silent for so long gets no pods and loses those it had, in milliseconds.
    pub node_timeout_ms: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            manifests: None,
            manifests_interval_ms: 2_000,
            sync_interval_ms: 1_000,
            node_timeout_ms: 40_000,
        }
    }
}

/// Section `[hpa]`: Kubernetes' settings of the same meaning.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hpa {
    /// How often each object is evaluated, in milliseconds.
    pub sync_period_ms: u64,
    /// Ratios nearer to 1 than this change nothing.
    pub tolerance: f64,
    /// How long after its start a pod's CPU is not trusted, in milliseconds.
    pub cpu_initialization_period_ms: u64,
    /// How long after its start a pod that is not ready is taken for starting, in milliseconds.
    pub initial_readiness_delay_ms: u64,
    /// Window over which the highest recommendation holds when scaling down, in milliseconds.
    pub downscale_stabilization_ms: u64,
    /// Range of `rate()` over CPU seconds, in milliseconds.
    pub cpu_window_ms: u64,
}

impl Default for Hpa {
    fn default() -> Self {
        Self {
            sync_period_ms: 15_000,
            tolerance: 0.1,
            cpu_initialization_period_ms: 300_000,
            initial_readiness_delay_ms: 30_000,
            downscale_stabilization_ms: 300_000,
            cpu_window_ms: 60_000,
        }
    }
}

/// Section `[oom]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oom {
    /// How often containers are scored, in milliseconds.
    pub interval_ms: u64,
    /// Range over which the slope of the working set is estimated, in milliseconds.
    pub window_ms: u64,
    /// A container that is expected to run out of memory within so long is at risk, in milliseconds.
    pub horizon_ms: u64,
    /// How long a container is left alone after an action, in milliseconds.
    pub cooldown_ms: u64,
}

impl Default for Oom {
    fn default() -> Self {
        Self { interval_ms: 5_000, window_ms: 60_000, horizon_ms: 120_000, cooldown_ms: 30_000 }
    }
}

/// Section `[schedule]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Range of the load that placement looks at, in milliseconds.
    pub window_ms: u64,
    /// Load older than this counts for nothing: plain requests decide, in milliseconds.
    pub stale_after_ms: u64,
    /// Nodes busier than this share of their CPU get no pods.
    pub max_cpu_load: f64,
    /// Nodes fuller than this share of their memory get no pods.
    pub max_memory_load: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { window_ms: 60_000, stale_after_ms: 120_000, max_cpu_load: 0.95, max_memory_load: 0.95 }
    }
}

/// Bounds of the sections in this file.
pub(super) fn check(config: &Config) -> Result<(), Violation> {
    const DAY_MS: u64 = 86_400_000;
    let Config { rules, cluster, hpa, oom, schedule, .. } = config;
    within("rules", "evaluation_interval_ms", rules.evaluation_interval_ms, 100, DAY_MS)?;
    within("cluster", "manifests_interval_ms", cluster.manifests_interval_ms, 100, DAY_MS)?;
    within("cluster", "sync_interval_ms", cluster.sync_interval_ms, 100, DAY_MS)?;
    within("cluster", "node_timeout_ms", cluster.node_timeout_ms, 1_000, DAY_MS)?;
    within("hpa", "sync_period_ms", hpa.sync_period_ms, 100, DAY_MS)?;
    within("hpa", "tolerance", hpa.tolerance, 0.0, 1.0)?;
    within("hpa", "cpu_window_ms", hpa.cpu_window_ms, 1_000, DAY_MS)?;
    within("hpa", "cpu_initialization_period_ms", hpa.cpu_initialization_period_ms, 0, DAY_MS)?;
    within("hpa", "initial_readiness_delay_ms", hpa.initial_readiness_delay_ms, 0, DAY_MS)?;
    within("hpa", "downscale_stabilization_ms", hpa.downscale_stabilization_ms, 0, 3_600_000)?;
    within("oom", "interval_ms", oom.interval_ms, 100, DAY_MS)?;
    within("oom", "window_ms", oom.window_ms, 1_000, DAY_MS)?;
    within("oom", "horizon_ms", oom.horizon_ms, 1_000, DAY_MS)?;
    within("oom", "cooldown_ms", oom.cooldown_ms, 0, DAY_MS)?;
    within("schedule", "window_ms", schedule.window_ms, 1_000, DAY_MS)?;
    within("schedule", "stale_after_ms", schedule.stale_after_ms, 1_000, DAY_MS)?;
    within("schedule", "max_cpu_load", schedule.max_cpu_load, 0.0, 1.0)?;
    within("schedule", "max_memory_load", schedule.max_memory_load, 0.0, 1.0)
}
