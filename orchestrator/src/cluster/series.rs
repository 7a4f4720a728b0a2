//! Series about objects, under the names that kube-state-metrics gives them.

use super::world::World;
use crate::decide::hpa::HpaSpec;
use crate::decide::{ClusterView, Phase, Resources, is_available};
use crate::journal::Journal;

/// Writes one sample of each.
pub fn write<'a>(
    journal: &mut Journal,
    world: &World,
    view: &ClusterView,
    hpas: impl Iterator<Item = &'a HpaSpec>,
    now_ms: i64,
) {
    let flag = |on: bool| f64::from(u8::from(on));
    for node in &view.nodes {
        let name = ("node", node.name.as_str());
        journal.sample("kube_node_info", &[name], now_ms, 1.0);
        for metric in ["kube_node_status_capacity", "kube_node_status_allocatable"] {
            amounts(journal, metric, &[name], &node.capacity, now_ms);
        }
        for (status, holds) in [("true", node.ready), ("false", !node.ready), ("unknown", false)] {
            let labels = [name, ("condition", "Ready"), ("status", status)];
            journal.sample("kube_node_status_condition", &labels, now_ms, flag(holds));
        }
    }
    for pod in &view.pods {
        let id =
            [("namespace", pod.namespace.as_str()), ("pod", pod.name.as_str()), ("uid", pod.uid.as_str())];
        let node = ("node", pod.node.as_deref().unwrap_or_default());
        let record = world.state.pods.get(&pod.uid);
        let owner = pod.owner.deployment().map(|name| format!("{name}-{}", pod.owner.template_hash()));
        let labels = [
            id[0],
            id[1],
            id[2],
            node,
            ("created_by_kind", if owner.is_some() { "ReplicaSet" } else { "" }),
            ("created_by_name", owner.as_deref().unwrap_or_default()),
        ];
        journal.sample("kube_pod_info", &labels, now_ms, 1.0);
        if let Some(owner) = &owner {
            let labels = [id[0], id[1], id[2], ("owner_kind", "ReplicaSet"), ("owner_name", owner.as_str())];
            journal.sample("kube_pod_owner", &labels, now_ms, 1.0);
        }
        for phase in [Phase::Pending, Phase::Running, Phase::Succeeded, Phase::Failed, Phase::Unknown] {
            let labels = [id[0], id[1], id[2], ("phase", phase.as_str())];
            journal.sample("kube_pod_status_phase", &labels, now_ms, flag(pod.phase == phase));
        }
        for (condition, holds) in [("true", pod.is_ready()), ("false", !pod.is_ready())] {
            let labels = [id[0], id[1], id[2], ("condition", condition)];
            journal.sample("kube_pod_status_ready", &labels, now_ms, flag(holds));
        }
        let seconds = pod.created_ms as f64 / 1000.0;
        journal.sample("kube_pod_created", &id, now_ms, seconds.floor());
        if let Some(reason) = record.map(|r| r.reason.as_str()).filter(|reason| !reason.is_empty()) {
            let labels = [id[0], id[1], id[2], ("reason", reason)];
            journal.sample("kube_pod_status_reason", &labels, now_ms, 1.0);
        }
        if pod.phase.is_terminal() {
            continue;
        }
        for c in &pod.template.containers {
            let labels = [id[0], id[1], id[2], node, ("container", c.name.as_str())];
            amounts(journal, "kube_pod_container_resource_requests", &labels, &c.requests, now_ms);
            amounts(journal, "kube_pod_container_resource_limits", &labels, &c.limits, now_ms);
        }
        for c in world.status(&pod.uid).iter().flat_map(|status| &status.containers) {
            let labels = [id[0], id[1], id[2], ("container", c.name.as_str())];
            let restarts = f64::from(c.restarts);
            journal.sample("kube_pod_container_status_restarts_total", &labels, now_ms, restarts);
            journal.sample("kube_pod_container_status_ready", &labels, now_ms, flag(c.ready));
            journal.sample("kube_pod_container_status_running", &labels, now_ms, flag(c.running));
        }
    }
    deployments(journal, view, now_ms);
    for hpa in hpas {
        let labels = [("namespace", hpa.namespace.as_str()), ("horizontalpodautoscaler", hpa.name.as_str())];
        let deployment =
            view.deployments.iter().find(|d| d.namespace == hpa.namespace && d.name == hpa.target);
        let mut put = |name: &str, value: f64| {
            journal.sample(&format!("kube_horizontalpodautoscaler_{name}"), &labels, now_ms, value);
        };
        put("spec_min_replicas", f64::from(hpa.min_replicas));
        put("spec_max_replicas", f64::from(hpa.max_replicas));
        if let Some(deployment) = deployment {
            put("status_desired_replicas", f64::from(deployment.replicas));
            let current = view.pods.iter().filter(|p| {
                p.namespace == hpa.namespace
                    && p.owner.deployment() == Some(&hpa.target)
                    && !p.phase.is_terminal()
                    && !p.deleting
            });
            put("status_current_replicas", current.count() as f64);
        }
    }
}

fn deployments(journal: &mut Journal, view: &ClusterView, now_ms: i64) {
    for deployment in &view.deployments {
        let labels = [("namespace", deployment.namespace.as_str()), ("deployment", deployment.name.as_str())];
        let pods: Vec<_> = view
            .pods
            .iter()
            .filter(|p| p.namespace == deployment.namespace)
            .filter(|p| p.owner.deployment() == Some(&deployment.name))
            .filter(|p| !p.phase.is_terminal() && !p.deleting)
            .collect();
        let count = |test: &dyn Fn(&crate::decide::PodView) -> bool| pods.iter().filter(|p| test(p)).count();
        let available = count(&|p| is_available(p, deployment.min_ready_ms, now_ms));
        let updated = count(&|p| p.owner.template_hash() == deployment.template_hash);
        let mut put = |name: &str, value: f64| {
            journal.sample(&format!("kube_deployment_{name}"), &labels, now_ms, value);
        };
        put("spec_replicas", f64::from(deployment.replicas));
        put("status_replicas", pods.len() as f64);
        put("status_replicas_ready", count(&|p| p.is_ready()) as f64);
        put("status_replicas_available", available as f64);
        put("status_replicas_unavailable", (deployment.replicas as usize).saturating_sub(available) as f64);
        put("status_replicas_updated", updated as f64);
    }
}

fn amounts(journal: &mut Journal, name: &str, labels: &[(&str, &str)], of: &Resources, now_ms: i64) {
    let mut put = |resource, unit, value| {
        let labels: Vec<_> = labels.iter().copied().chain([("resource", resource), ("unit", unit)]).collect();
        journal.sample(name, &labels, now_ms, value);
    };
    if let Some(cpu) = of.cpu_millis {
        put("cpu", "core", cpu as f64 / 1000.0);
    }
    if let Some(memory) = of.memory_bytes {
        put("memory", "byte", memory as f64);
    }
}
