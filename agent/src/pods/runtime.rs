//! The thread that owns all pods: it brings what runs towards what the server assigned.

mod command;

mod exit;
mod launch;
mod share;
mod status;
mod stop;
mod sweep;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use binnacle_proto::node;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio_util::sync::CancellationToken;

use super::cgroup::{Group, Tree};
use super::handle::{Inbox, Request};
use super::spec::{Amounts, Container, Pod, Qos};
use super::state::{ContainerRecord, PodRecord, Started, StateDir};
use crate::identity::Registry;
use crate::selfmetrics::SelfMetrics;
use crate::{Config, Error, OnExit, clock};
pub(super) use launch::ShimCommand;
use sweep::Sweep;

/// Pause between two looks at the pods while nothing moves.
const CALM: Duration = Duration::from_millis(250);

/// The same while a container starts or a pod ends.
const BUSY: Duration = Duration::from_millis(20);

/// Time between two looks for OOM kills, in ms.
const OOM_EVERY_MS: i64 = 1000;

/// Time between two statuses when nothing changes, in ms.
const STATUS_EVERY_MS: i64 = 10_000;

/// What the runtime is given.
pub(super) struct Setup {
    pub(super) config: Arc<Config>,
    pub(super) tree: Tree,
    pub(super) registry: Registry,
    pub(super) metrics: SelfMetrics,
    pub(super) shutdown: CancellationToken,
    pub(super) shim: ShimCommand,
}

/// All pods of this node and what is needed to run them.
pub(super) struct Runtime {
    setup: Setup,
    capacity: Amounts,
    /// What all pods together are held to, where the configuration says the node's capacity.
    limits_node: Option<Amounts>,
    /// How long the cgroup of a container stays that the kernel killed: the collector shall see the kill.
    linger_ms: i64,
    state: StateDir,
    sweep: Sweep,
    inbox: Inbox,

    /// What the server wants, by uid. `None` until it said so: then pods found go on.
    desired: Option<BTreeMap<String, Pod>>,
    /// Pods that cannot be run, by uid.
    refused: BTreeMap<String, node::PodStatus>,
    pods: BTreeMap<String, PodEntry>,
    /// Cgroups of containers that ended, to be removed from then on (ms).
    trash: Vec<(i64, Group)>,
    /// Whether a status is to be sent at once.
    changed: bool,
    next_status_ms: i64,
    next_oom_ms: i64,
}

/// One pod.
struct PodEntry {
    record: PodRecord,
    /// `Some` when it is ending.
    ending: Option<Ending>,
    /// Containers whose shim lives.
    live: BTreeMap<String, Live>,
}

/// Why and how a pod ends.
#[derive(Debug, Clone, Copy)]
struct Ending {
    /// Whether it is forgotten at the end, or its status stays.
    forget: bool,
    /// When what is left is killed, in ms.
    kill_ms: i64,
}

/// A container whose shim lives.
struct Live {
    id: String,
    group: Group,
    /// `None` when an earlier agent started it.
    child: Option<Child>,
    /// Readable when the shim has ended. Without it the shim's lock tells.
    shim: Option<OwnedFd>,
    /// `None` until the shim has said so.
    started: Option<Started>,
    term_sent: bool,
    oom_kills: u64,
    /// When it was last read (ms), and the working set in bytes.
    working_set: Option<(i64, u64)>,
}

impl PodEntry {
    fn container(&self, name: &str) -> Option<&Container> {
        self.record.pod.containers.iter().find(|container| container.name == name)
    }

    fn of(&mut self, container: &str) -> &mut ContainerRecord {
        self.record.containers.entry(container.to_owned()).or_default()
    }

    fn full_name(&self) -> String {
        format!("{}/{}", self.record.pod.namespace, self.record.pod.name)
    }
}

/// Where a pod's cgroup is, below the node's.
fn pod_cgroup(pod: &Pod) -> String {
    match pod.qos {
        Qos::Guaranteed => format!("kubepods/pod{}", pod.uid),
        Qos::Burstable => format!("kubepods/burstable/pod{}", pod.uid),
        Qos::BestEffort => format!("kubepods/besteffort/pod{}", pod.uid),
    }
}

impl Runtime {
    /// Finds the pods that an earlier agent started.
    pub(super) fn open(setup: Setup, inbox: Inbox) -> Result<Self, Error> {
        let config = &setup.config;
        let io = |e| Error::io(&config.state_dir, e);
        let said = config.capacity.cpu_millis.is_some() || config.capacity.memory_bytes.is_some();
        let given = Amounts {
            cpu_millis: config.capacity.cpu_millis.unwrap_or(0),
            memory_bytes: config.capacity.memory_bytes.unwrap_or(0),
        };
        let mut runtime = Self {
            capacity: super::capacity(config),
            limits_node: (said && config.pods.enforce_capacity).then_some(given),
            linger_ms: config.interval.as_millis() as i64 * 3 / 2 + 1000,
            state: StateDir::open(&config.state_dir).map_err(io)?,
            sweep: Sweep::open(&config.state_dir, &config.pod_log_dir, config.pods.log_keep).map_err(io)?,
            setup,
            inbox,
            desired: None,
            refused: BTreeMap::new(),
            pods: BTreeMap::new(),
            trash: Vec::new(),
            changed: true,
            next_status_ms: 0,
            next_oom_ms: 0,
        };
        let state_dir = runtime.setup.config.state_dir.clone();
        runtime.adopt().map_err(|e| Error::io(&state_dir, e))?;
        Ok(runtime)
    }

    /// Works until shutdown.
    pub(super) fn work(mut self) -> Result<(), Error> {
        loop {
            if self.setup.shutdown.is_cancelled() {
                if self.setup.config.on_exit == OnExit::StopPods {
                    self.stop_all();
                }
                return Ok(());
            }
            let now_ms = clock::now_ms();
            let pause = self.step(now_ms);
            match self.inbox.requests.recv_timeout(pause) {
                Ok(request) => self.handle(request, clock::now_ms()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.pass_time(pause),
            }
        }
    }

    /// Without anybody who could ask, time passes all the same.
    fn pass_time(&self, pause: Duration) {
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(pause);
    }

    fn handle(&mut self, request: Request, now_ms: i64) {
        let (answer, to) = match request {
            Request::Assign { pods, answer } => (self.assign(pods), answer),
            Request::SetOomScoreAdj { what, answer } => (self.set_oom_score_adj(&what), answer),
            Request::SetMemoryLimit { what, answer } => (self.set_memory_limit(&what), answer),
            Request::Evict { what, answer } => (self.evict(&what, now_ms), answer),
        };
        // Who asked may have gone: the stream was cut.
        let _ = to.send(answer);
    }

    /// One look at everything. Returns how long may pass until the next.
    fn step(&mut self, now_ms: i64) -> Duration {
        self.reconcile(now_ms);
        self.start_due(now_ms);
        self.read_started(now_ms);
        self.find_ended(now_ms);
        self.end_pods(now_ms);
        self.take_out_trash(now_ms);
        if now_ms >= self.next_oom_ms {
            self.next_oom_ms = now_ms + OOM_EVERY_MS;
            self.look_for_oom_kills(now_ms);
        }
        self.sweep.run(now_ms);
        if self.changed || now_ms >= self.next_status_ms {
            self.changed = false;
            self.next_status_ms = now_ms + STATUS_EVERY_MS;
            self.publish(now_ms);
        }
        let moving = |pod: &PodEntry| pod.ending.is_some() && !pod.live.is_empty();
        let starting = |pod: &PodEntry| pod.live.values().any(|live| live.started.is_none());
        if self.pods.values().any(|pod| moving(pod) || starting(pod)) { BUSY } else { CALM }
    }

    /// Takes up assigned pods that are missing, and ends those that are not assigned.
    fn reconcile(&mut self, now_ms: i64) {
        let Some(desired) = &self.desired else { return };
        let missing: Vec<Pod> = desired
            .iter()
            .filter(|(uid, _)| !self.pods.contains_key(*uid))
            .map(|(_, pod)| pod.clone())
            .collect();
        let gone: Vec<String> = self.pods.keys().filter(|uid| !desired.contains_key(*uid)).cloned().collect();
        for pod in missing {
            tracing::info!(namespace = %pod.namespace, pod = %pod.name, uid = %pod.uid, "pod is taken up");
            let record =
                PodRecord { pod, started_ms: now_ms, evicted: String::new(), containers: BTreeMap::new() };
            let uid = record.pod.uid.clone();
            self.save(&record);
            self.pods.insert(uid, PodEntry { record, ending: None, live: BTreeMap::new() });
            self.changed = true;
        }
        for uid in gone {
            if let Some(pod) = self.pods.get_mut(&uid) {
                pod.forget_after(now_ms);
                self.changed = true;
            }
        }
    }

    /// Finds containers whose shim has ended, with one system call for all.
    fn find_ended(&mut self, now_ms: i64) {
        let mut who: Vec<(String, String)> = Vec::new();
        let mut ended: Vec<(String, String)> = Vec::new();
        let mut fds = Vec::new();
        for (uid, pod) in &self.pods {
            for (name, live) in &pod.live {
                let key = (uid.clone(), name.clone());
                match &live.shim {
                    Some(fd) => {
                        who.push(key);
                        fds.push(PollFd::new(fd, PollFlags::IN));
                    }
                    None => {
                        let run = pod.record.containers.get(name).map_or(0, |record| record.run);
                        if !launch::shim_lives(&self.state.run(uid, name, run)) {
                            ended.push(key);
                        }
                    }
                }
            }
        }
        if !fds.is_empty() {
            match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok(_) => {
                    let ready = fds.iter().map(|fd| !fd.revents().is_empty());
                    ended.extend(who.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(key, _)| key));
                }
                Err(e) => tracing::warn!(error = %e, "shims could not be polled"),
            }
        }
        for (uid, name) in ended {
            self.container_ended(&uid, &name, now_ms);
        }
    }

    /// Writes a pod's record. What cannot be written is not known to the next agent: that is said, and the
    /// pod goes on.
    fn save(&self, record: &PodRecord) {
        if let Err(e) = self.state.save(record) {
            tracing::error!(uid = %record.pod.uid, error = %e, "pod record could not be written");
        }
    }

    fn save_pod(&self, uid: &str) {
        if let Some(pod) = self.pods.get(uid) {
            self.save(&pod.record);
        }
    }

    fn emit(&self, event: node::NodeEvent) {
        if self.inbox.events.try_send(event).is_err() {
            self.setup.metrics.lost("events", "queue_full", 1);
        }
    }
}

#[cfg(test)]
mod tests;
