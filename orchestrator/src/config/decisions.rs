//! Sections `[cluster]`, `[hpa]`, `[oom]` and `[schedule]`: what the server decides by.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, Violation, within};

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
    /// A node that has been silent for so long gets no pods, and its pods count as unready, in
    /// milliseconds.
    pub node_timeout_ms: u64,
    /// The pods of a node that stays silent for so long after that are replaced, in milliseconds.
    pub evict_after_ms: u64,
    /// How often series about objects are written, in milliseconds.
    pub series_interval_ms: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            manifests: None,
            manifests_interval_ms: 2_000,
            sync_interval_ms: 1_000,
            node_timeout_ms: 40_000,
            evict_after_ms: 300_000,
            series_interval_ms: 5_000,
        }
    }
}

/// Section `[hpa]`: Kubernetes' settings of the same meaning.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hpa {
    /// How often each object is evaluated, in milliseconds.
    pub sync_period_ms: u64,
    /// How often it is looked whether a value has crossed its target upwards, which is acted on at
    /// once, in milliseconds.
    pub watch_period_ms: u64,
    /// Ratios nearer to 1 than this change nothing.
    pub tolerance: f64,
    /// How long after its start a pod's CPU is not trusted, in milliseconds.
    pub cpu_initialization_period_ms: u64,
    /// How long after its start a pod that is not ready is taken for starting, in milliseconds.
    pub initial_readiness_delay_ms: u64,
    /// Window over which the highest recommendation holds when scaling down, for objects that do not
    /// say it, in milliseconds.
    pub downscale_stabilization_ms: u64,
    /// Range of `rate()` over CPU seconds, in milliseconds.
    pub cpu_window_ms: u64,
    /// Samples older than this are missing, in milliseconds.
    pub max_age_ms: u64,
}

impl Default for Hpa {
    fn default() -> Self {
        Self {
            sync_period_ms: 15_000,
            watch_period_ms: 5_000,
            tolerance: 0.1,
            cpu_initialization_period_ms: 300_000,
            initial_readiness_delay_ms: 30_000,
            downscale_stabilization_ms: 300_000,
            cpu_window_ms: 60_000,
            max_age_ms: 60_000,
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
    /// A series must span so long before its slope counts, in milliseconds.
    pub min_span_ms: u64,
    /// Samples older than this say nothing, in milliseconds.
    pub max_age_ms: u64,
    /// How far ahead the probability of an OOM looks, and how long a container is left alone after
    /// an action, in milliseconds.
    pub cooldown_ms: u64,
    /// `oom_score_adj` is rewritten when it is off by so much.
    pub adj_step: i32,
    /// A container that is surely going to run out of memory within so long is rescued: its limit is
    /// raised, or its pod is evicted; in milliseconds.
    pub rescue_ms: u64,
    /// How sure that must be.
    pub rescue_probability: f64,
    /// Whether pods may be evicted.
    pub evict: bool,
}

impl Default for Oom {
    fn default() -> Self {
        Self {
            interval_ms: 5_000,
            window_ms: 60_000,
            min_span_ms: 8_000,
            max_age_ms: 30_000,
            cooldown_ms: 60_000,
            adj_step: 10,
            rescue_ms: 8_000,
            rescue_probability: 0.9,
            evict: true,
        }
    }
}

/// Section `[schedule]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Recent range over which mean and 95th percentile of the load are taken, in milliseconds.
    pub short_window_ms: u64,
    /// The same for the past at large.
    pub long_window_ms: u64,
    /// Range of `rate()` over CPU seconds, in milliseconds.
    pub rate_window_ms: u64,
    /// Up to this age load counts in full, in milliseconds.
    pub fresh_ms: u64,
    /// Load older than this counts for nothing: plain requests decide, in milliseconds.
    pub stale_after_ms: u64,
    /// Nodes that would be busier or fuller than this share are taken only when no other passes.
    pub max_load: f64,
    /// Weight of CPU against memory.
    pub cpu_weight: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            short_window_ms: 300_000,
            long_window_ms: 3_600_000,
            rate_window_ms: 60_000,
            fresh_ms: 30_000,
            stale_after_ms: 300_000,
            max_load: 0.9,
            cpu_weight: 0.6,
        }
    }
}

/// Bounds of the sections in this file.
pub(super) fn check(config: &Config) -> Result<(), Violation> {
    const DAY_MS: u64 = 86_400_000;
    let Config { cluster, hpa, oom, schedule, .. } = config;
    within("cluster", "manifests_interval_ms", cluster.manifests_interval_ms, 100, DAY_MS)?;
    within("cluster", "sync_interval_ms", cluster.sync_interval_ms, 100, DAY_MS)?;
    within("cluster", "node_timeout_ms", cluster.node_timeout_ms, 1_000, DAY_MS)?;
    within("cluster", "evict_after_ms", cluster.evict_after_ms, 0, DAY_MS)?;
    within("cluster", "series_interval_ms", cluster.series_interval_ms, 100, DAY_MS)?;
    within("hpa", "sync_period_ms", hpa.sync_period_ms, 100, DAY_MS)?;
    within("hpa", "watch_period_ms", hpa.watch_period_ms, 100, DAY_MS)?;
    within("hpa", "tolerance", hpa.tolerance, 0.0, 1.0)?;
    within("hpa", "cpu_window_ms", hpa.cpu_window_ms, 1_000, DAY_MS)?;
    within("hpa", "max_age_ms", hpa.max_age_ms, 1_000, DAY_MS)?;
    within("hpa", "cpu_initialization_period_ms", hpa.cpu_initialization_period_ms, 0, DAY_MS)?;
    within("hpa", "initial_readiness_delay_ms", hpa.initial_readiness_delay_ms, 0, DAY_MS)?;
    within("hpa", "downscale_stabilization_ms", hpa.downscale_stabilization_ms, 0, 3_600_000)?;
    within("oom", "interval_ms", oom.interval_ms, 100, DAY_MS)?;
    within("oom", "window_ms", oom.window_ms, 1_000, DAY_MS)?;
    within("oom", "min_span_ms", oom.min_span_ms, 0, DAY_MS)?;
    within("oom", "max_age_ms", oom.max_age_ms, 1_000, DAY_MS)?;
    within("oom", "cooldown_ms", oom.cooldown_ms, 1_000, DAY_MS)?;
    within("oom", "adj_step", oom.adj_step, 1, 1_000)?;
    within("oom", "rescue_ms", oom.rescue_ms, 0, DAY_MS)?;
    within("oom", "rescue_probability", oom.rescue_probability, 0.0, 1.0)?;
    within("schedule", "short_window_ms", schedule.short_window_ms, 1_000, DAY_MS)?;
    within("schedule", "long_window_ms", schedule.long_window_ms, 1_000, 7 * DAY_MS)?;
    within("schedule", "rate_window_ms", schedule.rate_window_ms, 1_000, DAY_MS)?;
    within("schedule", "fresh_ms", schedule.fresh_ms, 0, DAY_MS)?;
    within("schedule", "stale_after_ms", schedule.stale_after_ms, 1_000, DAY_MS)?;
    within("schedule", "max_load", schedule.max_load, 0.0, 1.0)?;
    within("schedule", "cpu_weight", schedule.cpu_weight, 0.0, 1.0)
}

impl From<&Hpa> for crate::decide::hpa::Config {
    fn from(c: &Hpa) -> Self {
        Self {
            tolerance: c.tolerance,
            cpu_initialization_ms: c.cpu_initialization_period_ms as i64,
            initial_readiness_ms: c.initial_readiness_delay_ms as i64,
            downscale_stabilization_ms: c.downscale_stabilization_ms as i64,
        }
    }
}

impl From<&Oom> for crate::decide::oom::Config {
    fn from(c: &Oom) -> Self {
        Self {
            cool_down_ms: c.cooldown_ms as i64,
            min_span_ms: c.min_span_ms as i64,
            max_age_ms: c.max_age_ms as i64,
            adj_step: c.adj_step,
            rescue_ms: c.rescue_ms as i64,
            rescue_probability: c.rescue_probability,
            evict: c.evict,
        }
    }
}

impl From<&Schedule> for crate::decide::schedule::Config {
    fn from(c: &Schedule) -> Self {
        Self {
            fresh_ms: c.fresh_ms as i64,
            stale_ms: c.stale_after_ms as i64,
            short_ms: c.short_window_ms as i64,
            long_ms: c.long_window_ms as i64,
            max_load: c.max_load,
            cpu_weight: c.cpu_weight,
        }
    }
}
