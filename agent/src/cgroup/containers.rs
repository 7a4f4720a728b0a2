//! The container collector: every cgroup below the node's own, round after round.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use binnacle_proto::LabelsBuilder;

use super::descriptors;
use super::emit::{self, Devices};
use super::network::Networks;
use super::oom::{Ledger, Listener};
use super::read::Reader;
use super::scan::scan;
use super::{Cgroups, Controller, Home};
use crate::Config;
use crate::identity::{Container, Place, Registry, SANDBOX, place};
use crate::kernel::Buffer;
use crate::sample::{Page, Series};
use crate::selfmetrics::{Gauge, SelfMetrics};
use crate::watch::{Watch, What};

/// Time between two walks through all cgroups when nothing is seen to change, in milliseconds.
const RESCAN_MS: i64 = 60_000;

/// How often a walk is repeated because it found cgroups that were not watched yet.
const MAX_WALKS: usize = 3;

/// All cgroups known, with their open files and series.
pub(crate) struct Containers {
    cgroups: Arc<Cgroups>,
    registry: Registry,
    /// Labels that all container series carry.
    base: LabelsBuilder,
    known: BTreeMap<String, Known>,
    oom: Ledger,
    devices: Devices,
    networks: Networks,
    /// Tells of new cgroups; without, all are walked through in each round.
    watch: Option<Watch>,
    next_scan_ms: i64,
    /// Rounds so far: what is read seldom is read in turn.
    rounds: u64,
    proc: std::path::PathBuf,
    buffer: Buffer,
    count: Gauge,
    left_out: Gauge,
}

struct Known {
    inode: u64,
    reader: Reader,
    page: Page,
    place: Place,
    /// Who it was when the page's labels were made, and what the registry's generation was then.
    identity: Option<Arc<Container>>,
    generation: u64,
    started: Option<f64>,
    /// OOM kills at the last look.
    kills: u64,
    listener: Option<Listener>,
    /// Open files of its processes at the last look.
    descriptors: Option<u64>,
    /// Met since the last full round.
    fresh: bool,
}

impl Containers {
    pub(crate) fn new(
        config: &Config,
        cgroups: Arc<Cgroups>,
        registry: Registry,
        metrics: &SelfMetrics,
    ) -> Self {
        let mut base = LabelsBuilder::new();
        base.set("node", config.node.as_str()).set("instance", config.node.as_str());
        for (name, value) in &config.container_labels {
            base.set(name, value.as_str());
        }
        Self {
            cgroups,
            registry,
            base,
            known: BTreeMap::new(),
            oom: Ledger::default(),
            devices: Devices::new(&config.sys_root),
            networks: Networks::new(&config.proc_root),
            watch: None,
            next_scan_ms: 0,
            rounds: 0,
            proc: config.proc_root.clone(),
            buffer: Buffer::default(),
            count: metrics.gauge("binnacle_agent_cgroups", &[]),
            left_out: metrics.gauge("binnacle_agent_cgroups_left_out", &[]),
        }
    }

    /// Relies on `watch` to tell of changes, instead of looking in every round.
    pub(crate) fn watched_by(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// Finds cgroups that are new and reads them, without waiting for the next round. What has vanished
    /// is for that round: only then are OOM kills settled.
    pub(crate) fn collect_new(&mut self, samples: &mut Vec<(Series, f64)>) {
        for _ in 0..MAX_WALKS {
            let (found, _) = scan(&self.cgroups);
            let new: Vec<(String, u64)> = found.into_iter().filter(|(id, _)| self.is_new(id)).collect();
            if new.is_empty() {
                break;
            }
            for (id, inode) in new {
                self.watch_children(&id);
                if let Some(known) = self.meet(&id, inode) {
                    self.known.insert(id, known);
                }
            }
        }
        for known in self.known.values_mut().filter(|known| known.fresh) {
            known.fresh = false;
            let usage = known.reader.read(&mut self.buffer);
            let mut scrape = known.page.scrape(samples);
            emit::emit(&usage, &mut self.devices, &mut scrape);
            scrape.finish();
        }
        self.count.set(self.known.len() as f64);
    }

    /// Reads all of them into `samples`. What has vanished since the last round ends.
    pub(crate) fn collect(&mut self, now_ms: i64, samples: &mut Vec<(Series, f64)>) {
        self.oom.begin(now_ms);
        self.rounds += 1;
        let changed = self.watch.as_ref().is_none_or(Watch::take_changed);
        if changed || now_ms >= self.next_scan_ms {
            self.next_scan_ms = now_ms + RESCAN_MS;
            self.discover(now_ms, samples);
            if self.known.is_empty() {
                // The parent of all of them is not there yet, so nothing tells when it is made.
                self.next_scan_ms = now_ms;
            }
        }
        let generation = self.registry.generation();
        // Backwards: containers before their pods, which account for them.
        for (id, known) in self.known.iter_mut().rev() {
            if known.generation != generation {
                known.generation = generation;
                let identity = identify(&self.registry, &known.place);
                // Forgotten ones keep their names until their cgroup is gone.
                if identity.is_some() && identity != known.identity {
                    let new = labels(&self.base, id, &known.place, identity.as_deref());
                    let old = labels(&self.base, id, &known.place, known.identity.as_deref());
                    known.identity = identity;
                    if new.build() != old.build() {
                        std::mem::replace(&mut known.page, Page::new(new)).end(samples);
                    }
                }
            }
            let usage = known.reader.read(&mut self.buffer);
            if usage.processes.is_some_and(|count| count > 0)
                && (known.descriptors.is_none() || descriptors::is_due(self.rounds, known.inode))
            {
                let pids = known.reader.processes(&mut self.buffer, descriptors::MAX_PROCESSES);
                known.descriptors = descriptors::count(&self.proc, &pids);
            }
            known.fresh = false;
            let mut scrape = known.page.scrape(samples);
            emit::emit(&usage, &mut self.devices, &mut scrape);
            scrape.maybe("container_file_descriptors", &[], known.descriptors.map(|count| count as f64));
            if known.identity.as_ref().is_some_and(|who| who.container == SANDBOX)
                && known.place.container_id.is_some()
                && let Some(pid) = usage.a_process
            {
                self.networks.emit(pid, &mut scrape);
            }
            let kills = usage.memory.events.kills();
            known.kills = kills.unwrap_or(known.kills);
            if known.place.is_pod() {
                if usage.memory.events.oom.is_some() {
                    self.oom.settle(id, known.kills);
                }
                for (container, kills) in self.oom.of_pod(id) {
                    scrape.emit("container_oom_events_total", &[("container", container)], kills as f64);
                }
            } else if let Some((pod, container)) = in_pod(id, &known.place, known.identity.as_deref()) {
                self.oom.see(pod, container, known.kills);
            } else {
                scrape.maybe("container_oom_events_total", &[], kills.map(|kills| kills as f64));
            }
            // A cgroup of which nothing could be read is on its way out, and was not seen.
            if usage.processes.is_some() {
                let started =
                    known.identity.as_ref().map(|identity| identity.started_ms).filter(|ms| *ms > 0);
                let started = started.map(|ms| ms as f64 / 1000.0).or(known.started);
                scrape.maybe("container_start_time_seconds", &[], started);
                scrape.emit("container_last_seen", &[], (now_ms / 1000) as f64);
            }
            scrape.finish();
        }
    }

    fn discover(&mut self, now_ms: i64, samples: &mut Vec<(Series, f64)>) {
        let (mut found, mut left_out) = scan(&self.cgroups);
        // What was made in a cgroup before it was watched is found by looking once more.
        for _ in 1..MAX_WALKS {
            if self.watch.is_none() || !found.keys().any(|id| self.is_new(id)) {
                break;
            }
            found.keys().filter(|id| self.is_new(id)).for_each(|id| self.watch_children(id));
            let again = scan(&self.cgroups);
            let is_same = again.0.len() == found.len();
            (found, left_out) = again;
            if is_same {
                break;
            }
        }
        let gone: Vec<String> = self.known.keys().filter(|id| !found.contains_key(*id)).cloned().collect();
        for id in gone {
            if let Some(mut known) = self.known.remove(&id) {
                self.bury(&id, &mut known, now_ms);
                known.page.end(samples);
            }
        }
        for (id, inode) in found {
            match self.known.get_mut(&id) {
                Some(known) if known.inode == inode => {}
                Some(known) => {
                    // Made anew under the same name: the same series go on, their counters start over.
                    known.inode = inode;
                    known.reader = Reader::new(&self.cgroups, &id);
                    known.listener = known.listener.take().and_then(|_| listen(&self.cgroups, &id));
                    known.started = started(&self.cgroups, &id);
                }
                None => {
                    if let Some(known) = self.meet(&id, inode) {
                        self.known.insert(id, known);
                    }
                }
            }
        }
        self.count.set(self.known.len() as f64);
        self.left_out.set(left_out as f64);
    }

    /// Whether a cgroup is to be met. One that an engine makes inside a container's never is: its numbers are the
    /// container's.
    fn is_new(&self, id: &str) -> bool {
        !self.known.contains_key(id) && !place(id).inner
    }

    /// Watches the cgroup for new ones in it, in one hierarchy: engines make a container's in all of them.
    fn watch_children(&self, id: &str) {
        let Some(watch) = &self.watch else { return };
        let order =
            [Controller::Memory, Controller::Cpu, Controller::Pids, Controller::Cpuacct, Controller::Io];
        if let Some(dir) = order.into_iter().find_map(|controller| self.cgroups.dir(controller, id)) {
            watch.add(&dir, What::Names);
        }
    }

    /// Keeps what was counted in a cgroup that is gone.
    fn bury(&mut self, id: &str, known: &mut Known, now_ms: i64) {
        if let Some((pod, container)) = in_pod(id, &known.place, known.identity.as_deref()) {
            self.oom.bury(pod, container, known.kills, known.listener.take(), now_ms);
        } else if known.place.is_pod() {
            self.oom.forget(id);
        }
    }

    fn meet(&self, id: &str, inode: u64) -> Option<Known> {
        let place = place(id);
        if place.inner {
            return None;
        }
        let identity = identify(&self.registry, &place);
        let is_container = place.container_id.is_some();
        if is_container && identity.is_none() {
            self.registry.miss();
        }
        Some(Known {
            inode,
            reader: Reader::new(&self.cgroups, id),
            page: Page::new(labels(&self.base, id, &place, identity.as_deref())),
            place,
            identity,
            generation: self.registry.generation(),
            started: started(&self.cgroups, id),
            kills: 0,
            listener: is_container.then(|| listen(&self.cgroups, id)).flatten(),
            descriptors: None,
            fresh: true,
        })
    }
}

/// The pod's cgroup and the container's name, when it is a known pod's container.
fn in_pod<'a>(id: &'a str, place: &Place, who: Option<&'a Container>) -> Option<(&'a str, &'a str)> {
    place.pod_uid.as_ref()?;
    place.container_id.as_ref()?;
    Some((id.rsplit_once('/')?.0, who?.container.as_str()))
}

/// Version 1 counts only as long as the cgroup is there: an ear at it hears the last kill too.
fn listen(cgroups: &Cgroups, id: &str) -> Option<Listener> {
    match cgroups.home(Controller::Memory)? {
        Home::V1(mount) => Listener::new(&cgroups.below(mount, id)),
        Home::V2(_) => None,
    }
}

/// Who is there: the container, or any container of the pod when it is the pod's own cgroup.
fn identify(registry: &Registry, place: &Place) -> Option<Arc<Container>> {
    match (&place.container_id, &place.pod_uid) {
        (Some(id), _) => registry.get(id),
        (None, Some(uid)) => registry.of_pod(uid),
        (None, None) => None,
    }
}

fn labels(base: &LabelsBuilder, id: &str, place: &Place, who: Option<&Container>) -> LabelsBuilder {
    let mut labels = base.clone();
    labels.set("id", id);
    if let Some(who) = who {
        labels.set("namespace", who.namespace.as_str()).set("pod", who.pod.as_str());
        if place.container_id.is_some() {
            let name = if who.name.is_empty() { &who.id } else { &who.name };
            labels.set("container", who.container.as_str()).set("image", who.image.as_str());
            labels.set("name", name.as_str());
        }
    }
    labels
}

/// When the cgroup's directory was made, seconds since the epoch, as far as the kernel tells.
fn started(cgroups: &Cgroups, id: &str) -> Option<f64> {
    let dir = Controller::ALL.into_iter().find_map(|controller| cgroups.dir(controller, id))?;
    Some(dir.metadata().ok()?.ctime() as f64)
}

#[cfg(test)]
mod tests;
