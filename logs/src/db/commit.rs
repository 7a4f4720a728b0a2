//! Group commit: one thread takes all that waits, writes it as one batch, and acknowledges after the
//! sync. While one sync runs the next group gathers.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread::JoinHandle;

use binnacle_proto::Labels;
use hashbrown::HashMap;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::Shared;
use super::seal;
use super::wal;
use crate::block::{Sealed, Segment, identity};
use crate::head::Known;
use crate::store::{Batch, BlockKey, Family, position_key};
use crate::streams::Stream;
use crate::{Appended, Error, Position, Record};

/// Most requests that wait.
pub(super) const QUEUE: usize = 1024;
/// Most bytes of one commit, compressed; more waits for the next.
const GROUP_BYTES: usize = 8 << 20;
/// Decoded sealed blocks kept for finding repeats.
const REPEAT_CACHE: usize = 8;

/// An append that waits.
pub(super) struct Request {
    pub items: Vec<Item>,
    /// The items encoded for the write-ahead family.
    pub frame: Vec<u8>,
    pub now_ms: i64,
    pub reply: oneshot::Sender<Result<Appended, Error>>,
    /// Room taken in the budget of waiting bytes; given back when this is dropped.
    pub permit: OwnedSemaphorePermit,
}

/// Records for one stream.
pub(crate) struct Item {
    pub stream: Arc<Stream>,
    pub position: Option<Position>,
    pub records: Vec<Record>,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.stream.pending.fetch_sub(1, Release);
    }
}

/// What was made durable in one commit, for tails.
pub(crate) struct Committed {
    /// The records, repeats included.
    pub items: Vec<Item>,
}

struct Committer {
    shared: Arc<Shared>,
    seq: u64,
    repeats: Repeats,
}

/// Starts the thread.
pub(super) fn spawn(
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<Request>,
    next_seq: u64,
) -> Result<JoinHandle<()>, Error> {
    let dir = shared.config.dir.clone();
    let mut committer = Committer { shared, seq: next_seq, repeats: Repeats::default() };
    let run = move || {
        while let Some(first) = requests.blocking_recv() {
            let mut size = first.frame.len();
            let mut group = vec![first];
            while size < GROUP_BYTES {
                let Ok(more) = requests.try_recv() else { break };
                size += more.frame.len();
                group.push(more);
            }
            committer.commit(group);
        }
    };
    let named = std::thread::Builder::new().name("logs-commit".into());
    named.spawn(run).map_err(|err| Error::Open { path: dir, reason: err.to_string() })
}

impl Committer {
    fn commit(&mut self, mut group: Vec<Request>) {
        seal::wait_for_room(&self.shared);
        let written = self.write(&mut group);
        let seq = self.seq;
        // Never used again, even after a failure: some of the write may have reached the disk.
        self.seq += 1;
        let repeated = match written {
            Ok(repeated) => repeated,
            Err(err) => {
                self.shared.counters.failed_commits.fetch_add(1, Relaxed);
                for request in group {
                    // A caller that has gone does not need the answer.
                    drop(request.reply.send(Err(err.clone())));
                }
                return;
            }
        };
        let tails = self.shared.committed.receiver_count() > 0;
        let mut touched: HashMap<u32, Arc<Stream>> = HashMap::new();
        let mut shown = Vec::new();
        let shared = self.shared.clone();
        let whole = shared.inserting.lock();
        for (request, repeated) in group.into_iter().zip(repeated) {
            let mut appended = Appended { repeated, ..Appended::default() };
            for item in &request.items {
                let records = item.records.iter().map(|r| (r.time_ns, r.line.as_slice(), &r.metadata));
                let positioned = item.position.is_some();
                let done = insert(
                    &self.shared,
                    &mut self.repeats,
                    &item.stream,
                    positioned,
                    records,
                    seq,
                    request.now_ms,
                );
                appended.stored += done.stored;
                appended.repeated += done.repeated;
                touched.entry(item.stream.id).or_insert_with(|| item.stream.clone());
            }
            let counters = &self.shared.counters;
            counters.stored.fetch_add(appended.stored, Relaxed);
            counters.repeated.fetch_add(appended.repeated, Relaxed);
            if tails {
                shown.extend(request.items);
            }
            drop(request.permit);
            drop(request.reply.send(Ok(appended)));
        }
        drop(whole);
        self.shared.inserted_seq.store(seq, Release);
        if tails {
            // No receiver is no failure: the last tail has just gone.
            drop(self.shared.committed.send(Arc::new(Committed { items: shown })));
        }
        seal::when_large(&self.shared, touched.values());
    }

    /// Writes a group durably; answers how many records of each request were there already by
    /// position.
    fn write(&self, group: &mut [Request]) -> Result<Vec<u64>, Error> {
        let shared = &self.shared;
        shared.check_room()?;
        let unavailable = |err: Error| Error::Unavailable { reason: err.to_string() };
        let mut batch = Batch::default();
        let mut positions: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut value = Vec::with_capacity(group.iter().map(|request| request.frame.len()).sum());
        let mut repeated = Vec::with_capacity(group.len());
        let mut new_streams: Vec<Arc<Stream>> = Vec::new();
        for request in group.iter_mut() {
            let mut dropped = 0;
            for item in &mut request.items {
                if let Some(position) = &item.position {
                    let key = position_key(&position.node, &position.source);
                    let durable = match positions.get(&key) {
                        Some(end) => *end,
                        None => shared.position(&key).map_err(unavailable)?,
                    };
                    let before = item.records.len();
                    let end = position.end;
                    item.records.retain(|r| if r.end == 0 { end > durable } else { r.end > durable });
                    dropped += (before - item.records.len()) as u64;
                    positions.insert(key, durable.max(position.end));
                }
                if !item.stream.persisted.load(Acquire) {
                    new_streams.push(item.stream.clone());
                }
            }
            if dropped > 0 {
                request.frame = wal::encode(&request.items);
            }
            repeated.push(dropped);
            value.extend_from_slice(&request.frame);
        }
        for stream in &new_streams {
            let mut labels = Vec::new();
            crate::block::put_labels(&mut labels, &stream.labels);
            shared.store.put(&mut batch, Family::Streams, &stream.id.to_be_bytes(), &labels);
        }
        let now_ms = group.iter().map(|request| request.now_ms).max().unwrap_or_default();
        for (key, end) in &positions {
            let mut entry = end.to_le_bytes().to_vec();
            entry.extend_from_slice(&now_ms.to_le_bytes());
            shared.store.put(&mut batch, Family::Positions, key, &entry);
        }
        if !value.is_empty() {
            shared.store.put(&mut batch, Family::Wal, &self.seq.to_be_bytes(), &value);
        }
        if !batch.is_empty() {
            shared.counters.wal_bytes.fetch_add(batch.size() as u64, Relaxed);
            shared.store.write(batch, true).map_err(unavailable)?;
            shared.wal_size.lock().add(self.seq, value.len() as u64);
        }
        shared.counters.commits.fetch_add(1, Relaxed);
        for stream in new_streams {
            stream.persisted.store(true, Release);
        }
        Ok(repeated)
    }
}

/// Decoded sealed blocks in which repeats were looked for lately.
#[derive(Default)]
pub(super) struct Repeats(Vec<(BlockKey, Arc<Segment>)>);

/// Puts durable records where queries find them, each once; those with a position were already
/// sifted by it.
pub(super) fn insert<'a>(
    shared: &Shared,
    repeats: &mut Repeats,
    stream: &Stream,
    positioned: bool,
    records: impl Iterator<Item = (i64, &'a [u8], &'a Labels)>,
    seq: u64,
    now_ms: i64,
) -> Appended {
    let mut appended = Appended::default();
    let (mut added, mut lines) = (0u64, 0u64);
    let mut head = stream.head.lock();
    for (time_ns, line, metadata) in records {
        if !positioned {
            let known = match head.knows(time_ns, line, metadata) {
                Known::AskBlocks => {
                    let mut blocks = head.blocks_at(time_ns);
                    blocks.any(|meta| {
                        repeats.holds(shared, meta.key, time_ns, identity(time_ns, line, Some(metadata)))
                    })
                }
                known => known == Known::Yes,
            };
            if known {
                appended.repeated += 1;
                continue;
            }
        }
        added += head.push(time_ns, line, metadata, seq, now_ms) as u64;
        lines += line.len() as u64;
        appended.stored += 1;
    }
    // Under the lock: a sealer takes off what it has sealed only after this was added.
    shared.counters.open_bytes.fetch_add(added, Relaxed);
    drop(head);
    shared.counters.stored_line_bytes.fetch_add(lines, Relaxed);
    appended
}

impl Repeats {
    fn holds(&mut self, shared: &Shared, key: BlockKey, time_ns: i64, wanted: u64) -> bool {
        let Some(segment) = self.cached(shared, key) else { return false };
        let first = segment.times.partition_point(|time| *time < time_ns);
        let same_time = segment.times[first..].iter().take_while(|time| **time == time_ns).count();
        (first..first + same_time).any(|index| segment.identity(index) == wanted)
    }

    fn cached(&mut self, shared: &Shared, key: BlockKey) -> Option<Arc<Segment>> {
        if let Some(at) = self.0.iter().position(|(have, _)| *have == key) {
            return Some(self.0[at].1.clone());
        }
        let bytes = shared.store.get(Family::Data, &key.encode()).ok().flatten()?;
        let segment = Arc::new(Sealed::open(&bytes).and_then(|sealed| sealed.decode(true)).ok()?);
        self.0.truncate(REPEAT_CACHE - 1);
        self.0.insert(0, (key, segment.clone()));
        Some(segment)
    }
}

impl Shared {
    /// The durable position of a source; 0 when it has none.
    fn position(&self, key: &[u8]) -> Result<u64, Error> {
        let entry = self.store.get(Family::Positions, key)?;
        let end = entry.as_deref().and_then(|entry| entry.first_chunk::<8>());
        Ok(end.map_or(0, |end| u64::from_le_bytes(*end)))
    }

    /// Refuses to write while the disk is about to be full.
    fn check_room(&self) -> Result<(), Error> {
        if self.seal_fails.load(Relaxed)
            && self.counters.open_bytes.load(Relaxed) > self.config.open_bytes as u64
        {
            return Err(Error::Unavailable { reason: "blocks cannot be written".into() });
        }
        let free = rustix::fs::statvfs(&self.config.dir).map_err(|err| Error::Unavailable {
            reason: format!("free space of {}: {err}", self.config.dir.display()),
        })?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        if free < self.config.reserve_bytes {
            let reserve = self.config.reserve_bytes;
            return Err(Error::Unavailable {
                reason: format!(
                    "{free} bytes of disk are free, {reserve} are to stay so (logs.reserve_bytes)"
                ),
            });
        }
        Ok(())
    }
}
