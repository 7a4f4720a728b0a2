//! The table of nodes: snapshots, notice of change, assignments, commands.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use binnacle_proto::node::{
    AssignedPods, Command, CommandResult, NodeEvent, NodeHello, PodSpec, PodStatus, ScrapeTargets, command,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Error, Event, Node};
use crate::Clock;
use crate::selfmetrics::Counters;

/// Most events of nodes that wait to be journaled; further ones are counted as lost.
const MAX_WAITING_EVENTS: usize = 10_000;
/// Most commands that wait to be written to one node.
const MAX_WAITING_COMMANDS: usize = 1_024;
/// Most commands of one node without an answer.
const MAX_OPEN_COMMANDS: usize = 4_096;

/// The receiving end of the nodes' events.
pub type Events = mpsc::Receiver<Event>;

/// A handle on the table of nodes; clones share it.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    clock: Clock,
    counters: Arc<Counters>,
    max_nodes: usize,
    table: Mutex<BTreeMap<String, Entry>>,
    version: watch::Sender<u64>,
    events: mpsc::Sender<Event>,
    receiver: Mutex<Option<Events>>,
    next_command: AtomicU64,
    /// Makes command ids unique over restarts of the server.
    started_ms: i64,
}

#[derive(Default)]
struct Entry {
    node: Node,
    /// What its agent scrapes.
    targets: Arc<ScrapeTargets>,
    /// What the node should run; `None` until somebody decided, which is not the same as nothing.
    assigned: Option<Vec<PodSpec>>,
    link: Option<Link>,
    open: HashMap<String, oneshot::Sender<CommandResult>>,
}

/// The writing end of an open control stream.
struct Link {
    stream: u64,
    commands: mpsc::Sender<Command>,
}

impl Registry {
    pub(crate) fn new(clock: Clock, counters: Arc<Counters>, max_nodes: usize) -> Self {
        let (events, receiver) = mpsc::channel(MAX_WAITING_EVENTS);
        let started_ms = clock.now_ms();
        Self(Arc::new(Inner {
            clock,
            counters,
            max_nodes,
            table: Mutex::default(),
            version: watch::Sender::new(0),
            events,
            receiver: Mutex::new(Some(receiver)),
            next_command: AtomicU64::new(1),
            started_ms,
        }))
    }

    /// A table without a server around it; for tests of what reads it.
    pub fn detached(clock: Clock) -> Self {
        Self::new(clock, Arc::default(), 1_000)
    }

    /// All nodes, by name.
    pub fn snapshot(&self) -> Vec<Node> {
        self.0.table.lock().values().map(|entry| entry.node.clone()).collect()
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<Node> {
        self.0.table.lock().get(name).map(|entry| entry.node.clone())
    }

    /// Is changed on every change of the table.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The events of all nodes; the first caller gets them, later ones get `None`.
    pub fn events(&self) -> Option<Events> {
        self.0.receiver.lock().take()
    }

    /// Sets all that `node` should run. It is sent at once when the node is connected and this
    /// changes something, and whenever it connects. A node for which this was never called is left
    /// alone.
    pub fn assign(&self, node: &str, pods: Vec<PodSpec>) {
        let mut table = self.0.table.lock();
        let entry = table.entry(node.to_owned()).or_insert_with(|| named(node));
        if entry.assigned.as_ref() == Some(&pods) {
            return;
        }
        entry.assigned = Some(pods);
        self.send_assigned(entry);
    }

    /// What `node` should run, when somebody decided.
    pub fn assigned(&self, node: &str) -> Option<Vec<PodSpec>> {
        self.0.table.lock().get(node)?.assigned.clone()
    }

    /// Has a node do something and waits for its result, at most `timeout`, which is the command's
    /// deadline too.
    ///
    /// # Errors
    /// When the node is not connected, does not answer in time, or says that it failed.
    pub async fn command(
        &self,
        node: &str,
        what: command::What,
        timeout: Duration,
    ) -> Result<CommandResult, Error> {
        let timeout_ms = timeout.as_millis() as u64;
        let (answer, answered) = oneshot::channel();
        let id = self.next_id();
        {
            let mut table = self.0.table.lock();
            let not_connected = || Error::NotConnected { node: node.to_owned() };
            let entry = table.get_mut(node).ok_or_else(not_connected)?;
            let link = entry.link.as_ref().ok_or_else(not_connected)?;
            let deadline_ms = self.0.clock.now_ms().saturating_add_unsigned(timeout_ms);
            let command = Command { id: id.clone(), deadline_ms, what: Some(what) };
            let busy = entry.open.len() >= MAX_OPEN_COMMANDS || link.commands.try_send(command).is_err();
            if busy {
                return Err(Error::Busy { node: node.to_owned() });
            }
            entry.open.insert(id.clone(), answer);
        }
        let result = tokio::time::timeout(timeout, answered).await;
        if let Some(entry) = self.0.table.lock().get_mut(node) {
            entry.open.remove(&id);
        }
        self.0.counters.commands.add(1);
        match result {
            Ok(Ok(result)) if result.error.is_empty() && !result.expired => Ok(result),
            Ok(Ok(result)) => {
                self.0.counters.commands_failed.add(1);
                let reason = if result.expired { "the command came too late".into() } else { result.error };
                Err(Error::Failed { node: node.to_owned(), reason })
            }
            Ok(Err(_)) => {
                self.0.counters.commands_failed.add(1);
                Err(Error::NotConnected { node: node.to_owned() })
            }
            Err(_) => {
                self.0.counters.commands_failed.add(1);
                Err(Error::NoAnswer { node: node.to_owned(), id, timeout_ms })
            }
        }
    }

    /// Enters a node whose control stream `stream` has opened; an older stream of it is dropped.
    /// Returns what to write to the stream, or why the node is refused.
    pub(crate) fn connect(
        &self,
        name: &str,
        stream: u64,
        hello: NodeHello,
    ) -> Result<mpsc::Receiver<Command>, String> {
        let (commands, receiver) = mpsc::channel(MAX_WAITING_COMMANDS);
        let mut table = self.0.table.lock();
        if !table.contains_key(name) && table.len() >= self.0.max_nodes {
            return Err(format!("{} nodes are known already (ingest.max_nodes)", table.len()));
        }
        let entry = table.entry(name.to_owned()).or_insert_with(|| named(name));
        let restarted = entry.node.session != hello.session;
        if restarted {
            // A new agent says anew what it has, if it has anything.
            (entry.node.pods, entry.targets) = (None, Arc::default());
        }
        entry.node.capacity = hello.capacity.unwrap_or_default();
        entry.node.labels = hello.labels.into_iter().collect();
        entry.node.connected = true;
        entry.node.last_seen_ms = self.0.clock.now_ms();
        entry.node.runs_pods = hello.runs_pods;
        entry.node.session = hello.session;
        entry.node.agent_version = hello.agent_version;
        entry.node.cgroup_mode = hello.cgroup_mode;
        entry.node.started_ms = hello.started_ms;
        entry.open.clear();
        entry.link = Some(Link { stream, commands });
        self.send_assigned(entry);
        drop(table);
        self.changed();
        Ok(receiver)
    }

    /// Takes a node's report of all its pods.
    pub(crate) fn report_pods(&self, name: &str, stream: u64, pods: Vec<PodStatus>) {
        let changed = self.with_current(name, stream, |entry| {
            let pods = Some(pods);
            let changed = entry.node.pods != pods;
            entry.node.pods = pods;
            changed
        });
        if changed == Some(true) {
            self.changed();
        }
    }

    /// Takes the result of a command.
    pub(crate) fn report_result(&self, name: &str, stream: u64, result: CommandResult) {
        self.with_current(name, stream, |entry| {
            // An answer that nobody waits for any more is of no use.
            if let Some(waiting) = entry.open.remove(&result.id) {
                let _ = waiting.send(result);
            } else if !result.error.is_empty() {
                tracing::warn!(node = name, command = result.id, error = result.error, "a command failed");
            }
        });
    }

    /// Takes what the agent of a node scrapes.
    pub(crate) fn report_targets(&self, name: &str, stream: u64, targets: ScrapeTargets) {
        if targets.left_out > 0 {
            tracing::debug!(node = name, left_out = targets.left_out, "not all targets are reported");
        }
        self.with_current(name, stream, |entry| entry.targets = Arc::new(targets));
    }

    /// What all agents scrape: node, whether it is connected, targets.
    pub(crate) fn targets(&self) -> Vec<(String, bool, Arc<ScrapeTargets>)> {
        let table = self.0.table.lock();
        let of = |entry: &Entry| (entry.node.name.clone(), entry.node.connected, entry.targets.clone());
        table.values().map(of).collect()
    }

    /// Takes an event.
    pub(crate) fn report_event(&self, name: &str, stream: u64, event: NodeEvent) {
        self.with_current(name, stream, |_| ());
        self.0.counters.node_events.add(1);
        if self.0.events.try_send(Event { node: name.to_owned(), event }).is_err() {
            self.0.counters.node_events_lost.add(1);
        }
    }

    /// Notes that a node has spoken.
    pub(crate) fn seen(&self, name: &str) {
        if let Some(entry) = self.0.table.lock().get_mut(name) {
            entry.node.last_seen_ms = self.0.clock.now_ms();
        }
    }

    /// Notes the end of a control stream.
    pub(crate) fn disconnect(&self, name: &str, stream: u64) {
        let current = self.with_current(name, stream, |entry| {
            entry.link = None;
            entry.open.clear();
            entry.node.connected = false;
        });
        if current.is_some() {
            self.changed();
        }
    }

    /// Runs `change` on a node when `stream` is its current one.
    fn with_current<T>(&self, name: &str, stream: u64, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut table = self.0.table.lock();
        let entry = table.get_mut(name)?;
        if entry.link.as_ref().is_none_or(|link| link.stream != stream) {
            return None;
        }
        entry.node.last_seen_ms = self.0.clock.now_ms();
        Some(change(entry))
    }

    fn send_assigned(&self, entry: &mut Entry) {
        let (Some(link), Some(pods)) = (&entry.link, &entry.assigned) else { return };
        let what = command::What::Assigned(AssignedPods { pods: pods.clone() });
        let command = Command { id: self.next_id(), deadline_ms: 0, what: Some(what) };
        if link.commands.try_send(command).is_err() {
            // The stream is stuck: dropping it makes the agent connect anew and get all of it.
            tracing::warn!(node = entry.node.name, "commands do not drain: dropping the control stream");
            entry.link = None;
            entry.node.connected = false;
        }
    }

    fn next_id(&self) -> String {
        format!("{}-{}", self.0.started_ms, self.0.next_command.fetch_add(1, Ordering::Relaxed))
    }

    fn changed(&self) {
        self.0.version.send_modify(|version| *version += 1);
    }
}

fn named(name: &str) -> Entry {
    Entry { node: Node { name: name.to_owned(), ..Node::default() }, ..Entry::default() }
}

#[cfg(test)]
mod tests;
