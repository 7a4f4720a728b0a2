//! The autoscaler's nouns: specification, values, state, decision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Settings that Kubernetes gives its controller as flags.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How far from 1 the ratio of value and target may be without an action.
    pub tolerance: f64,
    /// How long after its start a pod's CPU samples may be skipped, in milliseconds.
    pub cpu_initialization_ms: i64,
    /// Within this time after its start an unready pod counts as not yet ready, in milliseconds.
    pub initial_readiness_ms: i64,
    /// Stabilisation when scaling down, for autoscalers that do not say it, in milliseconds.
    pub downscale_stabilization_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            cpu_initialization_ms: 300_000,
            initial_readiness_ms: 30_000,
            downscale_stabilization_ms: 300_000,
        }
    }
}

/// A `HorizontalPodAutoscaler` with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HpaSpec {
    /// Namespace of the autoscaler and of its target.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Name of the deployment it scales.
    pub target: String,
    /// Least replicas; 0 only with an object or external metric.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// What it scales by, at least one.
    pub metrics: Vec<MetricSpec>,
    /// How fast it may scale.
    pub behavior: Behavior,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSpec {
    /// Where the value comes from.
    pub source: MetricSource,
    /// Where it should be.
    pub target: MetricTarget,
}

/// Which resource of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourceKind {
    /// CPU time.
    Cpu,
    /// Working set.
    Memory,
}

impl ResourceKind {
    /// The resource's name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// Where a metric's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricSource {
    /// Usage of each pod.
    Resource(ResourceKind),
    /// Usage of one container in each pod.
    ContainerResource {
        /// What is used.
        resource: ResourceKind,
        /// The container's name.
        container: String,
    },
    /// A value for each pod, by a query whose answer has the label `pod`.
    Pods {
        /// Name of the metric.
        name: String,
        /// PromQL.
        query: String,
    },
    /// A value of an object, by a query that answers one number.
    Object {
        /// Name of the metric.
        name: String,
        /// PromQL.
        query: String,
    },
    /// A value from outside the cluster, by a query; several answers are summed.
    External {
        /// Name of the metric.
        name: String,
        /// PromQL.
        query: String,
    },
}

/// Where a metric should be. Amounts are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricTarget {
    /// Percent of the requests, over all pods.
    Utilization(i64),
    /// Mean over the pods.
    AverageValue(i64),
    /// The value as it is.
    Value(i64),
}

/// One pod's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PodSample {
    /// Thousandths of the unit (cores, bytes).
    pub milli: i64,
    /// When the newest sample it was computed from was taken.
    pub t_ms: i64,
    /// Length of the window it was computed over.
    pub window_ms: i64,
}

/// What the signals say of one metric.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricValues {
    /// By pod name. A pod whose value is missing or stale is not in it.
    Pods(BTreeMap<String, PodSample>),
    /// One number in thousandths, and when its newest sample was taken.
    Single {
        /// Thousandths.
        milli: i64,
        /// Milliseconds since the epoch.
        t_ms: i64,
    },
    /// It could not be had: why.
    Unavailable(String),
}

/// How fast to scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Behavior {
    /// Rules for growing.
    pub up: Rules,
    /// Rules for shrinking.
    pub down: Rules,
}

impl Default for Behavior {
    fn default() -> Self {
        let policy = |kind, value| Policy { kind, value, period_ms: 15_000 };
        Self {
            up: Rules {
                stabilization_ms: None,
                select: SelectPolicy::Max,
                policies: vec![policy(PolicyKind::Pods, 4), policy(PolicyKind::Percent, 100)],
                tolerance: None,
            },
            down: Rules {
                stabilization_ms: None,
                select: SelectPolicy::Max,
                policies: vec![policy(PolicyKind::Percent, 100)],
                tolerance: None,
            },
        }
    }
}

/// Rules of one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Over how long the most cautious recommendation counts; `None` is nothing when scaling up, and
    /// [`Config::downscale_stabilization_ms`] when scaling down.
    pub stabilization_ms: Option<i64>,
    /// Which of the policies counts.
    pub select: SelectPolicy,
    /// At least one.
    pub policies: Vec<Policy>,
    /// Overrides [`Config::tolerance`].
    pub tolerance: Option<f64>,
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectPolicy {
    /// The one that allows the greatest change.
    Max,
    /// The one that allows the least change.
    Min,
    /// None: no scaling in this direction.
    Disabled,
}

/// A limit on the change within a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What `value` counts.
    pub kind: PolicyKind,
    /// Above 0.
    pub value: u32,
    /// Above 0.
    pub period_ms: i64,
}

/// What a policy's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyKind {
    /// Pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

/// What must survive a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HpaState {
    /// Past proposals, before stabilisation.
    pub recommendations: Vec<Recommendation>,
    /// Past growth.
    pub ups: Vec<ScaleEvent>,
    /// Past shrinking.
    pub downs: Vec<ScaleEvent>,
    /// When the size last changed.
    pub last_scale_ms: Option<i64>,
    /// The conditions, in the order they were first set.
    pub conditions: Vec<Condition>,
}

/// A past proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When.
    pub t_ms: i64,
    /// How many.
    pub replicas: u32,
}

/// A past change of size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleEvent {
    /// When.
    pub t_ms: i64,
    /// By how many, without sign.
    pub change: u32,
}

/// One condition of the autoscaler's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `AbleToScale`, `ScalingActive` or `ScalingLimited`.
    pub kind: String,
    /// Whether it holds.
    pub status: bool,
    /// Kubernetes' reason.
    pub reason: String,
    /// Kubernetes' message.
    pub message: String,
    /// When `status` last changed.
    pub changed_ms: i64,
}

/// Something to tell the user once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Whether it is a warning.
    pub warning: bool,
    /// Kubernetes' reason.
    pub reason: &'static str,
    /// Kubernetes' message.
    pub message: String,
}

/// What one metric said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricOutcome {
    /// As Kubernetes names it in messages.
    pub name: String,
    /// What it would have.
    pub proposed: Option<u32>,
    /// Percent for utilisation, else thousandths.
    pub value: Option<i64>,
    /// Percent for utilisation, else thousandths.
    pub target: i64,
    /// Ratio of value and target, before missing pods were counted in.
    pub ratio: Option<f64>,
    /// Pods by how they were counted.
    pub counts: PodCounts,
    /// Why it says nothing.
    pub error: Option<String>,
}

/// Pods by how a metric counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PodCounts {
    /// With a value that counts.
    pub ready: usize,
    /// Not ready to be judged.
    pub unready: usize,
    /// Without a value.
    pub missing: usize,
    /// Over or ending.
    pub ignored: usize,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// Replicas in the target's specification.
    pub current: u32,
    /// Replicas it should have.
    pub desired: u32,
    /// What the metrics proposed before stabilisation and limits; `None` without a valid proposal.
    pub proposed: Option<u32>,
    /// The proposal after stabilisation.
    pub stabilized: Option<u32>,
    /// Reason of the limit that applied, e.g. `ScaleUpLimit`.
    pub limited: Option<&'static str>,
    /// Why the size changes; empty when it does not.
    pub reason: String,
    /// Each metric's part.
    pub metrics: Vec<MetricOutcome>,
    /// What to tell the user.
    pub events: Vec<Event>,
    /// What to keep.
    #[serde(skip)]
    pub state: HpaState,
    #[serde(skip)]
    now_ms: i64,
}

impl Decision {
    pub(super) fn unchanged(current: u32, state: HpaState, now_ms: i64) -> Self {
        Self {
            current,
            desired: current,
            proposed: None,
            stabilized: None,
            limited: None,
            reason: String::new(),
            metrics: Vec::new(),
            events: Vec::new(),
            state,
            now_ms,
        }
    }

    pub(super) fn set_condition(&mut self, kind: &str, status: bool, reason: &str, message: &str) {
        let mut new = Condition {
            kind: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
            changed_ms: self.now_ms,
        };
        match self.state.conditions.iter_mut().find(|have| have.kind == kind) {
            Some(have) => {
                if have.status == status {
                    new.changed_ms = have.changed_ms;
                }
                *have = new;
            }
            None => self.state.conditions.push(new),
        }
    }

    /// The decision when the new size could not be set: conditions and events say so, and the state
    /// forgets the change.
    pub fn scaling_failed(mut self, before: &HpaState, error: &str) -> Self {
        let wanted = std::mem::replace(&mut self.desired, self.current);
        self.state.ups.clone_from(&before.ups);
        self.state.downs.clone_from(&before.downs);
        self.state.last_scale_ms = before.last_scale_ms;
        self.events.retain(|event| event.reason != "SuccessfulRescale");
        self.events.push(Event {
            warning: true,
            reason: "FailedRescale",
            message: format!("New size: {wanted}; reason: {}; error: {error}", self.reason),
        });
        self.set_condition(
            "AbleToScale",
            false,
            "FailedUpdateScale",
            &format!("the HPA controller was unable to update the target scale: {error}"),
        );
        self
    }

    /// The condition of this kind.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.state.conditions.iter().find(|have| have.kind == kind)
    }
}
