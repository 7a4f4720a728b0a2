//! What the decisions see of the cluster: plain data, no Kubernetes types, no handles.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An amount of each resource that is scheduled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core; `None` when the manifest does not say.
    pub cpu_millis: Option<u64>,
    /// Bytes; `None` when the manifest does not say.
    pub memory_bytes: Option<u64>,
}

impl Resources {
    /// Both amounts given.
    pub fn of(cpu_millis: u64, memory_bytes: u64) -> Self {
        Self { cpu_millis: Some(cpu_millis), memory_bytes: Some(memory_bytes) }
    }

    /// Thousandths of a core, 0 when not given.
    pub fn cpu(&self) -> u64 {
        self.cpu_millis.unwrap_or(0)
    }

    /// Bytes, 0 when not given.
    pub fn memory(&self) -> u64 {
        self.memory_bytes.unwrap_or(0)
    }

    /// The sum; what neither side gives stays not given.
    pub fn plus(&self, other: &Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            cpu_millis: add(self.cpu_millis, other.cpu_millis),
            memory_bytes: add(self.memory_bytes, other.memory_bytes),
        }
    }
}

/// Kubernetes' quality-of-service classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Qos {
    /// No container requests or limits anything.
    BestEffort,
    /// Neither of the others.
    Burstable,
    /// Every container limits cpu and memory and requests just that.
    Guaranteed,
}

impl Qos {
    /// The class's name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "BestEffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
        }
    }
}

/// Kubernetes' pod phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// On a node, at least one container runs or is restarted.
    Running,
    /// Every container ended well and none is restarted.
    Succeeded,
    /// Ended, at least one container badly; or evicted.
    Failed,
    /// The node has not been heard of for long.
    Unknown,
}

impl Phase {
    /// The phase's name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }

    /// Whether the pod is over.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// One container of a pod, as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// What it asks for.
    pub requests: Resources,
    /// What it may use at most.
    pub limits: Resources,
}

/// A node's repellent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A pod's consent to a taint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toleration {
    /// `None` matches every key.
    pub key: Option<String>,
    /// `None` means that any value is tolerated (`Exists`).
    pub value: Option<String>,
    /// `None` matches every effect.
    pub effect: Option<String>,
}

impl Toleration {
    /// Whether this toleration consents to `taint`.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.value.as_ref().is_none_or(|value| *value == taint.value)
            && self.effect.as_ref().is_none_or(|effect| *effect == taint.effect)
    }
}

/// One `matchExpressions` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Label.
    pub key: String,
    /// What its value must satisfy.
    pub test: RequirementTest,
}

/// The operators of label selectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequirementTest {
    /// Present and one of these.
    In(Vec<String>),
    /// Absent, or none of these.
    NotIn(Vec<String>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
    /// Present and an integer above this.
    Gt(i64),
    /// Present and an integer below this.
    Lt(i64),
}

/// A label selector: every requirement must hold; without any it matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector(pub Vec<Requirement>);

impl Selector {
    /// Whether `labels` satisfy every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let integer = || value.and_then(|v| v.parse::<i64>().ok());
            match &requirement.test {
                RequirementTest::In(values) => value.is_some_and(|v| values.contains(v)),
                RequirementTest::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                RequirementTest::Exists => value.is_some(),
                RequirementTest::DoesNotExist => value.is_none(),
                RequirementTest::Gt(bound) => integer().is_some_and(|v| v > *bound),
                RequirementTest::Lt(bound) => integer().is_some_and(|v| v < *bound),
            }
        })
    }
}

/// What the decisions need to know of a pod's specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodTemplate {
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod.
    pub annotations: BTreeMap<String, String>,
    /// Its containers, at least one.
    pub containers: Vec<Container>,
    /// Labels that the node must have, with these values.
    pub node_selector: BTreeMap<String, String>,
    /// Required node affinity: one of these must match. Empty: any node.
    pub node_affinity: Vec<Selector>,
    /// Required pod anti-affinity by host: no pod of the namespace that matches one of these may be on the node.
    pub anti_affinity: Vec<Selector>,
    /// Taints it consents to.
    pub tolerations: Vec<Toleration>,
    /// A name to bind to without scheduling.
    pub node_name: Option<String>,
    /// Preferred order; larger goes first.
    pub priority: i32,
}

impl PodTemplate {
    /// Sum of the containers' requests.
    pub fn requests(&self) -> Resources {
        self.containers.iter().fold(Resources::default(), |sum, c| sum.plus(&c.requests))
    }

    /// Sum of the containers' limits.
    pub fn limits(&self) -> Resources {
        self.containers.iter().fold(Resources::default(), |sum, c| sum.plus(&c.limits))
    }

    /// Kubernetes' class of this template.
    pub fn qos(&self) -> Qos {
        let given = |r: &Resources| r.cpu() > 0 || r.memory() > 0;
        if self.containers.iter().all(|c| !given(&c.requests) && !given(&c.limits)) {
            return Qos::BestEffort;
        }
        let guaranteed = self.containers.iter().all(|c| {
            c.limits.cpu() > 0
                && c.limits.memory() > 0
                && c.requests.cpu() == c.limits.cpu()
                && c.requests.memory() == c.limits.memory()
        });
        if guaranteed { Qos::Guaranteed } else { Qos::Burstable }
    }
}

/// What a pod belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// A deployment of the pod's namespace.
    Deployment {
        /// Its name.
        name: String,
        /// Hash of the template the pod was made from.
        template_hash: String,
    },
    /// A pod manifest.
    Manifest {
        /// Hash of the manifest's specification.
        template_hash: String,
    },
}

impl Owner {
    /// Name of the deployment, if it is one.
    pub fn deployment(&self) -> Option<&str> {
        match self {
            Self::Deployment { name, .. } => Some(name),
            Self::Manifest { .. } => None,
        }
    }

    /// Hash of what the pod was made from.
    pub fn template_hash(&self) -> &str {
        match self {
            Self::Deployment { template_hash, .. } | Self::Manifest { template_hash } => template_hash,
        }
    }
}

/// A pod.
#[derive(Debug, Clone)]
pub struct PodView {
    /// Unique for good.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name, unique in the namespace.
    pub name: String,
    /// What it belongs to.
    pub owner: Owner,
    /// What it was made from.
    pub template: Arc<PodTemplate>,
    /// Node it is bound to.
    pub node: Option<String>,
    /// Phase as last reported.
    pub phase: Phase,
    /// The Ready condition, `None` before the first report.
    pub ready: Option<bool>,
    /// When `ready` last changed, in milliseconds since the epoch.
    pub ready_changed_ms: i64,
    /// When it was made.
    pub created_ms: i64,
    /// When it was bound.
    pub bound_ms: Option<i64>,
    /// When the node started it.
    pub started_ms: Option<i64>,
    /// Restarts of all containers.
    pub restarts: u32,
    /// Whether its end was asked for.
    pub deleting: bool,
}

impl PodView {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it counts against its node: bound, and neither over nor forgotten.
    pub fn holds_node(&self) -> bool {
        self.node.is_some() && !self.phase.is_terminal()
    }

    /// Whether it is ready to serve.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && self.ready == Some(true)
    }
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Whether it may get pods: its agent is connected, runs pods, and is not lost.
    pub ready: bool,
    /// What it offers.
    pub capacity: Resources,
    /// Its labels, `kubernetes.io/hostname` included.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
}

/// How a deployment replaces its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// All old pods end before the first new one starts.
    Recreate,
    /// Step by step.
    Rolling {
        /// Pods above the wanted count during the change.
        max_surge: u32,
        /// Pods that may be missing during the change.
        max_unavailable: u32,
    },
}

/// A deployment.
#[derive(Debug, Clone)]
pub struct DeploymentView {
    /// Namespace.
    pub namespace: String,
    /// Name, unique in the namespace.
    pub name: String,
    /// Replicas wanted now.
    pub replicas: u32,
    /// Which pods are its own.
    pub selector: Selector,
    /// What new pods are made from.
    pub template: Arc<PodTemplate>,
    /// Names the template: pods of another hash are old.
    pub template_hash: String,
    /// How pods are replaced.
    pub rollout: Rollout,
    /// How long a pod must have been ready to count as available, in milliseconds.
    pub min_ready_ms: i64,
}

/// Everything the decisions see of the cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// Nodes by name.
    pub nodes: Vec<NodeView>,
    /// Pods by namespace and name.
    pub pods: Vec<PodView>,
    /// Deployments by namespace and name.
    pub deployments: Vec<DeploymentView>,
}

impl ClusterView {
    /// Pods bound to `node` that count against it.
    pub fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a PodView> {
        self.pods.iter().filter(move |pod| pod.holds_node() && pod.node.as_deref() == Some(node))
    }
}
