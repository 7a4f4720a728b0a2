//! Samples out of memory: taken under the lock, kept readable until they are in the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use binnacle_proto::Labels;

use super::series::Late;
use super::{Head, shard_of};
use crate::codec::{Corrupt, Stream};
use crate::day::Day;
use crate::select::Points;
use crate::store::SeriesId;

/// What a flush has taken from one shard.
pub(crate) struct FlushSet {
    /// Every sample of log records up to and with this one is in here or already in the store.
    pub(crate) cut: u64,
    /// Ascending by id.
    pub(crate) series: Vec<FlushSeries>,
    samples: u64,
    bytes: i64,
}

/// What a flush has taken from one series.
pub(crate) struct FlushSeries {
    pub(crate) id: SeriesId,
    pub(crate) labels: Labels,
    pub(crate) stream: Stream,
    pub(crate) late: Vec<Late>,
    /// Day in whose index the series was when its samples were taken.
    pub(crate) indexed: Option<Day>,
}

impl FlushSet {
    pub(crate) fn get(&self, id: SeriesId) -> Option<&FlushSeries> {
        self.series.binary_search_by_key(&id, |series| series.id).ok().map(|at| &self.series[at])
    }
}

impl FlushSeries {
    /// All samples, ascending.
    pub(crate) fn points(&self) -> Result<Points, Corrupt> {
        let mut points = Points::default();
        self.stream.read(i64::MIN, i64::MAX, &mut points)?;
        if self.late.is_empty() {
            return Ok(points);
        }
        // No timestamp is in both: late samples are looked up before they are taken.
        let ordered = points.timestamps.iter().copied().zip(points.values.iter().copied());
        let mut all: Vec<Late> = ordered.chain(self.late.iter().copied()).collect();
        all.sort_by_key(|(t_ms, _)| *t_ms);
        let (timestamps, values) = all.into_iter().unzip();
        Ok(Points { timestamps, values })
    }
}

/// What [`Head::take`] found.
pub(crate) enum Taken {
    /// Samples to write.
    Samples(Arc<FlushSet>),
    /// No samples; all records up to and with this one are in the store as far as this shard goes.
    Clean(u64),
}

impl Head {
    /// Takes all samples of a shard. When an earlier flush failed, what that one took.
    pub(crate) fn take(&self, number: usize) -> Taken {
        let mut shard = self.shards[number].lock();
        if let Some(set) = &shard.flushing {
            return Taken::Samples(set.clone());
        }
        // Read under the lock: all records up to `applied` are applied here too.
        let cut = shard.applied.max(self.applied());
        if shard.samples == 0 {
            return Taken::Clean(cut);
        }
        let mut set = FlushSet { cut, series: Vec::new(), samples: shard.samples, bytes: 0 };
        for (id, series) in shard.iter_mut(number) {
            if series.is_clean() {
                continue;
            }
            set.bytes += series.bytes();
            set.series.push(FlushSeries {
                id,
                labels: series.labels.clone(),
                stream: std::mem::take(&mut series.stream),
                late: series.late.take().map(|late| *late).unwrap_or_default(),
                indexed: series.indexed,
            });
        }
        let set = Arc::new(set);
        shard.samples = 0;
        shard.dirty_since_ms = None;
        shard.flushing = Some(set.clone());
        Taken::Samples(set)
    }

    /// When a shard holds no samples: the record up to which all of them are in the store.
    pub(crate) fn clean_cut(&self, number: usize) -> Option<u64> {
        let shard = self.shards[number].lock();
        // Under the lock, as in `take`.
        let cut = shard.applied.max(self.applied());
        (shard.samples == 0 && shard.flushing.is_none()).then_some(cut)
    }

    /// Forgets what [`Head::take`] took: it is committed. `indexed` are days in whose index series are
    /// now, each series' newest last.
    pub(crate) fn flushed(&self, number: usize, set: &FlushSet, indexed: &[(SeriesId, Day)]) {
        let mut shard = self.shards[number].lock();
        // Before the samples disappear from here, so that who misses them knows that they are there.
        self.flush_epoch.fetch_add(1, Ordering::Release);
        shard.flushing = None;
        for (id, day) in indexed {
            if let Some(series) = shard.get_mut(*id) {
                series.indexed = Some(*day);
            }
        }
        self.samples.fetch_sub(set.samples, Ordering::Relaxed);
        self.account(&mut shard, -set.bytes);
    }

    /// Says that a series is not in the index of `day` any more.
    pub(crate) fn unindexed(&self, id: SeriesId, day: Day) {
        if let Some(series) = self.shards[shard_of(id)].lock().get_mut(id) {
            if series.indexed == Some(day) {
                series.indexed = None;
            }
            if series.defined == Some(day) {
                series.defined = None;
            }
            // What was newest may be deleted: what comes next is taken at any time.
            if series.is_clean() {
                series.newest = None;
            }
        }
    }

    /// Shards that hold samples, those with the most bytes first.
    pub(crate) fn largest_shards(&self) -> Vec<usize> {
        let sizes = self.shards.iter().enumerate().map(|(number, shard)| (shard.lock().bytes, number));
        let mut sizes: Vec<(u64, usize)> = sizes.filter(|(bytes, _)| *bytes > 0).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.into_iter().map(|(_, number)| number).collect()
    }

    /// Shards whose oldest samples were seen by maintenance `age_ms` ago, or whose flush failed.
    pub(crate) fn due_shards(&self, now_ms: i64, age_ms: i64) -> Vec<usize> {
        let mut due = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let mut shard = shard.lock();
            if shard.samples > 0 && shard.dirty_since_ms.is_none() {
                shard.dirty_since_ms = Some(now_ms);
            }
            let old = shard.dirty_since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= age_ms);
            if old || shard.flushing.is_some() {
                due.push(number);
            }
        }
        due
    }
}
