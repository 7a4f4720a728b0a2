//! What happens when a container ends: its status, whether the kernel killed it, when it starts again.

use std::collections::HashMap;

use binnacle_proto::node;

use super::Runtime;
use crate::durable;
use crate::pods::cgroup::Group;
use crate::pods::state::{Ended, LastRun};

/// Exit status of a container whose shim was killed: nobody saw the real one.
const UNKNOWN_EXIT: i32 = 255;

/// Exit status of what `SIGKILL` ended.
const KILLED_EXIT: i32 = 137;

impl Runtime {
    /// Takes note of the end of a container's shim.
    pub(super) fn container_ended(&mut self, uid: &str, name: &str, now_ms: i64) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let Some(mut live) = entry.live.remove(name) else { return };
        if let Some(child) = &mut live.child {
            // It has ended: this only clears it from the process table.
            let _ = child.wait();
        }
        let run = entry.of(name).run;
        let path = self.state.run(uid, name, run).join("ended.json");
        let ended = match durable::load::<Ended>(&path) {
            Ok(Some(ended)) => ended,
            other => {
                let why = other.err().map_or_else(|| "its shim was killed".to_owned(), |e| e.to_string());
                Ended { exit_code: UNKNOWN_EXIT, error: why, finished_ms: now_ms, log_bytes_lost: 0 }
            }
        };
        if ended.log_bytes_lost > 0 {
            self.setup.metrics.lost("pod_log_bytes", "write_error", ended.log_bytes_lost);
        }
        let kills = live.group.oom_kills().unwrap_or(live.oom_kills);
        let fresh_kills = kills.saturating_sub(live.oom_kills);
        let oom_killed = kills > 0 && ended.exit_code == KILLED_EXIT;
        if fresh_kills > 0 {
            self.report_oom(uid, name, &live.group, live.working_set, fresh_kills);
        }
        // Nothing may outlive the container, not even what its shim did not find.
        if let Err(e) = live.group.kill() {
            tracing::warn!(error = %e, "cgroup of an ended container could not be emptied");
        }
        let linger_ms = if kills > 0 { self.linger_ms } else { 0 };
        self.trash.push((now_ms + linger_ms, live.group.clone()));
        if linger_ms == 0 {
            self.setup.registry.remove(&live.id);
        }
        let reason = match ended.exit_code {
            _ if oom_killed => "OOMKilled",
            0 => "Completed",
            _ if live.started.is_none() && !ended.error.is_empty() => "StartError",
            _ => "Error",
        };
        let last = LastRun {
            started_ms: live.started.as_ref().map_or(0, |started| started.started_ms),
            exit_code: ended.exit_code,
            finished_ms: ended.finished_ms,
            reason: reason.to_owned(),
            message: ended.error,
        };
        self.conclude(uid, name, last, now_ms);
    }

    /// Records the end of a run and decides about the next.
    pub(super) fn conclude(&mut self, uid: &str, name: &str, last: LastRun, now_ms: i64) {
        let settings = self.setup.config.pods;
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let restarts = entry.ending.is_none() && entry.record.pod.restart.restarts(last.exit_code == 0);
        let pod = entry.full_name();
        let record = entry.of(name);
        tracing::info!(
            pod, container = name, run = record.run, exit_code = last.exit_code, reason = %last.reason,
            message = %last.message, restarts, "container ended"
        );
        let ran_ms = if last.started_ms > 0 { last.finished_ms - last.started_ms } else { 0 };
        record.last = Some(last);
        if restarts {
            let min_ms = settings.backoff_min.as_millis() as u64;
            let max_ms = settings.backoff_max.as_millis() as u64;
            if ran_ms >= settings.backoff_reset.as_millis() as i64 {
                record.backoff_ms = 0;
            }
            record.next_start_ms = now_ms + record.backoff_ms as i64;
            record.backoff_ms = (record.backoff_ms * 2).clamp(min_ms, max_ms);
            record.run += 1;
            record.launched = false;
        } else {
            record.finished = true;
        }
        self.save_pod(uid);
        self.changed = true;
    }

    /// Looks for processes that the kernel killed while their container goes on.
    pub(super) fn look_for_oom_kills(&mut self, _now_ms: i64) {
        let mut found = Vec::new();
        for (uid, pod) in &self.pods {
            for (name, live) in &pod.live {
                match live.group.oom_kills() {
                    Ok(kills) if kills > live.oom_kills => found.push((uid.clone(), name.clone(), kills)),
                    Ok(_) => {}
                    Err(e) if e.is_gone() => {}
                    Err(e) => tracing::warn!(error = %e, "OOM kills could not be read"),
                }
            }
        }
        for (uid, name, kills) in found {
            let Some(entry) = self.pods.get_mut(&uid) else { continue };
            entry.of(&name).oom_kills_seen = kills;
            let Some(live) = entry.live.get_mut(&name) else { continue };
            let fresh = kills - live.oom_kills;
            live.oom_kills = kills;
            let (group, working_set) = (live.group.clone(), live.working_set);
            self.save_pod(&uid);
            self.report_oom(&uid, &name, &group, working_set, fresh);
        }
    }

    /// Tells the server that the kernel killed processes of a container: one event for what was found at once.
    fn report_oom(&self, uid: &str, name: &str, group: &Group, working_set: Option<(i64, u64)>, kills: u64) {
        let Some(entry) = self.pods.get(uid) else { return };
        let pod = &entry.record.pod;
        let now_ms = crate::clock::now_ms();
        let limit = group.memory_limit().ok().flatten();
        let peak = group.memory_peak().ok().flatten();
        let mut fields = HashMap::from([
            ("uid".to_owned(), uid.to_owned()),
            ("oom_kills".to_owned(), kills.to_string()),
            ("restarts".to_owned(), entry.record.containers.get(name).map_or(0, |c| c.run).to_string()),
        ]);
        let mut put = |key: &str, value: Option<u64>| {
            if let Some(value) = value {
                fields.insert(key.to_owned(), value.to_string());
            }
        };
        put("memory_limit_bytes", limit);
        put("memory_peak_bytes", peak);
        put("working_set_bytes", working_set.map(|(_, bytes)| bytes));
        put("working_set_age_ms", working_set.map(|(at_ms, _)| now_ms.saturating_sub(at_ms) as u64));
        let limit = limit.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
        let message = format!("the kernel killed {kills} process(es) of {name}: memory limit {limit} bytes");
        tracing::warn!(pod = entry.full_name(), container = name, kills, "OOM kill");
        let metric = [("namespace", pod.namespace.as_str()), ("pod", &pod.name), ("container", name)];
        self.setup.metrics.counter("binnacle_agent_oom_kills_total", &metric).add(kills);
        self.emit(node::NodeEvent {
            time_ms: now_ms,
            reason: "OOMKilled".to_owned(),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            container: name.to_owned(),
            message,
            fields,
        });
    }
}
