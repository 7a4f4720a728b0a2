//! What to do before the kernel must kill.

use serde::Serialize;

use super::score::Outlook;
use super::{Assessment, Config, Subject};

/// How much a limit is raised at a time, as a share of the limit in force.
const RAISE_SHARE: f64 = 0.25;

/// One measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rescue {
    /// Give a container more room in place.
    RaiseLimit {
        /// UID of the pod.
        uid: String,
        /// The container.
        container: String,
        /// The limit in force.
        from_bytes: u64,
        /// The new limit.
        to_bytes: u64,
        /// Why this.
        reason: String,
    },
    /// End a pod in an orderly way.
    Evict {
        /// UID of the pod.
        uid: String,
        /// The container that runs out.
        container: String,
        /// Why this.
        reason: String,
        /// The others that were weighed, the next best first: `namespace/pod/container`.
        alternatives: Vec<String>,
    },
}

fn imminent(time_to_oom_s: Option<f64>, probability: f64, config: &Config) -> bool {
    probability >= config.rescue_probability
        && time_to_oom_s.is_some_and(|seconds| seconds * 1000.0 <= config.rescue_ms as f64)
}

/// `containers` is sorted, the first to go first.
pub(super) fn choose(
    capacity: u64,
    subjects: &[Subject],
    containers: &[Assessment],
    outlook: &Outlook,
    config: &Config,
) -> Vec<Rescue> {
    let subject_of = |a: &Assessment| subjects.iter().find(|s| s.uid == a.uid && s.container == a.container);
    let used: f64 = containers.iter().filter_map(|c| c.working_set_bytes).sum();
    // Room is what neither is used nor promised to somebody by a request.
    let promised: f64 = containers
        .iter()
        .filter_map(|c| Some(subject_of(c)?.request_bytes as f64 - c.working_set_bytes.unwrap_or(0.0)))
        .filter(|gap| *gap > 0.0)
        .sum();
    let mut room = (capacity as f64 - used - promised).max(0.0);
    let mut rescues = Vec::new();
    for c in containers {
        let Some(subject) = subject_of(c) else { continue };
        let (Some(limit), true) = (c.limit_bytes, imminent(c.time_to_oom_s, c.probability, config)) else {
            continue;
        };
        let wanted = (limit as f64 * (1.0 + RAISE_SHARE)) as u64;
        let allowed = subject.max_bytes.map_or(0, |max| max.min(wanted));
        let soon = c.time_to_oom_s.unwrap_or(0.0);
        if allowed > limit && (allowed - limit) as f64 <= room {
            room -= (allowed - limit) as f64;
            rescues.push(Rescue::RaiseLimit {
                uid: c.uid.clone(),
                container: c.container.clone(),
                from_bytes: limit,
                to_bytes: allowed,
                reason: format!(
                    "the limit is reached in {soon:.1} s, the pod allows more and the node has room"
                ),
            });
        } else if config.evict && subject.evictable {
            // Only its own end frees memory under its own limit.
            rescues.push(Rescue::Evict {
                uid: c.uid.clone(),
                container: c.container.clone(),
                reason: format!("the memory limit of {limit} bytes is reached in {soon:.1} s"),
                alternatives: Vec::new(),
            });
        }
    }
    if rescues.is_empty() && config.evict && imminent(outlook.time_to_oom_s, outlook.probability, config) {
        let mut candidates =
            containers.iter().filter(|c| c.score > 0.0 && subject_of(c).is_some_and(|s| s.evictable));
        if let Some(victim) = candidates.next() {
            rescues.push(Rescue::Evict {
                uid: victim.uid.clone(),
                container: victim.container.clone(),
                reason: format!(
                    "the node's memory is used up in {:.1} s and this pod scores highest",
                    outlook.time_to_oom_s.unwrap_or(0.0)
                ),
                alternatives: candidates
                    .take(5)
                    .map(|c| format!("{}/{}/{}", c.namespace, c.pod, c.container))
                    .collect(),
            });
        }
    }
    rescues
}
