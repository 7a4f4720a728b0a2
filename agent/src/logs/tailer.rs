//! All groups of files, the checkpoint, and which files there are: without a clock and without a server.

mod inside;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use binnacle_proto::Labels;
use parking_lot::Mutex;

use super::checkpoint::Checkpoint;
use super::content::Inode;
use super::engine;
use super::folder::Folder;
use super::group::{Files, Format, Group, Owner, Stored, Unit};
use super::hostpath::{self, HostFile};
use super::inside::Wanted;
use super::ledger::Ledger;
use super::rate::Rates;
use super::root::Root;
use crate::config;
use crate::pods::LogMount;
use crate::selfmetrics::SelfMetrics;
use crate::uplink::{LogLines, OnDurable};
use crate::watch::{Watch, What};

/// Units of one group read in a row before the next group has its turn.
const TURN_UNITS: usize = 4;

/// Most groups of files: containers and files on host paths.
const MAX_GROUPS: usize = 10_000;

/// Where and for whom logs are read.
pub(super) struct Setup {
    pub(super) node: String,
    pub(super) job: String,
    pub(super) pod_log_dir: PathBuf,
    /// Where procfs is mounted.
    pub(super) proc_root: PathBuf,
    pub(super) checkpoint: PathBuf,
    pub(super) metrics: SelfMetrics,
    pub(super) reading: config::Logs,
    /// Told what to watch, if there is one.
    pub(super) watch: Option<Watch>,
}

/// Units that were stored, by group: written by the uplink, taken by the tailer.
type Acked = Arc<Mutex<VecDeque<(String, Stored)>>>;

/// Follows log files.
pub(super) struct Tailer {
    setup: Setup,
    checkpoint: Checkpoint,
    groups: BTreeMap<String, Group>,
    /// Names of Docker's containers.
    docker: engine::Names,
    rates: Rates,
    /// Containers whose file systems are read, by how the keys of their groups begin.
    runs: BTreeMap<String, inside::Run>,
    /// When it was first looked for files.
    opened_ms: Option<i64>,
    /// Whether something was taken out of the checkpoint.
    forgotten: bool,
    acked: Acked,
    /// What was read and waits for the checkpoint to be saved.
    ready: Vec<(LogLines, OnDurable)>,
    buffer: Vec<u8>,
    /// The group whose turn it is.
    turn: String,
    full_said: bool,
}

impl Tailer {
    /// Opens the checkpoint.
    pub(super) fn open(setup: Setup) -> io::Result<Self> {
        Ok(Self {
            checkpoint: Checkpoint::open(&setup.checkpoint)?,
            setup,
            groups: BTreeMap::new(),
            docker: engine::Names::default(),
            rates: Rates::default(),
            runs: BTreeMap::new(),
            opened_ms: None,
            forgotten: false,
            acked: Acked::default(),
            ready: Vec::new(),
            buffer: Vec::new(),
            turn: String::new(),
            full_said: false,
        })
    }

    /// Looks for new, renamed and vanished files everywhere.
    pub(super) fn scan(&mut self, mounts: &[LogMount], wanted: &Wanted, now_ms: i64) {
        self.find_containers(now_ms);
        self.find_docker(now_ms);
        let mut claimed: HashSet<Inode> = HashSet::new();
        for file in hostpath::find(mounts).into_iter().chain(self.missing_files(mounts)) {
            claimed.insert(file.inode);
            self.take_file(file, now_ms);
        }
        self.find_inside(wanted, claimed, now_ms);
        for group in self.groups.values_mut() {
            group.scan(&mut self.checkpoint, now_ms);
        }
        let over = self.groups.values().filter(|group| group.is_over());
        let over: Vec<String> = over.map(|group| group.key().to_owned()).collect();
        for key in over {
            self.groups.remove(&key);
            self.checkpoint.set(&key, Vec::new());
            self.forgotten = true;
        }
        self.watch_all();
    }

    /// Watches everything that may bring new lines or new files.
    fn watch_all(&self) {
        let Some(watch) = &self.setup.watch else { return };
        for dir in [&self.setup.pod_log_dir, &self.setup.reading.docker_dir] {
            watch.add(dir, What::Names);
        }
        for pod in fs::read_dir(&self.setup.pod_log_dir).into_iter().flatten().flatten() {
            watch.add(&pod.path(), What::Names);
        }
        for group in self.groups.values() {
            let Some((dir, files)) = group.paths() else { continue };
            watch.add(dir, What::Names);
            files.for_each(|file| watch.add(file, What::Content));
        }
    }

    /// Whether there may be something to do though nothing is written.
    pub(super) fn is_waiting(&self) -> bool {
        self.groups.values().any(Group::is_waiting)
    }

    /// Docker's containers have a directory each, named by their id.
    fn find_docker(&mut self, now_ms: i64) {
        let dir = self.setup.reading.docker_dir.clone();
        let known = self
            .checkpoint
            .keys()
            .into_iter()
            .filter_map(|key| key.strip_prefix("docker/").map(str::to_owned));
        let found: Vec<String> = known.chain(names(&dir)).collect();
        self.docker.keep(|dir| dir.exists());
        for id in found {
            let key = format!("docker/{id}");
            if self.groups.contains_key(&key) {
                continue;
            }
            let Some(name) = self.docker.of(&dir.join(&id)) else {
                if !dir.join(&id).exists() {
                    self.checkpoint.set(&key, Vec::new());
                }
                continue;
            };
            let base = Some(format!("{id}-json.log"));
            let folder = Folder::Node(dir.join(&id));
            let files = Files { format: Format::Docker, folder, base, since_ms: 0 };
            let labels = ["stdout", "stderr"].map(|stream| self.labels("", "", &name, stream, "")).to_vec();
            let ledger = Ledger::of(&self.setup.metrics, "", "", &name);
            self.add(key, files, labels, ledger, now_ms);
        }
    }

    /// Looks only where a file is missing that should be there.
    pub(super) fn scan_urgent(&mut self, now_ms: i64) {
        for group in self.groups.values_mut().filter(|group| group.wants_scan()) {
            group.scan(&mut self.checkpoint, now_ms);
        }
    }

    /// Containers have a directory each below the pod's: `<namespace>_<pod>_<uid>/<container>`.
    fn find_containers(&mut self, now_ms: i64) {
        let known = self.checkpoint.keys().into_iter().filter_map(|key| {
            let (pod, container) = key.strip_prefix("cri/")?.split_once('/')?;
            Some((pod.to_owned(), container.to_owned()))
        });
        let found: Vec<(String, String)> = known.chain(containers(&self.setup.pod_log_dir)).collect();
        for (pod_dir, container) in found {
            let key = format!("cri/{pod_dir}/{container}");
            if self.groups.contains_key(&key) {
                continue;
            }
            let mut parts = pod_dir.splitn(3, '_');
            let (Some(namespace), Some(pod), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let files = Files {
                format: Format::Cri,
                folder: Folder::Node(self.setup.pod_log_dir.join(&pod_dir).join(&container)),
                base: None,
                since_ms: 0,
            };
            let streams = ["stdout", "stderr"];
            let labels = streams.map(|stream| self.labels(namespace, pod, &container, stream, "")).to_vec();
            let ledger = Ledger::of(&self.setup.metrics, namespace, pod, &container);
            self.add(key, files, labels, ledger, now_ms);
        }
    }

    /// Files on host paths of which the checkpoint knows and nothing else yet: after a rotation there may be
    /// none of that name, while the rotated one is not read to its end; and their pod may have ended.
    fn missing_files(&self, mounts: &[LogMount]) -> Vec<HostFile> {
        let keys = self.checkpoint.keys();
        let unknown = keys.iter().filter(|key| !self.groups.contains_key(*key));
        let files = unknown.filter_map(|key| {
            let path = Path::new(key.strip_prefix("file/")?);
            let inode = self.checkpoint.group(key).first()?.inode;
            let of_ended = || self.checkpoint.host_file(key).map(|file| HostFile { inode, ..file.clone() });
            hostpath::known(mounts, path, inode).or_else(of_ended)
        });
        files.collect()
    }

    fn take_file(&mut self, file: HostFile, now_ms: i64) {
        let key = format!("file/{}", file.path.display());
        let (Some(dir), Some(name)) = (file.path.parent(), file.path.file_name()) else { return };
        let labels = vec![self.labels(
            &file.namespace,
            &file.pod,
            &file.container,
            "file",
            &file.seen_as.to_string_lossy(),
        )];
        let ledger = Ledger::of(&self.setup.metrics, &file.namespace, &file.pod, &file.container);
        if let Some(group) = self.groups.get_mut(&key) {
            group.relabel(labels, ledger);
            self.checkpoint.set_host_file(&key, file);
            return;
        }
        let name = name.to_string_lossy().into_owned();
        let is_here =
            |key: &str| Path::new(key.strip_prefix("file/").unwrap_or_default()).parent() == Some(dir);
        if self.groups.iter().any(|(key, group)| is_here(key) && group.is_rotated(&name)) {
            return;
        }
        // The volume is the container's: nothing in it leads elsewhere.
        let folder = match file.path == file.volume {
            true => Folder::Node(dir.to_owned()),
            false => Folder::below(Arc::new(Root::of_volume(file.volume.clone())), dir.to_owned()),
        };
        let files = Files { format: Format::Raw, folder, base: Some(name), since_ms: file.since_ms };
        self.checkpoint.set_host_file(&key, file);
        self.add(key, files, labels, ledger, now_ms);
    }

    fn add(&mut self, key: String, files: Files, labels: Vec<Labels>, ledger: Ledger, now_ms: i64) {
        if self.groups.len() >= MAX_GROUPS {
            self.setup.metrics.lost("log_files", "too_many", 1);
            if !std::mem::replace(&mut self.full_said, true) {
                tracing::error!(limit = MAX_GROUPS, "too many log files: some are not read");
            }
            return;
        }
        let entries = self.checkpoint.group(&key);
        let names = ["namespace", "pod", "container"].map(|name| labels[0].get(name).unwrap_or_default());
        let rate = self.rates.of(&names.join("/"), self.setup.reading.max_bytes_per_second);
        let join_traces = self.setup.reading.join_traces;
        let group = Group::new(&key, files, Owner { labels, ledger, rate }, entries, join_traces, now_ms);
        self.groups.insert(key, group);
    }

    fn labels(&self, namespace: &str, pod: &str, container: &str, stream: &str, filename: &str) -> Labels {
        let pairs = [
            ("namespace", namespace),
            ("pod", pod),
            ("container", container),
            ("node", &self.setup.node),
            ("stream", stream),
            ("job", &self.setup.job),
            ("filename", filename),
        ];
        // Names are distinct and not empty: this cannot fail.
        Labels::from_pairs(pairs).unwrap_or_default()
    }

    /// Reads on, a little of each group in turn. Nothing comes out before the checkpoint knows its file, and how traces
    /// in it were ended.
    ///
    /// # Errors
    /// When the checkpoint cannot be saved: what was read waits.
    pub(super) fn read(&mut self, now_ns: i64) -> io::Result<Vec<(LogLines, OnDurable)>> {
        self.take_acks();
        if self.ready.is_empty() {
            self.ready = self.read_turn(now_ns);
        }
        if self.groups.values().any(Group::is_unsaved) {
            self.save()?;
        }
        Ok(std::mem::take(&mut self.ready))
    }

    /// Reads of the next group that has something new.
    fn read_turn(&mut self, now_ns: i64) -> Vec<(LogLines, OnDurable)> {
        let after = (Bound::Excluded(self.turn.clone()), Bound::Unbounded);
        let until = (Bound::Unbounded, Bound::Included(self.turn.clone()));
        for range in [after, until] {
            for (key, group) in self.groups.range_mut(range) {
                let mut out = Vec::new();
                for _ in 0..TURN_UNITS {
                    let Some(unit) = group.read(&mut self.buffer, now_ns) else { break };
                    out.extend(blocks(key, unit, &self.acked));
                }
                if !out.is_empty() {
                    self.turn.clone_from(key);
                    return out;
                }
            }
        }
        Vec::new()
    }

    /// Moves the checkpoint over what was stored, in memory.
    pub(super) fn take_acks(&mut self) {
        let acked = std::mem::take(&mut *self.acked.lock());
        for (key, stored) in acked {
            if let Some(group) = self.groups.get_mut(&key) {
                group.stored(&stored);
            }
        }
    }

    /// Writes the checkpoint if anything moved.
    pub(super) fn save_if_moved(&mut self) -> io::Result<()> {
        self.take_acks();
        let mut moved = std::mem::take(&mut self.forgotten);
        for group in self.groups.values_mut() {
            moved |= group.take_advanced() | group.is_unsaved();
        }
        if moved { self.save() } else { Ok(()) }
    }

    fn save(&mut self) -> io::Result<()> {
        for group in self.groups.values() {
            self.checkpoint.set(group.key(), group.entries());
        }
        self.checkpoint.save()?;
        for group in self.groups.values_mut() {
            group.saved();
        }
        Ok(())
    }

    /// Whether everything found is read and stored.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.groups.values().all(Group::is_idle)
    }
}

/// The blocks of a unit; once the last of them is stored, the checkpoint may move.
fn blocks(key: &str, unit: Unit, acked: &Acked) -> Vec<(LogLines, OnDurable)> {
    let count = unit.blocks.len();
    let left = Arc::new(Mutex::new((count, Some((key.to_owned(), unit.stored)))));
    let each = unit.blocks.into_iter().map(|block| {
        let (left, acked) = (left.clone(), acked.clone());
        let on_durable: OnDurable = Box::new(move || {
            let mut left = left.lock();
            left.0 -= 1;
            if left.0 == 0
                && let Some(stored) = left.1.take()
            {
                acked.lock().push_back(stored);
            }
        });
        (block, on_durable)
    });
    each.collect()
}

/// Directories of containers: of the pod and of the container.
fn containers(pod_log_dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for pod in names(pod_log_dir) {
        for container in names(&pod_log_dir.join(&pod)) {
            found.push((pod.clone(), container));
        }
    }
    found
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
