//! The pods' states as the server sees them, with what the kernel says now.

use std::sync::Arc;

use binnacle_proto::node;

use super::command::read_adj;
use super::{PodEntry, Runtime};
use crate::identity::LOGS_ANNOTATION;
use crate::pods::{AnnotatedPod, LogMount};

impl Runtime {
    /// Shows the states to whoever watches.
    pub(super) fn publish(&mut self, now_ms: i64) {
        for live in self.pods.values_mut().flat_map(|pod| pod.live.values_mut()) {
            if let Ok(Some(bytes)) = live.group.working_set() {
                live.working_set = Some((now_ms, bytes));
            }
        }
        let pods = self.pods.values().map(|pod| self.pod_status(pod, now_ms));
        let statuses: Vec<node::PodStatus> = pods.chain(self.refused.values().cloned()).collect();
        self.inbox.statuses.send_replace(Arc::new(statuses));
        let mounts: Vec<LogMount> = self.pods.values().flat_map(log_mounts).collect();
        self.inbox.log_mounts.send_if_modified(|shown| {
            let changed = **shown != mounts;
            if changed {
                *shown = Arc::new(mounts);
            }
            changed
        });
        let annotated =
            self.pods.values().filter(|entry| !entry.live.is_empty()).map(|entry| &entry.record.pod);
        let annotated: Vec<AnnotatedPod> = annotated
            .filter(|pod| !pod.annotations.is_empty())
            .map(|pod| AnnotatedPod {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                annotations: pod.annotations.clone(),
            })
            .collect();
        self.inbox.annotated.send_if_modified(|shown| {
            let changed = **shown != annotated;
            if changed {
                *shown = Arc::new(annotated);
            }
            changed
        });
    }

    fn pod_status(&self, entry: &PodEntry, now_ms: i64) -> node::PodStatus {
        let record = &entry.record;
        let containers: Vec<node::ContainerStatus> =
            record.pod.containers.iter().map(|c| self.container_status(entry, &c.name)).collect();
        let (phase, reason, message) = phase(entry, &containers, now_ms);
        node::PodStatus {
            uid: record.pod.uid.clone(),
            namespace: record.pod.namespace.clone(),
            name: record.pod.name.clone(),
            phase: phase.to_owned(),
            reason,
            message,
            started_ms: record.started_ms,
            containers,
        }
    }

    fn container_status(&self, entry: &PodEntry, name: &str) -> node::ContainerStatus {
        let record = entry.record.containers.get(name).cloned().unwrap_or_default();
        let mut status = node::ContainerStatus {
            name: name.to_owned(),
            id: record.id,
            restarts: record.run,
            ..Default::default()
        };
        if let Some((live, started)) =
            entry.live.get(name).and_then(|live| Some((live, live.started.as_ref()?)))
        {
            let pid = started.process.pid;
            status.running = true;
            status.ready = entry.ending.is_none();
            status.started_ms = started.started_ms;
            status.pid = pid;
            status.oom_score_adj = read_adj(&self.setup.config.proc_root, pid).unwrap_or(0);
            status.memory_limit_bytes = live.group.memory_limit().ok().flatten().unwrap_or(0);
        } else if let Some(last) = record.last {
            status.started_ms = last.started_ms;
            status.finished_ms = last.finished_ms;
            status.exit_code = last.exit_code;
            status.reason = last.reason;
        }
        status
    }
}

/// Where the pod's containers may write log files.
fn log_mounts(entry: &PodEntry) -> Vec<LogMount> {
    let pod = &entry.record.pod;
    let patterns = pod.annotations.get(LOGS_ANNOTATION).map(String::as_str).unwrap_or_default();
    let patterns = patterns.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
    let patterns: Vec<String> = patterns.map(str::to_owned).collect();
    let mut found = Vec::new();
    for container in &pod.containers {
        for mount in container.mounts.iter().filter(|mount| !mount.read_only) {
            found.push(LogMount {
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                container: container.name.clone(),
                host_path: mount.host_path.clone().into(),
                mount_path: mount.mount_path.clone().into(),
                patterns: patterns.clone(),
                started_ms: entry.record.started_ms,
            });
        }
    }
    found
}

/// Kubernetes' phase of a pod, a short reason and a message.
fn phase(
    entry: &PodEntry,
    containers: &[node::ContainerStatus],
    now_ms: i64,
) -> (&'static str, String, String) {
    let record = &entry.record;
    if !record.evicted.is_empty() {
        let phase = if entry.live.is_empty() { "Failed" } else { "Running" };
        return (phase, "Evicted".to_owned(), record.evicted.clone());
    }
    let last = |name: &str| record.containers.get(name).and_then(|c| c.last.as_ref());
    let waits = |name: &str| record.containers.get(name).is_none_or(|c| !c.launched);
    let waiting = containers.iter().find(|c| waits(&c.name) && last(&c.name).is_some());
    if containers.iter().any(|c| c.running) {
        let reason = waiting.map_or_else(String::new, |_| "CrashLoopBackOff".to_owned());
        return ("Running", reason, String::new());
    }
    if let Some(waiting) = waiting {
        let next_ms = record.containers.get(&waiting.name).map_or(0, |c| c.next_start_ms);
        let seconds = (next_ms - now_ms).max(0) as f64 / 1000.0;
        let why = last(&waiting.name).map(|last| (last.reason.as_str(), last.message.as_str()));
        let (reason, detail) = why.unwrap_or_default();
        let message = format!("{}: {reason} {detail}: starts again in {seconds:.1} s", waiting.name);
        return ("Running", "CrashLoopBackOff".to_owned(), message);
    }
    let ended: Vec<_> = containers.iter().filter_map(|c| last(&c.name)).collect();
    if !entry.live.is_empty() || ended.len() < containers.len() {
        return ("Pending", String::new(), String::new());
    }
    match ended.iter().find(|last| last.exit_code != 0) {
        None => ("Succeeded", String::new(), String::new()),
        Some(failed) => ("Failed", failed.reason.clone(), failed.message.clone()),
    }
}
