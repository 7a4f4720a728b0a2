//! What the controllers show of themselves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Controller;
use crate::cluster::Status;
use crate::decide::is_available;

impl Controller {
    /// Publishes the status of this round.
    pub(super) fn publish(&mut self) {
        let now_ms = self.deps.clock.now_ms();
        let objects = self.objects();
        let view = self.world.view(&objects, now_ms);
        let pods = view.pods.iter().map(|pod| {
            let record = self.world.state.pods.get(&pod.uid);
            let containers = self.world.status(&pod.uid).map(|status| {
                let container = |c: &binnacle_proto::node::ContainerStatus| {
                    json!({
                        "name": c.name, "id": c.id, "running": c.running, "ready": c.ready,
                        "restarts": c.restarts, "reason": c.reason, "exitCode": c.exit_code, "pid": c.pid,
                        "oomScoreAdj": c.oom_score_adj, "memoryLimitBytes": c.memory_limit_bytes,
                    })
                };
                status.containers.iter().map(container).collect::<Vec<_>>()
            });
            json!({
                "namespace": pod.namespace,
                "name": pod.name,
                "uid": pod.uid,
                "node": pod.node,
                "phase": pod.phase.as_str(),
                "reason": record.map(|r| &r.reason),
                "message": record.map(|r| &r.message),
                "ready": pod.is_ready(),
                "deleting": pod.deleting,
                "deployment": pod.owner.deployment(),
                "qosClass": pod.template.qos().as_str(),
                "createdMs": pod.created_ms,
                "startedMs": pod.started_ms,
                "restarts": pod.restarts,
                "waiting": self.waiting.get(&pod.uid),
                "containers": containers,
            })
        });
        let deployments = view.deployments.iter().map(|d| {
            let pods: Vec<_> = view
                .pods
                .iter()
                .filter(|p| p.namespace == d.namespace && p.owner.deployment() == Some(&d.name))
                .filter(|p| !p.phase.is_terminal() && !p.deleting)
                .collect();
            json!({
                "namespace": d.namespace,
                "name": d.name,
                "replicas": d.replicas,
                "currentReplicas": pods.len(),
                "readyReplicas": pods.iter().filter(|p| p.is_ready()).count(),
                "availableReplicas": pods.iter().filter(|p| is_available(p, d.min_ready_ms, now_ms)).count(),
                "updatedReplicas":
                    pods.iter().filter(|p| p.owner.template_hash() == d.template_hash).count(),
                "templateHash": d.template_hash,
            })
        });
        let hpas = objects.hpas.iter().map(|(key, spec)| {
            let state = self.world.state.hpas.get(&key.to_string());
            let deployment =
                view.deployments.iter().find(|d| d.namespace == spec.namespace && d.name == spec.target);
            json!({
                "namespace": spec.namespace,
                "name": spec.name,
                "target": spec.target,
                "minReplicas": spec.min_replicas,
                "maxReplicas": spec.max_replicas,
                "desiredReplicas": deployment.map(|d| d.replicas),
                "metrics": spec.metrics,
                "behavior": spec.behavior,
                "conditions": state.map(|s| &s.conditions),
                "lastScaleMs": state.and_then(|s| s.last_scale_ms),
            })
        });
        let (pods, deployments, hpas): (Vec<Value>, Vec<Value>, Vec<Value>) =
            (pods.collect(), deployments.collect(), hpas.collect());
        let refused = self.refused.iter().map(ToString::to_string).collect();
        let status = Status { pods, deployments, hpas, decisions: self.journal.recent(), refused };
        self.deps.desk.status.send_replace(Arc::new(status));
    }
}
