//! Names, images and labels of containers that a container engine runs, asked from its runtime
//! interface (`runtime.v1`) over its socket.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::Error;
use crate::agent::Context;
use crate::credentials::reason;
use crate::identity::{Container, Registry, SANDBOX, for_the_agent};
use crate::selfmetrics::{Counter, Gauge};
use crate::{Config, logs};

/// Generated code of `proto/cri.proto`: package `runtime.v1`.
mod v1 {
    #![allow(missing_docs, clippy::all, clippy::unwrap_used)]
    tonic::include_proto!("runtime.v1");
}

use v1::runtime_service_client::RuntimeServiceClient;

/// The engine is asked this often.
const EVERY: Duration = Duration::from_secs(5);

/// It is asked so long after an unknown container was seen: what comes at one time is asked for once.
const SOON: Duration = Duration::from_millis(100);

/// It is asked so soon again when a container is about to start of which log files are read.
const EXPECTED: Duration = Duration::from_millis(500);

/// How long the engine may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Answers larger than this are refused, in bytes: 10,000 containers are about 10 MiB.
const MAX_ANSWER: usize = 32 << 20;

/// Keeps the registry up to date with the engine until shutdown. Without a socket there is nothing to
/// do until one appears.
pub(crate) async fn run(context: Context) -> Result<(), Error> {
    let (registry, socket) = (context.registry.clone(), context.config.cri_socket.clone());
    let errors = context.metrics.counter("binnacle_agent_cri_errors_total", &[]);
    let count = context.metrics.gauge("binnacle_agent_cri_containers", &[]);
    let shutdown = context.shutdown.clone();
    let pids = Pids::new(context.config.clone());
    // Not the whole context: it holds a sender of the uplink.
    drop(context);
    follow(registry, &socket, pids, Numbers { errors, count }, shutdown).await;
    Ok(())
}

struct Numbers {
    errors: Counter,
    count: Gauge,
}

async fn follow(
    registry: Registry,
    socket: &Path,
    mut pids: Pids,
    numbers: Numbers,
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut engine: Option<RuntimeServiceClient<Channel>> = None;
    let mut known = BTreeSet::new();
    let mut failing = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
            () = registry.missed() => tokio::time::sleep(SOON).await,
            () = tokio::time::sleep(EXPECTED), if pids.expecting => {}
        }
        if !socket.exists() {
            engine = None;
            registry.set_complete();
            continue;
        }
        let answer = tokio::select! {
            // An engine that hangs does not hold up the agent's end.
            () = shutdown.cancelled() => return,
            answer = ask(&mut engine, socket, &mut pids) => answer,
        };
        match answer {
            Ok(containers) => {
                failing = false;
                numbers.count.set(containers.len() as f64);
                update(&registry, &mut known, containers);
                registry.set_complete();
            }
            Err(status) => {
                numbers.errors.add(1);
                if !std::mem::replace(&mut failing, true) {
                    let reason = reason(&status);
                    tracing::warn!(socket = %socket.display(), reason, "the container engine does not answer");
                }
                engine = None;
            }
        }
    }
}

/// A client of the socket; connects when first used.
fn connect(socket: &Path) -> Result<RuntimeServiceClient<Channel>, tonic::Status> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .map_err(|e| tonic::Status::invalid_argument(e.to_string()))?;
    let channel = endpoint.timeout(TIMEOUT).connect_timeout(TIMEOUT).connect_lazy();
    Ok(RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER))
}

/// Connects when there is no connection yet, and lists.
async fn ask(
    engine: &mut Option<RuntimeServiceClient<Channel>>,
    socket: &Path,
    pids: &mut Pids,
) -> Result<Vec<Container>, tonic::Status> {
    let client = match engine {
        Some(client) => client,
        None => engine.insert(connect(socket)?),
    };
    list(client, pids).await
}

/// Processes of containers whose file systems are read. The engine is asked for each once.
struct Pids {
    config: Arc<Config>,
    /// `None`: the engine does not tell.
    known: BTreeMap<String, Option<i32>>,
    /// Whether one of them is about to start.
    expecting: bool,
}

impl Pids {
    fn new(config: Arc<Config>) -> Self {
        Self { config, known: BTreeMap::new(), expecting: false }
    }

    /// Finds the processes of those containers that need it; a container's state is by its id.
    async fn fill(
        &mut self,
        client: &mut RuntimeServiceClient<Channel>,
        states: &BTreeMap<String, v1::ContainerState>,
        containers: &mut [Container],
    ) -> Result<(), tonic::Status> {
        let state = |id: &str| states.get(id).copied();
        self.known.retain(|id, _| state(id) == Some(v1::ContainerState::ContainerRunning));
        self.expecting = false;
        for container in containers.iter_mut() {
            if logs::declared(&self.config.logs, container).is_empty() {
                continue;
            }
            match state(&container.id) {
                Some(v1::ContainerState::ContainerCreated) => self.expecting = true,
                Some(v1::ContainerState::ContainerRunning) => {
                    if !self.known.contains_key(&container.id) {
                        let pid = pid(client, &container.id).await?;
                        if pid.is_none() {
                            let id = container.id.as_str();
                            tracing::warn!(id, "the engine names no process: log files inside are not read");
                        }
                        self.known.insert(container.id.clone(), pid);
                    }
                    container.pid = self.known.get(&container.id).copied().flatten();
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first process of a running container; `None` when the engine does not tell.
async fn pid(client: &mut RuntimeServiceClient<Channel>, id: &str) -> Result<Option<i32>, tonic::Status> {
    #[derive(serde::Deserialize)]
    struct Info {
        pid: i32,
    }
    let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let answer = match client.container_status(request).await {
        // It has ended since it was listed.
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(None),
        answer => answer?,
    };
    let info = answer.into_inner().info.remove("info");
    let info: Option<Info> = info.and_then(|info| serde_json::from_str(&info).ok());
    Ok(info.map(|info| info.pid).filter(|pid| *pid > 0))
}

/// Everything the engine has, sandboxes among it.
async fn list(
    client: &mut RuntimeServiceClient<Channel>,
    pids: &mut Pids,
) -> Result<Vec<Container>, tonic::Status> {
    let sandboxes = client.list_pod_sandbox(v1::ListPodSandboxRequest {}).await?.into_inner().items;
    let containers = client.list_containers(v1::ListContainersRequest {}).await?.into_inner().containers;
    let mut pods = BTreeMap::new();
    let mut all = Vec::with_capacity(sandboxes.len() + containers.len());
    for sandbox in sandboxes {
        let metadata = sandbox.metadata.unwrap_or_default();
        let pod = Container {
            id: sandbox.id.clone(),
            namespace: metadata.namespace,
            pod: metadata.name,
            uid: metadata.uid,
            container: SANDBOX.to_owned(),
            name: sandbox.id.clone(),
            labels: sandbox.labels.into_iter().collect(),
            annotations: for_the_agent(&sandbox.annotations),
            started_ms: sandbox.created_at / 1_000_000,
            ..Container::default()
        };
        pods.insert(sandbox.id, pod);
    }
    let mut states = BTreeMap::new();
    for container in containers {
        states.insert(container.id.clone(), container.state());
        // Without its sandbox a container has no pod: the two lists were made at two times.
        let Some(pod) = pods.get(&container.pod_sandbox_id) else { continue };
        let image = container.image.unwrap_or_default();
        let written = [image.user_specified_image, image.image, container.image_ref];
        all.push(Container {
            name: container.id.clone(),
            id: container.id,
            container: container.metadata.unwrap_or_default().name,
            image: written.into_iter().find(|image| !image.is_empty()).unwrap_or_default(),
            started_ms: container.created_at / 1_000_000,
            ..pod.clone()
        });
    }
    pids.fill(client, &states, &mut all).await?;
    all.extend(pods.into_values());
    Ok(all)
}

/// Makes the registry say what the engine said. `known` is what it said before: others fill the
/// registry too.
fn update(registry: &Registry, known: &mut BTreeSet<String>, containers: Vec<Container>) {
    let now: BTreeSet<String> = containers.iter().map(|container| container.id.clone()).collect();
    for id in known.difference(&now) {
        registry.remove(id);
    }
    for container in containers {
        registry.insert(container);
    }
    *known = now;
}

#[cfg(test)]
mod tests;
