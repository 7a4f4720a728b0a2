//! The objects that manifests define, in our own terms.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decide::hpa::HpaSpec;
use crate::decide::{PodTemplate, Rollout, Selector};

/// Names an object of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of these parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What pods are made from: what the decisions see, and what the node runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What the decisions see.
    pub template: Arc<PodTemplate>,
    /// What the node runs.
    pub run: Run,
}

impl Definition {
    /// A short name for this definition, the same for equal ones: ten letters and digits of the kind
    /// that Kubernetes uses in generated names.
    pub fn hash(&self) -> String {
        // Serialising plain data cannot fail; were it to, all such definitions would share a name and
        // pods would not be replaced, which is the safe side.
        let text = serde_json::to_string(self).unwrap_or_default();
        safe_letters(twox_hash::XxHash3_64::oneshot(text.as_bytes()), 10)
    }
}

/// Encodes a number with letters that spell no words.
pub fn safe_letters(mut number: u64, length: usize) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        text.push(char::from(LETTERS[(number % 27) as usize]));
        number /= 27;
    }
    text
}

/// The part of a pod that only its node needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// In the order of the template's containers.
    pub containers: Vec<RunContainer>,
    /// Name and path on the host.
    pub volumes: Vec<(String, String)>,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    /// How long a container may take to end after SIGTERM.
    pub termination_grace_seconds: u32,
}

/// The part of a container that only its node needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunContainer {
    /// Its name.
    pub name: String,
    /// Its image; `host` runs the command as a process of the node.
    pub image: String,
    /// Command and arguments, expanded.
    pub argv: Vec<String>,
    /// Environment, in the order of the manifest.
    pub env: Vec<(String, String)>,
    /// Working folder; empty for the image's own.
    pub working_dir: String,
    /// Volume name, path in the container, read-only.
    pub mounts: Vec<(String, String, bool)>,
}

/// A `Deployment`.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Replicas in the manifest.
    pub replicas: u32,
    /// Which pods are its own.
    pub selector: Selector,
    /// What its pods are made from.
    pub definition: Arc<Definition>,
    /// Hash of the definition.
    pub template_hash: String,
    /// How pods are replaced.
    pub strategy: Strategy,
    /// How long a pod must have been ready to count as available, in milliseconds.
    pub min_ready_ms: i64,
}

/// How a deployment replaces its pods, as its manifest has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// All old pods end before the first new one starts.
    Recreate,
    /// Step by step.
    Rolling {
        /// Pods above the wanted count during the change.
        max_surge: Amount,
        /// Pods that may be missing during the change.
        max_unavailable: Amount,
    },
}

impl Strategy {
    /// The numbers that hold for this many replicas: surge rounded up, unavailable rounded down, and
    /// not both nothing, which would never get anywhere.
    pub fn for_replicas(self, replicas: u32) -> Rollout {
        match self {
            Self::Recreate => Rollout::Recreate,
            Self::Rolling { max_surge, max_unavailable } => {
                let max_surge = max_surge.of_rounded_up(replicas);
                let max_unavailable = max_unavailable.of_rounded_down(replicas);
                let least = u32::from(max_surge == 0);
                Rollout::Rolling { max_surge, max_unavailable: max_unavailable.max(least) }
            }
        }
    }
}

/// A `Pod` of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct BarePod {
    /// What it is made from.
    pub definition: Arc<Definition>,
    /// Hash of the definition.
    pub template_hash: String,
}

/// A `PodDisruptionBudget`.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Which pods it protects.
    pub selector: Selector,
    /// How many must stay.
    pub rule: BudgetRule,
}

/// How many pods a budget keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetRule {
    /// At least so many are healthy.
    MinAvailable(Amount),
    /// At most so many are not.
    MaxUnavailable(Amount),
}

/// A count or a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Pods.
    Count(u32),
    /// Percent of the pods.
    Percent(u32),
}

impl Amount {
    /// Whether it is nothing, of whatever.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }

    /// Of `total`, rounded up.
    pub fn of_rounded_up(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                u32::try_from((u64::from(total) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX)
            }
        }
    }

    /// Of `total`, rounded down.
    pub fn of_rounded_down(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                u32::try_from(u64::from(total) * u64::from(percent) / 100).unwrap_or(u32::MAX)
            }
        }
    }
}

/// All objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// Deployments.
    pub deployments: BTreeMap<Key, Deployment>,
    /// Autoscalers.
    pub hpas: BTreeMap<Key, HpaSpec>,
    /// Pods of their own.
    pub pods: BTreeMap<Key, BarePod>,
    /// Disruption budgets.
    pub budgets: BTreeMap<Key, Budget>,
}

impl Objects {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.deployments.len() + self.hpas.len() + self.pods.len() + self.budgets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
