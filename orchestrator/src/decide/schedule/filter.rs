//! Which nodes can take a pod at all.

use super::requested;
use crate::decide::{ClusterView, NodeView, PodView};

/// Why `node` cannot take `pod`, or `None` when it can. The words are Kubernetes' where it has some.
pub(super) fn rejection(pod: &PodView, node: &NodeView, view: &ClusterView) -> Option<String> {
    let template = &pod.template;
    if !node.ready {
        return Some("node(s) were not ready".to_owned());
    }
    if template.node_name.as_ref().is_some_and(|name| *name != node.name) {
        return Some("node(s) didn't match the requested node name".to_owned());
    }
    let selected = template.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let attracted =
        template.node_affinity.is_empty() || template.node_affinity.iter().any(|s| s.matches(&node.labels));
    if !selected || !attracted {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    let untolerated = node.taints.iter().find(|taint| {
        taint.effect != "PreferNoSchedule" && !template.tolerations.iter().any(|t| t.tolerates(taint))
    });
    if let Some(taint) = untolerated {
        return Some(format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value));
    }
    let repelled = view.pods_on(&node.name).any(|other| {
        let conflicts = |a: &PodView, b: &PodView| {
            a.namespace == b.namespace
                && a.template.anti_affinity.iter().any(|s| s.matches(&b.template.labels))
        };
        other.uid != pod.uid && (conflicts(pod, other) || conflicts(other, pod))
    });
    if repelled {
        return Some("node(s) didn't match pod anti-affinity rules".to_owned());
    }
    let (taken, asked) = (requested(view, &node.name), template.requests());
    if asked.cpu() > 0 && taken.cpu().saturating_add(asked.cpu()) > node.capacity.cpu() {
        return Some("Insufficient cpu".to_owned());
    }
    if asked.memory() > 0 && taken.memory().saturating_add(asked.memory()) > node.capacity.memory() {
        return Some("Insufficient memory".to_owned());
    }
    None
}
