//! The cluster as it is: pods on record, nodes as reported, and what follows from both.

mod observe;
#[cfg(test)]
mod tests;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use binnacle_proto::node::PodStatus;

use super::objects::{Definition, Objects, safe_letters};
use super::store::{PodRecord, Scale, State};
use crate::config;
use crate::decide::{Owner, Phase};
use crate::nodes::Node;

pub use observe::Ended;

/// Most pods that are over and still shown.
const MAX_ENDED: usize = 200;

/// How long a pod that is over is shown, in milliseconds.
const ENDED_KEPT_MS: i64 = 600_000;

/// The cluster as it is.
#[derive(Debug)]
pub struct World {
    /// What must survive a restart.
    pub state: State,
    /// Nodes by name, as last reported.
    pub nodes: BTreeMap<String, Node>,
    /// Pods by uid, as last reported by their node.
    pub statuses: BTreeMap<String, PodStatus>,
    settings: config::Cluster,
    /// Nothing has been heard of any node before this.
    started_ms: i64,
    ids: Ids,
}

impl World {
    /// The world as the state file has it; no node has been heard of yet.
    pub fn new(state: State, settings: config::Cluster, ids: Ids, now_ms: i64) -> Self {
        let (nodes, statuses) = Default::default();
        Self { state, nodes, statuses, settings, started_ms: now_ms, ids }
    }

    /// For how long nothing has been heard of a node, in milliseconds.
    pub fn silence_ms(&self, node: &str, now_ms: i64) -> i64 {
        let heard = self.nodes.get(node).map_or(0, |n| n.last_seen_ms);
        now_ms - heard.max(self.started_ms)
    }

    /// Whether a node has been silent for so long that its pods count as gone from sight.
    pub fn is_lost(&self, node: &str, now_ms: i64) -> bool {
        self.silence_ms(node, now_ms) > self.settings.node_timeout_ms as i64
    }

    /// Makes a pod that is bound to no node yet. Returns its uid.
    pub fn create(
        &mut self,
        namespace: &str,
        name: String,
        owner: Owner,
        definition: &Arc<Definition>,
        now_ms: i64,
    ) -> String {
        let uid = self.ids.uid();
        let hash = owner.template_hash().to_owned();
        self.state.definitions.entry(hash.clone()).or_insert_with(|| Definition::clone(definition));
        let record = PodRecord {
            namespace: namespace.to_owned(),
            name,
            owner,
            definition: hash,
            node: None,
            created_ms: now_ms,
            bound_ms: None,
            started_ms: None,
            phase: Phase::Pending,
            reason: String::new(),
            message: String::new(),
            ready: None,
            ready_changed_ms: now_ms,
            restarts: 0,
            deleting_ms: None,
            ended_ms: None,
        };
        self.state.pods.insert(uid.clone(), record);
        uid
    }

    /// A name for a new pod of a deployment: `web-<hash>-<5 letters>`.
    pub fn pod_name(&mut self, deployment: &str, template_hash: &str) -> String {
        loop {
            let name = format!("{deployment}-{template_hash}-{}", safe_letters(self.ids.number(), 5));
            if !self.state.pods.values().any(|pod| pod.name == name) {
                return name;
            }
        }
    }

    /// Asks for the end of a pod. One that never got a node is gone at once.
    pub fn end(&mut self, uid: &str, now_ms: i64) {
        let Some(pod) = self.state.pods.get_mut(uid) else { return };
        if pod.node.is_none() || pod.phase.is_terminal() {
            self.state.pods.remove(uid);
        } else if pod.deleting_ms.is_none() {
            pod.deleting_ms = Some(now_ms);
        }
    }

    /// Binds a pod to a node.
    pub fn bind(&mut self, uid: &str, node: &str, now_ms: i64) {
        if let Some(pod) = self.state.pods.get_mut(uid) {
            pod.node = Some(node.to_owned());
            pod.bound_ms = Some(now_ms);
        }
    }

    /// Replicas that a deployment should have: those set last, unless the manifest has changed since.
    pub fn replicas(&mut self, key: &str, manifest: u32) -> u32 {
        let new = Scale { replicas: manifest, manifest };
        let scale = self.state.scales.entry(key.to_owned()).or_insert(new);
        if scale.manifest != manifest {
            *scale = new;
        }
        scale.replicas
    }

    /// Sets the replicas of a deployment.
    pub fn scale(&mut self, key: &str, replicas: u32) {
        if let Some(scale) = self.state.scales.get_mut(key) {
            scale.replicas = replicas;
        }
    }

    /// Forgets what no object needs any more: scales and autoscalers that were removed, definitions
    /// without pods, pods that are over for long.
    pub fn tidy(&mut self, objects: &Objects, now_ms: i64) {
        let key_of = |key: &super::objects::Key| key.to_string();
        let deployments: Vec<String> = objects.deployments.keys().map(key_of).collect();
        let hpas: Vec<String> = objects.hpas.keys().map(key_of).collect();
        self.state.scales.retain(|key, _| deployments.contains(key));
        self.state.hpas.retain(|key, _| hpas.contains(key));
        let mut ended: Vec<(i64, String)> = self
            .state
            .pods
            .iter()
            .filter(|(_, pod)| pod.phase.is_terminal())
            .map(|(uid, pod)| (pod.ended_ms.unwrap_or(now_ms), uid.clone()))
            .collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(MAX_ENDED);
        for (i, (ended_ms, uid)) in ended.iter().enumerate() {
            if i < surplus || now_ms - ended_ms > ENDED_KEPT_MS {
                // A pod of its own that is over is shown for as long as its manifest is there.
                let bare = |pod: &PodRecord| matches!(pod.owner, Owner::Manifest { .. });
                if !self.state.pods.get(uid).is_some_and(bare) {
                    self.state.pods.remove(uid);
                }
            }
        }
        let used: std::collections::BTreeSet<&String> =
            self.state.pods.values().map(|pod| &pod.definition).collect();
        let unused: Vec<String> =
            self.state.definitions.keys().filter(|hash| !used.contains(hash)).cloned().collect();
        for hash in unused {
            self.state.definitions.remove(&hash);
        }
    }

    /// Whether a pod with this status still runs what `record` says.
    pub fn status(&self, uid: &str) -> Option<&PodStatus> {
        self.statuses.get(uid)
    }
}

/// Makes numbers that do not repeat: an edge, so that the decisions stay free of chance.
#[derive(Debug, Default)]
pub struct Ids {
    seed: Option<u64>,
    count: u64,
}

impl Ids {
    /// From the system's randomness.
    pub fn random() -> Self {
        Self::default()
    }

    /// Always the same ones; for tests.
    pub fn seeded(seed: u64) -> Self {
        Self { seed: Some(seed), count: 0 }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        use std::hash::{BuildHasher, Hasher, RandomState};
        self.count += 1;
        match self.seed {
            Some(seed) => twox_hash::XxHash3_64::oneshot_with_seed(seed, &self.count.to_le_bytes()),
            None => {
                // The standard library seeds each of these from the system's randomness.
                let mut hasher = RandomState::new().build_hasher();
                hasher.write_u64(self.count);
                hasher.finish()
            }
        }
    }

    /// A version 4 UUID.
    pub fn uid(&mut self) -> String {
        let (a, b) = (self.number(), self.number());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}
