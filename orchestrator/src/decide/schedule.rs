//! Load-aware scheduling: filter by what was promised, score by what is used.
//!
//! A node must have room for the pod's requests, match its selectors and be tolerated. Among those
//! that pass, the one that would be least loaded wins, where load is what the series say (mean and
//! 95th percentile over a short and a long window), plus the estimate of every pod that was bound but
//! does not show in the series yet (herd guard), plus the pod's own estimate. The older a node's
//! series, the less they weigh; at last only requests do.

mod filter;
mod score;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::decide::statistics::quantile;
use crate::decide::{ClusterView, PodView, Resources};

/// Settings of the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Up to this age a node's series count in full, in milliseconds.
    pub fresh_ms: i64,
    /// From this age on they do not count, in milliseconds.
    pub stale_ms: i64,
    /// The short window, in milliseconds. A pod is fully in its mean after so long; until then the
    /// missing part of its estimate is added.
    pub short_ms: i64,
    /// The long window, in milliseconds.
    pub long_ms: i64,
    /// Nodes whose load would be above this share of the capacity are taken only when no other
    /// passes.
    pub max_load: f64,
    /// Weight of CPU against memory, 0…1.
    pub cpu_weight: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fresh_ms: 30_000,
            stale_ms: 300_000,
            short_ms: 300_000,
            long_ms: 3_600_000,
            max_load: 0.9,
            cpu_weight: 0.6,
        }
    }
}

/// Share of one resource's capacity in use, by the series. Every field may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Mean over the short window.
    pub mean: Option<f64>,
    /// 95th percentile over the short window.
    pub p95: Option<f64>,
    /// Mean over the long window.
    pub long_mean: Option<f64>,
    /// 95th percentile over the long window.
    pub long_p95: Option<f64>,
}

impl Usage {
    /// From values over the short and the long window, and the amount that is all.
    pub fn of_points(short: &[f64], long: &[f64], capacity: f64) -> Self {
        let stats = |values: &[f64]| {
            if values.is_empty() || capacity <= 0.0 {
                return (None, None);
            }
            let mut shares: Vec<f64> = values.iter().map(|value| value / capacity).collect();
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            (Some(mean), quantile(&mut shares, 0.95))
        };
        let ((mean, p95), (long_mean, long_p95)) = (stats(short), stats(long));
        Self { mean, p95, long_mean, long_p95 }
    }
}

/// What the series say of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct NodeLoad {
    /// CPU time.
    pub cpu: Usage,
    /// Working set.
    pub memory: Usage,
    /// Age of the newest sample in milliseconds; `None` without any.
    pub age_ms: Option<i64>,
}

/// What the series say of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PodUsage {
    /// Mean in thousandths of a core.
    pub cpu_millis: Option<f64>,
    /// Working set in bytes.
    pub memory_bytes: Option<f64>,
}

/// What the scheduler asks the series for.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// By node name.
    pub nodes: BTreeMap<String, NodeLoad>,
    /// By namespace and pod name.
    pub pods: BTreeMap<(String, String), PodUsage>,
}

/// One candidate node, in the decision's record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// Why it cannot take the pod; `None` when it can.
    pub rejected: Option<String>,
    /// 0…100, `None` when it was rejected.
    pub score: Option<f64>,
    /// What the series say.
    pub load: NodeLoad,
    /// How much the series weighed, 0…1.
    pub freshness: f64,
    /// CPU share of the capacity expected with the pod.
    pub expected_cpu: f64,
    /// Memory share of the capacity expected with the pod.
    pub expected_memory: f64,
    /// What pods that do not show in the series yet were counted with: thousandths of a core, bytes.
    pub unseen: (f64, f64),
}

/// Where the pod's estimate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EstimateSource {
    /// Pods of the same owner.
    History,
    /// max(request, limit), 85% of CPU, 70% of memory.
    Manifest,
}

/// The decision about one pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// UID of the pod.
    pub uid: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// The node chosen, `None` when no node passes.
    pub node: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// What the pod is expected to use: thousandths of a core, bytes.
    pub estimate: (f64, f64),
    /// Where that came from.
    pub estimate_source: EstimateSource,
    /// Every node, the best first, rejected ones last.
    pub candidates: Vec<Candidate>,
}

/// Places every pod that has no node, one after the other: each sees the ones before as bound.
/// Higher priority goes first, then older.
pub fn decide(view: &ClusterView, signals: &Signals, config: &Config, now_ms: i64) -> Vec<Decision> {
    let mut pending: Vec<&PodView> =
        view.pods.iter().filter(|p| p.node.is_none() && !p.phase.is_terminal() && !p.deleting).collect();
    pending.sort_by(|a, b| {
        (b.template.priority, a.created_ms, &a.namespace, &a.name).cmp(&(
            a.template.priority,
            b.created_ms,
            &b.namespace,
            &b.name,
        ))
    });
    let mut reserved = view.clone();
    pending.into_iter().map(|pod| place(pod, &mut reserved, signals, config, now_ms)).collect()
}

fn place(pod: &PodView, view: &mut ClusterView, signals: &Signals, config: &Config, now_ms: i64) -> Decision {
    let (estimate, estimate_source) = score::estimate(pod, view, signals);
    let mut candidates: Vec<Candidate> = view
        .nodes
        .iter()
        .map(|node| score::candidate(pod, node, estimate, view, signals, config, now_ms))
        .collect();
    let overloaded = |c: &Candidate| c.expected_cpu > config.max_load || c.expected_memory > config.max_load;
    if candidates.iter().any(|c| c.rejected.is_none() && !overloaded(c)) {
        for c in candidates.iter_mut().filter(|c| c.rejected.is_none()) {
            if overloaded(c) {
                c.rejected = Some(format!("expected load is above {:.0}%", config.max_load * 100.0));
                c.score = None;
            }
        }
    }
    candidates.sort_by(|a, b| {
        b.score.unwrap_or(-1.0).total_cmp(&a.score.unwrap_or(-1.0)).then_with(|| a.node.cmp(&b.node))
    });
    let node = candidates.first().filter(|c| c.rejected.is_none()).map(|c| c.node.clone());
    if let (Some(node), Some(reserved)) = (&node, view.pods.iter_mut().find(|p| p.uid == pod.uid)) {
        reserved.node = Some(node.clone());
        reserved.bound_ms = Some(now_ms);
    }
    Decision {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        reason: explain(&candidates, node.as_deref()),
        node,
        estimate,
        estimate_source,
        candidates,
    }
}

fn explain(candidates: &[Candidate], chosen: Option<&str>) -> String {
    let Some(chosen) = chosen else {
        if candidates.is_empty() {
            return "0/0 nodes are available: no node has joined".to_owned();
        }
        let mut why: BTreeMap<&str, usize> = BTreeMap::new();
        for c in candidates {
            *why.entry(c.rejected.as_deref().unwrap_or_default()).or_default() += 1;
        }
        let why: Vec<String> = why.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        return format!("0/{} nodes are available: {}", candidates.len(), why.join(", "));
    };
    let best = &candidates[0];
    let runner_up = candidates.get(1).and_then(|c| Some((&c.node, c.score?)));
    let score = best.score.unwrap_or(0.0);
    match runner_up {
        Some((other, theirs)) => format!("{chosen} scores {score:.1}, before {other} with {theirs:.1}"),
        None => format!("{chosen} is the only node that passes, with {score:.1}"),
    }
}

/// Requests of all pods that count against `node`.
fn requested(view: &ClusterView, node: &str) -> Resources {
    view.pods_on(node).fold(Resources::of(0, 0), |sum, pod| sum.plus(&pod.template.requests()))
}
