//! Runs of containers whose own file systems are read: begun, followed, read to the end when they are over.

use std::collections::HashSet;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::Tailer;
use crate::identity::Container;
use crate::logs::content::Inode;
use crate::logs::folder::Folder;
use crate::logs::group::{Files, Format};
use crate::logs::inside::{Inner, LeftOut, Wanted, find, since_ms};
use crate::logs::ledger::Ledger;
use crate::logs::root::Root;

/// A container of the checkpoint that does not appear for so long is gone.
const GONE_MS: i64 = 60_000;

/// How a key in the checkpoint begins.
const PREFIX: &str = "inside/";

/// One run of a container.
pub(super) struct Run {
    who: Arc<Container>,
    /// `None` once it has ended and was looked at for the last time.
    root: Option<Arc<Root>>,
    ended_ms: i64,
}

impl Tailer {
    /// Whether files inside containers are followed: they are not watched.
    pub(in crate::logs) fn reads_inside(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Finds the files of all wanted containers; those with an inode in `claimed` are read in another way.
    pub(super) fn find_inside(&mut self, wanted: &Wanted, mut claimed: HashSet<Inode>, now_ms: i64) {
        let ended = self.runs.iter().filter(|(_, run)| run.root.as_ref().is_some_and(|root| !root.lives()));
        let ended: Vec<String> = ended.map(|(owner, _)| owner.clone()).collect();
        for owner in ended {
            let patterns = wanted.containers.iter().find(|(who, _)| key_of(who) == owner);
            self.end_run(&owner, patterns.map_or(&[], |(_, patterns)| patterns), now_ms);
        }
        let mut left_out = LeftOut::default();
        let mut found: Vec<(String, Inner)> = Vec::new();
        for (who, patterns) in &wanted.containers {
            let owner = key_of(who);
            self.begin_run(&owner, who, now_ms);
            let run = self.runs.get(&owner).filter(|run| run.who.id == who.id);
            let Some(root) = run.and_then(|run| run.root.clone()) else { continue };
            let files = find(&root, patterns, &mut left_out).into_iter().filter(|file| is_inside(who, file));
            found.extend(files.map(|file| (owner.clone(), file)));
        }
        // Several containers may see the same file: it stays with the one that has it, by whatever name.
        for (_, group) in self.groups.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
            claimed.extend(group.inodes());
        }
        let has_group =
            |(owner, file): &&(String, Inner)| self.groups.contains_key(&format!("{owner}{}", file.path));
        claimed.extend(found.iter().filter(has_group).map(|(_, file)| file.inode));
        for (owner, file) in found {
            if !self.groups.contains_key(&format!("{owner}{}", file.path)) && claimed.insert(file.inode) {
                self.take_inside(&owner, &file, &mut left_out, now_ms);
            }
        }
        for (why, count) in left_out.counts() {
            self.setup.metrics.gauge("binnacle_agent_log_files_left_out", &[("why", why)]).set(count as f64);
        }
        self.leave_runs(now_ms);
        if wanted.is_complete && now_ms - *self.opened_ms.get_or_insert(now_ms) >= GONE_MS {
            self.lose_the_gone();
        }
    }

    /// Opens the container's root, unless that was done before.
    fn begin_run(&mut self, owner: &str, who: &Arc<Container>, now_ms: i64) {
        let is_known = |run: &Run| run.who.id == who.id;
        let Some(pid) = who.pid.filter(|_| !self.runs.get(owner).is_some_and(is_known)) else { return };
        let root = match Root::of_container(&self.setup.proc_root, pid, &who.id) {
            Ok(root) => Arc::new(root),
            Err(error) => {
                tracing::debug!(owner, pid, %error, "the container's file system cannot be opened");
                return;
            }
        };
        self.end_run(owner, &[], now_ms);
        self.runs.insert(owner.to_owned(), Run { who: who.clone(), root: Some(root.clone()), ended_ms: 0 });
        for key in self.keys_of(owner) {
            match self.groups.get_mut(&key) {
                Some(group) => group.folder().set_root(root.clone()),
                None => self.add_inside(owner, &key[owner.len()..], now_ms),
            }
        }
    }

    /// Takes what is left of a run that is over: files stay open until they are read.
    fn end_run(&mut self, owner: &str, patterns: &[String], now_ms: i64) {
        let Some(run) = self.runs.get_mut(owner) else { return };
        run.ended_ms = now_ms;
        let Some(root) = run.root.clone() else { return };
        let who = run.who.clone();
        let mut left_out = LeftOut::default();
        for file in find(&root, patterns, &mut left_out).into_iter().filter(|file| is_inside(&who, file)) {
            if !self.groups.contains_key(&format!("{owner}{}", file.path)) {
                self.take_inside(owner, &file, &mut left_out, now_ms);
            }
        }
        if let Some(run) = self.runs.get_mut(owner) {
            run.root = None;
        }
        for group in range_mut(&mut self.groups, owner) {
            group.folder().end();
            group.scan(&mut self.checkpoint, now_ms);
            group.folder().leave();
        }
    }

    /// Forgets runs of which everything is read; what waits for too long is lost.
    fn leave_runs(&mut self, now_ms: i64) {
        let hold_ms = i64::try_from(self.setup.reading.container_hold.as_millis()).unwrap_or(i64::MAX);
        let groups = &mut self.groups;
        self.runs.retain(|owner, run| {
            if run.root.is_some() {
                return true;
            }
            let mut is_empty = true;
            for group in range_mut(groups, owner) {
                is_empty = false;
                if group.is_reading() && now_ms - run.ended_ms >= hold_ms {
                    tracing::error!(
                        group = group.key(),
                        "a container's log was not read in time: the rest is lost"
                    );
                    group.abandon();
                }
            }
            !is_empty
        });
    }

    /// Containers that ended while no agent was there: what was not read of their files is lost.
    fn lose_the_gone(&mut self) {
        for key in self.checkpoint.keys() {
            let Some(owner) = owner_of(&key) else { continue };
            if self.groups.contains_key(&key) || self.runs.contains_key(owner) {
                continue;
            }
            let unfinished = self.checkpoint.group(&key).iter().filter(|entry| !entry.finished);
            let lost: u64 = unfinished.map(|entry| entry.size.saturating_sub(entry.offset)).sum();
            if lost > 0
                && let [namespace, pod, _, container] = names_of(owner)
            {
                tracing::error!(key, bytes = lost, "log bytes are lost: the container ended meanwhile");
                Ledger::of(&self.setup.metrics, namespace, pod, container).bytes_lost.add(lost);
            }
            self.checkpoint.set(&key, Vec::new());
            self.forgotten = true;
        }
    }

    /// Takes a file for which there is no group yet, unless it is a rotated one of a group.
    fn take_inside(&mut self, owner: &str, file: &Inner, left_out: &mut LeftOut, now_ms: i64) {
        let Some(run) = self.runs.get(owner) else { return };
        // It came with the image, or is of somebody before.
        if file.mtime_ms < since_ms(&run.who) {
            return;
        }
        let (dir, name) = file.path.rsplit_once('/').unwrap_or_default();
        let mut count = 0;
        for group in range_mut(&mut self.groups, owner) {
            count += 1;
            let is_here = group.folder().path() == Path::new(if dir.is_empty() { "/" } else { dir });
            if is_here && group.is_rotated(name) {
                return;
            }
        }
        if count >= self.setup.reading.max_container_files {
            left_out.too_many += 1;
            return;
        }
        self.add_inside(owner, &file.path, now_ms);
    }

    fn add_inside(&mut self, owner: &str, path: &str, now_ms: i64) {
        let Some((run, root)) = self.runs.get(owner).and_then(|run| Some((run, run.root.clone()?))) else {
            return;
        };
        let (Some(dir), Some(name)) = (Path::new(path).parent(), Path::new(path).file_name()) else { return };
        let who = &run.who;
        let files = Files {
            format: Format::Raw,
            folder: Folder::below(root, dir.to_owned()),
            base: Some(name.to_string_lossy().into_owned()),
            since_ms: since_ms(who),
        };
        let labels = vec![self.labels(&who.namespace, &who.pod, &who.container, "file", path)];
        let ledger = Ledger::of(&self.setup.metrics, &who.namespace, &who.pod, &who.container);
        self.add(format!("{owner}{path}"), files, labels, ledger, now_ms);
    }

    /// Keys of all groups of the container, those of the checkpoint among them.
    fn keys_of(&self, owner: &str) -> Vec<String> {
        let here = self.groups.keys().cloned().chain(self.checkpoint.keys());
        let mut keys: Vec<String> = here.filter(|key| owner_of(key) == Some(owner)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Whether it is not on a volume that is read on the node.
fn is_inside(who: &Container, file: &Inner) -> bool {
    !who.volumes.iter().any(|volume| Path::new(&file.path).starts_with(volume))
}

/// How the keys of a container's files begin; a path follows. Names have no slash in them.
fn key_of(who: &Container) -> String {
    format!("{PREFIX}{}/{}/{}/{}", who.namespace, who.pod, who.uid, who.container)
}

/// The part of a key before the path.
fn owner_of(key: &str) -> Option<&str> {
    let names = key.strip_prefix(PREFIX)?;
    let end = names.match_indices('/').nth(3)?.0;
    Some(&key[..PREFIX.len() + end])
}

/// Namespace, pod, uid, container.
fn names_of(owner: &str) -> [&str; 4] {
    let mut names = owner.strip_prefix(PREFIX).unwrap_or_default().split('/');
    std::array::from_fn(|_| names.next().unwrap_or_default())
}

/// The groups of a container.
fn range_mut<'a>(
    groups: &'a mut std::collections::BTreeMap<String, super::Group>,
    owner: &str,
) -> impl Iterator<Item = &'a mut super::Group> {
    let prefix = format!("{owner}/");
    let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
    groups.range_mut(from).take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, group)| group)
}
