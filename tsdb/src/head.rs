//! Series and samples in memory, divided into shards by series id.

mod append;
mod evict;
mod flush;
mod read;
mod resolve;
mod series;

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use binnacle_proto::Labels;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};

pub(crate) use append::Outcome;
pub(crate) use flush::{FlushSet, Taken};
pub(crate) use read::HeadCopy;
pub(crate) use resolve::Known;
pub(crate) use series::Series;

use crate::index::MemoryIndex;
use crate::store::SeriesId;

/// Number of shards. On disk: the log is cut by shard, so another number is another format.
pub(crate) const SHARDS: usize = 16;
/// Series with neighbouring ids share a page: they came together and are read together.
pub(crate) const PAGE: usize = 64;
/// Number of locks of the map from labels to ids.
const NAME_SHARDS: usize = 16;

type Page = [Option<Series>; PAGE];
type Names = HashTable<(Labels, SeriesId)>;

/// Which shard a series lives in.
pub(crate) fn shard_of(id: SeriesId) -> usize {
    id as usize / PAGE % SHARDS
}

/// All that is in memory. Locks are taken in the order names, shard, index, and never across I/O.
pub(crate) struct Head {
    names: Vec<Mutex<Names>>,
    shards: Vec<Mutex<Shard>>,
    index: RwLock<MemoryIndex>,
    next_id: AtomicU32,
    /// Records up to and with this one are applied in all shards.
    applied: AtomicU64,
    /// Flushes committed so far; a view of the store that is older than this may miss samples that
    /// have left the head.
    flush_epoch: AtomicU64,
    series: AtomicU64,
    /// Bytes of open chunks and late samples.
    bytes: AtomicU64,
    samples: AtomicU64,
    max_ms: AtomicI64,
    /// Seconds since the epoch, from the `now` of the last call; marks when series were used.
    now_s: AtomicU32,
}

#[derive(Default)]
pub(crate) struct Shard {
    pages: Vec<Option<Box<Page>>>,
    /// Bytes of open chunks and late samples, those being flushed included.
    bytes: u64,
    /// Samples that no flush has taken yet.
    samples: u64,
    /// Records up to and with this one are applied here.
    applied: u64,
    /// Taken by a flush and not in the store yet.
    flushing: Option<std::sync::Arc<FlushSet>>,
    /// When maintenance first saw the oldest of the samples that no flush has taken.
    dirty_since_ms: Option<i64>,
}

impl Shard {
    #[inline]
    pub(crate) fn get(&self, id: SeriesId) -> Option<&Series> {
        self.pages.get(id as usize / (PAGE * SHARDS))?.as_ref()?[id as usize % PAGE].as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: SeriesId) -> Option<&mut Series> {
        self.pages.get_mut(id as usize / (PAGE * SHARDS))?.as_mut()?[id as usize % PAGE].as_mut()
    }

    fn insert(&mut self, id: SeriesId, series: Series) {
        let page = id as usize / (PAGE * SHARDS);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([const { None }; PAGE]));
        page[id as usize % PAGE] = Some(series);
    }

    fn remove(&mut self, id: SeriesId) {
        let Some(slot) = self.pages.get_mut(id as usize / (PAGE * SHARDS)) else { return };
        let Some(page) = slot else { return };
        page[id as usize % PAGE] = None;
        if page.iter().all(Option::is_none) {
            *slot = None;
        }
    }

    /// Series with their ids, ascending.
    fn iter_mut(&mut self, shard: usize) -> impl Iterator<Item = (SeriesId, &mut Series)> {
        self.pages
            .iter_mut()
            .enumerate()
            .filter_map(|(at, page)| page.as_mut().map(|page| (at, page)))
            .flat_map(move |(at, page)| {
                let first = (at * SHARDS + shard) * PAGE;
                page.iter_mut().enumerate().filter_map(move |(slot, series)| {
                    series.as_mut().map(|series| ((first + slot) as SeriesId, series))
                })
            })
    }
}

impl Head {
    pub(crate) fn new() -> Self {
        Self {
            names: (0..NAME_SHARDS).map(|_| Mutex::default()).collect(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            index: RwLock::default(),
            next_id: AtomicU32::new(0),
            applied: AtomicU64::new(0),
            flush_epoch: AtomicU64::new(0),
            series: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            max_ms: AtomicI64::new(i64::MIN),
            now_s: AtomicU32::new(0),
        }
    }

    /// The index of the series in memory.
    pub(crate) fn index(&self) -> &RwLock<MemoryIndex> {
        &self.index
    }

    pub(crate) fn series_count(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    /// Bytes of open chunks and late samples.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Samples that are not in the store's chunks yet.
    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Newest sample ever seen by this process.
    pub(crate) fn max_ms(&self) -> Option<i64> {
        Some(self.max_ms.load(Ordering::Relaxed)).filter(|ms| *ms != i64::MIN)
    }

    pub(crate) fn flush_epoch(&self) -> u64 {
        self.flush_epoch.load(Ordering::Acquire)
    }

    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Says that all records up to and with `seq` are applied in every shard.
    pub(crate) fn set_applied(&self, seq: u64) {
        self.applied.store(seq, Ordering::Release);
    }

    /// Ids from here on are free.
    pub(crate) fn next_id(&self) -> SeriesId {
        self.next_id.load(Ordering::Relaxed)
    }

    /// No id below `id` will be given to a new series.
    pub(crate) fn reserve_ids(&self, id: SeriesId) {
        self.next_id.fetch_max(id, Ordering::Relaxed);
    }

    /// Notes the time, by which idle series are found.
    pub(crate) fn set_now(&self, now_ms: i64) {
        let seconds = u32::try_from(now_ms.div_euclid(1000)).unwrap_or(0);
        self.now_s.fetch_max(seconds, Ordering::Relaxed);
    }

    fn now_s(&self) -> u32 {
        self.now_s.load(Ordering::Relaxed)
    }

    fn account(&self, shard: &mut Shard, bytes: i64) {
        shard.bytes = shard.bytes.saturating_add_signed(bytes);
        if bytes >= 0 {
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(bytes.unsigned_abs(), Ordering::Relaxed);
        }
    }
}
