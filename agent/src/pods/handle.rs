//! How the rest of the agent speaks with the pod runtime: bounded queues each way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use binnacle_proto::node;
use tokio::sync::{mpsc as events, oneshot, watch};

/// Requests that wait for the runtime at most.
const MAX_REQUESTS: usize = 256;

/// Events that wait for the control stream at most: those of a server that is away for long.
const MAX_EVENTS: usize = 1024;

/// A request's answer: what was read back after the action, or why it was not done.
pub(super) type Answer = Result<String, Refusal>;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// This agent runs no such pod, or no longer.
    #[error("no pod with uid {0:?} was made by this agent")]
    NoPod(String),
    /// The pod has no such container, or it does not run now.
    #[error("pod {pod}: container {container:?} does not run")]
    NotRunning {
        /// `namespace/name`.
        pod: String,
        /// As asked.
        container: String,
    },
    /// The value makes no sense.
    #[error("{0}")]
    Value(String),
    /// The kernel refused.
    #[error("{0}")]
    Kernel(String),
    /// Too many requests wait; ask again later.
    #[error("the pod runtime is busy")]
    Busy,
    /// The agent is ending.
    #[error("the agent is ending")]
    Ending,
}

/// What the runtime is asked for.
pub(super) enum Request {
    Assign { pods: Vec<node::PodSpec>, answer: oneshot::Sender<Answer> },
    SetOomScoreAdj { what: node::SetOomScoreAdj, answer: oneshot::Sender<Answer> },
    SetMemoryLimit { what: node::SetMemoryLimit, answer: oneshot::Sender<Answer> },
    Evict { what: node::EvictPod, answer: oneshot::Sender<Answer> },
}

/// A host path that a container writes to, where its log files may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogMount {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) host_path: PathBuf,
    /// Where the container sees it.
    pub(crate) mount_path: PathBuf,
    /// Which files are logs, as the container sees them, from the annotation `binnacle.io/logs`; `*.log` without.
    pub(crate) patterns: Vec<String>,
    /// When the pod started: older files are not its own.
    pub(crate) started_ms: i64,
}

/// A pod that runs, with what its annotations ask of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnnotatedPod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Asks the runtime for actions, and shows the state of its pods. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: mpsc::SyncSender<Request>,
    statuses: watch::Receiver<Arc<Vec<node::PodStatus>>>,
    log_mounts: watch::Receiver<Arc<Vec<LogMount>>>,
    annotated: watch::Receiver<Arc<Vec<AnnotatedPod>>>,
}

/// The runtime's end of the queues.
pub(crate) struct Inbox {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) statuses: watch::Sender<Arc<Vec<node::PodStatus>>>,
    pub(super) log_mounts: watch::Sender<Arc<Vec<LogMount>>>,
    pub(super) annotated: watch::Sender<Arc<Vec<AnnotatedPod>>>,
    pub(super) events: events::Sender<node::NodeEvent>,
}

#[cfg(test)]
impl Inbox {
    /// An event as the runtime would send it.
    pub(crate) fn emit_for_test(&self, event: node::NodeEvent) {
        self.events.try_send(event).expect("room for an event");
    }

    /// No more requests are taken; statuses and events stay open.
    pub(crate) fn deaf(self) -> impl Sized {
        (self.statuses, self.events)
    }
}

/// Both ends, and the queue of events that the runtime fills.
pub(crate) fn channel() -> (Handle, Inbox, events::Receiver<node::NodeEvent>) {
    let (requests_in, requests) = mpsc::sync_channel(MAX_REQUESTS);
    let (statuses_in, statuses) = watch::channel(Arc::default());
    let (mounts_in, log_mounts) = watch::channel(Arc::default());
    let (annotated_in, annotated) = watch::channel(Arc::default());
    let (events_in, events) = events::channel(MAX_EVENTS);
    let inbox = Inbox {
        requests,
        statuses: statuses_in,
        log_mounts: mounts_in,
        annotated: annotated_in,
        events: events_in,
    };
    (Handle { requests: requests_in, statuses, log_mounts, annotated }, inbox, events)
}

impl Handle {
    /// Makes `pods` the pods of this node: others are stopped, missing ones started. A pod that cannot be
    /// run is reported as failed, and does not hinder the others.
    pub(crate) async fn assign(&self, pods: Vec<node::PodSpec>) -> Answer {
        self.ask(|answer| Request::Assign { pods, answer }).await
    }

    /// Sets `oom_score_adj` of all processes of a container; answers with the first one's, read back.
    pub(crate) async fn set_oom_score_adj(&self, what: node::SetOomScoreAdj) -> Answer {
        self.ask(|answer| Request::SetOomScoreAdj { what, answer }).await
    }

    /// Changes the memory limit of a running container; answers with the limit read back.
    pub(crate) async fn set_memory_limit(&self, what: node::SetMemoryLimit) -> Answer {
        self.ask(|answer| Request::SetMemoryLimit { what, answer }).await
    }

    /// Ends a pod for good; its status stays until the server no longer lists it.
    pub(crate) async fn evict(&self, what: node::EvictPod) -> Answer {
        self.ask(|answer| Request::Evict { what, answer }).await
    }

    /// The pods' states; marked as changed on every change and every 10 s.
    pub(crate) fn statuses(&self) -> watch::Receiver<Arc<Vec<node::PodStatus>>> {
        self.statuses.clone()
    }

    /// Host paths that the pods' containers write to.
    pub(crate) fn log_mounts(&self) -> Arc<Vec<LogMount>> {
        self.log_mounts.borrow().clone()
    }

    /// Pods that run and have annotations; marked as changed when they change.
    pub(crate) fn annotated(&self) -> watch::Receiver<Arc<Vec<AnnotatedPod>>> {
        self.annotated.clone()
    }

    async fn ask(&self, request: impl FnOnce(oneshot::Sender<Answer>) -> Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|e| match e {
            mpsc::TrySendError::Full(_) => Refusal::Busy,
            mpsc::TrySendError::Disconnected(_) => Refusal::Ending,
        })?;
        answered.await.unwrap_or(Err(Refusal::Ending))
    }
}
