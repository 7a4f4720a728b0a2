//! Ends pods: `SIGTERM`, a time of grace, `SIGKILL` to the whole cgroup, then their cgroups go.

use std::sync::mpsc::RecvTimeoutError;

use super::{BUSY, Ending, Live, PodEntry, Runtime, pod_cgroup};
use crate::clock;

impl PodEntry {
    /// Begins the end of the pod; asking again can only bring the kill forward.
    pub(super) fn end(&mut self, forget: bool, kill_ms: i64) {
        let forget = forget || self.ending.is_some_and(|ending| ending.forget);
        let kill_ms = self.ending.map_or(kill_ms, |ending| ending.kill_ms.min(kill_ms));
        self.ending = Some(Ending { forget, kill_ms });
    }

    /// Ends the pod with its own time of grace and forgets it then.
    pub(super) fn forget_after(&mut self, now_ms: i64) {
        if self.ending.is_some_and(|ending| ending.forget) {
            return;
        }
        self.end(true, now_ms + i64::from(self.record.pod.grace_seconds) * 1000);
    }
}

impl Runtime {
    /// Drives pods that are ending.
    pub(super) fn end_pods(&mut self, now_ms: i64) {
        let mut over = Vec::new();
        for (uid, pod) in &mut self.pods {
            let Some(ending) = pod.ending else { continue };
            for live in pod.live.values_mut() {
                press(live, now_ms >= ending.kill_ms);
            }
            if pod.live.is_empty() && ending.forget {
                over.push(uid.clone());
            }
        }
        for uid in over {
            self.forget(&uid, now_ms);
        }
    }

    fn forget(&mut self, uid: &str, now_ms: i64) {
        let Some(entry) = self.pods.remove(uid) else { return };
        self.changed = true;
        let pod = &entry.record.pod;
        tracing::info!(namespace = %pod.namespace, pod = %pod.name, uid, "pod is gone");
        self.trash.push((now_ms, self.setup.tree.group(&pod_cgroup(pod))));
        let logs = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
        if let Err(e) = self.sweep.bury(&logs, now_ms) {
            tracing::warn!(error = %e, logs, "log files of a pod will not be removed");
        }
        if let Err(e) = self.state.forget(uid) {
            tracing::error!(error = %e, uid, "state of a pod was not removed");
        }
    }

    /// Removes cgroups of containers and pods that ended. One that is still busy is tried again.
    pub(super) fn take_out_trash(&mut self, now_ms: i64) {
        let trash = std::mem::take(&mut self.trash);
        for (from_ms, group) in trash {
            if from_ms > now_ms {
                self.trash.push((from_ms, group));
                continue;
            }
            // Processes of a pod's cgroup that belong to no container can only be stray ones.
            let stray = group.kill();
            if let (Ok(0), Ok(())) = (stray, group.remove()) {
                self.setup.registry.remove(&group.name());
            } else {
                self.trash.push((from_ms, group));
            }
        }
    }

    /// Stops every pod and removes the cgroups that were made, within the time set for it.
    pub(super) fn stop_all(&mut self) {
        let begin_ms = clock::now_ms();
        let end_ms = begin_ms + self.setup.config.pods.stop_timeout.as_millis() as i64;
        self.desired = Some(Default::default());
        self.linger_ms = 0;
        for pod in self.pods.values_mut() {
            pod.forget_after(begin_ms);
            // A second is kept for the kill and for the kernel to take the cgroups down.
            pod.end(true, end_ms - 1000);
        }
        loop {
            let now_ms = clock::now_ms();
            for (from_ms, _) in &mut self.trash {
                *from_ms = now_ms;
            }
            self.step(now_ms);
            if (self.pods.is_empty() && self.trash.is_empty()) || now_ms >= end_ms {
                break;
            }
            match self.inbox.requests.recv_timeout(BUSY) {
                // Dropped without an answer: who asked learns that the agent is ending.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.pass_time(BUSY),
            }
        }
        for pod in self.pods.values() {
            tracing::error!(pod = pod.full_name(), "pod did not end in time");
        }
        for name in ["kubepods/burstable", "kubepods/besteffort", "kubepods"] {
            for dir in self.setup.tree.group(name).dirs() {
                // Not empty: not ours alone.
                let _ = std::fs::remove_dir(dir);
            }
        }
        for dir in self.state.parents().iter().rev() {
            let _ = std::fs::remove_dir(dir);
        }
        self.publish(clock::now_ms());
    }
}

/// Asks a container to end, or makes it.
fn press(live: &mut Live, kill: bool) {
    if kill {
        if let Err(e) = live.group.kill() {
            tracing::warn!(error = %e, "cgroup could not be killed");
        }
        return;
    }
    if let (false, Some(started)) = (live.term_sent, &live.started) {
        live.term_sent = true;
        // SAFETY: a plain system call on numbers; the shim, which lives, has not reaped this process unless
        // it is about to end itself.
        unsafe { libc::kill(started.process.pid, libc::SIGTERM) };
    }
}
