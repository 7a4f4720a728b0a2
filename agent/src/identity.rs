//! Which pod and container a cgroup, a process or a log file belongs to.

mod path;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;

pub(crate) use path::{Place, place};

/// The name of a pod's sandbox where a container's stands, as cAdvisor has it.
pub(crate) const SANDBOX: &str = "POD";

/// Says which files a pod's containers write are logs: paths as the containers see them, with `*`, separated by commas.
pub(crate) const LOGS_ANNOTATION: &str = "binnacle.io/logs";

/// How the names of annotations begin that are for the agent.
const ANNOTATION_PREFIX: &str = "binnacle.io/";

/// Who a container is. The sandbox of a pod is called [`SANDBOX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Container {
    /// Identity of this run: 64 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// The pod's uid.
    pub(crate) uid: String,
    pub(crate) container: String,
    pub(crate) image: String,
    /// What the engine calls it; the id where it has no other name.
    pub(crate) name: String,
    /// The pod's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The pod's annotations that are for the agent.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Where it sees volumes whose log files are read on the node.
    pub(crate) volumes: Vec<PathBuf>,
    /// When this run started; 0 when not known.
    pub(crate) started_ms: i64,
    /// A process of the container, in the node's PID namespace.
    pub(crate) pid: Option<i32>,
}

/// Those of a pod's annotations that are for the agent.
pub(crate) fn for_the_agent<'a>(
    annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let annotations = annotations.into_iter().filter(|(name, _)| name.starts_with(ANNOTATION_PREFIX));
    annotations.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The containers known on this node. Clones share it. Filled by the pod runtime and by CRI; read by
/// the container collector and the log tailer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    by_id: RwLock<HashMap<String, Arc<Container>>>,
    generation: AtomicU64,
    /// The container engine was asked and has answered, or there is none.
    complete: AtomicBool,
    /// Somebody has seen a container that is not known.
    missing: tokio::sync::Notify,
}

impl Registry {
    /// Makes a container known, in place of what was known by its id.
    pub(crate) fn insert(&self, container: Container) {
        let mut by_id = self.0.by_id.write();
        if by_id.get(&container.id).is_none_or(|known| **known != container) {
            by_id.insert(container.id.clone(), Arc::new(container));
            self.0.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Forgets a container.
    pub(crate) fn remove(&self, id: &str) {
        if self.0.by_id.write().remove(id).is_some() {
            self.0.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// The container with this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Container>> {
        self.0.by_id.read().get(id).cloned()
    }

    /// Says that a container was seen that is not known: whoever fills the registry need not wait for its
    /// time to come.
    pub(crate) fn miss(&self) {
        self.0.missing.notify_one();
    }

    /// Waits until [`Registry::miss`] was called since the last time.
    pub(crate) async fn missed(&self) {
        self.0.missing.notified().await;
    }

    /// Some container of the pod with this uid.
    pub(crate) fn of_pod(&self, uid: &str) -> Option<Arc<Container>> {
        self.0.by_id.read().values().find(|container| container.uid == uid).cloned()
    }

    /// Says that every container that runs is known.
    pub(crate) fn set_complete(&self) {
        self.0.complete.store(true, Ordering::Release);
    }

    /// Whether every container that runs is known: one that is not has ended.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.complete.load(Ordering::Acquire)
    }

    /// All containers, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.0.by_id.read().values().cloned().collect()
    }

    /// Grows with every change: who remembers it knows whether to look again.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_grows_with_changes_only() {
        let registry = Registry::default();
        let web =
            Container { id: "c1".into(), uid: "u1".into(), pod: "web-0".into(), ..Container::default() };
        registry.insert(web.clone());
        let first = registry.generation();
        registry.insert(web);
        registry.remove("unknown");
        assert_eq!(registry.generation(), first);
        assert_eq!(registry.of_pod("u1").unwrap().pod, "web-0");
        registry.remove("c1");
        assert!(registry.generation() > first);
        assert!(registry.get("c1").is_none() && registry.all().is_empty());
    }
}
