//! The files of one container's output, or one log file with those rotated from it: read in order, oldest first.

mod names;
mod read;
mod scan;
mod spans;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use binnacle_proto::Labels;

use super::checkpoint::Entry;
use super::content::{Content, Inode, Print};
use super::folder::Folder;
use super::join::Joiner;
use super::ledger::Ledger;
use super::marks::Marks;
use super::rate::Rate;
use super::trace::Traces;
use crate::uplink::LogLines;
use spans::Span;

/// How long a rotated file is still watched after its successor is there: the writer may not have turned yet.
const TURN_MS: i64 = 300;

/// How long the rest of a truncated or vanished file is looked for among copies of it.
const SEARCH_MS: i64 = 2000;

/// How long a finished file is remembered after it is gone.
const REMEMBER_MS: i64 = 60_000;

/// What the files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Lines of the CRI format; files of several runs, `0.log`, `1.log`, …
    Cri,
    /// Plain lines.
    Raw,
    /// Docker's JSON lines.
    Docker,
}

/// Which files make a group.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) format: Format,
    pub(super) folder: Folder,
    /// Name of the file that is written to; CRI files have one of their own for each run.
    pub(super) base: Option<String>,
    /// Rotated files that were last written before this were here before the writer: they are left alone.
    pub(super) since_ms: i64,
}

/// Whose lines they are.
pub(super) struct Owner {
    /// Of the streams that lines become: stdout and stderr, or the file.
    pub(super) labels: Vec<Labels>,
    pub(super) ledger: Ledger,
    pub(super) rate: Rate,
}

/// Lines that were read together, and how far that lets the checkpoint move once they are stored.
pub(super) struct Unit {
    pub(super) blocks: Vec<LogLines>,
    pub(super) stored: Stored,
}

/// What moves when a unit is stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    advances: Vec<Advance>,
    lines: u64,
    bytes: u64,
}

/// Up to here a file is stored.
#[derive(Debug, Clone, Copy)]
struct Advance {
    file: u64,
    offset: u64,
    tail: Print,
}

/// Files that follow one another.
pub(super) struct Group {
    /// Name in the checkpoint.
    key: String,
    files: Files,
    /// Of the streams that lines become: stdout and stderr, or the file.
    labels: Vec<Labels>,
    ledger: Ledger,
    /// Oldest first.
    tails: Vec<Tail>,
    finished: Vec<Entry>,
    joiner: Joiner,
    /// How traces were ended, behind what is stored.
    marks: Marks,
    /// Records of several parts before which the checkpoint may have to stop.
    spans: Vec<Span>,
    /// Traces that wait for more; `None` when lines are not to be put together.
    traces: Option<Traces>,
    rate: Rate,
    /// Text of a piece that is not in the file as it is.
    unescaped: Vec<u8>,
    last_ns: i64,
    next_file: u64,
    /// Files known to need nothing, by what they looked like then.
    settled: HashMap<Inode, (i64, u64)>,
    /// Since when a finished file has not been seen.
    missing: HashMap<String, i64>,
    /// Whether the directory holds none of its files.
    empty: bool,
    /// Files that are new since the checkpoint was saved: nothing of them may be sent before.
    unsaved: bool,
    /// Whether the entries changed otherwise.
    advanced: bool,
}

/// A file that is being read.
struct Tail {
    id: u64,
    source: String,
    inode: Inode,
    head: Print,
    path: PathBuf,
    /// `None`: truncated or not found yet; the rest may be in a copy.
    content: Option<Content>,
    detached_ms: i64,
    /// Read up to here, in whole raw lines.
    offset: u64,
    /// The last bytes before `offset`.
    recent: Vec<u8>,
    /// Begin of the raw line at `offset`, and how long that is so far: more than is kept when it is very long.
    pending: Vec<u8>,
    pending_len: u64,
    stored: u64,
    stored_tail: Print,
    /// How far units that were handed out let the checkpoint move.
    promised: u64,
    size: u64,
    /// When it had been written last, when it was last looked at.
    written_ns: i64,
    replaced_ms: Option<i64>,
    drained: bool,
}

impl Group {
    pub(super) fn new(
        key: &str,
        files: Files,
        owner: Owner,
        entries: &[Entry],
        join_traces: bool,
        now_ms: i64,
    ) -> Self {
        let mut group = Self {
            key: key.to_owned(),
            files,
            labels: owner.labels,
            ledger: owner.ledger,
            tails: Vec::new(),
            finished: Vec::new(),
            joiner: Joiner::default(),
            marks: Marks::default(),
            spans: Vec::new(),
            traces: join_traces.then(Traces::default),
            rate: owner.rate,
            unescaped: Vec::new(),
            last_ns: 0,
            next_file: 0,
            settled: HashMap::new(),
            missing: HashMap::new(),
            empty: false,
            unsaved: false,
            advanced: false,
        };
        for entry in entries {
            if entry.finished {
                group.finished.push(entry.clone());
            } else {
                group.detached(entry, now_ms);
            }
        }
        group
    }

    /// Takes up a file of the checkpoint; where it is now is for the next scan to find.
    fn detached(&mut self, entry: &Entry, now_ms: i64) {
        self.next_file += 1;
        self.marks.restore(self.next_file, &entry.cuts, &entry.joins);
        self.tails.push(Tail {
            id: self.next_file,
            source: entry.source.clone(),
            inode: entry.inode,
            head: entry.head,
            path: PathBuf::new(),
            content: None,
            detached_ms: now_ms,
            offset: entry.offset,
            recent: Vec::new(),
            pending: Vec::new(),
            pending_len: 0,
            stored: entry.offset,
            stored_tail: entry.tail,
            promised: entry.offset,
            size: entry.size,
            written_ns: 0,
            replaced_ms: None,
            drained: false,
        });
    }

    /// Lines that follow belong to these streams.
    pub(super) fn relabel(&mut self, labels: Vec<Labels>, ledger: Ledger) {
        if self.labels != labels {
            self.labels = labels;
            self.ledger = ledger;
        }
    }

    /// A unit was stored by the server.
    pub(super) fn stored(&mut self, stored: &Stored) {
        self.ledger.lines_acked.add(stored.lines);
        self.ledger.bytes_acked.add(stored.bytes);
        for advance in &stored.advances {
            let Some(tail) = self.tails.iter_mut().find(|tail| tail.id == advance.file) else { continue };
            if advance.offset > tail.stored {
                tail.stored = advance.offset;
                tail.stored_tail = advance.tail;
                self.advanced = true;
                self.marks.forget_before(advance.file, advance.offset);
            }
        }
        self.retire();
    }

    /// Closes files that were read to their end and are stored.
    fn retire(&mut self) {
        let (done, tails): (Vec<Tail>, Vec<Tail>) = std::mem::take(&mut self.tails)
            .into_iter()
            .partition(|tail| tail.drained && tail.stored >= tail.offset);
        self.tails = tails;
        for tail in done {
            tracing::debug!(source = %tail.source, path = %tail.path.display(), offset = tail.offset, "log file is finished");
            self.advanced = true;
            self.marks.forget_before(tail.id, u64::MAX);
            self.finished.push(Entry { finished: true, ..tail.entry() });
        }
        self.forget_spans();
    }

    /// What the checkpoint should hold.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let reading = self.tails.iter().map(|tail| {
            let (cuts, joins) = self.marks.of_file(tail.id);
            Entry { cuts, joins, ..tail.entry() }
        });
        self.finished.iter().cloned().chain(reading).collect()
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether something has to be saved before more may be sent: new files, and how traces were ended.
    pub(super) fn is_unsaved(&self) -> bool {
        self.unsaved || self.marks.is_unsaved()
    }

    /// Whether the checkpoint should be saved soon; asking takes note that it will be.
    pub(super) fn take_advanced(&mut self) -> bool {
        std::mem::take(&mut self.advanced)
    }

    /// The checkpoint was saved.
    pub(super) fn saved(&mut self) {
        self.unsaved = false;
        self.marks.saved();
    }

    /// Whether nothing is left of it, neither on disk nor to be sent.
    pub(super) fn is_over(&self) -> bool {
        self.empty && self.tails.is_empty() && self.finished.is_empty()
    }

    /// Whether time alone brings something to do.
    pub(super) fn is_waiting(&self) -> bool {
        self.wants_scan() || self.rate.is_spent() || self.traces.as_ref().is_some_and(Traces::is_waiting)
    }

    /// The directory and the files that it reads, if they can be watched.
    pub(super) fn paths(&self) -> Option<(&Path, impl Iterator<Item = &Path>)> {
        let open = self.tails.iter().filter(|tail| tail.content.is_some() && !tail.drained);
        self.files.folder.is_node().then(|| (self.files.folder.path(), open.map(|tail| tail.path.as_path())))
    }

    /// The directory of its files.
    pub(super) fn folder(&mut self) -> &mut Folder {
        &mut self.files.folder
    }

    /// Name of the file that is written to, where it has one for good.
    pub(super) fn base(&self) -> Option<&str> {
        self.files.base.as_deref()
    }

    /// Whether `name` is one that a file of this group gets when it is rotated.
    pub(super) fn is_rotated(&self, name: &str) -> bool {
        self.base().is_some_and(|base| base != name)
            && names::place(self.files.format, self.base(), name).is_some()
    }

    /// The files that it has read or reads.
    pub(super) fn inodes(&self) -> impl Iterator<Item = Inode> {
        let here = self.finished.iter().filter(|entry| !self.missing.contains_key(&entry.source));
        let finished = here.map(|entry| entry.inode);
        self.tails.iter().map(|tail| tail.inode).chain(finished)
    }

    /// Whether a file is still to be read.
    pub(super) fn is_reading(&self) -> bool {
        self.tails.iter().any(|tail| !tail.drained)
    }

    /// Gives up what is not read yet: it is lost.
    pub(super) fn abandon(&mut self) {
        for tail in self.tails.iter_mut().filter(|tail| !tail.drained) {
            let size = tail.content.as_ref().and_then(|content| content.looks().ok().flatten());
            tail.size = tail.size.max(size.map_or(0, |(size, _)| size));
            self.ledger.bytes_lost.add(tail.size.saturating_sub(tail.offset));
            tail.content = None;
            tail.drained = true;
        }
        self.marks.forget_joins();
        self.retire();
    }

    /// Whether a file is being looked for: the next scan should come soon.
    pub(super) fn wants_scan(&self) -> bool {
        self.tails.iter().any(|tail| tail.content.is_none() && !tail.drained)
    }

    /// Whether everything that was found is read and stored.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.tails.iter().all(|tail| tail.content.is_some() && tail.stored == tail.offset)
    }
}

impl Tail {
    fn entry(&self) -> Entry {
        Entry {
            source: self.source.clone(),
            inode: self.inode,
            head: self.head,
            offset: self.stored,
            tail: self.stored_tail,
            size: self.size,
            finished: false,
            cuts: Vec::new(),
            joins: Vec::new(),
        }
    }

    /// Whether the file is smaller than it was, or has other bytes.
    fn changed(&mut self) -> std::io::Result<bool> {
        let Some(content) = &mut self.content else { return Ok(false) };
        let Some((size, written_ns)) = content.looks()? else { return Ok(false) };
        if size < self.offset + self.pending_len {
            return Ok(true);
        }
        Ok(written_ns != self.written_ns && self.has_other_bytes()?)
    }

    /// Whether what was read, or seen at the beginning, is no longer there.
    fn has_other_bytes(&mut self) -> std::io::Result<bool> {
        let Some(content) = &mut self.content else { return Ok(false) };
        if self.offset < self.head.len as u64 && content.head(self.head.len)? != self.head {
            return Ok(true);
        }
        Ok(content.tail(self.offset)? != Print::of(&self.recent))
    }

    /// The file is not what it was, or is gone: what was not read yet may be in a copy.
    fn detach(&mut self, now_ms: i64) {
        self.content = None;
        self.detached_ms = now_ms;
        self.pending.clear();
        self.pending_len = 0;
    }

    /// Goes on reading in `content`, which holds the same bytes up to `offset`.
    ///
    /// # Errors
    /// When it does not hold them any more.
    fn attach(&mut self, mut content: Content, inode: Inode, path: PathBuf) -> std::io::Result<()> {
        let expected = if self.recent.is_empty() { self.stored_tail } else { Print::of(&self.recent) };
        let len = self.offset.min(super::content::TAIL_BYTES as u64);
        let mut recent = vec![0; len as usize];
        let have = content.fill_at(self.offset - len, &mut recent)?;
        recent.truncate(have);
        if have < len as usize || expected.len > 0 && Print::of(&recent) != expected {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        self.recent = recent;
        self.content = Some(content);
        self.inode = inode;
        self.path = path;
        Ok(())
    }
}
