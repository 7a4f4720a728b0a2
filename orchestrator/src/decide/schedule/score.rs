//! How good a node is for a pod.

use super::filter::rejection;
use super::{Candidate, Config, EstimateSource, NodeLoad, Signals, Usage, requested};
use crate::decide::{ClusterView, NodeView, PodTemplate, PodView};

/// Share of max(request, limit) that a pod without history is expected to use.
const CPU_SHARE: f64 = 0.85;
const MEMORY_SHARE: f64 = 0.70;

/// How many points of score a node loses for the full difference between its CPU and memory load:
/// a lopsided node strands what it has left of the other resource.
const IMBALANCE_POINTS: f64 = 10.0;

/// How many points of score a node loses for a load whose 95th percentile is a whole capacity above
/// its mean.
const VARIANCE_POINTS: f64 = 15.0;

/// What the pod will use: the mean of its owner's other pods that have series, else a share of what
/// the manifest says. Thousandths of a core and bytes.
pub(super) fn estimate(pod: &PodView, view: &ClusterView, signals: &Signals) -> ((f64, f64), EstimateSource) {
    let siblings = || {
        view.pods
            .iter()
            .filter(|p| p.uid != pod.uid && p.namespace == pod.namespace)
            .filter(|p| p.owner.deployment().is_some() && p.owner == pod.owner)
            .filter_map(|p| signals.pods.get(&(p.namespace.clone(), p.name.clone())))
    };
    let mean = |values: Vec<f64>| {
        if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
    };
    let cpu = mean(siblings().filter_map(|usage| usage.cpu_millis).collect());
    let memory = mean(siblings().filter_map(|usage| usage.memory_bytes).collect());
    let (cpu_guess, memory_guess) = by_manifest(&pod.template);
    let source =
        if cpu.is_some() && memory.is_some() { EstimateSource::History } else { EstimateSource::Manifest };
    ((cpu.unwrap_or(cpu_guess), memory.unwrap_or(memory_guess)), source)
}

fn by_manifest(template: &PodTemplate) -> (f64, f64) {
    let (requests, limits) = (template.requests(), template.limits());
    (
        requests.cpu().max(limits.cpu()) as f64 * CPU_SHARE,
        requests.memory().max(limits.memory()) as f64 * MEMORY_SHARE,
    )
}

/// What pods of the node use that its series do not show yet: a pod enters the mean over
/// `short_ms` bit by bit from the moment it is bound.
fn unseen(node: &str, view: &ClusterView, signals: &Signals, config: &Config, now_ms: i64) -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for pod in view.pods_on(node) {
        let Some(bound_ms) = pod.bound_ms else { continue };
        let age = (now_ms - bound_ms).max(0) as f64 / config.short_ms.max(1) as f64;
        if age >= 1.0 {
            continue;
        }
        let own = signals.pods.get(&(pod.namespace.clone(), pod.name.clone()));
        let ((cpu_guess, memory_guess), _) = estimate(pod, view, signals);
        let cpu = own.and_then(|usage| usage.cpu_millis).unwrap_or(cpu_guess);
        let memory = own.and_then(|usage| usage.memory_bytes).unwrap_or(memory_guess);
        sum.0 += cpu * (1.0 - age);
        sum.1 += memory * (1.0 - age);
    }
    sum
}

/// One number for a resource's load: mostly the recent mean, with a share for peaks and for the long
/// window. What is missing leaves its weight to the others.
fn level(usage: &Usage) -> Option<f64> {
    let parts = [(usage.mean, 0.6), (usage.p95, 0.2), (usage.long_mean, 0.15), (usage.long_p95, 0.05)];
    let weight: f64 = parts.iter().filter(|p| p.0.is_some()).map(|p| p.1).sum();
    let sum: f64 = parts.iter().filter_map(|p| Some(p.0? * p.1)).sum();
    if weight > 0.0 { Some(sum / weight) } else { None }
}

fn spread(usage: &Usage) -> f64 {
    match (usage.mean, usage.p95) {
        (Some(mean), Some(p95)) => (p95 - mean).clamp(0.0, 1.0),
        _ => 0.0,
    }
}

/// What is left, as a share of all. It never gets to nothing, so that of two nodes with more work than
/// they can do the less burdened still wins.
fn headroom(share: f64) -> f64 {
    if share <= 1.0 { 0.1 + 0.9 * (1.0 - share.max(0.0)) } else { 0.1 / share }
}

/// 1 up to `fresh_ms`, then straight down to 0 at `stale_ms`.
fn freshness(load: &NodeLoad, config: &Config) -> f64 {
    match load.age_ms {
        Some(age_ms) if level(&load.cpu).is_some() && level(&load.memory).is_some() => {
            let span = (config.stale_ms - config.fresh_ms).max(1) as f64;
            (1.0 - (age_ms - config.fresh_ms) as f64 / span).clamp(0.0, 1.0)
        }
        _ => 0.0,
    }
}

pub(super) fn candidate(
    pod: &PodView,
    node: &NodeView,
    estimate: (f64, f64),
    view: &ClusterView,
    signals: &Signals,
    config: &Config,
    now_ms: i64,
) -> Candidate {
    let load = signals.nodes.get(&node.name).copied().unwrap_or_default();
    let freshness = freshness(&load, config);
    let unseen = unseen(&node.name, view, signals, config, now_ms);
    let (cpu_capacity, memory_capacity) =
        (node.capacity.cpu().max(1) as f64, node.capacity.memory().max(1) as f64);
    let by_load = (
        level(&load.cpu).unwrap_or(0.0) + (unseen.0 + estimate.0) / cpu_capacity,
        level(&load.memory).unwrap_or(0.0) + (unseen.1 + estimate.1) / memory_capacity,
    );
    let taken = requested(view, &node.name).plus(&pod.template.requests());
    let by_requests = (taken.cpu() as f64 / cpu_capacity, taken.memory() as f64 / memory_capacity);
    let blend = |load: f64, requests: f64| freshness * load + (1.0 - freshness) * requests;
    let (cpu, memory) = (blend(by_load.0, by_requests.0), blend(by_load.1, by_requests.1));
    let rejected = rejection(pod, node, view);
    let weighted = config.cpu_weight * headroom(cpu) + (1.0 - config.cpu_weight) * headroom(memory);
    let penalty = IMBALANCE_POINTS * (cpu.min(1.0) - memory.min(1.0)).abs()
        + VARIANCE_POINTS * freshness * spread(&load.cpu).max(spread(&load.memory));
    let score = (100.0 * weighted - penalty).clamp(0.0, 100.0);
    Candidate {
        node: node.name.clone(),
        score: rejected.is_none().then_some(score),
        rejected,
        load,
        freshness,
        expected_cpu: cpu,
        expected_memory: memory,
        unseen,
    }
}
