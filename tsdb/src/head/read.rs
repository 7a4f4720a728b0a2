//! Samples of one series out of memory: copied under the lock, decoded outside of it.

use std::sync::Arc;

use binnacle_proto::Labels;
use roaring::RoaringBitmap;

use super::series::{Late, bounds};
use super::{FlushSet, Head, SHARDS, shard_of};
use crate::codec::{Corrupt, decode_stream};
use crate::select::Points;
use crate::store::SeriesId;

/// A copy of a series' samples in memory. Reused from series to series.
#[derive(Default)]
pub(crate) struct HeadCopy {
    stream: Vec<u8>,
    late: Vec<Late>,
    flushing: Option<Arc<FlushSet>>,
    id: SeriesId,
    /// Flushes committed before the copy was made: a view of the store must not be older.
    pub(crate) epoch: u64,
}

impl HeadCopy {
    /// Appends the samples a flush has taken within the bounds to `out`, ascending.
    pub(crate) fn flushing(&self, start_ms: i64, end_ms: i64, out: &mut Points) -> Result<(), Corrupt> {
        let Some(taken) = self.flushing.as_ref().and_then(|set| set.get(self.id)) else { return Ok(()) };
        decode_stream(taken.stream.bytes(), start_ms, end_ms, out)?;
        push_late(&taken.late, start_ms, end_ms, out);
        Ok(())
    }

    /// Appends the samples that no flush has taken within the bounds to `out`: those in order, then
    /// those that came late.
    pub(crate) fn open(&self, start_ms: i64, end_ms: i64, out: &mut Points) -> Result<(), Corrupt> {
        decode_stream(&self.stream, start_ms, end_ms, out)?;
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
        copy.stream.clear();
        copy.late.clear();
        copy.id = id;
        let shard = self.shards[shard_of(id)].lock();
        copy.epoch = self.flush_epoch();
        copy.flushing = shard.flushing.clone();
        let Some(series) = shard.get(id) else { return };
        let late = series.late.as_ref().map_or(&[][..], |late| late.as_slice());
        let within = |(first, last): (i64, i64)| first <= end_ms && last >= start_ms;
        if bounds(&series.stream, Some(late)).is_some_and(within) {
            copy.stream.extend_from_slice(series.stream.bytes());
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
