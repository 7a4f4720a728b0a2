//! Looks at the directory: which files are new, renamed, copied, compressed, truncated, gone.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::names::{Place, place};
use super::{Group, REMEMBER_MS, SEARCH_MS, Tail};
use crate::logs::checkpoint::{Checkpoint, Entry};
use crate::logs::content::{Content, HEAD_BYTES, Inode, Print, is_same};
use crate::logs::folder::Folder;

/// A file of the directory that belongs to the group.
struct Found {
    name: OsString,
    path: PathBuf,
    place: Place,
    inode: Inode,
    size: u64,
    mtime_ns: i64,
    gzip: bool,
}

impl Found {
    /// Opens the file that was found: by now its name may be another's.
    fn open(&self, folder: &Folder) -> io::Result<Content> {
        let content = folder.open(&self.name)?;
        if content.inode()? == self.inode { Ok(content) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

impl Group {
    /// Finds the group's files. A directory that cannot be read is tried again next time.
    pub(in crate::logs) fn scan(&mut self, checkpoint: &mut Checkpoint, now_ms: i64) {
        // First what was truncated: its rest comes before files that are new.
        for tail in self.tails.iter_mut().filter(|tail| tail.content.is_some()) {
            if tail.changed().unwrap_or(false) {
                tracing::debug!(source = %tail.source, path = %tail.path.display(), offset = tail.offset, "log file was truncated");
                tail.detach(now_ms);
            }
        }
        let found = match self.list() {
            Ok(found) => found,
            Err(e) => {
                tracing::warn!(dir = %self.files.folder.path().display(), error = %e, "log directory cannot be read");
                return;
            }
        };
        self.empty = found.is_empty();
        let mut present: HashSet<String> = HashSet::new();
        for file in &found {
            if let Err(e) = self.place_file(file, checkpoint, &mut present, now_ms)
                && e.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %file.path.display(), error = %e, "log file cannot be read");
            }
        }
        self.judge(&found, now_ms);
        self.forget(&found, &present, now_ms);
    }

    fn list(&mut self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for name in self.files.folder.names()? {
            let Some(place) = place(self.files.format, self.files.base.as_deref(), &name.to_string_lossy())
            else {
                continue;
            };
            let Ok(meta) = self.files.folder.look(&name) else { continue };
            if !meta.is_file() {
                continue;
            }
            found.push(Found {
                path: self.files.folder.path().join(&name),
                place,
                inode: Inode::of(&meta),
                size: meta.len(),
                mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
                gzip: Path::new(&name).extension().is_some_and(|end| end == "gz"),
                name,
            });
        }
        found.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(found)
    }

    /// Finds out what one file is.
    fn place_file(
        &mut self,
        file: &Found,
        checkpoint: &mut Checkpoint,
        present: &mut HashSet<String>,
        now_ms: i64,
    ) -> io::Result<()> {
        if let Some(tail) =
            self.tails.iter_mut().find(|tail| tail.content.is_some() && tail.inode == file.inode)
        {
            tail.path.clone_from(&file.path);
            tail.size = tail.size.max(file.size);
            return Ok(());
        }
        if file.size == 0 {
            return Ok(());
        }
        let folder = &self.files.folder;
        let open = || file.open(folder);
        let looks = (file.mtime_ns, file.size);
        if self.settled.get(&file.inode) == Some(&looks) {
            let same = self.finished.iter().filter(|entry| entry.inode == file.inode);
            present.extend(same.map(|entry| entry.source.clone()));
            return Ok(());
        }
        // The rest of a file that was truncated, or is looked for after a restart.
        let is_rest = |tail: &&mut Tail| {
            let may_be = tail.content.is_none() && !tail.drained;
            let tail_print = if tail.recent.is_empty() { tail.stored_tail } else { Print::of(&tail.recent) };
            may_be
                && (tail.inode == file.inode || !file.place.current)
                && is_same(open, tail.head, tail.offset, tail_print)
        };
        if let Some(tail) = self.tails.iter_mut().find(is_rest) {
            let is_copy = tail.inode != file.inode;
            tail.attach(open()?, file.inode, file.path.clone())?;
            tracing::debug!(source = %tail.source, path = %file.path.display(), offset = tail.offset, "log file goes on");
            if is_copy {
                // A copy is complete: nobody writes to it any more.
                tail.replaced_ms = Some(0);
            }
            return Ok(());
        }
        // A copy in the making of what is looked for.
        let is_part = |tail: &Tail| tail.content.is_none() && !tail.drained && file.size < tail.offset;
        let is_young = now_ms - file.mtime_ns / 1_000_000 < SEARCH_MS;
        if !file.place.current && !file.gzip && is_young && self.tails.iter().any(is_part) {
            return Ok(());
        }
        // What was finished: the file itself, or a copy of it.
        let known = self.finished.iter().position(|entry| {
            (entry.inode == file.inode || !file.place.current)
                && is_same(open, entry.head, entry.offset, entry.tail)
        });
        if let Some(at) = known {
            if !file.gzip && file.size > self.finished[at].offset {
                // It grew after all: the writer turned late.
                let entry = self.finished[at].clone();
                tracing::debug!(source = %entry.source, path = %file.path.display(), "finished log file has grown");
                self.reopen(&entry, file)?;
                self.finished.remove(at);
            } else {
                let entry = &mut self.finished[at];
                entry.inode = file.inode;
                present.insert(entry.source.clone());
                self.settled.insert(file.inode, looks);
            }
            return Ok(());
        }
        // A copy of what is being read: it matters only if that is truncated.
        let is_copy = |tail: &Tail| {
            !file.place.current && tail.content.is_some() && is_same(open, tail.head, 0, Print::default())
        };
        if self.tails.iter().any(is_copy) {
            return Ok(());
        }
        if !file.place.current && file.mtime_ns / 1_000_000 < self.files.since_ms {
            self.settled.insert(file.inode, looks);
            return Ok(());
        }
        if file.gzip {
            let is_known = |entry: &Entry| is_same(open, entry.head, 0, Print::default());
            // It is still being written as long as the file that it is made from is there. Waiting longer
            // would let newer files come first, and lines that began in this one would be broken.
            if self.finished.iter().any(is_known) || folder.look(&plain(&file.name)).is_ok() {
                return Ok(());
            }
        }
        self.begin(file, checkpoint)
    }

    /// A file never seen before.
    fn begin(&mut self, file: &Found, checkpoint: &mut Checkpoint) -> io::Result<()> {
        let head = file.open(&self.files.folder)?.head(HEAD_BYTES)?;
        if head.len == 0 {
            return Ok(());
        }
        let Inode { dev, ino } = file.inode;
        let source = format!("{dev:x}-{ino:x}-{:016x}-{}", head.hash, checkpoint.next_generation());
        tracing::debug!(source, path = %file.path.display(), size = file.size, head = head.len, "log file is new");
        let entry = Entry {
            source,
            inode: file.inode,
            head,
            offset: 0,
            tail: Print::default(),
            size: file.size,
            finished: false,
            cuts: Vec::new(),
            joins: Vec::new(),
        };
        self.unsaved = true;
        self.reopen(&entry, file)
    }

    fn reopen(&mut self, entry: &Entry, file: &Found) -> io::Result<()> {
        let content = file.open(&self.files.folder)?;
        self.detached(entry, 0);
        let Some(tail) = self.tails.last_mut() else { return Ok(()) };
        let attached = tail.attach(content, file.inode, file.path.clone());
        if attached.is_err() {
            self.tails.pop();
        }
        attached
    }

    /// Puts the files in order, and notes which of them are written to no more.
    fn judge(&mut self, found: &[Found], now_ms: i64) {
        let rank =
            |tail: &Tail| found.iter().position(|file| file.inode == tail.inode && tail.content.is_some());
        self.tails.sort_by_key(|tail| rank(tail).map_or(0, |rank| rank + 1));
        let last_run = found.iter().map(|file| file.place.run).max();
        for tail in &mut self.tails {
            let here = found.iter().find(|file| file.inode == tail.inode);
            let current = here.is_some_and(|file| file.place.current && Some(file.place.run) == last_run);
            if current && tail.content.is_some() {
                tail.replaced_ms = None;
            } else {
                tail.replaced_ms.get_or_insert(now_ms);
            }
            if tail.content.is_none() && !tail.drained && now_ms - tail.detached_ms >= SEARCH_MS {
                let lost = tail.size.saturating_sub(tail.offset);
                if lost > 0 {
                    self.ledger.bytes_lost.add(lost);
                    tracing::error!(path = %tail.path.display(), source = %tail.source, bytes = lost, "log bytes are lost");
                }
                tail.drained = true;
                self.marks.forget_joins();
            }
        }
        self.retire();
    }

    /// Forgets finished files that are gone.
    fn forget(&mut self, found: &[Found], present: &HashSet<String>, now_ms: i64) {
        let inodes: HashSet<Inode> = found.iter().map(|file| file.inode).collect();
        self.settled.retain(|inode, _| inodes.contains(inode));
        let missing = &mut self.missing;
        let before = self.finished.len();
        self.finished.retain(|entry| {
            if present.contains(&entry.source) || inodes.contains(&entry.inode) {
                missing.remove(&entry.source);
                return true;
            }
            let since = *missing.entry(entry.source.clone()).or_insert(now_ms);
            now_ms - since < REMEMBER_MS
        });
        self.advanced |= self.finished.len() != before;
        let finished = &self.finished;
        self.missing.retain(|source, _| finished.iter().any(|entry| entry.source == *source));
    }
}

/// Name of the file that a compressed one is made from.
fn plain(name: &OsString) -> OsString {
    Path::new(name).with_extension("").into_os_string()
}
