//! OOM scoring: who should die when memory runs out, and what to do before somebody must.
//!
//! The base is Kubernetes' score by quality-of-service class. On top comes what the series say: the
//! working set's robust trend gives a time to OOM and a probability that it happens before the
//! cool-down ends; a container that will run out soon, and that uses more than it requested, is
//! ranked before the others of its class. Classes never mix: Guaranteed stays at −997, BestEffort at
//! 1000, Burstable moves between its base and 999.

mod rescue;
mod score;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::decide::{NodeView, Qos};

pub use rescue::Rescue;

/// Settings of the scorer.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How far ahead the probability of an OOM looks, in milliseconds: the time that a container
    /// needs to come to rest after a change.
    pub cool_down_ms: i64,
    /// A series must span at least so long before its trend counts, in milliseconds.
    pub min_span_ms: i64,
    /// Samples older than this say nothing, in milliseconds.
    pub max_age_ms: i64,
    /// `oom_score_adj` is rewritten only when it differs by so much.
    pub adj_step: i32,
    /// Nearer to the OOM than this, and surer than `rescue_probability`, something is done about it;
    /// in milliseconds.
    pub rescue_ms: i64,
    /// See `rescue_ms`.
    pub rescue_probability: f64,
    /// Whether pods may be evicted. Raising a limit needs the pod's consent instead, the annotation
    /// `binnacle.dev/max-memory`.
    pub evict: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cool_down_ms: 60_000,
            min_span_ms: 8_000,
            max_age_ms: 30_000,
            adj_step: 10,
            rescue_ms: 5_000,
            rescue_probability: 0.9,
            evict: true,
        }
    }
}

/// The annotation on a pod by which it consents to having its memory limit raised, and up to where
/// (a Kubernetes quantity).
pub const MAX_MEMORY_ANNOTATION: &str = "binnacle.dev/max-memory";

/// The annotation on a pod that says how dear a restart is: multiplies its score, default 1. Below 1
/// makes it a better victim's opposite: 0.1 is a tenth as likely to be chosen.
pub const RESTART_COST_ANNOTATION: &str = "binnacle.dev/restart-cost";

/// One running container as the scorer sees it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// UID of its pod.
    pub uid: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// Class of its pod.
    pub qos: Qos,
    /// Requested memory, 0 without a request.
    pub request_bytes: u64,
    /// Limit in force, `None` without one.
    pub limit_bytes: Option<u64>,
    /// Consent to a higher limit.
    pub max_bytes: Option<u64>,
    /// Whether a budget allows that its pod is evicted now.
    pub evictable: bool,
    /// Factor on the score; above 0.
    pub restart_cost: f64,
    /// What `/proc/PID/oom_score_adj` says, as last reported.
    pub observed_adj: i32,
    /// Working set over time: milliseconds since the epoch and bytes, ascending.
    pub working_set: Vec<(i64, f64)>,
    /// Share of time that it waits for memory, 0…1; `None` where the kernel does not say.
    pub pressure: Option<f64>,
}

/// How much is known of a container's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Knowledge {
    /// Fresh samples, long enough for a trend.
    Trend,
    /// Fresh samples, but too few for a trend.
    Level,
    /// The newest sample is too old.
    Stale,
    /// No samples.
    Missing,
}

/// What was found about one container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessment {
    /// UID of its pod.
    pub uid: String,
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// Class of its pod.
    pub qos: Qos,
    /// How much is known.
    pub knowledge: Knowledge,
    /// Age of the newest sample in milliseconds.
    pub age_ms: Option<i64>,
    /// Working set in bytes, smoothed when there is a trend.
    pub working_set_bytes: Option<f64>,
    /// Limit in force.
    pub limit_bytes: Option<u64>,
    /// Growth in bytes per second.
    pub slope: Option<f64>,
    /// Seconds until its limit is reached; `None` when it does not grow or has no limit.
    pub time_to_oom_s: Option<f64>,
    /// Probability that its limit, or the node's memory, is used up before the cool-down ends.
    pub probability: f64,
    /// (working set − request) · probability · restart cost, in bytes.
    pub score: f64,
    /// Kubernetes' value for its class.
    pub base_adj: i32,
    /// What `oom_score_adj` should be.
    pub target_adj: i32,
    /// What it was.
    pub observed_adj: i32,
    /// Whether `target_adj` should be written.
    pub write: bool,
}

/// The decision about one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// Containers, the first to go first.
    pub containers: Vec<Assessment>,
    /// Who would be killed first by the kernel's rule as things stand: `namespace/pod/container`.
    pub kernel_choice: Option<String>,
    /// What to do before the kernel must kill.
    pub rescues: Vec<Rescue>,
    /// Seconds until the node itself runs out; `None` when it does not fill up.
    pub node_time_to_oom_s: Option<f64>,
}

/// Decides about all containers of one node.
pub fn decide(node: &NodeView, subjects: &[Subject], config: &Config, now_ms: i64) -> Decision {
    let capacity = node.capacity.memory();
    let outlook = score::node_outlook(capacity, subjects, config, now_ms);
    let mut containers: Vec<Assessment> =
        subjects.iter().map(|s| score::assess(s, capacity, &outlook, config, now_ms)).collect();
    containers.sort_by(score::first_to_go);
    score::set_targets(&mut containers, config);
    let kernel_choice = score::kernel_choice(&containers, capacity);
    let rescues = rescue::choose(capacity, subjects, &containers, &outlook, config);
    Decision { containers, kernel_choice, rescues, node_time_to_oom_s: outlook.time_to_oom_s }
}

/// Kubernetes' `oom_score_adj` for a container of this class on a node of this size.
pub fn base_adj(qos: Qos, request_bytes: u64, capacity_bytes: u64) -> i32 {
    match qos {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable if capacity_bytes == 0 => 999,
        Qos::Burstable => {
            let share = u128::from(request_bytes) * 1000 / u128::from(capacity_bytes);
            (1000 - i32::try_from(share).unwrap_or(1000)).clamp(3, 999)
        }
    }
}
