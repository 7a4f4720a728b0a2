//! Sealing: threads that turn finished open blocks into compressed ones with a filter.
//!
//! Blocks of one stream are sealed in order, by one thread, so that "all records up to this WAL
//! sequence are in sealed blocks" is always true for what it is written for.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Shared;
use crate::Error;
use crate::block::{Segment, build_filter, seal};
use crate::head::Sealing;
use crate::store::{Batch, BlockKey, BlockMeta, Family};
use crate::streams::Stream;

/// Threads that seal.
const SEALERS: usize = 2;
/// Wait before a block that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Appends wait when open and waiting blocks exceed the budget of open ones by this factor.
const OVERSHOOT: u64 = 2;
/// How often those who wait for a seal look again.
const POLL: Duration = Duration::from_millis(2);
/// When open blocks exceed their budget, the largest are sealed until so much of it is used.
const SHRINK_TO_PERCENT: usize = 70;
/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

/// The way to the sealing threads.
#[derive(Clone)]
pub(super) struct Queues(Arc<Inner>);

struct Inner {
    senders: Mutex<Vec<Sender<Arc<Stream>>>>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl Queues {
    /// The queues, and their other ends.
    pub fn new() -> (Self, Vec<Receiver<Arc<Stream>>>) {
        let (senders, receivers) = (0..SEALERS).map(|_| channel()).unzip();
        let inner = Inner { senders: Mutex::new(senders), stopped: Mutex::new(false), stop: Condvar::new() };
        (Self(Arc::new(inner)), receivers)
    }

    /// Asks for the oldest waiting block of a stream to be sealed. The queue holds one entry a waiting
    /// block, and the memory of those is bounded by the budget of open blocks.
    fn enqueue(&self, stream: Arc<Stream>) {
        let senders = self.0.senders.lock();
        if let Some(sender) = senders.get(stream.id as usize % SEALERS) {
            // After a stop nobody listens: the records are in the write-ahead family.
            drop(sender.send(stream));
        }
    }

    /// Lets the threads end after the block they are at.
    pub fn stop(&self) {
        *self.0.stopped.lock() = true;
        self.0.stop.notify_all();
        self.0.senders.lock().clear();
    }

    /// Waits while `busy` says so, unless the threads are told to end.
    pub fn wait_while(&self, busy: impl Fn() -> bool) {
        let mut stopped = self.0.stopped.lock();
        while !*stopped && busy() {
            self.0.stop.wait_for(&mut stopped, POLL);
        }
    }

    fn is_stopped(&self) -> bool {
        *self.0.stopped.lock()
    }

    /// Waits a while; `true` when the threads are to end.
    fn pause(&self) -> bool {
        let mut stopped = self.0.stopped.lock();
        if !*stopped {
            self.0.stop.wait_for(&mut stopped, RETRY);
        }
        *stopped
    }
}

/// Starts the threads.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    queues: Vec<Receiver<Arc<Stream>>>,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut joins = Vec::new();
    for (index, queue) in queues.into_iter().enumerate() {
        let weak = Arc::downgrade(shared);
        let control = shared.sealers.clone();
        let run = move || {
            for stream in queue {
                let Some(shared) = weak.upgrade() else { return };
                while let Err(err) = seal_next(&shared, &stream) {
                    if !shared.seal_fails.swap(true, Relaxed) {
                        tracing::error!(stream = %stream.labels, error = %err, "cannot write a log block, will try again");
                    }
                    if control.pause() {
                        return;
                    }
                }
                shared.seal_fails.store(false, Relaxed);
                if control.is_stopped() {
                    return;
                }
            }
        };
        let named = std::thread::Builder::new().name(format!("logs-seal-{index}"));
        let join = named.spawn(run);
        joins.push(
            join.map_err(|err| Error::Open { path: shared.config.dir.clone(), reason: err.to_string() })?,
        );
    }
    Ok(joins)
}

/// Waits while blocks that are being sealed use as much memory again as open ones may.
pub(super) fn wait_for_room(shared: &Shared) {
    let limit = shared.config.open_bytes as u64 * OVERSHOOT;
    let busy = || shared.counters.open_bytes.load(Relaxed) > limit && !shared.seal_fails.load(Relaxed);
    if busy() {
        shared.sealers.wait_while(busy);
    }
}

/// Starts sealing those of the streams whose open block is full, and the largest of all while open
/// blocks use more memory than they may.
pub(super) fn when_large<'a>(shared: &Shared, touched: impl Iterator<Item = &'a Arc<Stream>>) {
    for stream in touched {
        let full = {
            let mut head = stream.head.lock();
            head.open_cost() >= shared.config.block_bytes && head.start_sealing()
        };
        if full {
            shared.sealers.enqueue(stream.clone());
        }
    }
    let budget = shared.config.open_bytes;
    if shared.counters.open_bytes.load(Relaxed) as usize <= budget {
        return;
    }
    let mut open: Vec<(usize, Arc<Stream>)> = {
        let streams = shared.streams.read();
        streams.iter().map(|stream| (stream.head.lock().open_cost(), stream.clone())).collect()
    };
    open.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
    // What already waits for its seal counts as given back.
    let mut left: usize = open.iter().map(|(cost, _)| cost).sum();
    for (cost, stream) in open {
        if left <= budget / 100 * SHRINK_TO_PERCENT || cost == 0 {
            break;
        }
        left -= cost;
        start(shared, &stream);
    }
}

/// Ends a stream's open block and has it sealed.
pub(super) fn start(shared: &Shared, stream: &Arc<Stream>) -> bool {
    let started = {
        let _between_commits = shared.inserting.lock();
        stream.head.lock().start_sealing()
    };
    if started {
        shared.sealers.enqueue(stream.clone());
    }
    started
}

/// Seals the oldest waiting block of a stream.
fn seal_next(shared: &Shared, stream: &Stream) -> Result<(), Error> {
    let Some(sealing) = stream.head.lock().next_sealing() else { return Ok(()) };
    let records = merged(&sealing);
    let mut batch = Batch::default();
    let mut metas = Vec::new();
    for (part, range) in split(&records, shared.config.block_bytes).into_iter().enumerate() {
        let whole = range.len() == records.len();
        let piece = if whole { None } else { Some(slice(&records, range)) };
        let piece = piece.as_ref().unwrap_or(&records);
        let seq = sealing.seqs.1 << 12 | part as u64;
        metas.extend(write_block(shared, &mut batch, stream.id, piece, seq)?);
    }
    shared.store.put(&mut batch, Family::Sealed, &stream.id.to_be_bytes(), &sealing.seqs.1.to_be_bytes());
    shared.store.write(batch, false)?;
    stream.head.lock().finish_sealing(&metas);
    shared.counters.open_bytes.fetch_sub(sealing.cost as u64, Relaxed);
    shared.counters.sealed_blocks.fetch_add(metas.len() as u64, Relaxed);
    Ok(())
}

/// Adds a sealed block to a batch; `None` when the segment is empty.
pub(super) fn write_block(
    shared: &Shared,
    batch: &mut Batch,
    stream: u32,
    records: &Segment,
    seq: u64,
) -> Result<Option<BlockMeta>, Error> {
    let Some((min_ns, max_ns)) = records.bounds() else { return Ok(None) };
    let key = BlockKey::new(stream, min_ns, seq);
    let data = seal(records, shared.config.zstd_level)
        .map_err(|err| Error::Storage { context: "compress a block".into(), reason: err.to_string() })?;
    let filter = build_filter(records);
    let meta = BlockMeta {
        key,
        max_ns,
        records: records.len() as u32,
        line_bytes: records.lines.len() as u32,
        stored_bytes: (data.len() + filter.len()) as u32,
    };
    let name = key.encode();
    shared.store.put(batch, Family::Data, &name, &data);
    shared.store.put(batch, Family::Filters, &name, &filter);
    shared.store.put(batch, Family::Index, &name, &meta.encode());
    Ok(Some(meta))
}

fn merged(sealing: &Sealing) -> Segment {
    let mut all = Segment::default();
    for page in &sealing.pages {
        all.extend(page);
    }
    if all.is_sorted() { all } else { all.sorted() }
}

fn slice(records: &Segment, range: Range<usize>) -> Segment {
    let mut out = Segment::default();
    for index in range {
        out.push_from(records, index);
    }
    out
}

/// Pieces of at most about `block_bytes` and of one day each.
fn split(records: &Segment, block_bytes: usize) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for index in 0..records.len() {
        let (start, end) = records.span(index);
        let day = |index: usize| records.times[index].div_euclid(DAY_NS);
        // A block that is a little too large stays whole.
        if index > first && (day(index) != day(first) || bytes > block_bytes + block_bytes / 2) {
            out.push(first..index);
            (first, bytes) = (index, 0);
        }
        bytes += end - start + 16;
    }
    if first < records.len() {
        out.push(first..records.len());
    }
    out
}
