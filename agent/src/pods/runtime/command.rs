//! What the server asks for: each action ends with what the kernel says afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use binnacle_proto::node;

use super::{Live, PodEntry, Runtime, pod_cgroup};
use crate::pods::Refusal;
use crate::pods::handle::Answer;
use crate::pods::spec::Pod;

/// Rounds of writing `oom_score_adj` until no process is new: a container that forks all the time.
const ADJUST_ROUNDS: usize = 5;

impl Runtime {
    /// Replaces the set of pods that this node is to run.
    pub(super) fn assign(&mut self, pods: Vec<node::PodSpec>) -> Answer {
        let mut desired = BTreeMap::new();
        let mut refused = BTreeMap::new();
        for spec in pods {
            let (uid, namespace, name) = (spec.uid.clone(), spec.namespace.clone(), spec.name.clone());
            match Pod::try_from(spec) {
                Ok(pod) => {
                    desired.insert(uid, pod);
                }
                Err(problem) => {
                    if !self.refused.contains_key(&uid) {
                        tracing::warn!(%problem, "pod is refused");
                    }
                    let status = node::PodStatus {
                        uid: uid.clone(),
                        namespace,
                        name,
                        phase: "Failed".to_owned(),
                        reason: "InvalidPod".to_owned(),
                        message: problem.to_string(),
                        ..Default::default()
                    };
                    refused.insert(uid, status);
                }
            }
        }
        let observed = format!("{} pods, {} refused", desired.len(), refused.len());
        self.changed |= self.refused != refused;
        self.refused = refused;
        self.desired = Some(desired);
        Ok(observed)
    }

    /// Sets `oom_score_adj` of all processes of a container.
    pub(super) fn set_oom_score_adj(&mut self, what: &node::SetOomScoreAdj) -> Answer {
        if !(-1000..=1000).contains(&what.value) {
            return Err(Refusal::Value(format!(
                "oom_score_adj {} is not between -1000 and 1000",
                what.value
            )));
        }
        let proc_root = self.setup.config.proc_root.clone();
        let (_, live) = self.running(&what.pod_uid, &what.container)?;
        let first = live.started.as_ref().map_or(0, |started| started.process.pid);
        for _ in 0..ADJUST_ROUNDS {
            let pids = live.group.processes().map_err(|e| Refusal::Kernel(e.to_string()))?;
            let mut set = 0;
            for pid in pids {
                if read_adj(&proc_root, pid) == Some(what.value) {
                    continue;
                }
                let path = proc_root.join(pid.to_string()).join("oom_score_adj");
                match fs::write(&path, what.value.to_string()) {
                    Ok(()) => set += 1,
                    // It has ended meanwhile.
                    Err(_) if !path.exists() => {}
                    Err(e) => return Err(Refusal::Kernel(format!("{}: {e}", path.display()))),
                }
            }
            if set == 0 {
                break;
            }
        }
        self.changed = true;
        match read_adj(&proc_root, first) {
            Some(value) => Ok(value.to_string()),
            None => Err(Refusal::Kernel(format!("process {first} ended"))),
        }
    }

    /// Changes the memory limit of a running container, and of its pod where that has one.
    pub(super) fn set_memory_limit(&mut self, what: &node::SetMemoryLimit) -> Answer {
        let kernel = |e: crate::pods::cgroup::Error| Refusal::Kernel(e.to_string());
        if what.bytes == 0 {
            return Err(Refusal::Value("a memory limit of 0 bytes".to_owned()));
        }
        let tree = self.setup.tree.clone();
        let (entry, live) = self.running(&what.pod_uid, &what.container)?;
        let used = live.group.working_set().map_err(kernel)?.unwrap_or(0);
        if what.bytes < used {
            let problem = format!("a limit of {} bytes is less than the {used} in use", what.bytes);
            return Err(Refusal::Value(problem));
        }
        let pod = tree.group(&pod_cgroup(&entry.record.pod));
        let old = live.group.memory_limit().map_err(kernel)?;
        let old_pod = pod.memory_limit().map_err(kernel)?;
        let new_pod = match (old_pod, old) {
            (Some(of_pod), Some(old)) => Some(of_pod.saturating_sub(old) + what.bytes),
            (Some(of_pod), None) => Some(of_pod.max(what.bytes)),
            (None, _) => None,
        };
        // The pod is never tighter than its containers, not even for a moment.
        if let Some(bytes) = new_pod.filter(|bytes| Some(*bytes) > old_pod) {
            pod.set_memory_limit(bytes).map_err(kernel)?;
        }
        live.group.set_memory_limit(what.bytes).map_err(kernel)?;
        if let Some(bytes) = new_pod.filter(|bytes| Some(*bytes) < old_pod) {
            pod.set_memory_limit(bytes).map_err(kernel)?;
        }
        let observed = live.group.memory_limit().map_err(kernel)?.unwrap_or(0);
        self.changed = true;
        Ok(observed.to_string())
    }

    /// Ends a pod for good. Asking twice is answered alike.
    pub(super) fn evict(&mut self, what: &node::EvictPod, now_ms: i64) -> Answer {
        let Some(entry) = self.pods.get_mut(&what.pod_uid) else {
            return Err(Refusal::NoPod(what.pod_uid.clone()));
        };
        if entry.record.evicted.is_empty() {
            let reason = if what.reason.is_empty() { "evicted by the server" } else { &what.reason };
            entry.record.evicted = reason.to_owned();
            tracing::warn!(pod = entry.full_name(), reason, "pod is evicted");
            entry.end(false, now_ms + i64::from(what.grace_seconds) * 1000);
            self.save_pod(&what.pod_uid);
            self.changed = true;
        }
        Ok("evicted".to_owned())
    }

    fn running(&mut self, uid: &str, container: &str) -> Result<(&PodEntry, &Live), Refusal> {
        let Some(entry) = self.pods.get(uid) else { return Err(Refusal::NoPod(uid.to_owned())) };
        match entry.live.get(container) {
            Some(live) if live.started.is_some() => Ok((entry, live)),
            _ => Err(Refusal::NotRunning { pod: entry.full_name(), container: container.to_owned() }),
        }
    }
}

/// What `/proc/PID/oom_score_adj` says; `None` when there is no such process.
pub(super) fn read_adj(proc_root: &Path, pid: i32) -> Option<i32> {
    let path = proc_root.join(pid.to_string()).join("oom_score_adj");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
