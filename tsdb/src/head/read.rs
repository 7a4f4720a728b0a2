//! Samples of one series out of memory: copied under the lock, decoded outside of it.

use std::sync::Arc;

use binnacle_proto::Labels;
use roaring::RoaringBitmap;

use super::series::{Late, bounds};
use super::{FlushSet, Head, SHARDS, shard_of};
use crate::codec::{Corrupt, Newest, StreamView};
use crate::select::Points;
use crate::store::SeriesId;

/// Up to about so many samples are decoded while the shard is locked.
const DECODE_UNDER_LOCK: i64 = 64;

/// A copy of a series' samples in memory. Reused from series to series.
#[derive(Default)]
pub(crate) struct HeadCopy {
    bytes: Vec<u8>,
    newest: Option<Newest>,
    late: Vec<Late>,
    /// Samples that were so few that they were decoded at once.
    decoded: Points,
    flushing: Option<Arc<FlushSet>>,
    id: SeriesId,
    /// Flushes committed before the copy was made: a view of the store must not be older.
    pub(crate) epoch: u64,
}

impl HeadCopy {
    /// Appends the samples a flush has taken within the bounds to `out`, ascending.
    pub(crate) fn flushing(&self, start_ms: i64, end_ms: i64, out: &mut Points) -> Result<(), Corrupt> {
        let Some(taken) = self.flushing.as_ref().and_then(|set| set.get(self.id)) else { return Ok(()) };
        taken.stream.read(start_ms, end_ms, out)?;
        push_late(&taken.late, start_ms, end_ms, out);
        Ok(())
    }

    /// Appends the samples that no flush has taken within the bounds to `out`: those in order, then
    /// those that came late.
    pub(crate) fn open(&self, start_ms: i64, end_ms: i64, out: &mut Points) -> Result<(), Corrupt> {
        StreamView { bytes: &self.bytes, newest: self.newest }.read(start_ms, end_ms, out)?;
        out.timestamps.extend_from_slice(&self.decoded.timestamps);
        out.values.extend_from_slice(&self.decoded.values);
        push_late(&self.late, start_ms, end_ms, out);
        Ok(())
    }
}

fn push_late(late: &[Late], start_ms: i64, end_ms: i64, out: &mut Points) {
    for (t_ms, value) in late.iter().filter(|(t_ms, _)| (start_ms..=end_ms).contains(t_ms)) {
        out.push(*t_ms, *value);
    }
}

impl Head {
    /// Oldest sample in memory. Looks at every series.
    pub(crate) fn min_ms(&self) -> Option<i64> {
        let of_shard = |(number, shard): (usize, &parking_lot::Mutex<super::Shard>)| {
            let mut shard = shard.lock();
            let taken = shard.flushing.clone();
            let taken = taken.iter().flat_map(|set| &set.series);
            let taken = taken.filter_map(|taken| bounds(&taken.stream, Some(&taken.late))).min();
            let open = shard.iter_mut(number).filter_map(|(_, series)| {
                bounds(&series.stream, series.late.as_ref().map(|late| late.as_slice()))
            });
            taken.into_iter().chain(open.min()).min().map(|(first, _)| first)
        };
        self.shards.iter().enumerate().filter_map(of_shard).min()
    }

    /// Copies what is in memory of a series that may lie within the bounds.
    pub(crate) fn copy(&self, id: SeriesId, start_ms: i64, end_ms: i64, copy: &mut HeadCopy) {
        copy.bytes.clear();
        copy.newest = None;
        copy.decoded.clear();
        copy.late.clear();
        copy.id = id;
        let shard = self.shards[shard_of(id)].lock();
        copy.epoch = self.flush_epoch();
        copy.flushing = shard.flushing.clone();
        let Some(series) = shard.get(id) else { return };
        let late = series.late.as_ref().map_or(&[][..], |late| late.as_slice());
        let within = |(first, last): (i64, i64)| first <= end_ms && last >= start_ms;
        if bounds(&series.stream, Some(late)).is_some_and(within) {
            let view = series.stream.view();
            // For few samples decoding is cheaper than copying all bytes. What does not decode is copied,
            // and fails outside of the lock.
            let few = series.stream.samples_since(start_ms) <= DECODE_UNDER_LOCK;
            if !few || view.read(start_ms, end_ms, &mut copy.decoded).is_err() {
                copy.decoded.clear();
                copy.bytes.extend_from_slice(view.bytes);
                copy.newest = view.newest;
            }
            copy.late.extend_from_slice(late);
        }
    }

    /// Labels of those of `ids` that are in memory, and whether the samples in memory may lie within
    /// the bounds.
    pub(crate) fn describe(
        &self,
        ids: &RoaringBitmap,
        start_ms: i64,
        end_ms: i64,
        mut each: impl FnMut(SeriesId, Labels, bool),
    ) {
        let mut by_shard: Vec<Vec<SeriesId>> = vec![Vec::new(); SHARDS];
        for id in ids {
            by_shard[shard_of(id)].push(id);
        }
        for (number, ids) in by_shard.iter().enumerate().filter(|(_, ids)| !ids.is_empty()) {
            let shard = self.shards[number].lock();
            for id in ids {
                let Some(series) = shard.get(*id) else { continue };
                let late = series.late.as_ref().map(|late| late.as_slice());
                let taken = shard.flushing.as_ref().and_then(|set| set.get(*id));
                let within = |(first, last): (i64, i64)| first <= end_ms && last >= start_ms;
                let here = bounds(&series.stream, late).is_some_and(within)
                    || taken
                        .is_some_and(|taken| bounds(&taken.stream, Some(&taken.late)).is_some_and(within));
                each(*id, series.labels.clone(), here);
            }
        }
    }
}
