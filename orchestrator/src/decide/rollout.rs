//! Deployments: how many pods to make, which to end.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::decide::{DeploymentView, Phase, PodView, Rollout};

/// The annotation on a pod that says how dear its end is when a deployment shrinks.
const DELETION_COST_ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What one deployment needs now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pods to make from the current template.
    pub create: u32,
    /// UIDs of pods to end, in this order.
    pub end: Vec<String>,
}

/// Decides about one deployment. `pods` are those it owns, ending and ended ones included.
pub fn decide(deployment: &DeploymentView, pods: &[&PodView], now_ms: i64) -> Plan {
    let active: Vec<&PodView> =
        pods.iter().copied().filter(|p| !p.deleting && !p.phase.is_terminal()).collect();
    let is_new = |pod: &PodView| pod.owner.template_hash() == deployment.template_hash;
    let (new, old): (Vec<&PodView>, Vec<&PodView>) = active.iter().partition(|pod| is_new(pod));
    let wanted = deployment.replicas as usize;
    let mut end = Vec::new();
    if new.len() > wanted {
        end.extend(first_to_end(&new, &active).into_iter().take(new.len() - wanted));
    }
    let missing = wanted.saturating_sub(new.len());
    let create = match deployment.rollout {
        Rollout::Recreate => {
            end.extend(old.iter().copied());
            // Ended pods may stay in the list; those that still end must be gone first.
            let old_alive = pods.iter().any(|p| !is_new(p) && !p.phase.is_terminal());
            if old_alive { 0 } else { missing }
        }
        Rollout::Rolling { .. } if old.is_empty() => missing,
        Rollout::Rolling { max_surge, max_unavailable } => {
            end.extend(old_to_end(deployment, &new, &old, &active, max_unavailable as usize, now_ms));
            missing.min((wanted + max_surge as usize).saturating_sub(active.len()))
        }
    };
    Plan {
        create: u32::try_from(create).unwrap_or(u32::MAX),
        end: end.iter().map(|p| p.uid.clone()).collect(),
    }
}

/// Whether a pod has been ready for long enough to count.
pub fn is_available(pod: &PodView, min_ready_ms: i64, now_ms: i64) -> bool {
    pod.is_ready() && !pod.deleting && now_ms - pod.ready_changed_ms >= min_ready_ms
}

/// Old pods that may end without fewer than `replicas − max_unavailable` pods available: those that
/// are of no use first.
fn old_to_end<'a>(
    deployment: &DeploymentView,
    new: &[&'a PodView],
    old: &[&'a PodView],
    active: &[&'a PodView],
    max_unavailable: usize,
    now_ms: i64,
) -> Vec<&'a PodView> {
    let available = |pod: &&&PodView| is_available(pod, deployment.min_ready_ms, now_ms);
    let least = (deployment.replicas as usize).saturating_sub(max_unavailable);
    let new_unavailable = new.len() - new.iter().filter(available).count();
    let budget = active.len().saturating_sub(least + new_unavailable);
    let useful = active.iter().filter(available).count();
    let mut spare = useful.saturating_sub(least);
    let mut end = Vec::new();
    for pod in first_to_end(old, active) {
        if end.len() >= budget {
            break;
        }
        if is_available(pod, deployment.min_ready_ms, now_ms) {
            if spare == 0 {
                break;
            }
            spare -= 1;
        }
        end.push(pod);
    }
    end
}

/// Kubernetes' order for shrinking a replica set: unbound, then pending, then unready, then cheap to
/// end, then crowded on its node, then lately ready, then often restarted, then young.
fn first_to_end<'a>(pods: &[&'a PodView], all: &[&'a PodView]) -> Vec<&'a PodView> {
    let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in all {
        if let Some(node) = &pod.node {
            *crowd.entry(node).or_default() += 1;
        }
    }
    let rank = |pod: &PodView| pod.node.as_deref().and_then(|node| crowd.get(node)).copied().unwrap_or(0);
    let mut sorted = pods.to_vec();
    sorted.sort_by(|a, b| {
        a.node
            .is_some()
            .cmp(&b.node.is_some())
            .then_with(|| phase_order(a.phase).cmp(&phase_order(b.phase)))
            .then_with(|| a.is_ready().cmp(&b.is_ready()))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| rank(b).cmp(&rank(a)))
            .then_with(|| {
                if a.is_ready() { b.ready_changed_ms.cmp(&a.ready_changed_ms) } else { Ordering::Equal }
            })
            .then_with(|| b.restarts.cmp(&a.restarts))
            .then_with(|| b.created_ms.cmp(&a.created_ms))
            .then_with(|| a.name.cmp(&b.name))
    });
    sorted
}

fn phase_order(phase: Phase) -> u8 {
    match phase {
        Phase::Pending => 0,
        Phase::Unknown => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &PodView) -> i32 {
    pod.template.annotations.get(DELETION_COST_ANNOTATION).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}
