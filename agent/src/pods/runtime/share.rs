//! Cgroups above the containers: the node's, the classes' and the pods', and what they are limited to.

use super::{Runtime, pod_cgroup};
use crate::pods::cgroup::Limits;
use crate::pods::qos;
use crate::pods::spec::{Amounts, Pod, Qos};

impl Runtime {
    /// Makes the cgroup that is this node.
    pub(super) fn make_parent(&mut self) -> Result<(), String> {
        let made = self.setup.tree.create_parent().map_err(|e| format!("cgroup: {e}"))?;
        self.state.add_parents(&made).map_err(|e| format!("state directory: {e}"))
    }

    /// Weights of the classes by what their pods ask for; the node's limit, if it has one.
    pub(super) fn limit_node(&self) -> Result<(), String> {
        let asked = |class: Qos| {
            let pods = self.pods.values().map(|entry| &entry.record.pod).filter(|pod| pod.qos == class);
            pods.map(|pod| sum(pod).0.cpu_millis).sum::<u64>()
        };
        let none = Amounts::default();
        let millis = |cpu_millis| Amounts { cpu_millis, memory_bytes: 0 };
        let given = self.limits_node.unwrap_or_default();
        let groups = [
            ("kubepods", millis(self.capacity.cpu_millis), given),
            ("kubepods/burstable", millis(asked(Qos::Burstable)), none),
            ("kubepods/besteffort", none, none),
        ];
        for (name, requests, limits) in groups {
            let group = self.setup.tree.group(name);
            group.create().map_err(|e| format!("cgroup: {e}"))?;
            group.limit(&limits_of(requests, limits)).map_err(|e| format!("limits: {e}"))?;
        }
        Ok(())
    }

    /// The kernel takes no CPU limit above the node's own: more cannot be had anyway.
    pub(super) fn within_node(&self, cpu_millis: u64) -> u64 {
        match self.limits_node {
            Some(node) if node.cpu_millis > 0 => cpu_millis.min(node.cpu_millis),
            _ => cpu_millis,
        }
    }

    /// A pod gets what its containers get together; where one of them has no limit, the pod has none.
    pub(super) fn limit_pod(&self, pod: &Pod) -> Result<(), String> {
        let (requests, mut limits) = sum(pod);
        limits.cpu_millis = self.within_node(limits.cpu_millis);
        let group = self.setup.tree.group(&pod_cgroup(pod));
        group.limit(&limits_of(requests, limits)).map_err(|e| format!("limits: {e}"))
    }
}

fn limits_of(requests: Amounts, limits: Amounts) -> Limits {
    Limits {
        cpu_shares: qos::cpu_shares(requests, limits),
        cpu_quota_us: qos::cpu_quota_us(limits.cpu_millis),
        memory_bytes: limits.memory_bytes,
        oom_group: false,
    }
}

/// Requests and limits of all containers together.
fn sum(pod: &Pod) -> (Amounts, Amounts) {
    let mut requests = Amounts::default();
    let mut limits = Amounts::default();
    for container in &pod.containers {
        let (cpu, cpu_limit) = (container.requests.cpu_millis, container.limits.cpu_millis);
        requests.cpu_millis += if cpu > 0 { cpu } else { cpu_limit };
        limits.cpu_millis += container.limits.cpu_millis;
        limits.memory_bytes += container.limits.memory_bytes;
    }
    if pod.containers.iter().any(|container| container.limits.cpu_millis == 0) {
        limits.cpu_millis = 0;
    }
    if pod.containers.iter().any(|container| container.limits.memory_bytes == 0) {
        limits.memory_bytes = 0;
    }
    (requests, limits)
}
