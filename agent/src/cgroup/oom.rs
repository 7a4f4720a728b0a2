//! OOM kills by pod and container, counted so that they outlive the cgroup they happened in.
//!
//! The kernel's own counts die with the container's cgroup, often before anybody reads them. In
//! version 1 an eventfd remembers what happened up to the end; in version 2 the pod's cgroup, which
//! lives on, counts for all below it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};

/// OOM kills of identified containers: by pod (its cgroup's id) and container name.
#[derive(Default)]
pub(super) struct Ledger {
    pods: BTreeMap<String, BTreeMap<String, Account>>,
    graves: Vec<Grave>,
}

/// A version 1 cgroup that has just vanished.
struct Grave {
    since_ms: i64,
    pod: String,
    container: String,
    /// Kills that were seen while it was there.
    seen: u64,
    listener: Listener,
}

/// How long the kernel may take to tell of a cgroup's end, in milliseconds.
const LAST_WORDS_MS: i64 = 1_000;

#[derive(Debug, Default)]
struct Account {
    /// Kills in cgroups that are gone.
    buried: u64,
    /// Kills in the cgroup that is there now.
    alive: u64,
    /// When the container last vanished: the one to whom kills without an owner belong.
    vanished: bool,
}

impl Ledger {
    /// A round begins.
    pub(super) fn begin(&mut self, now_ms: i64) {
        for account in self.pods.values_mut().flat_map(BTreeMap::values_mut) {
            (account.alive, account.vanished) = (0, false);
        }
        let (waiting, over): (Vec<Grave>, Vec<Grave>) = std::mem::take(&mut self.graves)
            .into_iter()
            .partition(|grave| now_ms - grave.since_ms < LAST_WORDS_MS);
        self.graves = waiting;
        for Grave { pod, container, seen, listener, .. } in over {
            if self.pods.contains_key(&pod) {
                self.account(&pod, &container).buried += listener.at_the_end().saturating_sub(seen);
            }
        }
    }

    /// The container's cgroup is gone, and so many were seen killed in it. What the listener has heard
    /// beyond that counts later: the kernel tells of a cgroup's end with a delay.
    pub(super) fn bury(
        &mut self,
        pod: &str,
        container: &str,
        kills: u64,
        listener: Option<Listener>,
        now_ms: i64,
    ) {
        self.graves.extend(listener.map(|listener| Grave {
            since_ms: now_ms,
            pod: pod.to_owned(),
            container: container.to_owned(),
            seen: kills,
            listener,
        }));
        let account = self.account(pod, container);
        account.buried += kills;
        account.vanished = true;
    }

    /// The container's cgroup is there, with so many kills.
    pub(super) fn see(&mut self, pod: &str, container: &str, kills: u64) {
        self.account(pod, container).alive += kills;
    }

    /// The pod's own cgroup says how many were killed in it and below. What no container accounts for
    /// happened in one that has just vanished.
    pub(super) fn settle(&mut self, pod: &str, total: u64) {
        let Some(accounts) = self.pods.get_mut(pod) else { return };
        let known: u64 = accounts.values().map(|account| account.buried + account.alive).sum();
        if let Some(account) = accounts.values_mut().find(|account| account.vanished) {
            account.buried += total.saturating_sub(known);
        }
    }

    /// The pod's containers with their kills.
    pub(super) fn of_pod(&self, pod: &str) -> impl Iterator<Item = (&str, u64)> {
        let accounts = self.pods.get(pod).into_iter().flatten();
        accounts.map(|(container, account)| (container.as_str(), account.buried + account.alive))
    }

    /// The pod is gone.
    pub(super) fn forget(&mut self, pod: &str) {
        self.pods.remove(pod);
    }

    fn account(&mut self, pod: &str, container: &str) -> &mut Account {
        self.pods.entry(pod.to_owned()).or_default().entry(container.to_owned()).or_default()
    }
}

/// Hears of OOM in one version 1 memory cgroup.
pub(super) struct Listener {
    events: File,
    heard: u64,
}

impl Listener {
    /// Listens at the memory cgroup in `dir`; `None` where the kernel offers no such thing.
    pub(super) fn new(dir: &Path) -> Option<Self> {
        let control = File::open(dir.join("memory.oom_control")).ok()?;
        let events = File::from(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).ok()?);
        let mut register = File::options().write(true).open(dir.join("cgroup.event_control")).ok()?;
        // In one write: the kernel takes each for a whole command.
        register.write_all(format!("{} {}", events.as_raw_fd(), control.as_raw_fd()).as_bytes()).ok()?;
        Some(Self { events, heard: 0 })
    }

    /// How often the cgroup ran out of memory up to its end, of which the kernel tells by one event
    /// more, some time after the directory has vanished.
    pub(super) fn at_the_end(mut self) -> u64 {
        let mut bytes = [0; 8];
        if self.events.read_exact(&mut bytes).is_ok() {
            self.heard += u64::from_ne_bytes(bytes);
        }
        self.heard.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kills(ledger: &Ledger) -> Vec<(&str, u64)> {
        ledger.of_pod("p").collect()
    }

    #[test]
    fn kills_outlive_their_cgroup_and_add_up_over_restarts() {
        let mut ledger = Ledger::default();
        ledger.see("p", "leaky", 0);
        ledger.begin(0);
        ledger.bury("p", "leaky", 1, None, 0);
        ledger.see("p", "leaky", 0);
        assert_eq!(kills(&ledger), [("leaky", 1)]);
        ledger.begin(0);
        ledger.see("p", "leaky", 2);
        ledger.settle("p", 3);
        assert_eq!(kills(&ledger), [("leaky", 3)]);
        ledger.forget("p");
        assert!(kills(&ledger).is_empty());
    }

    #[test]
    fn what_only_the_pod_has_seen_belongs_to_the_one_that_vanished() {
        let mut ledger = Ledger::default();
        ledger.see("p", "a", 0);
        ledger.see("p", "b", 1);
        ledger.begin(0);
        ledger.see("p", "a", 0);
        ledger.bury("p", "b", 1, None, 0);
        ledger.settle("p", 2);
        ledger.settle("p", 2);
        assert_eq!(kills(&ledger), [("a", 0), ("b", 2)]);
    }
}
