//! Takes in what the nodes report.

use binnacle_proto::node::PodStatus;

use super::World;
use crate::decide::Phase;
use crate::nodes::Node;

/// A pod that is over since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its uid.
    pub uid: String,
    /// Namespace and name.
    pub key: String,
    /// Why.
    pub reason: String,
}

impl World {
    /// Brings the records up to date with the nodes' reports. Returns the pods that are over now.
    pub fn observe(&mut self, nodes: Vec<Node>, now_ms: i64) -> Vec<Ended> {
        self.nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        self.statuses.clear();
        for node in self.nodes.values() {
            for status in node.pods.iter().flatten() {
                self.statuses.insert(status.uid.clone(), status.clone());
            }
        }
        let mut gone = Vec::new();
        let mut ended = Vec::new();
        let lost_after_ms = (self.settings.node_timeout_ms + self.settings.evict_after_ms) as i64;
        let silences: std::collections::BTreeMap<String, i64> = self
            .state
            .pods
            .values()
            .filter_map(|pod| pod.node.clone())
            .map(|node| (node.clone(), self.silence_ms(&node, now_ms)))
            .collect();
        for (uid, pod) in &mut self.state.pods {
            let Some(node) = pod.node.clone() else { continue };
            if pod.phase.is_terminal() {
                continue;
            }
            let reported = self.nodes.get(&node).and_then(|n| n.pods.as_ref());
            let silence_ms = silences.get(&node).copied().unwrap_or(0);
            let was = pod.phase;
            if silence_ms > lost_after_ms {
                if pod.deleting_ms.is_some() {
                    gone.push(uid.clone());
                    continue;
                }
                pod.phase = Phase::Failed;
                pod.reason = "NodeLost".to_owned();
                pod.message = format!("node {node} has been silent for {} s", silence_ms / 1000);
                set_ready(pod, false, now_ms);
            } else if silence_ms > self.settings.node_timeout_ms as i64 {
                pod.phase = Phase::Unknown;
                set_ready(pod, false, now_ms);
            } else if let Some(reported) = reported {
                match reported.iter().find(|status| status.uid == *uid) {
                    Some(status) => take(pod, status, now_ms),
                    // The node does not know it: it was told to end it, or has not begun yet.
                    None if pod.deleting_ms.is_some() => gone.push(uid.clone()),
                    None => {}
                }
            }
            if pod.phase.is_terminal() && !was.is_terminal() {
                pod.ended_ms = Some(now_ms);
                let key = format!("{}/{}", pod.namespace, pod.name);
                ended.push(Ended { uid: uid.clone(), key, reason: pod.reason.clone() });
                if pod.deleting_ms.is_some() {
                    gone.push(uid.clone());
                }
            }
        }
        for uid in gone {
            self.state.pods.remove(&uid);
        }
        ended
    }
}

fn set_ready(pod: &mut super::PodRecord, ready: bool, now_ms: i64) {
    if pod.ready != Some(ready) {
        pod.ready = Some(ready);
        pod.ready_changed_ms = now_ms;
    }
}

fn take(pod: &mut super::PodRecord, status: &PodStatus, now_ms: i64) {
    pod.phase = match status.phase.as_str() {
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        _ => Phase::Pending,
    };
    pod.reason.clone_from(&status.reason);
    pod.message.clone_from(&status.message);
    if status.started_ms > 0 {
        pod.started_ms = Some(status.started_ms);
    }
    pod.restarts = status.containers.iter().map(|c| c.restarts).sum();
    let all = !status.containers.is_empty() && status.containers.iter().all(|c| c.ready);
    set_ready(pod, all && pod.phase == Phase::Running, now_ms);
}
