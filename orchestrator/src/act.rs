//! Actions: carries out through the nodes' registry what was decided, and reads back what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use binnacle_proto::node::{
    ContainerSpec, EnvVar, EvictPod, PodSpec, Resources as Amounts, SetMemoryLimit, SetOomScoreAdj, Volume,
    VolumeMount, command,
};

use crate::cluster::objects::Definition;
use crate::cluster::store::{PodRecord, State};
use crate::decide::Resources;
use crate::nodes::Registry;

/// How long a node may take to carry out a command.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A change to a running pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Writes `oom_score_adj` of a container's processes.
    SetOomScoreAdj {
        /// The pod.
        uid: String,
        /// The container.
        container: String,
        /// −1000 … 1000.
        value: i32,
    },
    /// Changes a container's memory limit in place.
    SetMemoryLimit {
        /// The pod.
        uid: String,
        /// The container.
        container: String,
        /// The new limit.
        bytes: u64,
    },
    /// Ends a pod in an orderly way.
    Evict {
        /// The pod.
        uid: String,
        /// Short CamelCase.
        reason: String,
        /// How long its containers may take.
        grace_seconds: u32,
    },
}

/// Has a node carry out a command. Answers with what the node read back afterwards.
///
/// # Errors
/// Why it was not done, as a sentence for the journal; decide again later.
pub async fn carry_out(registry: &Registry, node: &str, command: Command) -> Result<String, String> {
    let what = match command {
        Command::SetOomScoreAdj { uid, container, value } => {
            command::What::SetOomScoreAdj(SetOomScoreAdj { pod_uid: uid, container, value })
        }
        Command::SetMemoryLimit { uid, container, bytes } => {
            command::What::SetMemoryLimit(SetMemoryLimit { pod_uid: uid, container, bytes })
        }
        Command::Evict { uid, reason, grace_seconds } => {
            command::What::Evict(EvictPod { pod_uid: uid, reason, grace_seconds })
        }
    };
    match registry.command(node, what, TIMEOUT).await {
        Ok(result) => Ok(result.observed),
        Err(error) => Err(error.to_string()),
    }
}

/// Tells every node what it should run. `state` must be durable already: a pod that runs and is not
/// on record would be ended after a restart, and made a second time.
pub fn assign(registry: &Registry, state: &State, nodes: impl Iterator<Item = String>) {
    let mut by_node: BTreeMap<String, Vec<PodSpec>> = nodes.map(|node| (node, Vec::new())).collect();
    for (uid, pod) in &state.pods {
        let (Some(node), Some(definition)) = (&pod.node, state.definitions.get(&pod.definition)) else {
            continue;
        };
        let pods = by_node.entry(node.clone()).or_default();
        if pod.deleting_ms.is_none() && !pod.phase.is_terminal() {
            pods.push(specification(uid, pod, definition));
        }
    }
    for (node, pods) in by_node {
        registry.assign(&node, pods);
    }
}

/// What a node needs to know to run a pod.
fn specification(uid: &str, pod: &PodRecord, definition: &Definition) -> PodSpec {
    let template = &definition.template;
    let containers =
        definition.run.containers.iter().zip(&template.containers).map(|(run, c)| ContainerSpec {
            name: run.name.clone(),
            image: run.image.clone(),
            argv: run.argv.clone(),
            env: run
                .env
                .iter()
                .map(|(name, value)| EnvVar { name: name.clone(), value: value.clone() })
                .collect(),
            working_dir: run.working_dir.clone(),
            requests: Some(amounts(&c.requests)),
            limits: Some(amounts(&c.limits)),
            mounts: run
                .mounts
                .iter()
                .map(|(volume, mount_path, read_only)| VolumeMount {
                    volume: volume.clone(),
                    mount_path: mount_path.clone(),
                    read_only: *read_only,
                })
                .collect(),
        });
    let volume = |(name, path): &(String, String)| Volume { name: name.clone(), host_path: path.clone() };
    PodSpec {
        uid: uid.to_owned(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: template.labels.clone().into_iter().collect(),
        annotations: template.annotations.clone().into_iter().collect(),
        containers: containers.collect(),
        volumes: definition.run.volumes.iter().map(volume).collect(),
        qos_class: template.qos().as_str().to_owned(),
        restart_policy: definition.run.restart_policy.clone(),
        termination_grace_seconds: definition.run.termination_grace_seconds,
    }
}

fn amounts(resources: &Resources) -> Amounts {
    Amounts { cpu_millis: resources.cpu(), memory_bytes: resources.memory() }
}
