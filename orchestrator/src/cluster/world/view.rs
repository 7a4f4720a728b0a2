//! What the decisions see of the world.

use super::World;
use crate::cluster::objects::{Budget, BudgetRule, Objects};
use crate::decide::{ClusterView, DeploymentView, NodeView, PodView, Resources, is_available};

impl World {
    /// The view at `now_ms`.
    pub fn view(&mut self, objects: &Objects, now_ms: i64) -> ClusterView {
        let nodes = self.nodes.values().map(|node| {
            let mut labels = node.labels.clone();
            labels.entry("kubernetes.io/hostname".to_owned()).or_insert_with(|| node.name.clone());
            let known = |amount: u64| (amount > 0).then_some(amount);
            NodeView {
                name: node.name.clone(),
                ready: node.connected && node.runs_pods && !self.is_lost(&node.name, now_ms),
                capacity: Resources {
                    cpu_millis: known(node.capacity.cpu_millis),
                    memory_bytes: known(node.capacity.memory_bytes),
                },
                labels,
                taints: Vec::new(),
            }
        });
        let nodes = nodes.collect();
        let mut pods: Vec<PodView> = Vec::with_capacity(self.state.pods.len());
        for (uid, pod) in &self.state.pods {
            let Some(definition) = self.state.definitions.get(&pod.definition) else { continue };
            pods.push(PodView {
                uid: uid.clone(),
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                owner: pod.owner.clone(),
                template: definition.template.clone(),
                node: pod.node.clone(),
                phase: pod.phase,
                ready: pod.ready,
                ready_changed_ms: pod.ready_changed_ms,
                created_ms: pod.created_ms,
                bound_ms: pod.bound_ms,
                started_ms: pod.started_ms,
                restarts: pod.restarts,
                deleting: pod.deleting_ms.is_some(),
            });
        }
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let deployments = objects
            .deployments
            .iter()
            .map(|(key, deployment)| {
                let replicas = self.replicas(&key.to_string(), deployment.replicas);
                DeploymentView {
                    namespace: key.namespace.clone(),
                    name: key.name.clone(),
                    replicas,
                    selector: deployment.selector.clone(),
                    template: deployment.definition.template.clone(),
                    template_hash: deployment.template_hash.clone(),
                    rollout: deployment.strategy.for_replicas(replicas),
                    min_ready_ms: deployment.min_ready_ms,
                }
            })
            .collect();
        ClusterView { nodes, pods, deployments }
    }
}

/// Whether every budget allows that `pod` is disturbed now.
pub fn budgets_allow(view: &ClusterView, objects: &Objects, pod: &PodView, now_ms: i64) -> bool {
    let protects = |(key, budget): &(&crate::cluster::objects::Key, &Budget)| {
        key.namespace == pod.namespace && budget.selector.matches(&pod.template.labels)
    };
    objects.budgets.iter().filter(protects).all(|(key, budget)| {
        let protected: Vec<&PodView> = view
            .pods
            .iter()
            .filter(|p| p.namespace == key.namespace && !p.phase.is_terminal() && !p.deleting)
            .filter(|p| budget.selector.matches(&p.template.labels))
            .collect();
        let expected = u32::try_from(protected.len()).unwrap_or(u32::MAX);
        let healthy = protected.iter().filter(|p| is_available(p, 0, now_ms)).count();
        let healthy = u32::try_from(healthy).unwrap_or(u32::MAX);
        let needed = match budget.rule {
            BudgetRule::MinAvailable(least) => least.of_rounded_up(expected),
            BudgetRule::MaxUnavailable(most) => expected.saturating_sub(most.of_rounded_up(expected)),
        };
        // Ending an unhealthy pod takes nothing away.
        !is_available(pod, 0, now_ms) || healthy > needed
    })
}
